package ctxreq_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

var quiet = log.New(io.Discard, "", 0)

// The optional interfaces of a writer.
type (
	plain struct {
		http.ResponseWriter
		log *[]string
	}
	flusher  struct{ *plain }
	hijacker struct{ *plain }
	reader   struct{ *plain }
	pusher   struct{ *plain }
)

func (p *plain) note(s string) { *p.log = append(*p.log, s) }

func (f flusher) Flush() { f.note("Flush") }
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.note("Hijack")
	return nil, nil, errors.ErrUnsupported
}
func (r reader) ReadFrom(src io.Reader) (int64, error) {
	r.note("ReadFrom")
	return io.Copy(io.Discard, src)
}
func (p pusher) Push(string, *http.PushOptions) error { p.note("Push"); return nil }

// combine makes a writer with just the interfaces in has.
func combine(p *plain, has int) http.ResponseWriter {
	f, h, r, u := flusher{p}, hijacker{p}, reader{p}, pusher{p}
	type (
		F = http.Flusher
		H = http.Hijacker
		R = io.ReaderFrom
		P = http.Pusher
		W = http.ResponseWriter
	)
	return []W{
		p,
		struct {
			W
			F
		}{p, f},
		struct {
			W
			H
		}{p, h},
		struct {
			W
			F
			H
		}{p, f, h},
		struct {
			W
			R
		}{p, r},
		struct {
			W
			F
			R
		}{p, f, r},
		struct {
			W
			H
			R
		}{p, h, r},
		struct {
			W
			F
			H
			R
		}{p, f, h, r},
		struct {
			W
			P
		}{p, u},
		struct {
			W
			F
			P
		}{p, f, u},
		struct {
			W
			H
			P
		}{p, h, u},
		struct {
			W
			F
			H
			P
		}{p, f, h, u},
		struct {
			W
			R
			P
		}{p, r, u},
		struct {
			W
			F
			R
			P
		}{p, f, r, u},
		struct {
			W
			H
			R
			P
		}{p, h, r, u},
		struct {
			W
			F
			H
			R
			P
		}{p, f, h, r, u},
	}[has]
}

func interfaces(w http.ResponseWriter) string {
	_, f := w.(http.Flusher)
	_, h := w.(http.Hijacker)
	_, r := w.(io.ReaderFrom)
	_, p := w.(http.Pusher)
	return fmt.Sprintf("Flusher %t Hijacker %t ReaderFrom %t Pusher %t", f, h, r, p)
}

func TestWriterHasExactlyTheInterfacesOfTheInnerOne(t *testing.T) {
	for has := range 16 {
		var calls []string
		inner := combine(&plain{ResponseWriter: httptest.NewRecorder(), log: &calls}, has)
		t.Run(interfaces(inner), func(t *testing.T) {
			within(inner, func(w http.ResponseWriter, _ *http.Request) {
				assert.Equal(t, interfaces(inner), interfaces(w))
				var want []string
				rc := http.NewResponseController(w)
				if f, ok := w.(http.Flusher); ok {
					f.Flush()
					assert.NoError(t, rc.Flush())
					want = append(want, "Flush", "Flush")
				} else {
					assert.ErrorIs(t, rc.Flush(), http.ErrNotSupported)
				}
				if h, ok := w.(http.Hijacker); ok {
					h.Hijack()
					rc.Hijack()
					want = append(want, "Hijack", "Hijack")
				} else {
					_, _, err := rc.Hijack()
					assert.ErrorIs(t, err, http.ErrNotSupported)
				}
				if r, ok := w.(io.ReaderFrom); ok {
					r.ReadFrom(strings.NewReader("x"))
					want = append(want, "ReadFrom")
				}
				if p, ok := w.(http.Pusher); ok {
					p.Push("/", nil)
					want = append(want, "Push")
				}
				assert.Equal(t, want, calls)
				assert.ErrorIs(t, rc.SetReadDeadline(time.Time{}), http.ErrNotSupported)
				assert.ErrorIs(t, rc.SetWriteDeadline(time.Time{}), http.ErrNotSupported)
				assert.ErrorIs(t, rc.EnableFullDuplex(), http.ErrNotSupported)
			})
		})
	}
}

