// Package respond sends JSON responses and requests from pooled memory.
package respond

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/leaksafe/leaksafe/pool"
)

var buffers = pool.NewBytes(pool.Options{})

func encode(v any) (pool.Buffer, error) {
	b := buffers.Get(0)
	if err := json.NewEncoder(b.Writer()).Encode(v); err != nil {
		b.Release()
		return pool.Buffer{}, err
	}
	return b, nil
}

// JSON answers with v, or with 500 if v cannot be encoded, never with a part of v.
func JSON(w http.ResponseWriter, status int, v any) {
	b, err := encode(v)
	if err != nil {
		http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	defer b.Release() // w.Write has copied the bytes when it returns
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// NewRequest returns a POST of v. Do closes its body, which releases the buffer. A redirect or a
// retry encodes v again: do not change v before Do has returned.
func NewRequest(ctx context.Context, url string, v any) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return nil, err
	}
	b, err := encode(v)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength, r.Body = int64(b.Len()), b.Body()
	r.GetBody = func() (io.ReadCloser, error) {
		b, err := encode(v)
		if err != nil {
			return nil, err
		}
		return b.Body(), nil
	}
	return r, nil
}
