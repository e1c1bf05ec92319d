package ctxreq_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// layers are the arrangements that every test of routes goes through.
var layers = map[string]func(*ctxreq.Config, http.Handler) http.Handler{
	"Middleware(mux)":       func(c *ctxreq.Config, h http.Handler) http.Handler { return c.Middleware(h) },
	"Middleware(Seal(mux))": func(c *ctxreq.Config, h http.Handler) http.Handler { return c.Middleware(ctxreq.Seal(h)) },
	"Middleware(x(Seal(mux)))": func(c *ctxreq.Config, h http.Handler) http.Handler {
		return c.Middleware(passOn(ctxreq.Seal(h)))
	},
	"Seal(Seal(mux))": func(c *ctxreq.Config, h http.Handler) http.Handler {
		return c.Middleware(ctxreq.Seal(ctxreq.Seal(h)))
	},
	"Middleware(Middleware(mux))": func(c *ctxreq.Config, h http.Handler) http.Handler { return c.Middleware(c.Middleware(h)) },
}

// passOn is a middleware that copies the request, as middleware that adds to the context does.
// Without this package the copy would lose the route, so passOn copies the route back, as careful
// middleware does.
func passOn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r2 := r.WithContext(context.WithValue(r.Context(), outsideKey{}, 1))
		next.ServeHTTP(w, r2)
		r.Pattern = r2.Pattern
	})
}

func TestRouteIsSeenOutside(t *testing.T) {
	for layer, wrap := range layers {
		for path, want := range map[string]string{"/users/7": "GET /users/{id}", "/api/orders/9": "/orders/{nr}", "/plain": "/plain", "/none": ""} {
			t.Run(layer+" "+path, func(t *testing.T) {
				api := http.NewServeMux()
				api.HandleFunc("/orders/{nr}", func(http.ResponseWriter, *http.Request) {})
				mux := http.NewServeMux()
				mux.HandleFunc("GET /users/{id}", func(_ http.ResponseWriter, r *http.Request) { r.ParseForm() })
				mux.HandleFunc("/plain", func(_ http.ResponseWriter, r *http.Request) { r.ParseForm() })
				mux.Handle("/api/", http.StripPrefix("/api", api))
				seen := func(h http.Handler) string {
					r := httptest.NewRequest("GET", path+"?page=2", nil)
					ctx, body := r.Context(), r.Body
					h.ServeHTTP(httptest.NewRecorder(), r)
					require.Equal(t, ctx, r.Context(), "the context is the one outside")
					require.True(t, r.Body == body)
					return fmt.Sprint(r.Pattern, r.PathValue("id"), r.PathValue("nr"), r.Form, r.URL)
				}
				got := seen(wrap(&ctxreq.Config{Reporter: new(recorder)}, mux))
				if strings.Contains(layer, "x(") { // the one in between does not hand path values back, with us or without
					require.Equal(t, seen(passOn(mux)), got)
				} else {
					require.Equal(t, seen(mux), got)
				}
				if path != "/api/orders/9" { // StripPrefix copies the request, so net/http itself does not see the inner pattern
					require.True(t, strings.HasPrefix(got, want))
				}
			})
		}
	}
}

// What a middleware inside wrote into the request is seen outside, as without this package.
func TestChangesOfTheRequestAreSeenOutside(t *testing.T) {
	for layer, wrap := range layers {
		if strings.Contains(layer, "x(") {
			continue // the one in between does not hand them back
		}
		for _, pattern := range []string{"", "/plain", "/users/{id}", "/users/:id", "/files/*path"} {
			seen := func(wrap func(http.Handler) http.Handler) string {
				r := httptest.NewRequest("POST", "/users/7?_method=PUT", nil)
				wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					r.Pattern, r.Method, r.RemoteAddr, r.Host = pattern, "PUT", "10.0.0.9", "api.x.test"
					if pattern == "/users/:id" {
						r.SetPathValue("id", "7")
					}
					u := *r.URL
					u.Path = "/clean"
					r.URL = &u
				})).ServeHTTP(httptest.NewRecorder(), r)
				return fmt.Sprint(r.Pattern, r.Method, r.RemoteAddr, r.Host, r.URL, r.PathValue("id"))
			}
			want := seen(func(h http.Handler) http.Handler { return h })
			require.Equal(t, want, seen(func(h http.Handler) http.Handler {
				return wrap(&ctxreq.Config{Reporter: new(recorder)}, h)
			}), layer+pattern)
		}
	}
}

