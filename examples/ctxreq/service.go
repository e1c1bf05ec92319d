// Package service answers requests; nothing can keep a request alive after its end.
package service

import (
	"context"
	"net/http"
	"time"

	"github.com/leaksafe/leaksafe/ctxreq"
)

var (
	user   = ctxreq.NewKey[string]("service.user", ctxreq.Carry, ctxreq.Log)
	config = &ctxreq.Config{Timeout: 5 * time.Second} // reports go to slog
	jobs   = &ctxreq.Jobs{Config: config}
)

// New serves orders: load fetches parts, mail confirms. After
// http.Server.Shutdown call the second result, which waits for the mails.
func New(
	load, mail func(context.Context, string) error,
) (http.Handler, func(context.Context) error) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		ctx, id := r.Context(), r.PathValue("id")
		user.Set(ctx, r.FormValue("user"))
		scope := ctxreq.From(ctx)
		for _, part := range []string{"stock", "price"} { // at once, under the request's deadline
			scope.Go(part, func(ctx context.Context) error { return load(ctx, part+" of "+id) })
		}
		if err := scope.Wait(); err != nil { // End reports it
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		// The mail outlives the request, and has its user.
		jobs.Go(ctx, "mail", func(ctx context.Context) error {
			to, _ := user.Get(ctx)
			return mail(ctx, to)
		})
		w.WriteHeader(http.StatusAccepted)
	})
	return config.Middleware(ctxreq.Seal(mux)), jobs.Shutdown // tracing and the like go in between
}
