// Package ctxreq gives a request a scope: everything it needs while it lives,
// and nothing of it kept once it ends.
//
//	config := &ctxreq.Config{Reporter: reporter}
//	handler := config.Middleware(tracing(ctxreq.Seal(mux)))
//
// Within the handler [From] finds the [Scope]. A [Key] holds a value of the
// request; [Scope.Go] starts a child that ends with it; [Scope.Defer] adds a
// cleanup; [Scope.Report] sends a snapshot with scrubbed headers. [Detach] and
// [Jobs] are for what outlives it. [Run] does the same for a message or a job,
// [Unary] for gRPC.
//
// # Leak
//
// The naive code keeps a request alive by whatever outlives it: an error
// reporter, a tracer, a queue or a goroutine that was handed its context.
//
//	ctx := context.WithValue(r.Context(), userKey, user)
//	go func() {
//		audit.Enqueue(ctx)                // keeps user, and all that other middleware hung in
//		fmt.Fprintln(w, "done")           // after the handler: into somebody else's response
//	}()
//
// Go collects cycles, so a request that refers to itself is no leak; but one
// edge from outside keeps the whole of it. The rule: what the outside gets is a
// handle of 64 bytes, and End cuts the handle from everything else. Nothing
// points back, and nothing is registered but the requests now active.
//
// TestRetentionMatrix weighs what a kept context, writer or body costs, on a
// real server. TestLateWritesReachNobody checks every byte of other clients'
// responses, and its twin without a guard finds them corrupted.
// TestStoryOfTheCircularReference is Node's test-domain-async-id-map-leak.
//
// # Cost
//
// Measured side by side on two cores by
//
//	go run -C internal/bench ./ctxreq
//
// What a middleware adds to a request, as a share of what chi's adds; without
// chi's router its two middlewares add 0.40:
//
//	chi RequestID+Recoverer    1.00   +10 allocs
//	gin+Recovery               0.06    +0
//	sentryhttp                 3.01   +31
//	otelhttp                   5.54   +32
//	ctxreq                     0.35    +2
//	ctxreq with Seal           0.79    +5
//
// Four children that hash 4 KB each take 1.0 to 1.15 times as long as with
// errgroup.WithContext (conc's pool 1.05), four that do nothing 1.6 to 1.7 times
// (conc's pool 2.0): a child has a name and a clock. Key.Get under ten
// context.WithValue takes 1.06 times as long as ctx.Value, with one key set
// or with twenty.
//
// # Limits
//
// The *http.Request itself cannot be cut: who keeps it keeps its headers and
// URL. Config.RetentionProbe finds them. A wrapped writer loses net/http's
// private shortcut by which http.MaxBytesReader closes the connection of a
// client that sends too much, as with any other wrapper.
package ctxreq
