//go:build !race

package ctxreq_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/internal/testgate"
)

// retention lists the parts of a request that programs retain, each with the number of bytes per
// request that it may cost.
var retention = []struct {
	what   string
	keep   func(w http.ResponseWriter, r *http.Request) any
	budget float64
}{
	{"ctx", func(_ http.ResponseWriter, r *http.Request) any { return r.Context() }, 64},
	{"ctx whose Done was used", func(_ http.ResponseWriter, r *http.Request) any {
		r.Context().Done()
		return r.Context()
	}, 200}, // a channel is 112 bytes of these since Go 1.25
	{"WithTimeout(ctx)", func(_ http.ResponseWriter, r *http.Request) any {
		ctx, cancel := context.WithTimeout(r.Context(), time.Hour)
		defer cancel()
		return ctx
	}, 312},
	{"WithoutCancel(ctx)", func(_ http.ResponseWriter, r *http.Request) any { return context.WithoutCancel(r.Context()) }, 128},
	{"WithValue(ctx)", func(_ http.ResponseWriter, r *http.Request) any {
		return context.WithValue(r.Context(), outsideKey{}, true)
	}, 128},
	{"a closure over ctx", func(_ http.ResponseWriter, r *http.Request) any {
		ctx := r.Context()
		return func() error { return ctx.Err() }
	}, 128},
	{"ctxreq.Detach(ctx)", func(_ http.ResponseWriter, r *http.Request) any { return ctxreq.Detach(r.Context()) }, 192},
	{"w", func(w http.ResponseWriter, _ *http.Request) any { return w }, 96},
	{"r.Body", func(_ http.ResponseWriter, r *http.Request) any { return r.Body }, 96},
}

// reporting is a middleware that adds a kilobyte to the context, as error reporters and tracers do.
func reporting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), outsideKey{}, make([]byte, 1<<10))))
	})
}

// retained measures how many bytes per request a retained part costs, on a real server.
func retained(t *testing.T, protocol string, middleware func(http.Handler) http.Handler, n int, keep func(http.ResponseWriter, *http.Request) any) float64 {
	kept := make([]any, 0, n)
	srv, client := serve(t, protocol, middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if len(kept) < cap(kept) {
			kept = append(kept, keep(w, r))
		}
	})))
	body := strings.Repeat("x", 1<<10)
	ask := func() {
		req, err := http.NewRequest("POST", srv.URL+"/users/7?q=retention", strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+body)
		resp, err := client.Do(req)
		require.NoError(t, err)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	live := func() int64 {
		ask() // so that the server holds only a request that is not counted
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for range 20 { // connections, pools
		ask()
	}
	clear(kept)
	kept = kept[:0]
	before := live()
	kept = kept[:0]
	for range n {
		ask()
	}
	require.Len(t, kept, n)
	after := live()
	runtime.KeepAlive(kept)
	return float64(after-before) / float64(n)
}

// TestRetentionMatrix retains a part of every request and measures the memory. The leaky
// counterpart is the same server without scopes: the test must catch it wherever its context or
// writer retains the request. (Some parts retain little without this package too: HTTP/2's own
// writer, and bodies that were read to the end.)
func TestRetentionMatrix(t *testing.T) {
	n := testgate.Count(100, 500, 20_000)
	var table strings.Builder
	fmt.Fprintf(&table, "bytes kept per request (%d requests)  budget  HTTP/1.1  without  HTTP/2  without\n", n)
	c := &ctxreq.Config{Reporter: discard{}}
	for _, row := range retention {
		fmt.Fprintf(&table, "%-37s %6.0f", row.what, row.budget)
		for _, protocol := range protocols {
			ours := retained(t, protocol, func(h http.Handler) http.Handler { return c.Middleware(reporting(ctxreq.Seal(h))) }, n, row.keep)
			without := retained(t, protocol, reporting, n, row.keep)
			fmt.Fprintf(&table, "  %8.0f  %7.0f", ours, without)
			slack := 3 + 40_000/float64(n) // other allocations of the process
			assert.LessOrEqual(t, ours, row.budget+slack, "%s, %s", row.what, protocol)
			if strings.HasPrefix(row.what, "With") || row.what == "ctx" || row.what == "w" && protocol == "HTTP/1.1" {
				assert.Greater(t, without, 1000.0, "the counterpart: %s, %s", row.what, protocol)
			}
		}
		table.WriteByte('\n')
	}
	t.Log("\n" + table.String())
}

func TestHandleIsSmall(t *testing.T) {
	require.LessOrEqual(t, ctxreq.HandleSize, uintptr(64))
}
