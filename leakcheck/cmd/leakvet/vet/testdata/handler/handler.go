package handler

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/leaksafe/leaksafe/ctxreq"
)

var jobs ctxreq.Jobs

// Wrong.

func writesLater(w http.ResponseWriter, r *http.Request) {
	go fmt.Fprintln(w, "done") // want `w is used by a goroutine that may outlive the handler: net/http uses its memory for other requests; wait for the goroutine, or give a job what it needs with ctxreq.Jobs`
}

func readsLater(w http.ResponseWriter, r *http.Request) {
	go func() { // want `r is used by a goroutine that may outlive the handler`
		fmt.Println(r.Header)
	}()
	w.WriteHeader(http.StatusAccepted)
}

func handle() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() { // want `w is used by a goroutine that may outlive the handler`
			w.Write(nil)
		}()
	})
}

func contextLater(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	go func() { // want `the request's context is used by a goroutine that may outlive the handler: it is cancelled, and its values are gone, when the handler returns; use ctxreq.Detach, or a job of ctxreq.Jobs`
		mail(ctx, "ada")
	}()
}

func contextAsArgument(w http.ResponseWriter, r *http.Request) {
	go mail(r.Context(), "ada") // want `the request's context is used`
}

// Right.

func detached(w http.ResponseWriter, r *http.Request) {
	ctx := ctxreq.Detach(r.Context())
	go mail(ctx, "ada")
}

func waitsForIt(w http.ResponseWriter, r *http.Request) {
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		w.Write(nil)
	}()
	wg.Wait()
}

func receives(w http.ResponseWriter, r *http.Request) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Write(nil)
	}()
	<-done
}

func job(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	jobs.Go(r.Context(), "mail", func(ctx context.Context) error { return mail(ctx, user) })
	w.WriteHeader(http.StatusAccepted)
}

func value(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	go mail(context.Background(), user)
}

func noHandler(w http.ResponseWriter) {
	go fmt.Fprintln(w, "x")
}

func mail(context.Context, string) error { return nil }
