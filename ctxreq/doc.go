// Package ctxreq gives each request a scope. The scope has everything the request needs while it
// runs, and retains nothing of it after its end.
//
//	config := &ctxreq.Config{Reporter: reporter}
//	handler := config.Middleware(tracing(ctxreq.Seal(mux)))
//
// In the handler [From] finds the [Scope]. A [Key] holds a value of the request; [Scope.Go] starts
// a child that ends with it; [Scope.Defer] adds a cleanup; [Scope.Report] sends a scrubbed
// snapshot. [Detach] and [Jobs] are for what outlives the request. [Run] does the same for a
// message or a job, [Config.RPC], [Unary] and [Stream] for gRPC and its like.
//
// # Leak
//
// The naive code keeps a request alive through whatever outlives it: an error reporter, a tracer, a
// queue or a goroutine that was given its context.
//
//	ctx := context.WithValue(r.Context(), userKey, user)
//	go func() {
//		audit.Enqueue(ctx)                // keeps user, and all that other middleware added
//		fmt.Fprintln(w, "done")           // after the handler: into another client's response
//	}()
//
// Go collects cycles, so a request that refers to itself is no leak. But one reference from outside
// retains all of it. The rule: outside code gets a handle of 64 bytes, and End disconnects the
// handle from everything else. Only active requests are registered anywhere.
//
// TestRetentionMatrix measures how many bytes a retained context, writer or body costs, on a real
// server. TestLateWritesReachNobody checks every byte of other clients' responses, and its leaky
// counterpart without a guard finds them corrupted. TestStoryOfTheCircularReference is Node's
// test-domain-async-id-map-leak.
//
// # What reports show
//
// What is shown is listed, everything else is hidden. Names are shown; a value only if its name is
// known to be harmless and the value has the form that belongs to the name, or if [Config.Show]
// allows it. This holds for headers, cookies, queries, bodies, paths, errors and the values of
// keys, in reports, in [Info] and in the default log line. testdata/secrets.txt has 1,108 places
// where a secret may be, and TestNoSecretIsShown finds none of them in a report;
// testdata/harmless.txt has the values that should be shown: 5 of 55 are hidden. Prose cannot be
// listed: a secret that an error text shows as an ordinary word stays there.
//
// # Order
//
// Middleware goes outside, Seal inside of all other middleware, and next to the handler if the
// router copies the request (chi, gorilla/mux), so that reports have its route. gin and echo do not
// write the route into the request; a middleware of one line does, for this package and for
// otelhttp: c.Request.Pattern = c.FullPath().
//
// A recovery middleware (gin.Default has one; echo's Recover, chi's Recoverer) hides a panic from
// everything outside of it. Leave it out, because Middleware does its work, or put Seal inside of
// it: then the panic is reported, with the status that the recovery answered.
//
// # Cost
//
//	go run -C internal/bench ./ctxreq
//
// The time that a middleware adds to a request, relative to chi's RequestID and Recoverer, measured
// on a busy machine with two cores: ctxreq 0.35 to 0.38 (+2 allocations), with Seal 0.68 to 0.75
// (+4). A route with variables adds no allocation. Four empty children take as long as with
// errgroup.WithContext. context.WithCancel takes 1.04 times as long below a scope as below a
// cancelCtx.
//
// # Limits
//
//   - The *http.Request itself cannot be disconnected: code that retains it retains its headers and
//     URL. [Config.RetentionProbe] finds such requests.
//   - A *gin.Context or echo.Context given to a goroutine reaches another client's response after
//     the end, because these frameworks reuse it. No middleware can prevent that.
//   - Cleanups run before the response ends, see [Scope.Defer].
//   - A wrapped writer loses net/http's private shortcut by which http.MaxBytesReader closes the
//     connection of a client that sends too much, as with any other wrapper. Apart from that,
//     responses have the same bytes as with net/http alone: internal/bench compares them.
//   - Trailers of a request that its client did not announce are not in the handler's copy of the
//     request, as with any other middleware that adds to the context.
//   - A goroutine that still reads the body after the handler has returned is reported. If it waits
//     for data that never comes, net/http does not send the response, with this package or without.
//
// The command leakvet (leakcheck/cmd/leakvet) finds, before a program runs, a Scope that is not
// ended on some path, and a handler's request or context in a goroutine that outlives it.
package ctxreq
