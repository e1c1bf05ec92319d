//go:build !race

package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// routed makes the four routers and net/http's, each with one route that calls handle. net/http and
// chi write the route into http.Request.Pattern; for gin and echo a middleware of one line does.
func routed(handle http.HandlerFunc) map[string]http.Handler {
	std := http.NewServeMux()
	std.Handle("GET /users/{id}", handle)

	nested := http.NewServeMux()
	nested.Handle("/users/", std)

	withChi := chi.NewRouter()
	withChi.Method("GET", "/users/{id}", handle)
	chiInside := http.NewServeMux()
	chiInside.Handle("/", withChi)

	gin.SetMode(gin.ReleaseMode)
	withGin := gin.New()
	withGin.Use(func(c *gin.Context) { c.Request.Pattern = c.FullPath() })
	withGin.GET("/users/:id", gin.WrapF(handle))

	withEcho := echo.New()
	withEcho.GET("/users/:id", echo.WrapHandler(handle), func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			c.Request().Pattern = c.Path()
			return next(c)
		}
	})

	withGorilla := mux.NewRouter()
	withGorilla.Handle("/users/{id}", handle)
	return map[string]http.Handler{
		"net/http": std, "net/http nested": nested, "chi": withChi, "chi in net/http": chiInside,
		"gin": withGin, "echo": withEcho, "gorilla/mux": withGorilla,
	}
}

// observers are common outer middlewares: each returns the middleware and a function that returns
// what it has seen.
var observers = map[string]func() (wrapper, func() string){
	"otelhttp": func() (wrapper, func() string) {
		spans, reader := tracetest.NewInMemoryExporter(), metric.NewManualReader()
		tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
		mp := metric.NewMeterProvider(metric.WithReader(reader))
		return func(h http.Handler) http.Handler {
			return otelhttp.NewHandler(h, "server", otelhttp.WithTracerProvider(tp), otelhttp.WithMeterProvider(mp))
		}, func() string { return spanRoutes(spans) + metricRoutes(reader) }
	},
	"slog": func() (wrapper, func() string) {
		var b bytes.Buffer
		log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(w, r)
				log.Info("access", "route", r.Pattern, "id", r.PathValue("id"), "form", r.Form)
			})
		}, b.String
	},
	"Prometheus": func() (wrapper, func() string) {
		counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests"}, []string{"route"})
		registry := prometheus.NewRegistry()
		registry.MustRegister(counter)
		return func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					h.ServeHTTP(w, r)
					counter.WithLabelValues(r.Pattern).Inc()
				})
			}, func() string {
				families, err := registry.Gather()
				text := fmt.Sprint(err)
				for _, f := range families {
					for _, m := range f.Metric {
						text += fmt.Sprint(f.GetName(), m.Label, m.Counter.GetValue())
					}
				}
				return text
			}
	},
}

func spanRoutes(spans *tracetest.InMemoryExporter) (text string) {
	for _, s := range spans.GetSpans() {
		text += s.Name
		for _, a := range s.Attributes {
			if a.Key == "http.route" {
				text += " http.route=" + a.Value.AsString()
			}
		}
	}
	return text
}

func metricRoutes(reader *metric.ManualReader) (text string) {
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &rm); err != nil {
		return err.Error()
	}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			if d, ok := m.Data.(metricdata.Histogram[float64]); ok {
				for _, p := range d.DataPoints {
					v, _ := p.Attributes.Value("http.route")
					text += " " + m.Name + " " + v.AsString()
				}
			}
		}
	}
	return text
}

// TestObserversOutsideSeeTheRoute compares what an observer sees with and without this package.
func TestObserversOutsideSeeTheRoute(t *testing.T) {
	arrangements := map[string]func(*ctxreq.Config, wrapper, http.Handler) http.Handler{
		"Middleware(x(h))":       func(c *ctxreq.Config, x wrapper, h http.Handler) http.Handler { return c.Middleware(x(h)) },
		"Middleware(x(Seal(h)))": func(c *ctxreq.Config, x wrapper, h http.Handler) http.Handler { return c.Middleware(x(ctxreq.Seal(h))) },
		"x(Middleware(h))":       func(c *ctxreq.Config, x wrapper, h http.Handler) http.Handler { return x(c.Middleware(h)) },
		"x(Middleware(Seal(h)))": func(c *ctxreq.Config, x wrapper, h http.Handler) http.Handler { return x(c.Middleware(ctxreq.Seal(h))) },
		"Middleware(x(Seal(Seal(h))))": func(c *ctxreq.Config, x wrapper, h http.Handler) http.Handler {
			return c.Middleware(x(ctxreq.Seal(ctxreq.Seal(h))))
		},
	}
	for router, h := range routed(func(_ http.ResponseWriter, r *http.Request) { r.ParseForm() }) {
		for observer, start := range observers {
			ask := func(arrange func(wrapper) http.Handler) string {
				x, seen := start()
				arrange(x).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/users/7?page=2", nil))
				return seen()
			}
			want := ask(func(x wrapper) http.Handler { return x(h) })
			if !strings.HasPrefix(router, "chi") && router != "gorilla/mux" { // which copy the request, so that nobody outside sees the route
				require.Contains(t, want, "/users", "the observer sees the route without us: %s, %s", router, observer)
			}
			for name, arrange := range arrangements {
				t.Run(router+" "+observer+" "+name, func(t *testing.T) {
					c := &ctxreq.Config{Reporter: reporter(func(*ctxreq.Report) {})}
					require.Equal(t, want, ask(func(x wrapper) http.Handler { return arrange(c, x, h) }))
				})
			}
		}
	}
}

// TestNameInEveryRouter checks the name in a report. It is the route if Seal is next to the
// handler, or if the router writes the route into the request that it got.
func TestNameInEveryRouter(t *testing.T) {
	for _, inside := range []bool{false, true} {
		var handle http.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { panic("p") })
		if inside {
			handle = ctxreq.Seal(handle)
		}
		for router, h := range routed(handle.ServeHTTP) {
			var names []string
			c := &ctxreq.Config{Reporter: reporter(func(r *ctxreq.Report) { names = append(names, r.Info.Name) })}
			c.Middleware(h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/users/7", nil))
			require.Len(t, names, 1)
			want := map[string]string{
				"net/http": "GET /users/{id}", "net/http nested": "GET /users/{id}", "chi": "GET", "chi in net/http": "/",
				"gin": "/users/:id", "echo": "/users/:id", "gorilla/mux": "GET",
			}[router]
			if inside && (router == "chi" || router == "chi in net/http") {
				want = "/users/{id}"
			}
			assert.Equal(t, want, names[0], "%s, sealed inside: %t", router, inside)
		}
	}
}
