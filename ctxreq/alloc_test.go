//go:build !race

package ctxreq_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// nobody is a ResponseWriter without any cost.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n nobody) WriteHeader(int)             {}

// A request costs two allocations, four with Seal; children cost none of their own.
func TestAllocations(t *testing.T) {
	c := new(ctxreq.Config)
	plain := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(nil) })
	request := func(h http.Handler) func() {
		r, w := httptest.NewRequest("GET", "/", nil), nobody{make(http.Header)}
		return func() { h.ServeHTTP(w, r) }
	}
	for name, row := range map[string]struct {
		most float64
		op   func()
	}{
		"Middleware":          {2, request(c.Middleware(plain))},
		"Middleware and Seal": {4, request(c.Middleware(ctxreq.Seal(plain)))},
		"a scope":             {1, func() { _, s := c.Start(t.Context(), "scope"); s.End(nil) }},
		"four children": {2, func() {
			_, s := c.Start(t.Context(), "scope")
			for range 4 {
				s.Go("child", func(context.Context) error { return nil })
			}
			s.Wait()
			s.End(nil)
		}},
	} {
		require.LessOrEqual(t, testing.AllocsPerRun(2000, row.op), row.most, name)
	}
}
