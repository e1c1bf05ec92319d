package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/getsentry/sentry-go"
	sentryhttp "github.com/getsentry/sentry-go/http"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// A service answers requests; one in a thousand panics and one in a thousand fails. It keeps recent
// requests for its dashboard.
type service struct {
	hub    *sentry.Hub
	recent dashboard
}

// newService reports to a Sentry endpoint. Its transport sends before it returns, so that no report
// waits in a queue when the process ends.
func newService(endpoint string, recent dashboard) (*service, error) {
	transport := sentry.NewHTTPSyncTransport()
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn:       strings.Replace(endpoint, "http://", "http://key@", 1) + "/1",
		Transport: transport,
	})
	if err != nil {
		return nil, err
	}
	return &service{hub: sentry.NewHub(client, sentry.NewScope()), recent: recent}, nil
}

// close ends the goroutines of the Sentry client.
func (s *service) close() { s.hub.Client().Close() }

var errDeclined = errors.New("the payment was declined")

// work is the service itself; fail reports an error that is answered with 502.
func (s *service) work(w http.ResponseWriter, r *http.Request, fail func(error)) {
	s.recent.keep(r.Context())
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil {
		http.Error(w, "n is a number", http.StatusBadRequest)
		return
	}
	switch n % 1000 {
	case 1:
		panic(fmt.Sprintf("order %d has no customer", n))
	case 2:
		fail(errDeclined)
		http.Error(w, "try again", http.StatusBadGateway)
	default:
		_, _ = io.WriteString(w, "paid\n")
	}
}

// safe is the service in a request scope: reports are snapshots, and the context that the dashboard
// keeps is disconnected when the request ends.
func (s *service) safe() http.Handler {
	scopes := &ctxreq.Config{Reporter: reporter{s.hub}}
	return scopes.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.work(w, r, ctxreq.From(r.Context()).Report)
	}))
}

// leaky is the service under sentryhttp: the context carries a hub whose scope holds the request,
// so that code that retains the context retains the request.
func (s *service) leaky() http.Handler {
	work := func(w http.ResponseWriter, r *http.Request) {
		s.work(w, r, func(err error) {
			sentry.GetHubFromContext(r.Context()).CaptureException(err)
		})
	}
	inner := sentryhttp.New(sentryhttp.Options{}).Handle(http.HandlerFunc(work))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r.WithContext(sentry.SetHubOnContext(r.Context(), s.hub.Clone())))
	})
}

// A reporter sends errors and panics to Sentry. The report is a scrubbed snapshot that shares no
// memory with the request.
type reporter struct{ hub *sentry.Hub }

func (s reporter) Report(_ context.Context, r *ctxreq.Report) {
	event := sentry.NewEvent()
	event.Level = sentry.LevelError
	event.Message = string(r.Kind)
	event.Exception = []sentry.Exception{{Type: string(r.Kind), Value: r.Err.Error()}}
	event.Contexts["request"] = sentry.Context{
		"id": r.Info.ID, "name": r.Info.Name, "stack": r.Stack,
	}
	if r.Request != nil {
		headers := make(map[string]string, len(r.Request.Header))
		for name, values := range r.Request.Header {
			headers[name] = strings.Join(values, ", ")
		}
		event.Request = &sentry.Request{
			Method: r.Request.Method, URL: r.Request.URL.String(), Headers: headers,
		}
	}
	s.hub.CaptureEvent(event)
}

// A dashboard keeps recent requests to show them.
type dashboard interface{ keep(context.Context) }

// last keeps the contexts of the last hundred requests.
type last struct {
	mu   sync.Mutex
	ring [100]context.Context
	n    int
}

func (l *last) keep(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.n%len(l.ring)] = ctx
	l.n++
}

// all is the leak: it retains the context of every request.
type all struct {
	mu   sync.Mutex
	list []context.Context
}

func (a *all) keep(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, ctx)
}
