// Command ctxreq measures package ctxreq beside its peers: what a middleware adds to a request,
// what children and keys cost, and how many bytes a retained part of a request costs.
//
//	go run -C internal/bench ./ctxreq [requests routes children keys derived]
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"

	"github.com/getsentry/sentry-go"
	sentryhttp "github.com/getsentry/sentry-go/http"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/sourcegraph/conc/pool"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/sync/errgroup"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/internal/bench/side"
)

func main() {
	o := side.Options{Rounds: 60, Progress: side.Progress()}
	tables := []struct {
		name  string
		print func()
	}{
		{"requests", func() { added(side.Compare(requests(), o)) }},
		{"routes", func() { side.Table(os.Stdout, "a route of ServeMux with a variable", side.Compare(routes(), o)) }},
		{"children", func() {
			side.Table(os.Stdout, "4 children that do nothing, waited for", side.Compare(children(nothing), o))
			side.Table(os.Stdout, "4 children that hash 4 KB, waited for", side.Compare(children(hash), o))
		}},
		{"keys", func() { side.Table(os.Stdout, "a value under 10 context.WithValue", side.Compare(keys(), o)) }},
		{"derived", func() { side.Table(os.Stdout, "context.WithCancel(ctx), cancelled", side.Compare(derived(), o)) }},
	}
	for _, t := range tables {
		if len(os.Args) < 2 || slices.Contains(os.Args[1:], t.name) {
			t.print()
		}
	}
	runtime.KeepAlive(sink)
}

// added prints what a middleware adds to the plain handler, as a share of what
// chi's adds: the median of the rounds, because chi's own time varies by a half
// between rounds on a busy machine.
func added(results []side.Result) {
	plain, chi := results[0], results[1]
	fmt.Println("added to a request by a middleware; 1.00 is chi RequestID+Recoverer")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tratio\t+ns/op\t+B/op\t+allocs/op\t")
	for _, r := range results[1:] {
		fmt.Fprintf(w, "%s\t%.2f\t%.0f\t%.0f\t%.1f\t\n", r.Name,
			share(r, chi, plain),
			r.NsPerOp-plain.NsPerOp, r.BytesPerOp-plain.BytesPerOp, r.AllocsPerOp-plain.AllocsPerOp)
	}
	w.Flush()
	fmt.Println()
}

// share is the median over the rounds of what r adds to plain, divided by what base adds.
func share(r, base, plain side.Result) float64 {
	var ratios []float64
	for i, ns := range r.Rounds {
		ratios = append(ratios, (ns-plain.Rounds[i])/(base.Rounds[i]-plain.Rounds[i]))
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

var answer = []byte("ok")

func requests() []side.Case {
	plain := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) })

	withChi := chi.NewRouter()
	withChi.Use(middleware.RequestID, middleware.Recoverer)
	withChi.Method("GET", "/users/{id}", plain)

	gin.SetMode(gin.ReleaseMode)
	withGin := gin.New()
	withGin.Use(gin.Recovery())
	withGin.GET("/users/:id", func(c *gin.Context) { c.Writer.Write(answer) })

	if err := sentry.Init(sentry.ClientOptions{}); err != nil {
		panic(err)
	}
	tracer := sdktrace.NewTracerProvider()
	return []side.Case{
		request("plain", plain),
		request("chi RequestID+Recoverer", withChi),
		request("the same without chi's router", middleware.RequestID(middleware.Recoverer(plain))),
		request("gin+Recovery", withGin),
		request("sentryhttp", sentryhttp.New(sentryhttp.Options{}).Handle(plain)),
		request("otelhttp", otelhttp.NewHandler(plain, "users", otelhttp.WithTracerProvider(tracer))),
		request("ctxreq", new(ctxreq.Config).Middleware(plain)),
		request("ctxreq, sealed", new(ctxreq.Config).Middleware(ctxreq.Seal(plain))),
	}
}

// routes are the same around a ServeMux. The path values that it writes have to be copied back.
func routes() []side.Case {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) })
	return []side.Case{
		request("ServeMux", mux),
		request("ctxreq", new(ctxreq.Config).Middleware(mux)),
		request("ctxreq, sealed", new(ctxreq.Config).Middleware(ctxreq.Seal(mux))),
	}
}

// nobody is a ResponseWriter without any cost.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n nobody) WriteHeader(int)             {}
func (n nobody) Flush()                      {}