func TestRouteIsSeenOutsideAfterAPanic(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(http.ResponseWriter, *http.Request) { panic("p") })
	r := httptest.NewRequest("GET", "/users/7", nil)
	(&ctxreq.Config{Reporter: new(recorder)}).Middleware(ctxreq.Seal(mux)).ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, "GET /users/{id}", r.Pattern)
	require.Equal(t, "7", r.PathValue("id"))
}

func TestEveryReportHasTheRoute(t *testing.T) {
	const want = "GET /users/{id}"
	hows := map[string]func(c *ctxreq.Config, rec *recorder, w http.ResponseWriter, r *http.Request){
		"panic": func(*ctxreq.Config, *recorder, http.ResponseWriter, *http.Request) { panic("p") },
		"Report": func(_ *ctxreq.Config, _ *recorder, _ http.ResponseWriter, r *http.Request) {
			ctxreq.From(r.Context()).Report(errors.New("e"))
			ctxreq.From(r.Context()).Report(errors.New("e"))
		},
		"a child's error": func(_ *ctxreq.Config, _ *recorder, _ http.ResponseWriter, r *http.Request) {
			ctxreq.From(r.Context()).Go("c", func(context.Context) error { return errors.New("e") })
		},
		"a child's panic": func(_ *ctxreq.Config, _ *recorder, _ http.ResponseWriter, r *http.Request) {
			ctxreq.From(r.Context()).Go("c", func(context.Context) error { panic("p") })
		},
		"a cleanup": func(_ *ctxreq.Config, _ *recorder, _ http.ResponseWriter, r *http.Request) {
			ctxreq.From(r.Context()).Defer(func(context.Context) error { return errors.New("e") })
		},
		"Info": func(_ *ctxreq.Config, rec *recorder, _ http.ResponseWriter, r *http.Request) {
			rec.Report(t.Context(), &ctxreq.Report{Info: ctxreq.From(r.Context()).Info()})
		},
		"InFlight": func(c *ctxreq.Config, rec *recorder, _ http.ResponseWriter, r *http.Request) {
			for _, info := range c.InFlight() {
				rec.Report(t.Context(), &ctxreq.Report{Info: info})
			}
		},
		"late use": func(_ *ctxreq.Config, _ *recorder, w http.ResponseWriter, r *http.Request) {
			ctxreq.From(r.Context()).End(nil)
			w.Write(nil)
		},
	}
	for layer, wrap := range layers {
		for how, handle := range hows {
			t.Run(layer+" "+how, func(t *testing.T) {
				rec := new(recorder)
				c := &ctxreq.Config{Reporter: rec}
				mux := http.NewServeMux()
				mux.HandleFunc(want, func(w http.ResponseWriter, r *http.Request) { handle(c, rec, w, r) })
				if layer == "Middleware(Middleware(mux))" && how == "InFlight" {
					t.Skip("the outer one does not know where to look, and must not read what the mux may be writing")
				}
				wrap(c, mux).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/users/7", nil))
				require.NotEmpty(t, rec.all())
				for _, r := range rec.all() {
					assert.Equal(t, want, r.Info.Name)
					assert.NotContains(t, r.Info.Path, "7")
					if r.Request != nil {
						assert.Equal(t, want, r.Request.Pattern)
					}
				}
			})
		}
	}
}

func TestRouteOfANestedMux(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	inner := http.NewServeMux()
	inner.HandleFunc("GET /api/users/{id}", func(w http.ResponseWriter, r *http.Request) {
		ctxreq.From(r.Context()).Report(errors.New("e"))
	})
	for name, h := range map[string]http.Handler{"plain": inner, "sealed": ctxreq.Seal(inner)} {
		outer := http.NewServeMux()
		outer.Handle("/api/", h)
		var s *ctxreq.Scope
		keep := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s = ctxreq.From(r.Context())
			outer.ServeHTTP(w, r)
		})
		c.Middleware(keep).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/users/7", nil))
		require.Equal(t, "GET /api/users/{id}", s.Info().Name, name)
	}
	for _, r := range rec.all() {
		require.Equal(t, "GET /api/users/{id}", r.Info.Name)
	}
}

