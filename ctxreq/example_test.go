package ctxreq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// customer is a package-level variable, as every key.
var customer = ctxreq.NewKey[string]("example.customer", ctxreq.Carry, ctxreq.Log)

// enrich is a slog.Handler that adds what the scope knows to every record. An
// OpenTelemetry bridge goes in the same place, and finds its span in the
// same context: a scope's context carries all values of its parent.
type enrich struct{ slog.Handler }

func (h enrich) Handle(ctx context.Context, r slog.Record) error {
	if s := ctxreq.From(ctx); s != nil {
		r.AddAttrs(slog.String("request", s.Info().ID))
	}
	if c, ok := customer.Get(ctx); ok {
		r.AddAttrs(slog.String("customer", c))
	}
	return h.Handler.Handle(ctx, r)
}

func logger() *slog.Logger {
	return slog.New(enrich{slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})})
}

// printer is a Reporter for people.
type printer struct{}

func (printer) Report(_ context.Context, r *ctxreq.Report) {
	fmt.Printf("%s in %q: %v %v\n", r.Kind, r.Info.Name, r.Err, r.Values)
	if r.Request != nil {
		fmt.Println(" ", r.Request.Method, r.Request.URL, r.Request.Header)
	}
}

// An HTTP service: a scope for each request, its id and customer in every log
// line, and a report when something fails.
func Example() {
	log := logger()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		customer.Set(ctx, "acme")
		log.InfoContext(ctx, "loading", "order", r.PathValue("id"))
		panic("no such order")
	})
	config := &ctxreq.Config{Reporter: printer{}}
	service := config.Middleware(ctxreq.Seal(mux))

	r := httptest.NewRequest("GET", "/orders/7?access_token=hunter2", nil)
	r.Header.Set("X-Request-Id", "req-1")
	r.Header.Set("Authorization", "Bearer hunter2")
	w := httptest.NewRecorder()
	service.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// level=INFO msg=loading order=7 request=req-1 customer=acme
	// panic in "GET /orders/{id}": panic: no such order map[example.customer:acme]
	//   GET /orders/%7Bid%7D?access_token=[hidden:token:7] map[Authorization:[[hidden:text:14]] X-Request-Id:[req-1]]
	// 500
}

// A queue consumer has a scope for each message. A message that panics does not affect the others.
func ExampleRun() {
	config := &ctxreq.Config{Reporter: printer{}, Timeout: time.Minute}
	for _, message := range []string{"one", "poison", "two"} {
		err := config.Run(context.Background(), "consume", func(ctx context.Context) error {
			ctxreq.From(ctx).Defer(func(context.Context) error {
				fmt.Println("acknowledge", message)
				return nil
			})
			if message == "poison" {
				panic("cannot parse")
			}
			return nil
		})
		if err != nil {
			fmt.Println("to the dead letters:", err)
		}
	}
	// Output:
	// acknowledge one
	// panic in "consume": panic: cannot parse map[]
	// acknowledge poison
	// to the dead letters: panic: cannot parse
	// acknowledge two
}

// A background job outlives the request that started it. It sees only the values of keys made with
// Carry.
func ExampleJobs() {
	var jobs ctxreq.Jobs
	http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, scope := ctxreq.Start(r.Context(), "order") // or Middleware
		defer scope.End(nil)
		customer.Set(ctx, "acme")
		jobs.Go(ctx, "confirmation", func(ctx context.Context) error {
			to, _ := customer.Get(ctx)
			fmt.Println("mail to", to)
			return nil
		})
	}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/orders", nil))

	// After http.Server.Shutdown: wait for the jobs.
	fmt.Println(jobs.Shutdown(context.Background()))
	// Output:
	// mail to acme
	// <nil>
}

// An outgoing call under the scope's deadline: when the request's time is up,
// so is the call's.
func ExampleStart() {
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer slow.Close()

	ctx, scope := (&ctxreq.Config{Timeout: 10 * time.Millisecond}).Start(context.Background(), "fetch")
	defer scope.End(nil)
	req, err := http.NewRequestWithContext(ctx, "GET", slow.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println("deadline exceeded:", errors.Is(err, context.DeadlineExceeded))
		return
	}
	resp.Body.Close()
	// Output: deadline exceeded: true
}