func request(name string, h http.Handler) side.Case {
	parent, cancel := context.WithCancel(context.Background())
	_ = cancel // as the server's context: cancellable, and not cancelled here
	r, err := http.NewRequestWithContext(parent, "GET", "http://x.test/users/7?page=2", nil)
	if err != nil {
		panic(err)
	}
	r.RequestURI, r.RemoteAddr = "/users/7?page=2", "10.0.0.1:4711"
	for k, v := range map[string]string{
		"Accept": "application/json", "Accept-Encoding": "gzip", "Authorization": "Bearer x",
		"Content-Type": "application/json", "Cookie": "sid=1", "User-Agent": "bench/1.0",
	} {
		r.Header.Set(k, v)
	}
	return side.Case{Name: name, Run: func(n int) {
		w := nobody{make(http.Header)}
		for range n {
			clear(w.header)
			r.Pattern = "" // as a server's new request
			h.ServeHTTP(w, r)
		}
	}}
}

const childCount = 4

func nothing(context.Context) error { return nil }

var page [4 << 10]byte

func hash(context.Context) error {
	sha256.Sum256(page[:])
	return nil
}

func children(work func(context.Context) error) []side.Case {
	ctx, cancel := context.WithCancel(context.Background())
	_ = cancel
	return []side.Case{
		{Name: "errgroup.WithContext", Run: func(n int) {
			for range n {
				g, ctx := errgroup.WithContext(ctx)
				for range childCount {
					g.Go(func() error { return work(ctx) })
				}
				g.Wait()
			}
		}},
		{Name: "conc pool.WithContext", Run: func(n int) {
			for range n {
				g := pool.New().WithContext(ctx).WithCancelOnError()
				for range childCount {
					g.Go(work)
				}
				g.Wait()
			}
		}},
		{Name: "ctxreq Start, Go, Wait, End", Run: func(n int) {
			for range n {
				_, s := ctxreq.Start(ctx, "bench")
				for range childCount {
					s.Go("child", work)
				}
				s.Wait()
				s.End(nil)
			}
		}},
	}
}

type ownKey struct{}

// Twenty keys, to show that Get does not care how many are set.
var few = ctxreq.NewKey[int]("bench.few")
var many = func() (list [20]ctxreq.Key[int]) {
	for i := range list {
		list[i] = ctxreq.NewKey[int](fmt.Sprint("bench.many", i))
	}
	return list
}()

type layer int

func layers(ctx context.Context) context.Context {
	for i := range 10 {
		ctx = context.WithValue(ctx, layer(i), i)
	}
	return ctx
}

var sink int

func keys() []side.Case {
	plain := layers(context.WithValue(context.Background(), ownKey{}, 7))
	oneCtx, _ := ctxreq.Start(context.Background(), "one") //nolint:leakvet // it lives as long as the program
	few.Set(oneCtx, 7)
	manyCtx, _ := ctxreq.Start(context.Background(), "many") //nolint:leakvet // it lives as long as the program
	for _, k := range many {
		k.Set(manyCtx, 7)
	}
	one, twenty := layers(oneCtx), layers(manyCtx)
	get := func(k ctxreq.Key[int], ctx context.Context) func(int) {
		return func(n int) {
			for range n {
				v, _ := k.Get(ctx)
				sink += v
			}
		}
	}
	return []side.Case{
		{Name: "ctx.Value, own key type", Run: func(n int) {
			for range n {
				sink += plain.Value(ownKey{}).(int)
			}
		}},
		{Name: "Key.Get, one key set", Run: get(few, one)},
		{Name: "Key.Get, first of 20", Run: get(many[0], twenty)},
		{Name: "Key.Get, last of 20", Run: get(many[19], twenty)},
	}
}

func derived() []side.Case {
	parent, cancel := context.WithCancel(context.Background())
	_ = cancel                               // it lives as long as the program
	ours, _ := ctxreq.Start(parent, "bench") //nolint:leakvet // it lives as long as the program
	derive := func(ctx context.Context) func(int) {
		return func(n int) {
			for range n {
				_, cancel := context.WithCancel(ctx)
				cancel()
			}
		}
	}
	return []side.Case{
		{Name: "below a cancelCtx", Run: derive(parent)},
		{Name: "below a scope", Run: derive(ours)},
	}
}
