package ctxreq_test

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

var (
	noContext context.Context
	noConfig  *ctxreq.Config
)

// misuses are the calls that panic at once, because they are programming errors.
var misuses = map[string]func(){
	"Scope.Go(nil)":           func() { _, s := ctxreq.Start(context.Background(), "s"); defer s.End(nil); s.Go("audit", nil) },
	"Scope.Go(nil), no scope": func() { ctxreq.From(context.Background()).Go("audit", nil) },
	"Scope.Defer(nil)":        func() { _, s := ctxreq.Start(context.Background(), "s"); defer s.End(nil); s.Defer(nil) },
	"Jobs.Go(nil)":            func() { new(ctxreq.Jobs).Go(context.Background(), "mail", nil) },
	"Run(nil)":                func() { ctxreq.Run(context.Background(), "import", nil) },
	"Config.RPC(nil)":         func() { new(ctxreq.Config).RPC(context.Background(), "/svc/M", nil) },
	"Middleware(nil)":         func() { new(ctxreq.Config).Middleware(nil) },
	"Middleware of no Config": func() { noConfig.Middleware(http.NotFoundHandler()) },
	"Start of no Config":      func() { noConfig.Start(context.Background(), "s") },
	"Seal(nil)":               func() { ctxreq.Seal(nil) },
	"Seal of a nil function":  func() { ctxreq.Seal(http.HandlerFunc(nil)) },
	"Middleware of a nil mux": func() { new(ctxreq.Config).Middleware((*http.ServeMux)(nil)) },
	"Unary(nil)": func() {
		ctxreq.Unary(context.Background(), nil, &struct{ FullMethod string }{"/svc/M"}, (func(context.Context, any) (any, error))(nil))
	},
	"Stream(nil)": func() {
		ctxreq.Stream(nil, wire(&fakeStream{ctx: context.Background()}), &struct{ FullMethod string }{"/svc/M"}, (func(any, wire) error)(nil))
	},
	"Start without a parent":   func() { ctxreq.Start(noContext, "s") },
	"Run without a parent":     func() { ctxreq.Run(noContext, "s", idle) },
	"NewKey with a taken name": func() { ctxreq.NewKey[int]("test.owner") },
}

func TestMisusePanicsAtTheCall(t *testing.T) {
	for name, misuse := range misuses {
		t.Run(name, func(t *testing.T) {
			text := panicOf(misuse)
			require.True(t, strings.HasPrefix(text, "ctxreq: "), text)
		})
	}
	require.Equal(t, `ctxreq: Go "audit": nil function`, panicOf(misuses["Scope.Go(nil)"]))
	require.Equal(t, `ctxreq: Jobs.Go "mail": nil function`, panicOf(misuses["Jobs.Go(nil)"]))
}

// TestMiddlewareInsideSealIsReported: the order matters, and the wrong one works without a word but
// for this report, which comes once.
func TestMiddlewareInsideSealIsReported(t *testing.T) {
	c := new(ctxreq.Config)
	other := new(ctxreq.Config)
	for name, row := range map[string]struct {
		handler func(http.Handler) http.Handler
		reports int
	}{
		"Middleware inside Seal": {func(h http.Handler) http.Handler { return ctxreq.Seal(c.Middleware(h)) }, 1},
		"both inside Seal":       {func(h http.Handler) http.Handler { return ctxreq.Seal(c.Middleware(ctxreq.Seal(h))) }, 1},
		"Seal inside Middleware": {func(h http.Handler) http.Handler { return c.Middleware(ctxreq.Seal(h)) }, 0},
		"Middleware alone":       {c.Middleware, 0},
		"a part of a service that has Middleware too": {func(h http.Handler) http.Handler {
			return other.Middleware(ctxreq.Seal(c.Middleware(h)))
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			rec := new(recorder)
			c.Reporter = rec
			h := row.handler(http.NotFoundHandler())
			for range 3 {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			}
			reports := rec.of(ctxreq.KindError)
			require.Len(t, reports, row.reports)
			if row.reports > 0 {
				assert.ErrorContains(t, reports[0].Err, "Middleware runs inside Seal")
			}
		})
	}
}

// slowBody is a request body whose second part does not come until it is released.
type slowBody struct {
	entered, release chan struct{}
	once             bool
}

func (b *slowBody) Read(p []byte) (int, error) {
	if !b.once {
		b.once = true
		close(b.entered)
		<-b.release
		return copy(p, "late"), nil
	}
	return 0, io.EOF
}
func (b *slowBody) Close() error { return nil }