func ExampleScope() {
	_, scope := ctxreq.Start(context.Background(), "report")
	scope.Defer(func(context.Context) error { fmt.Println("close the file"); return nil })
	for _, part := range []string{"head", "tail"} {
		scope.Go(part, func(ctx context.Context) error {
			if part == "tail" {
				return errors.New("no tail")
			}
			<-ctx.Done() // the first error cancels the others
			return ctx.Err()
		})
	}
	fmt.Println("wait:", scope.Wait())
	fmt.Println("end:", scope.End(nil))
	fmt.Println(scope.Defer(func(context.Context) error { return nil }))
	// Output:
	// wait: no tail
	// close the file
	// end: no tail
	// ctxreq: Defer: the scope has ended
}

func ExampleKey() {
	ctx, scope := ctxreq.Start(context.Background(), "request")
	customer.Set(ctx, "acme")
	fmt.Println(customer.Get(ctx))
	scope.End(nil)
	fmt.Println(customer.Get(ctx)) // made with Carry
	fmt.Println(context.Cause(ctx))
	// Output:
	// acme true
	// acme true
	// ctxreq: the scope has ended
}

func ExampleInfo() {
	var scope *ctxreq.Scope
	handler := new(ctxreq.Config).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope = ctxreq.From(r.Context())
		w.WriteHeader(http.StatusTeapot)
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Request-Id", "req-1")
	handler.ServeHTTP(httptest.NewRecorder(), r)

	info := scope.Info() // for an access log: it is still valid
	fmt.Println(info.ID, info.Name, info.Status, info.Duration > 0)
	// Output: req-1 GET 418 true
}

func ExampleConfig_InFlight() {
	var config ctxreq.Config
	_, scope := config.Start(context.Background(), "import")
	scope.Go("row 1", func(ctx context.Context) error { <-ctx.Done(); return nil })
	for _, info := range config.InFlight() {
		fmt.Println(info.Parent, info.Name)
	}
	scope.End(nil)
	fmt.Println(len(config.InFlight()), "left")
	// Output:
	//  import
	// import row 1
	// 0 left
}

func ExampleReporter() {
	config := &ctxreq.Config{Reporter: printer{}}
	var late http.ResponseWriter
	handler := config.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope := ctxreq.From(r.Context())
		scope.Report(errors.New("the cache is down"))
		scope.Defer(func(context.Context) error { return errors.New("cannot roll back") })
		late = w
	}))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("PUT", "/cart", nil))
	_, err := io.WriteString(late, "to whom?")
	fmt.Println(errors.Is(err, ctxreq.ErrEnded))
	// Output:
	// error in "PUT": the cache is down map[]
	//   PUT /cart map[]
	// cleanup in "PUT": ctxreq: cleanup "0": cannot roll back map[]
	//   PUT /cart map[]
	// late use in "PUT": ctxreq: Write after the end of "PUT"; start the goroutine with Scope.Go, or give it a copy of what it needs: the scope has ended map[]
	// true
}

func ExampleSeal() {
	span := struct{ name string }{"what a tracer hangs into the context"}
	type spanKey struct{}
	tracing := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), spanKey{}, span)))
		})
	}
	var kept context.Context
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		kept = r.Context()
		fmt.Println(kept.Value(spanKey{}) != nil)
	})
	// Middleware outside of everything, Seal inside of everything.
	service := new(ctxreq.Config).Middleware(tracing(ctxreq.Seal(handler)))
	service.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	fmt.Println(kept.Value(spanKey{}) != nil)
	// Output:
	// true
	// false
}

func ExampleDetach() {
	request, cancel := context.WithCancel(context.Background())
	ctx, scope := ctxreq.Start(request, "request")
	customer.Set(ctx, "acme")
	detached := ctxreq.Detach(ctx)
	scope.End(nil)
	cancel()
	fmt.Println(detached.Err())
	fmt.Println(customer.Get(detached))
	fmt.Println(ctxreq.From(detached).Info().Name)
	// Output:
	// <nil>
	// acme true
	// request
}

func ExampleUnary() {
	// With the dependency: grpc.NewServer(grpc.UnaryInterceptor(ctxreq.Unary))
	type UnaryServerInfo struct{ FullMethod string }
	info := &UnaryServerInfo{FullMethod: "/shop.Orders/Get"}
	resp, err := ctxreq.Unary(context.Background(), "order 7", info, func(ctx context.Context, req any) (any, error) {
		return strings.ToUpper(req.(string)) + " by " + ctxreq.From(ctx).Info().Name, nil
	})
	fmt.Println(resp, err)
	// Output: ORDER 7 by /shop.Orders/Get <nil>
}
