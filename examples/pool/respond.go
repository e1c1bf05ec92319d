// Package respond answers and asks with JSON from pooled memory.
package respond

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/leaksafe/leaksafe/pool"
)

var buffers = pool.NewBytes(pool.Options{})

// JSON answers with v, or with 500 if v cannot be encoded: never with half of it.
func JSON(w http.ResponseWriter, status int, v any) {
	b := buffers.Get(0)
	defer b.Release() // w.Write has copied the bytes when it returns
	if err := json.NewEncoder(b.Writer()).Encode(v); err != nil {
		http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// NewRequest returns a POST of v. Do closes its body, which releases the buffer.
func NewRequest(ctx context.Context, url string, v any) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return nil, err
	}
	b := buffers.Get(0)
	defer b.Release() // does nothing once Body has the lease
	if err := json.NewEncoder(b.Writer()).Encode(v); err != nil {
		return nil, err
	}
	r.ContentLength, r.Body = int64(len(b.Bytes())), b.Body()
	return r, nil
}