// within runs f as a handler under Middleware.
func within(w http.ResponseWriter, f http.HandlerFunc) {
	new(ctxreq.Config).Middleware(f).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
}

// unwrapping is the writer of another middleware. Only Unwrap gives access to the writer inside.
type unwrapping struct{ inner http.ResponseWriter }

func (u unwrapping) Header() http.Header         { return u.inner.Header() }
func (u unwrapping) Write(p []byte) (int, error) { return u.inner.Write(p) }
func (u unwrapping) WriteHeader(code int)        { u.inner.WriteHeader(code) }
func (u unwrapping) Unwrap() http.ResponseWriter { return u.inner }

func TestResponseControllerOnARealServer(t *testing.T) {
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(unwrapping{w}, r) })
	}
	bare := func(next http.Handler) http.Handler { return next }
	for _, protocol := range protocols {
		for name, middle := range map[string]func(http.Handler) http.Handler{"": bare, "behind a wrapper with Unwrap": wrap} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				ask := func(w http.ResponseWriter) map[string]bool {
					rc := http.NewResponseController(w)
					deadline := time.Now().Add(time.Hour)
					return map[string]bool{
						"SetReadDeadline":  rc.SetReadDeadline(deadline) == nil,
						"SetWriteDeadline": rc.SetWriteDeadline(deadline) == nil,
						"EnableFullDuplex": rc.EnableFullDuplex() == nil,
						"Flush":            rc.Flush() == nil,
						interfaces(w):      true,
					}
				}
				var without, with map[string]bool
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					without = ask(w)
					ctxreq.Seal(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { with = ask(w) })).ServeHTTP(w, r)
				})
				srv, client := serve(t, protocol, middle(h))
				_, _, err := get(t, client, srv.URL)
				require.NoError(t, err)
				require.Equal(t, without, with)
			})
		}
	}
}

func TestUnwrapDoesNotLeadToTheRawWriter(t *testing.T) {
	raw := httptest.NewRecorder()
	var late []http.ResponseWriter
	unwrap := func(w http.ResponseWriter) {
		for w != nil {
			late = append(late, w)
			u, ok := w.(interface{ Unwrap() http.ResponseWriter })
			if !ok {
				break
			}
			w = u.Unwrap()
		}
	}
	within(raw, func(w http.ResponseWriter, _ *http.Request) { unwrap(w) })
	unwrap(late[0])
	require.Len(t, late, 4)
	for _, w := range late {
		io.WriteString(w, "late")
	}
	require.Empty(t, raw.Body.String())
}

func TestLateUse(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			rec := new(recorder)
			c := &ctxreq.Config{Reporter: rec}
			handed := make(chan func(), 1)
			srv, client := serve(t, protocol, c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handed <- func() {
					rc := http.NewResponseController(w)
					w.Header().Set("X-Late", "1")
					w.WriteHeader(http.StatusTeapot)
					_, err := w.Write([]byte("late"))
					assert.ErrorIs(t, err, ctxreq.ErrEnded)
					_, err = io.WriteString(w, "late")
					assert.ErrorIs(t, err, ctxreq.ErrEnded)
					_, err = io.Copy(w, strings.NewReader("late"))
					assert.ErrorIs(t, err, ctxreq.ErrEnded)
					w.(http.Flusher).Flush()
					assert.ErrorIs(t, rc.Flush(), ctxreq.ErrEnded)
					_, _, err = rc.Hijack()
					assert.ErrorIs(t, err, ctxreq.ErrEnded)
					assert.ErrorIs(t, rc.SetReadDeadline(time.Now()), ctxreq.ErrEnded)
					assert.ErrorIs(t, rc.SetWriteDeadline(time.Now()), ctxreq.ErrEnded)
					assert.ErrorIs(t, rc.EnableFullDuplex(), ctxreq.ErrEnded)
					if p, ok := w.(http.Pusher); ok {
						assert.ErrorIs(t, p.Push("/", nil), ctxreq.ErrEnded)
					}
					w.(interface{ CloseNotify() <-chan bool }).CloseNotify()
					_, err = r.Body.Read(make([]byte, 1))
					assert.ErrorIs(t, err, ctxreq.ErrEnded)
					assert.NoError(t, r.Body.Close())
				}
			})))
			resp, err := client.Post(srv.URL, "text/plain", strings.NewReader("body"))
			require.NoError(t, err)
			resp.Body.Close()
			eventually(t, "the end", func() bool { return len(c.InFlight()) == 0 })
			late := <-handed
			late()
			late()
			ops := map[string]int{}
			for _, r := range rec.all() {
				assert.Equal(t, ctxreq.KindLateUse, r.Kind)
				assert.Equal(t, "POST", r.Info.Name)
				assert.Contains(t, r.Stack, "TestLateUse", "the stack of the late call")
				what, _, _ := strings.Cut(strings.TrimPrefix(r.Err.Error(), "ctxreq: "), " after")
				ops[what]++
			}
			want := map[string]int{
				"ResponseWriter.Header": 1, "WriteHeader": 1, "Write": 1, "Flush": 1, "Hijack": 1,
				"ResponseController": 1, "reading the request body": 1,
			}
			if protocol == "HTTP/2" {
				want["Push"] = 1
			}
			require.Equal(t, want, ops, "each use once")
		})
	}
}

