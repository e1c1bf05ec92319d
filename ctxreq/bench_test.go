package ctxreq_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/leaksafe/leaksafe/ctxreq"
)

type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n nobody) WriteHeader(int)             {}
func (n nobody) Flush()                      {}

func BenchmarkMiddleware(b *testing.B) {
	parent, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, _ := http.NewRequestWithContext(parent, "GET", "http://x.test/users/7?page=2", nil)
	h := new(ctxreq.Config).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok")) }))
	w := nobody{make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func BenchmarkChildren(b *testing.B) {
	parent, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		_, s := ctxreq.Start(parent, "bench")
		for range 4 {
			s.Go("child", func(context.Context) error { return nil })
		}
		s.Wait()
		s.End(nil)
	}
}
