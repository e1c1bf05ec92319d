package ctxreq_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// protocols are the servers every HTTP test runs on.
var protocols = []string{"HTTP/1.1", "HTTP/2"}

// serve starts a real server and returns its client.
func serve(t testing.TB, protocol string, h http.Handler) (*httptest.Server, *http.Client) {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = quiet
	if protocol == "HTTP/2" {
		srv.EnableHTTP2 = true
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	client := srv.Client()
	t.Cleanup(client.CloseIdleConnections)
	return srv, client
}

func get(t testing.TB, client *http.Client, url string) (status int, body string, err error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// eventually polls for what another goroutine or the server is about to do.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			require.Fail(t, "waited a minute for: "+what)
		}
	}
}

func TestEndOnEveryPath(t *testing.T) {
	blocked := make(chan struct{}, 16)
	paths := map[string]struct {
		handle func(http.ResponseWriter, *http.Request)
		leave  func(*httptest.Server, context.CancelFunc) // what happens while it blocks
		status int                                        // 0: the client gets an error
		cause  error
		only   string // a protocol
	}{
		"return": {
			handle: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) },
			status: http.StatusTeapot, cause: ctxreq.ErrEnded,
		},
		"panic": {
			handle: func(http.ResponseWriter, *http.Request) { panic(io.ErrNoProgress) },
			status: http.StatusInternalServerError, cause: io.ErrNoProgress,
		},
		"panic after a write": {
			handle: func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "half")
				http.NewResponseController(w).Flush()
				panic(io.ErrNoProgress)
			},
			cause: io.ErrNoProgress,
		},
		"Goexit": {
			handle: func(http.ResponseWriter, *http.Request) { runtime.Goexit() },
		},
		"ErrAbortHandler": {
			handle: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			cause:  http.ErrAbortHandler,
		},
		"hijack": {
			handle: func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
					conn.Close()
				}
			},
			status: http.StatusAccepted, cause: ctxreq.ErrEnded, only: "HTTP/1.1",
		},
		"panic after a hijack": {
			handle: func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					conn.Close()
				}
				panic(io.ErrNoProgress)
			},
			cause: io.ErrNoProgress, only: "HTTP/1.1",
		},
		"client gone": {
			handle: func(_ http.ResponseWriter, r *http.Request) { blocked <- struct{}{}; <-r.Context().Done() },
			leave:  func(_ *httptest.Server, cancel context.CancelFunc) { cancel() },
			cause:  context.Canceled,
		},
		"server closed": {
			handle: func(_ http.ResponseWriter, r *http.Request) { blocked <- struct{}{}; <-r.Context().Done() },
			leave:  func(srv *httptest.Server, _ context.CancelFunc) { srv.Config.Close() },
			cause:  context.Canceled,
		},
		"timeout": {
			handle: func(w http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				w.WriteHeader(http.StatusGatewayTimeout)
			},
			status: http.StatusGatewayTimeout, cause: context.DeadlineExceeded,
		},
	}
	for _, protocol := range protocols {
		for name, path := range paths {
			if path.only != "" && path.only != protocol {
				continue
			}
			for layer, seal := range map[string]func(http.Handler) http.Handler{
				"": func(h http.Handler) http.Handler { return h }, "sealed": ctxreq.Seal,
			} {
				t.Run(protocol+" "+name+" "+layer, func(t *testing.T) {
					causes := make(chan error, 1)
					c := &ctxreq.Config{Reporter: new(recorder), Timeout: time.Minute}
					if name == "timeout" {
						c.Timeout = time.Millisecond
					}
					var kept context.Context
					srv, client := serve(t, protocol, c.Middleware(seal(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						kept = r.Context()
						ctxreq.From(kept).Defer(func(context.Context) error {
							causes <- context.Cause(r.Context())
							return nil
						})
						path.handle(w, r)
					}))))
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if path.leave != nil {
						go func() { <-blocked; path.leave(srv, cancel) }()
					}
					req, err := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
					require.NoError(t, err)
					resp, err := client.Do(req)
					if err == nil {
						_, err = io.ReadAll(resp.Body)
						resp.Body.Close()
					}
					if path.status == 0 {
						require.Error(t, err)
					} else {
						require.NoError(t, err)
						require.Equal(t, path.status, resp.StatusCode)
					}
					cause := <-causes
					if path.cause != nil && layer == "" {
						require.ErrorIs(t, cause, path.cause)
					}
					eventually(t, "the end of the scope", func() bool { return len(c.InFlight()) == 0 })
					require.ErrorIs(t, context.Cause(kept), ctxreq.ErrEnded)
				})
			}
		}
	}
}