// blockedWriter blocks in Write until its write deadline is set.
type blockedWriter struct {
	http.ResponseWriter
	entered, broken chan struct{}
}

func (b blockedWriter) Write([]byte) (int, error) {
	close(b.entered)
	<-b.broken
	return 0, os.ErrDeadlineExceeded
}
func (b blockedWriter) SetWriteDeadline(time.Time) error { close(b.broken); return nil }

func TestWriteThatBlocksAtTheEndIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := blockedWriter{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
		rec := new(recorder)
		c := &ctxreq.Config{Reporter: rec, Grace: time.Second}
		returned := make(chan error, 2)
		start := time.Now()
		c.Middleware(http.HandlerFunc(func(w2 http.ResponseWriter, _ *http.Request) {
			go func() {
				_, err := w2.Write(nil)
				returned <- err
			}()
			<-w.entered
			time.AfterFunc(time.Second/2, func() { // End waits for the other one
				_, err := w2.Write(nil)
				returned <- err
			})
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		require.Equal(t, time.Second, time.Since(start))
		require.ErrorIs(t, <-returned, ctxreq.ErrEnded)
		require.ErrorIs(t, <-returned, os.ErrDeadlineExceeded)
		require.Len(t, rec.all(), 1)
		require.Equal(t, ctxreq.KindLateUse, rec.all()[0].Kind)
	})
}

func TestWriteThatCannotBeBrokenOffIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := blockedWriter{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
		rec := new(recorder)
		c := &ctxreq.Config{Reporter: rec, Grace: time.Second}
		c.Middleware(http.HandlerFunc(func(w2 http.ResponseWriter, _ *http.Request) {
			go w2.Write(nil)
			<-w.entered
		})).ServeHTTP(struct{ http.ResponseWriter }{w}, httptest.NewRequest("GET", "/", nil))
		require.Len(t, rec.of(ctxreq.KindStuck), 1)
		require.ErrorContains(t, rec.of(ctxreq.KindStuck)[0].Err, "1 call is blocked inside the ResponseWriter")
		require.Contains(t, rec.of(ctxreq.KindStuck)[0].Stack, "blockedWriter")
		start := time.Now()
		for when := range 2 { // before and after it returns: nobody else gets its state
			for range 20 {
				c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(nil) })).
					ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			}
			if when == 0 {
				close(w.broken)
				synctest.Wait()
			}
		}
		require.Len(t, rec.all(), 1)
		require.Zero(t, time.Since(start), "and nobody waits for it")
	})
}

// The error of a blocked writer is in what End returns too, beside the other errors.
func TestEndReturnsThatAWriterIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := blockedWriter{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
		defer close(w.broken)
		c := &ctxreq.Config{Reporter: new(recorder), Grace: time.Second}
		var ended error
		c.Middleware(http.HandlerFunc(func(w2 http.ResponseWriter, r *http.Request) {
			s := ctxreq.From(r.Context())
			s.Go("row", func(context.Context) error { return io.ErrShortWrite })
			s.Defer(func(context.Context) error { return io.ErrClosedPipe })
			go w2.Write(nil)
			<-w.entered
			ended = s.End(nil)
		})).ServeHTTP(struct{ http.ResponseWriter }{w}, httptest.NewRequest("GET", "/", nil))
		require.ErrorContains(t, ended, "1 call is blocked inside the ResponseWriter")
		require.ErrorIs(t, ended, io.ErrShortWrite)
		require.ErrorIs(t, ended, io.ErrClosedPipe)
	})
}

