//go:build !race

package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/getsentry/sentry-go"
	sentryhttp "github.com/getsentry/sentry-go/http"
	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/leaksafe/leaksafe/ctxreq"
)

func TestMain(m *testing.M) {
	if err := sentry.Init(sentry.ClientOptions{Dsn: "http://key@127.0.0.1:1/1", Transport: lost{}, EnableTracing: true, TracesSampleRate: 1}); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// lost is a Sentry transport that sends nothing.
type lost struct{ sentry.Transport }

func (lost) Configure(sentry.ClientOptions)        {}
func (lost) SendEvent(*sentry.Event)               {}
func (lost) Flush(time.Duration) bool              { return true }
func (lost) FlushWithContext(context.Context) bool { return true }
func (lost) Close()                                {}

type wrapper = func(http.Handler) http.Handler

// ordered is the order README recommends: Middleware, the others, Seal.
func ordered(c *ctxreq.Config, other wrapper) wrapper {
	return func(h http.Handler) http.Handler { return c.Middleware(other(ctxreq.Seal(h))) }
}

var others = map[string]wrapper{
	"sentryhttp": sentryhttp.New(sentryhttp.Options{Repanic: true}).Handle,
	"otelhttp": func(h http.Handler) http.Handler {
		return otelhttp.NewHandler(h, "peers", otelhttp.WithTracerProvider(sdktrace.NewTracerProvider()))
	},
}

// protocols are the servers of the matrix.
var protocols = []string{"HTTP/1.1", "HTTP/2"}

func serve(t *testing.T, protocol string, h http.Handler) *httptest.Server {
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = protocol == "HTTP/2"
	if srv.EnableHTTP2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv
}

// TestRetentionUnderOtherMiddleware keeps the context of every request.
func TestRetentionUnderOtherMiddleware(t *testing.T) {
	n := 1_000
	if os.Getenv("LEAKSAFE_LONG") != "" {
		n = 20_000
	}
	for name, other := range others {
		for _, protocol := range protocols {
			t.Run(name+" "+protocol, func(t *testing.T) {
				without := retained(t, protocol, other, n)
				with := retained(t, protocol, ordered(new(ctxreq.Config), other), n)
				t.Logf("bytes kept per request (%d requests): %.0f with Seal, %.0f without", n, with, without)
				assert.LessOrEqual(t, with, 96+200_000/float64(n))
				assert.Greater(t, without, 1_000.0, "the counterpart")
			})
		}
	}
}

func retained(t *testing.T, protocol string, m wrapper, n int) float64 {
	kept := make([]context.Context, 0, n)
	keeping := false
	srv := serve(t, protocol, m(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if keeping {
			kept = append(kept, r.Context())
		}
		w.Write(answer)
	})))
	ask := func() {
		resp, err := srv.Client().Get(srv.URL)
		require.NoError(t, err)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	live := func() int64 {
		keeping = false
		ask()
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		keeping = true
		return int64(stats.HeapAlloc)
	}
	for range 100 {
		ask()
	}
	before := live()
	for range n {
		ask()
	}
	after := live()
	require.Len(t, kept, n)
	runtime.KeepAlive(kept)
	return float64(after-before) / float64(n)
}

// TestOrder shows why Middleware is outermost and Seal innermost: a panic is seen by the other
// middlewares, and the client still gets a 500. The handler sees the span, but a context that the
// handler retains does not.
func TestOrder(t *testing.T) {
	var reports []*ctxreq.Report
	c := &ctxreq.Config{Reporter: reporter(func(r *ctxreq.Report) { reports = append(reports, r) })}
	for name, other := range others {
		t.Run(name, func(t *testing.T) {
			reports = nil
			var kept context.Context
			var within bool
			seen := func(ctx context.Context) bool {
				return sentry.GetHubFromContext(ctx) != nil || trace.SpanContextFromContext(ctx).IsValid()
			}
			srv := serve(t, "HTTP/1.1", ordered(c, other)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				kept = r.Context()
				within = seen(kept)
				panic("seen by all")
			})))
			resp, err := srv.Client().Get(srv.URL)
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
			require.Len(t, reports, 1)
			require.Contains(t, reports[0].Stack, "TestOrder", "though others recovered and panicked again")
			require.True(t, within, "the handler has the hub or the span")
			require.False(t, seen(kept), "what it keeps has not")
		})
	}
}

type reporter func(*ctxreq.Report)

func (f reporter) Report(_ context.Context, r *ctxreq.Report) { f(r) }

// TestWebSocket upgrades with github.com/coder/websocket, which hijacks the
// connection of the guarded writer.
func TestWebSocket(t *testing.T) {
	c := new(ctxreq.Config)
	for name, wrap := range map[string]wrapper{
		"Middleware": c.Middleware, "with Seal": func(h http.Handler) http.Handler { return c.Middleware(ctxreq.Seal(h)) },
		"under otelhttp": ordered(c, others["otelhttp"]),
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, "HTTP/1.1", wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, err := websocket.Accept(w, r, nil)
				if !assert.NoError(t, err) {
					return
				}
				defer conn.CloseNow()
				for { // an echo
					kind, message, err := conn.Read(r.Context())
					if err != nil || conn.Write(r.Context(), kind, message) != nil {
						return
					}
				}
			})))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			conn, _, err := websocket.Dial(ctx, strings.Replace(srv.URL, "http", "ws", 1), nil)
			require.NoError(t, err)
			for _, message := range []string{"one", "two", strings.Repeat("x", 10_000)} {
				require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte(message)))
				_, got, err := conn.Read(ctx)
				require.NoError(t, err)
				require.Equal(t, message, string(got))
			}
			require.Len(t, c.InFlight(), 1)
			conn.Close(websocket.StatusNormalClosure, "")
			require.Eventually(t, func() bool { return len(c.InFlight()) == 0 }, 10*time.Second, time.Millisecond)
		})
	}
}

// TestGinStream uses gin's Stream, which asserts that the writer is an
// http.CloseNotifier.
func TestGinStream(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/", func(c *gin.Context) {
		n := 0
		c.Stream(func(w io.Writer) bool {
			io.WriteString(w, "x")
			n++
			return n < 3
		})
	})
	srv := serve(t, "HTTP/1.1", new(ctxreq.Config).Middleware(engine))
	resp, err := srv.Client().Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "xxx", string(body))
}
