package pool

import (
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// Body moves the lease into a reader of the contents, for [net/http.Request.Body]: Close releases
// it. The Buffer itself has ended, so a deferred Release beside it does nothing.
//
// A Transport may read a request's body after Do has returned (golang/go#81445), so the caller
// cannot know when to release. The Transport always closes the body, and Close waits for a Read
// that is running. Set Request.ContentLength from Len before the call. Set Request.GetBody too:
// without it a redirect with status 307 or 308 and a retry are sent without a body.
//
// The reader is safe for concurrent use. Read returns an error that wraps [fs.ErrClosed] after
// Close; Close may be called more than once.
func (b Buffer) Body() io.ReadCloser {
	h := b.end("Body")
	h.tally(b.gen)
	h.counted(-1) // it is still the same lease
	h.pool.guard.moved(h)
	return &body{b: Buffer{h, b.gen + 1}}
}

// A body has a lock because a Transport closes it while another goroutine reads.
type body struct {
	mu sync.Mutex
	b  Buffer
	at int
}

func (r *body) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.b.h == nil {
		return 0, fmt.Errorf("pool: Body.Read called after Close: %w", fs.ErrClosed)
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