// TestGoroutineThatReadsTheBodyOn leaves a goroutine that reads the body. The response arrives at
// once, and the goroutine is reported with its stack.
func TestGoroutineThatReadsTheBodyOn(t *testing.T) {
	for name, closes := range map[string]bool{"the handler closes the body": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := new(recorder)
				c := &ctxreq.Config{Reporter: rec, Grace: time.Second}
				b := &slowBody{entered: make(chan struct{}), release: make(chan struct{})}
				type result struct {
					n   int
					err error
				}
				results := make(chan result, 2)
				r := httptest.NewRequest("POST", "/", nil)
				r.Body = b
				w := httptest.NewRecorder()
				start := time.Now()
				c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					go func() {
						for range 2 {
							n, err := r.Body.Read(make([]byte, 8))
							results <- result{n, err}
						}
					}()
					<-b.entered
					io.WriteString(w, "answer")
					if closes {
						r.Body.Close()
					}
				})).ServeHTTP(w, r)
				require.Zero(t, time.Since(start), "the response does not wait")
				require.Equal(t, "answer", w.Body.String())
				if closes { // as httputil.ReverseProxy does: its transport may still be reading
					require.Empty(t, rec.all())
				} else {
					require.Len(t, rec.all(), 1)
					require.Equal(t, ctxreq.KindLateUse, rec.all()[0].Kind)
					require.ErrorContains(t, rec.all()[0].Err, "reading the request body after the end")
					require.Contains(t, rec.all()[0].Stack, "slowBody", "its goroutine")
					require.Equal(t, 1, strings.Count(rec.all()[0].Stack, "created by"), "and no other")
				}
				close(b.release)
				require.Equal(t, result{4, nil}, <-results, "it read the body of its own request")
				last := <-results
				require.Zero(t, last.n)
				if closes {
					require.ErrorIs(t, last.err, http.ErrBodyReadAfterClose)
				} else {
					require.ErrorIs(t, last.err, ctxreq.ErrEnded)
				}
				require.LessOrEqual(t, len(rec.all()), 1, "once")
				require.Empty(t, c.InFlight())
			})
		})
	}
}

// TestAnswerArrivesBesideALateReader is the same on a real server: the client still sends its body
// and gets the answer. (If it stops sending, net/http itself waits for the reader, with us or
// without.)
func TestAnswerArrivesBesideALateReader(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	srv, _ := serve(t, "HTTP/1.1", c.Middleware(ctxreq.Seal(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "answer")
		entered := make(chan struct{})
		go func() {
			r.Body.Read(make([]byte, 5))
			close(entered)
			io.Copy(io.Discard, r.Body)
		}()
		<-entered
	}))))
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", 1<<30)
	answered := make(chan struct{})
	go func() { // until the answer is there
		for piece := strings.Repeat("x", 100); ; {
			select {
			case <-answered:
				return
			default:
				if _, err := io.WriteString(conn, piece); err != nil {
					return
				}
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	close(answered)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "answer", string(body))
	conn.Close()
	eventually(t, "the late reader", func() bool { return len(rec.of(ctxreq.KindLateUse)) > 0 })
}

// TestAnswerArrivesBesideALateReaderOfHTTP2 is the same with HTTP/2, where the server ends the
// stream below the reader.
func TestAnswerArrivesBesideALateReaderOfHTTP2(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	read := make(chan error, 1)
	srv, client := serve(t, "HTTP/2", c.Middleware(ctxreq.Seal(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, 2, r.ProtoMajor)
		io.WriteString(w, "answer")
		entered := make(chan struct{})
		go func() {
			r.Body.Read(make([]byte, 5))
			close(entered)
			_, err := io.Copy(io.Discard, r.Body)
			read <- err
		}()
		<-entered
	}))))
	sent, body := io.Pipe()
	defer body.Close()
	go io.WriteString(body, "hello, and no more")
	req, err := http.NewRequest("POST", srv.URL, sent)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "answer", string(text))
	require.Error(t, <-read, "the reader ends")
	eventually(t, "the late reader", func() bool { return len(rec.of(ctxreq.KindLateUse)) > 0 })
}

// flushes counts what reached the client before the cleanups ran.
type flushes struct {
	*httptest.ResponseRecorder
	n *int
}

func (f flushes) Flush() { *f.n = f.Body.Len() }

func TestWholeResponseIsSentBeforeTheCleanups(t *testing.T) {
	for name, row := range map[string]struct {
		method, length string
		sent           bool
	}{
		"with its length":       {"GET", "6", true},
		"without":               {"GET", "", false},
		"with a greater length": {"GET", "7", false},
		"HEAD":                  {"HEAD", "6", false},
	} {
		t.Run(name, func(t *testing.T) {
			n, atCleanup := 0, -1
			w := flushes{httptest.NewRecorder(), &n}
			new(ctxreq.Config).Middleware(ctxreq.Seal(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctxreq.From(r.Context()).Defer(func(context.Context) error { atCleanup = n; return nil })
				if row.length != "" {
					w.Header().Set("Content-Length", row.length)
				}
				io.WriteString(w, "ans")
				io.Copy(w, strings.NewReader("wer"))
			}))).ServeHTTP(w, httptest.NewRequest(row.method, "/", nil))
			if row.sent {
				require.Equal(t, 6, atCleanup)
			} else {
				require.Zero(t, atCleanup)
			}
		})
	}
}