func TestDefaultLogLine(t *testing.T) {
	for layer, wrap := range layers {
		t.Run(layer, func(t *testing.T) {
			var b bytes.Buffer
			old := slog.Default()
			slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
			defer slog.SetDefault(old)
			mux := http.NewServeMux()
			mux.HandleFunc("GET /users/{id}", func(http.ResponseWriter, *http.Request) { panic("nil map") })
			r := httptest.NewRequest("GET", "/users/7?token=abc", nil)
			r.Header.Set("X-Request-Id", "req-1")
			wrap(new(ctxreq.Config), mux).ServeHTTP(httptest.NewRecorder(), r)
			require.Equal(t, 1, strings.Count(b.String(), "level=ERROR"), b.String())
			for _, want := range []string{`msg="ctxreq: panic"`, `err="panic: nil map"`, "method=GET", `route="GET /users/{id}"`, "path=/users/{id}", "status=500", "id=req-1", "stack="} {
				require.Contains(t, b.String(), want)
			}
		})
	}
}

// TestPanicUnderARecoveryMiddleware is about middleware such as gin.Recovery, echo's Recover and
// chi's Recoverer.
func TestPanicUnderARecoveryMiddleware(t *testing.T) {
	recovery := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
	for value, p := range map[string]any{"a text": "p", "an error": errors.New("p"), "not comparable": []string{"p"}} {
		handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(p) })
		for name, row := range map[string]struct {
			wrap   func(*ctxreq.Config) http.Handler
			status int
			hidden bool
		}{
			"Middleware(Recoverer(Seal))": {func(c *ctxreq.Config) http.Handler { return c.Middleware(recovery(ctxreq.Seal(handler))) }, 503, false},
			"Middleware(Seal)":            {func(c *ctxreq.Config) http.Handler { return c.Middleware(ctxreq.Seal(handler)) }, 500, false},
			"Middleware(Seal(Seal))":      {func(c *ctxreq.Config) http.Handler { return c.Middleware(ctxreq.Seal(ctxreq.Seal(handler))) }, 500, false},
			"Middleware(Recoverer)":       {func(c *ctxreq.Config) http.Handler { return c.Middleware(recovery(handler)) }, 503, true},
		} {
			t.Run(name+" "+value, func(t *testing.T) {
				rec := new(recorder)
				w := httptest.NewRecorder()
				row.wrap(&ctxreq.Config{Reporter: rec}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
				require.Equal(t, row.status, w.Code)
				if row.hidden {
					require.Empty(t, rec.all(), "nobody can see it: the documentation says so")
					return
				}
				require.Len(t, rec.all(), 1)
				require.Equal(t, ctxreq.KindPanic, rec.all()[0].Kind)
				require.Equal(t, row.status, rec.all()[0].Info.Status)
				require.Contains(t, rec.all()[0].Stack, "TestPanicUnderARecoveryMiddleware")
			})
		}
	}
}

func TestSealWithoutMiddlewareReportsAPanicAndPassesItOn(t *testing.T) {
	var b bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
	defer slog.SetDefault(old)
	h := ctxreq.Seal(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("as it was") }))
	require.PanicsWithValue(t, "as it was", func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) })
	require.Equal(t, 1, strings.Count(b.String(), "ctxreq: panic"))
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		ctxreq.Seal(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).
			ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	})
	require.Equal(t, 1, strings.Count(b.String(), "ctxreq: panic"), "which is no panic to report")
}

func TestTwoPanicsOfOneRequest(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			recover()
			panic("the second")
		}()
		ctxreq.Seal(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the first") })).ServeHTTP(w, r)
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	require.Len(t, rec.all(), 2)
	require.ErrorContains(t, rec.all()[0].Err, "the first")
	require.ErrorContains(t, rec.all()[1].Err, "the second")
}

// TestInFlightListsAChildAfterItsScope: also a child of a sealed handler.
func TestInFlightListsAChildAfterItsScope(t *testing.T) {
	c := new(ctxreq.Config)
	var listed []string
	c.Middleware(ctxreq.Seal(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stop := make(chan struct{})
		require.NoError(t, ctxreq.From(r.Context()).Go("child", func(context.Context) error { <-stop; return nil }))
		for _, info := range c.InFlight() {
			listed = append(listed, info.Name+" of "+info.Parent)
		}
		close(stop)
	}))).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
	require.Equal(t, []string{"GET of ", "child of GET"}, listed)
	require.Empty(t, c.InFlight())
}
