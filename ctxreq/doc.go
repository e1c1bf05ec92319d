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
// # TABLE
//
// # Limits
//
// The *http.Request itself cannot be cut: who keeps it keeps its headers and
// URL. Config.RetentionProbe finds them. A wrapped writer loses net/http's
// private shortcut by which http.MaxBytesReader closes the connection of a
// client that sends too much, as with any other wrapper.
package ctxreq