func TestPanicReport(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec, BodyCapture: 8}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /users/{id}", func(w http.ResponseWriter, r *http.Request) {
		tenant.Set(r.Context(), "acme")
		owner.Set(r.Context(), "not for logs")
		pin.Set(r.Context(), "1234")
		io.ReadAll(r.Body)
		panicHere()
	})
	srv, client := serve(t, "HTTP/1.1", c.Middleware(mux))
	req, err := http.NewRequest("POST", srv.URL+"/users/7?page=2&access_token=hunter2", strings.NewReader(`{"page":2}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer hunter2")
	req.Header.Set("X-Author", "Jane")
	req.Header.Set("X-Request-Id", "req-1")
	resp, err := client.Do(req)
	require.NoError(t, err)
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, "Internal Server Error\n", string(body))

	require.Len(t, rec.all(), 1)
	r := rec.all()[0]
	require.Equal(t, ctxreq.KindPanic, r.Kind)
	require.ErrorIs(t, r.Err, io.ErrUnexpectedEOF)
	require.Contains(t, r.Stack, "panicHere")
	require.Equal(t, "req-1", r.Info.ID)
	require.Equal(t, "POST", r.Request.Method)
	require.Equal(t, "HTTP/1.1", r.Request.Proto)
	require.Equal(t, "POST /users/{id}", r.Request.Pattern)
	require.Equal(t, "/users/{id}", r.Request.URL.Path)
	require.Equal(t, "page=2&access_token=[hidden:token:7]", r.Request.URL.RawQuery)
	require.Equal(t, "[hidden:text:14]", r.Request.Header.Get("Authorization"))
	require.Equal(t, "Jane", r.Request.Header.Get("X-Author"))
	require.Equal(t, strings.TrimPrefix(srv.URL, "http://"), r.Request.Host)
	require.Equal(t, `{"page":`, r.Body)
	require.True(t, r.BodyCut)
	require.Equal(t, map[string]string{"test.tenant": "acme", "test.pin": "[hidden:number:4]"}, r.Values)
}

func TestReportFromAChildShowsTheRequest(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := ctxreq.From(r.Context())
		s.Go("fails", func(ctx context.Context) error {
			ctxreq.From(ctx).Report(io.EOF)
			return panicHere()
		})
		for range 100 { // under -race: the report must not read what the handler writes
			r.Header.Set("X-Later", "changed")
			r.Header.Del("X-Later")
			r.URL.Path = "/changed"
		}
		s.Wait()
	})
	mux := http.NewServeMux()
	mux.Handle("/route", handler)
	srv, client := serve(t, "HTTP/1.1", c.Middleware(ctxreq.Seal(mux)))
	get(t, client, srv.URL+"/route?a=1")
	eventually(t, "the end", func() bool { return len(c.InFlight()) == 0 })
	require.Len(t, rec.of(ctxreq.KindPanic), 1)
	require.Len(t, rec.of(ctxreq.KindError), 1, "and the child's panic is not reported again by End")
	for _, r := range rec.all() {
		require.Equal(t, "/route?a=1", r.Request.URL.RequestURI())
		require.Equal(t, "/route", r.Request.Pattern)
	}
}

func TestErrorsOfAHandlersChildrenAreReported(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	w := httptest.NewRecorder()
	c.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := ctxreq.From(r.Context())
		s.Go("fails", func(context.Context) error { return io.EOF })
		s.Wait()
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	require.Len(t, rec.all(), 1)
	require.ErrorIs(t, rec.all()[0].Err, io.EOF)
}

func TestRepanicAfterTheReport(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec, Repanic: true}
	h := c.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("as it was") }))
	require.PanicsWithValue(t, "as it was", func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) })
	require.Len(t, rec.of(ctxreq.KindPanic), 1)
	require.Empty(t, c.InFlight())
}

func TestHandlerThatEndsItsScopeItself(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	w := httptest.NewRecorder()
	c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctxreq.From(r.Context()).End(nil)
		_, err := w.Write([]byte("late"))
		assert.ErrorIs(t, err, ctxreq.ErrEnded)
	})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	require.Empty(t, w.Body.String())

	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		c.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctxreq.From(r.Context()).End(nil)
			panicHere()
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	})
	require.Len(t, rec.of(ctxreq.KindPanic), 1)
	require.Empty(t, c.InFlight())
}

func TestSealReportsAPanicOnce(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	w := httptest.NewRecorder()
	c.Middleware(ctxreq.Seal(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panicHere() }))).
		ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	require.Equal(t, 500, w.Code)
	require.Len(t, rec.all(), 1)
	require.Contains(t, rec.all()[0].Stack, "panicHere")
}

func TestInfoOfARequest(t *testing.T) {
	for name, seal := range map[string]func(http.Handler) http.Handler{
		"plain": func(h http.Handler) http.Handler { return h }, "sealed": ctxreq.Seal,
	} {
		t.Run(name, func(t *testing.T) {
			c := new(ctxreq.Config)
			var during []ctxreq.Info
			var s *ctxreq.Scope
			mux := http.NewServeMux()
			mux.Handle("GET /users/{id}", seal(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s = ctxreq.From(r.Context())
				release := make(chan struct{})
				s.Go("child", func(context.Context) error { <-release; return nil })
				w.WriteHeader(http.StatusTeapot)
				during = c.InFlight()
				close(release)
			})))
			req := httptest.NewRequest("GET", "/users/7", nil)
			req.Header.Set("X-Request-Id", "req-1")
			c.Middleware(mux).ServeHTTP(httptest.NewRecorder(), req)

			require.Len(t, during, 2)
			parent, child := during[0], during[1]
			if parent.Parent != "" { // in whichever order the shards have them
				parent, child = child, parent
			}
			require.Equal(t, "child", child.Name)
			require.Equal(t, "GET /users/{id}", child.Parent)
			for _, info := range during {
				require.Equal(t, "req-1", info.ID)
				require.Equal(t, "/users/{id}", info.Path)
				require.Positive(t, info.Duration)
			}
			require.Equal(t, http.StatusTeapot, parent.Status)
			require.Equal(t, "GET /users/{id}", parent.Name)

			after := s.Info()
			require.Equal(t, "req-1", after.ID)
			require.Equal(t, "GET /users/{id}", after.Name)
			require.Equal(t, http.StatusTeapot, after.Status)
			require.Empty(t, after.Path, "a path may hold secrets, and it retains the string that it is a part of")
			require.Empty(t, c.InFlight())
		})
	}
}

func TestRequestID(t *testing.T) {
	ids := map[string]string{
		"a sensible one is kept":        "7b0c6a7e-1d3c-4b8e-9a57-7bd6f4f2c1de",
		"none":                          "",
		"with a line feed for the logs": "x\nlevel=ERROR",
		"too long":                      strings.Repeat("x", 129),
	}
	for name, id := range ids {
		t.Run(name, func(t *testing.T) {
			var s *ctxreq.Scope
			var during string
			req := httptest.NewRequest("GET", "/", nil)
			req.Header["X-Request-Id"] = []string{id}
			new(ctxreq.Config).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				s = ctxreq.From(r.Context())
				during = s.Info().ID
			})).ServeHTTP(httptest.NewRecorder(), req)
			if strings.HasPrefix(name, "a sensible") {
				require.Equal(t, id, during)
			} else {
				require.Regexp(t, "^[0-9a-f]{32}$", during)
			}
			require.Equal(t, during, s.Info().ID)
		})
	}
}

func TestSealHasTheIDOfItsRequest(t *testing.T) {
	var outer, inner *ctxreq.Scope
	ids := func() []string { return []string{outer.Info().ID, inner.Info().ID} }
	var during []string
	sealed := ctxreq.Seal(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		inner = ctxreq.From(r.Context())
		during = ids()
	}))
	within(httptest.NewRecorder(), func(w http.ResponseWriter, r *http.Request) {
		outer = ctxreq.From(r.Context())
		sealed.ServeHTTP(w, r)
	})
	require.NotSame(t, outer, inner)
	require.Equal(t, during[0], during[1])
	require.Equal(t, during, ids())
}

func TestMultipartFilesAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("TEMP", os.Getenv("TMPDIR"))
	t.Setenv("TMP", os.Getenv("TMPDIR"))
	var form bytes.Buffer
	mw := multipart.NewWriter(&form)
	part, _ := mw.CreateFormFile("file", "big")
	part.Write(make([]byte, 1<<20))
	mw.Close()
	files := func() int {
		entries, err := os.ReadDir(os.TempDir())
		require.NoError(t, err)
		return len(entries)
	}
	within := 0
	// Between Middleware and Seal the request is copied once more, as tracing does.
	copying := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), outsideKey{}, 1)))
		})
	}
	srv, client := serve(t, "HTTP/1.1", new(ctxreq.Config).Middleware(copying(ctxreq.Seal(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NoError(t, r.ParseMultipartForm(1<<10))
		within = files()
	})))))
	resp, err := client.Post(srv.URL, mw.FormDataContentType(), &form)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 1, within)
	eventually(t, "the file to go", func() bool { return files() == 0 })
}

func TestInFlightReturnsToZeroAfterABurstAgainstASlowDownstream(t *testing.T) {
	downstream, _ := serve(t, "HTTP/1.1", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	c := &ctxreq.Config{Reporter: new(recorder), Timeout: 50 * time.Millisecond}
	transport := &http.Transport{MaxConnsPerHost: 8}
	defer transport.CloseIdleConnections()
	calls := &http.Client{Transport: transport}
	gate := make(chan struct{})
	const burst = 100
	var inside sync.WaitGroup
	inside.Add(burst)
	srv, client := serve(t, "HTTP/1.1", c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inside.Done()
		<-gate
		req, _ := http.NewRequestWithContext(r.Context(), "GET", downstream.URL, nil)
		resp, err := calls.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusGatewayTimeout)
			return
		}
		resp.Body.Close()
	})))
	var clients sync.WaitGroup
	for range burst {
		clients.Go(func() {
			status, _, err := get(t, client, srv.URL)
			assert.NoError(t, err)
			assert.Equal(t, http.StatusGatewayTimeout, status)
		})
	}
	inside.Wait()
	require.Len(t, c.InFlight(), burst)
	close(gate)
	clients.Wait()
	eventually(t, "nothing in flight", func() bool { return len(c.InFlight()) == 0 })
}

func TestUnaryHasTheShapeOfAnInterceptor(t *testing.T) {
	// The types of google.golang.org/grpc, which this module does not need.
	type UnaryServerInfo struct {
		Server     any
		FullMethod string
	}
	type UnaryHandler func(ctx context.Context, req any) (any, error)
	type UnaryServerInterceptor func(ctx context.Context, req any, info *UnaryServerInfo, handler UnaryHandler) (resp any, err error)
	option := func(i UnaryServerInterceptor) UnaryServerInterceptor { return i }

	intercept := option(ctxreq.Unary) // the type parameters are inferred
	info := &UnaryServerInfo{FullMethod: "/users.Users/Get"}
	var kept context.Context
	resp, err := intercept(t.Context(), "req", info, func(ctx context.Context, req any) (any, error) {
		kept = ctx
		assert.Equal(t, "/users.Users/Get", ctxreq.From(ctx).Info().Name)
		return req.(string) + " answered", nil
	})
	require.NoError(t, err)
	require.Equal(t, "req answered", resp)
	require.ErrorIs(t, context.Cause(kept), ctxreq.ErrEnded)

	ctx, s := (&ctxreq.Config{Reporter: new(recorder)}).Start(t.Context(), "server")
	defer s.End(nil)
	_, err = intercept(ctx, "req", info, func(context.Context, any) (any, error) { panic(io.EOF) })
	require.Regexp(t, "^internal error, request [0-9a-f]{32}$", err.Error(), "a panic becomes a constant text")
	_, err = intercept(ctx, "req", nil, func(context.Context, any) (any, error) { return nil, errors.ErrUnsupported })
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestRetentionProbe(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec, RetentionProbe: true}
	var held *http.Request
	h := c.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			held = r
		}
	}))
	for _, path := range []string{"/free", "/held", "/free"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("PUT", path, nil))
	}
	for range 3 {
		runtime.GC()
	}
	require.Empty(t, c.InFlight()) // looks at the samples
	retained := rec.of(ctxreq.KindRetained)
	require.Len(t, retained, 1, "the held one, and not the free ones")
	require.Equal(t, "PUT", retained[0].Info.Name)
	c.InFlight()
	require.Len(t, rec.all(), 1, "once")
	runtime.KeepAlive(held)
}

// The end of a request that has nothing to wait for refuses writes too, before it calls code of the
// user: the Reporter, here.
func TestNothingIsWrittenDuringTheEndOfAnIdleRequest(t *testing.T) {
	var held *http.Request
	var last http.ResponseWriter
	var errs []error
	c := &ctxreq.Config{RetentionProbe: true, Reporter: reporterFunc(func(r *ctxreq.Report) {
		if r.Kind == ctxreq.KindRetained {
			_, err := last.Write([]byte("EVIL"))
			errs = append(errs, err)
		}
	})}
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if held == nil {
			held = r
		}
		last = w
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/held", nil))
	for range 3 {
		runtime.GC()
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil)) // its end finds the request that is held
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], ctxreq.ErrEnded)
	require.Empty(t, w.Body.String())
	runtime.KeepAlive(held)
}
