package pool

import (
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// Body moves the lease into a reader of the buffer's bytes, for
// [net/http.Request.Body]: Close releases it. The Buffer has ended, so that a
// deferred Release beside it does nothing.
//
// A Transport may read a request's body after Do has returned (golang/go#81445),
// so the caller cannot know when to release; the Transport always closes the
// body, and Close waits for a Read that is under way. Set Request.ContentLength
// from the length before; set GetBody, with a Clone, if the request may be
// repeated.
func (b Buffer) Body() io.ReadCloser {
	h := b.end("Body")
	if w := h.pool.watch; w != nil {
		w.ledger.moved(h.record.lease.Load(), "moved into Body")
	} else {
		h.count()
		h.pool.counts[h.class].leases.Add(-1) // the same lease goes on
	}
	return &body{b: Buffer{h, b.gen + 1}}
}

// A body is locked because a Transport closes it while another goroutine reads.
type body struct {
	mu sync.Mutex
	b  Buffer
	at int
}

func (r *body) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.b.h == nil {
		return 0, fmt.Errorf("pool: Body.Read after Close: %w", fs.ErrClosed)
	}
	rest := r.b.Bytes()[r.at:]
	if len(rest) == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, rest)
	r.at += n
	return n, nil
}

func (r *body) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b.Release()
	r.b = Buffer{}
	return nil
}