var update = flag.Bool("update", false, "write testdata/failures.txt")

// TestFailureTexts prints every text of the package that a person reads when something is wrong,
// for review in one place.
func TestFailureTexts(t *testing.T) {
	var out bytes.Buffer
	section := func(title string) { fmt.Fprintf(&out, "\n# %s\n", title) }
	out.WriteString("Written by TestFailureTexts with -update. Ids, times and addresses are left out.\n")

	section("Panics: a programmer's mistake, at the call")
	for _, name := range sorted(misuses) {
		fmt.Fprintf(&out, "%-26s %s\n", name, hideLines.ReplaceAllString(panicOf(misuses[name]), "FILE:LINE"))
	}
	fmt.Fprintf(&out, "%-26s %s\n", "257 keys", registryFull())

	section("Errors that calls return")
	_, ended := ctxreq.Start(t.Context(), "import")
	ended.End(nil)
	var none *ctxreq.Scope
	var zero ctxreq.Key[int]
	endedCtx := ctxreq.Detach(t.Context())
	for _, err := range []error{
		ctxreq.ErrEnded, ended.Go("audit", idle), ended.Defer(idle), owner.Set(endedCtx, ""),
		none.Go("audit", idle), none.Defer(idle), owner.Set(t.Context(), ""), zero.Set(t.Context(), 1),
	} {
		fmt.Fprintln(&out, err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := &ctxreq.Config{Grace: time.Second, CleanupTimeout: time.Second, MaxChildren: 1, Reporter: discard{}}
		parent, cancel := context.WithCancel(t.Context())
		_, s := c.Start(parent, "import")
		release := make(chan struct{})
		s.Go("row", func(context.Context) error { <-release; return nil })
		cancel()
		fmt.Fprintln(&out, s.Go("next row", idle))
		fmt.Fprintln(&out, s.Wait())
		fmt.Fprintln(&out, s.End(nil))
		close(release)
		synctest.Wait()

		jobs := &ctxreq.Jobs{Config: c}
		release = make(chan struct{})
		jobs.Go(t.Context(), "mail", func(context.Context) error { <-release; return nil })
		done, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		fmt.Fprintln(&out, strings.ReplaceAll(jobs.Shutdown(done).Error(), "\n", "\n  "))
		close(release)
		synctest.Wait()
	})
	err := (&ctxreq.Config{Reporter: discard{}}).RPC(t.Context(), "/svc/M", func(context.Context) error { panic("p") })
	fmt.Fprintln(&out, err.Error()[:len(err.Error())-32]+"ID")

	section("Reports: kind, name, error")
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec, Grace: time.Second, CleanupTimeout: time.Second}
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := blockedWriter{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
		var late http.ResponseWriter
		var body io.Reader
		mux := http.NewServeMux()
		mux.HandleFunc("POST /orders/{id}", func(w2 http.ResponseWriter, r *http.Request) {
			s := ctxreq.From(r.Context())
			late, body = w2, r.Body
			s.Go("fails", func(context.Context) error { return io.ErrUnexpectedEOF })
			s.Go("panics", func(context.Context) error { panic("no stock") })
			s.Go("ignores", func(context.Context) error { <-release; return io.ErrShortWrite })
			s.Defer(func(context.Context) error { return io.ErrClosedPipe })
			s.Defer(func(context.Context) error { panic("rollback") })
			s.Defer(func(context.Context) error { <-release; return nil })
			go w2.Write(nil)
			<-w.entered
			panic("nil map")
		})
		require.Equal(t, http.ErrAbortHandler.Error(), panicOf(func() {
			c.Middleware(mux).ServeHTTP(struct{ http.ResponseWriter }{w}, httptest.NewRequest("POST", "/orders/7", strings.NewReader("x")))
		}))
		late.Header()
		late.WriteHeader(200)
		late.Write(nil)
		late.(interface{ CloseNotify() <-chan bool }).CloseNotify()
		body.Read(nil)
		close(release)
		close(w.broken)
		synctest.Wait()
	})
	jobs := &ctxreq.Jobs{Config: c}
	jobs.Go(t.Context(), "mail", func(context.Context) error { return io.EOF })
	require.NoError(t, jobs.Shutdown(t.Context()))
	lines := map[string]bool{}
	for _, r := range rec.all() {
		lines[fmt.Sprintf("%-9s %-20q %v\n", r.Kind, r.Info.Name, r.Err)] = true
	}
	for _, line := range sorted(lines) {
		out.WriteString(line)
	}
	fmt.Fprintf(&out, "%-9s %-20q %v\n", ctxreq.KindRetained, "GET /", ctxreq.ErrRetained)

	const golden = "testdata/failures.txt"
	if *update {
		require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), out.String(), "run go test ./ctxreq -run TestFailureTexts -update")
}
