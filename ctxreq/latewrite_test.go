package ctxreq_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/internal/testgate"
)

// lateWriters serves until done returns true. Half of the requests leave a goroutine behind that
// writes late. The others are victims: their clients check every byte of the response
// (golang/go#19959, golang/go#78051).
type lateWriters struct {
	middleware func(http.Handler) http.Handler
	late       func(http.ResponseWriter, *http.Request)
	done       func(victims, corrupted int64) bool

	attackers, victims, corrupted atomic.Int64
	example                       atomic.Value
}

const victimChunk = "this response belongs to one client only\n"

func (l *lateWriters) run(t *testing.T, protocol string) {
	var left sync.WaitGroup // the goroutines left behind
	mux := http.NewServeMux()
	mux.HandleFunc("/attacker", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "attack")
		w.(http.Flusher).Flush()
		left.Go(func() {
			defer func() { recover() }() // without a guard the server's buffers may be anything
			l.late(w, r)
		})
	})
	mux.HandleFunc("/victim", func(w http.ResponseWriter, r *http.Request) {
		for range 4 {
			io.WriteString(w, victimChunk)
			w.(http.Flusher).Flush()
			runtime.Gosched()
		}
	})
	srv, client := serve(t, protocol, l.middleware(mux))
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	done := func() bool { return l.done(l.victims.Load(), l.corrupted.Load()) }
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !done() {
				resp, err := client.Post(srv.URL+"/attacker", "text/plain", strings.NewReader("body"))
				if err == nil {
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				l.attackers.Add(1)
			}
		})
		clients.Go(func() {
			for !done() {
				_, body, err := get(t, client, srv.URL+"/victim")
				l.victims.Add(1)
				if err != nil || body != strings.Repeat(victimChunk, 4) {
					l.corrupted.Add(1)
					l.example.Store(fmt.Sprintf("%q, %v", body, err))
				}
			}
		})
	}
	clients.Wait()
	left.Wait()
}

func TestLateWritesReachNobody(t *testing.T) {
	want := int64(testgate.Count(200, 1_000, 50_000)) // without a guard, some of the first 20 are corrupted
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			var reports [8]atomic.Int64 // by op, in the order of their names
			ops := []string{"Write after", "Flush after", "reading the request body after", "Hijack after"}
			c := &ctxreq.Config{Reporter: reporterFunc(func(r *ctxreq.Report) {
				for i, op := range ops {
					if strings.HasPrefix(r.Err.Error(), "ctxreq: "+op) {
						reports[i].Add(1)
						return
					}
				}
				t.Errorf("another report: %v", r.Err)
			})}
			var used atomic.Int64
			l := &lateWriters{
				middleware: func(h http.Handler) http.Handler { return c.Middleware(ctxreq.Seal(h)) },
				late: func(w http.ResponseWriter, r *http.Request) {
					for !cut(r) { // until then it may write
						runtime.Gosched()
					}
					used.Add(1)
					rc := http.NewResponseController(w)
					for range 20 {
						_, err := w.Write([]byte("EVIL"))
						assert.ErrorIs(t, err, ctxreq.ErrEnded)
						assert.ErrorIs(t, rc.Flush(), ctxreq.ErrEnded)
						_, err = r.Body.Read(make([]byte, 8))
						assert.ErrorIs(t, err, ctxreq.ErrEnded)
						_, _, err = rc.Hijack()
						assert.ErrorIs(t, err, ctxreq.ErrEnded)
						runtime.Gosched()
					}
				},
				done: func(victims, _ int64) bool { return victims >= want },
			}
			l.run(t, protocol)
			require.Zero(t, l.corrupted.Load(), "of %d: %v", l.victims.Load(), l.example.Load())
			require.Positive(t, used.Load())
			for i, op := range ops {
				require.Equal(t, used.Load(), reports[i].Load(), "one report each: %s", op)
			}
			t.Logf("%d victims intact beside %d late writers", l.victims.Load(), used.Load())
		})
	}
}

// cut reports whether the request's scope is disconnected: the values of its parent are gone.
func cut(r *http.Request) bool { return r.Context().Value(http.ServerContextKey) == nil }

// TestLateWritesThatBeginInTimeReachNobodyElse has a goroutine that starts writing while its
// handler still runs, and does not stop at the end of the scope.
func TestLateWritesThatBeginInTimeReachNobodyElse(t *testing.T) {
	want := int64(testgate.Count(200, 1_000, 50_000)) // without a guard, some of the first 20 are corrupted
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			c := &ctxreq.Config{Reporter: discard{}}
			l := &lateWriters{
				middleware: c.Middleware,
				late:       func(w http.ResponseWriter, _ *http.Request) { scribble(w) },
				done:       func(victims, _ int64) bool { return victims >= want },
			}
			l.run(t, protocol)
			require.Zero(t, l.corrupted.Load(), "of %d: %v", l.victims.Load(), l.example.Load())
		})
	}
}

func scribble(w http.ResponseWriter) {
	for range 50 {
		w.Write([]byte("EVIL"))
		runtime.Gosched()
	}
}

type reporterFunc func(*ctxreq.Report)

func (f reporterFunc) Report(_ context.Context, r *ctxreq.Report) { f(r) }