// TestBehaviourOfNetHTTPIsUnchanged sends the same requests to a server with this package and to
// one without.
func TestBehaviourOfNetHTTPIsUnchanged(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file.txt"), bytes.Repeat([]byte("0123456789"), 10_000), 0o600))
	modified := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	require.NoError(t, os.Chtimes(filepath.Join(dir, "file.txt"), modified, modified))
	upstream, _ := serve(t, "HTTP/1.1", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "upstream got %q", body)
	}))
	target, err := url.Parse(upstream.URL)
	require.NoError(t, err)

	mux := http.NewServeMux()
	mux.Handle("/file.txt", http.FileServer(http.Dir(dir)))
	mux.Handle("/proxy", httputil.NewSingleHostReverseProxy(target))
	mux.Handle("/timeout", http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), time.Millisecond, "too slow"))
	mux.HandleFunc("/sse", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "hinted")
	})
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
	})
	mux.HandleFunc("/max", func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 3))
		http.Error(w, fmt.Sprint(err), http.StatusRequestEntityTooLarge)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	mux.HandleFunc("/nobody", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Body == http.NoBody) })
	mux.HandleFunc("/duplicate", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); w.WriteHeader(202) })

	requests := map[string]struct {
		method, path, body string
		header             http.Header
	}{
		"a file":             {path: "/file.txt"},
		"a range":            {path: "/file.txt", header: http.Header{"Range": {"bytes=5-24"}}},
		"two ranges":         {path: "/file.txt", header: http.Header{"Range": {"bytes=0-1,5-6"}}},
		"a bad range":        {path: "/file.txt", header: http.Header{"Range": {"bytes=999999-"}}},
		"HEAD":               {method: "HEAD", path: "/file.txt"},
		"304":                {path: "/file.txt", header: http.Header{"If-Modified-Since": {modified.Format(http.TimeFormat)}}},
		"404":                {path: "/none"},
		"SSE":                {path: "/sse"},
		"early hints":        {path: "/hints"},
		"a trailer":          {path: "/trailer"},
		"a reverse proxy":    {method: "POST", path: "/proxy", body: "payload"},
		"TimeoutHandler":     {path: "/timeout"},
		"MaxBytesReader":     {method: "POST", path: "/max", body: "too long"},
		"an echo":            {method: "POST", path: "/echo", body: strings.Repeat("x", 1<<16)},
		"no body":            {path: "/nobody"},
		"WriteHeader twice":  {path: "/duplicate"},
		"Expect 100":         {method: "POST", path: "/echo", body: "expected", header: http.Header{"Expect": {"100-continue"}}},
		"an unread body":     {method: "POST", path: "/nobody", body: strings.Repeat("x", 1<<10)},
		"a method not known": {method: "BREW", path: "/nobody"},
	}
	ask := func(client *http.Client, url, name string) string {
		ask := requests[name]
		var body io.Reader
		if ask.body != "" {
			body = strings.NewReader(ask.body)
		}
		req, err := http.NewRequest(ask.method, url+ask.path, body)
		require.NoError(t, err)
		for k, v := range ask.header {
			req.Header[k] = v
		}
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Header.Del("Date")
		answer := fmt.Sprintln(resp.Status, resp.Header, resp.ContentLength, resp.TransferEncoding, resp.Trailer, len(got), string(got[:min(len(got), 2000)]))
		if _, params, ok := strings.Cut(resp.Header.Get("Content-Type"), "boundary="); ok {
			answer = strings.ReplaceAll(answer, params, "BOUNDARY")
		}
		return answer
	}
	c := &ctxreq.Config{Reporter: new(recorder)}
	for _, protocol := range protocols {
		plainServer, plainClient := serve(t, protocol, mux)
		ourServer, ourClient := serve(t, protocol, c.Middleware(ctxreq.Seal(mux)))
		for name := range requests {
			t.Run(protocol+" "+name, func(t *testing.T) {
				want := ask(plainClient, plainServer.URL, name)
				require.Equal(t, want, ask(ourClient, ourServer.URL, name))
			})
		}
	}
}
