// Package safe is a team's service on leaksafe: orders over HTTP, inserted in batches, confirmed
// after the answer.
package safe

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/examples/orders/order"
	"github.com/leaksafe/leaksafe/mapper"
	"github.com/leaksafe/leaksafe/pool"
)

// The mappers are built once, when the program starts. A field without a source would end it.
var (
	toOrder = mapper.Must[order.Request, order.Order](
		mapper.Ignore(func(o *order.Order) *int64 { return &o.ID }),
		mapper.Ignore(func(o *order.Order) *time.Time { return &o.Created }),
	)
	toAnswer = mapper.Must[order.Order, order.Answer]()
)

// A Service accepts orders. Each stage is fed by the stages above it.
type Service struct {
	server http.Server
	scopes ctxreq.Config
	jobs   ctxreq.Jobs
	rows   *batch.Caller[order.Order, int64]
	bodies *pool.Bytes
	deps   order.Deps
}

// New returns a service. The reporter is told of panics, late writes and failed confirmations; nil
// logs them.
func New(deps order.Deps, reporter ctxreq.Reporter) (*Service, error) {
	s := &Service{deps: deps, bodies: pool.NewBytes(pool.Options{})}
	s.scopes = ctxreq.Config{Reporter: reporter, MaxChildren: order.MaxJobs}
	s.jobs.Config = &s.scopes
	var err error
	s.rows, err = batch.NewCaller(batch.Options[order.Order]{
		MaxItems: order.MaxBatch,
		Timeout:  order.Timeout,
		Reject:   true, // when the database hangs, clients hear so at once
	}, s.insert)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", s.create)
	mux.HandleFunc("GET /orders/{id}", s.show)
	var handler http.Handler = mux
	if deps.Wrap != nil {
		handler = deps.Wrap(mux)
	}
	limited := http.MaxBytesHandler(ctxreq.Seal(handler), order.MaxBody)
	s.server.Handler = s.scopes.Middleware(limited)
	s.server.ReadHeaderTimeout = 5 * time.Second
	return s, nil
}

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.server.Handler.ServeHTTP(w, r)
}

// Serve answers until ctx ends, and then closes the service.
func (s *Service) Serve(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(l) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return errors.Join(err, s.Close(ctx))
}

// Close ends each stage after the stages that feed it, and the store last.
func (s *Service) Close(ctx context.Context) error {
	requests := s.server.Shutdown(ctx)
	rows := s.rows.Close(ctx)
	jobs := s.jobs.Shutdown(ctx)
	return errors.Join(requests, rows, jobs, s.deps.Store.Close())
}

// insert is the batch's handler: each caller gets the result of its own order.
func (s *Service) insert(ctx context.Context, rows []order.Order) ([]batch.Result[int64], error) {
	inserted, err := s.deps.Store.Insert(ctx, rows)
	if err != nil {
		return nil, err
	}
	results := make([]batch.Result[int64], len(inserted))
	for i, in := range inserted {
		results[i] = batch.Result[int64]{Value: in.ID, Err: in.Err}
	}
	return results, nil
}

func (s *Service) create(w http.ResponseWriter, r *http.Request) {
	body, err := s.bodies.ReadAll(r.Body, int(r.ContentLength))
	defer body.Release()
	var in order.Request
	if err != nil || json.Unmarshal(body.Bytes(), &in) != nil || !in.Valid() {
		http.Error(w, "want an order: key, item and count", http.StatusBadRequest)
		return
	}
	o, err := toOrder.Map(in)
	if err != nil {
		fail(w, r, err)
		return
	}
	o.Created = time.Now().UTC().Truncate(time.Microsecond)
	if o.ID, err = s.rows.Do(r.Context(), o); err != nil {
		fail(w, r, err)
		return
	}
	err = s.jobs.Go(r.Context(), "confirm", func(ctx context.Context) error {
		return s.deps.Confirm(ctx, o)
	})
	ctxreq.From(r.Context()).Report(err) // the order is stored all the same
	s.answer(w, r, http.StatusCreated, o)
}

func (s *Service) show(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		fail(w, r, order.ErrNotFound)
		return
	}
	o, err := s.deps.Store.Get(r.Context(), id)
	if err != nil {
		fail(w, r, err)
		return
	}
	s.answer(w, r, http.StatusOK, o)
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request, code int, o order.Order) {
	a, err := toAnswer.Map(o)
	if err != nil {
		fail(w, r, err)
		return
	}
	b := s.bodies.Get(0)
	defer b.Release()
	if err := json.NewEncoder(b.Writer()).Encode(a); err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes())
}

// fail answers with the code that says what the client may do.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, order.ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, order.ErrDuplicate):
		code = http.StatusConflict
	case errors.Is(err, batch.ErrFull), errors.Is(err, batch.ErrClosed):
		w.Header().Set("Retry-After", "1")
		code = http.StatusServiceUnavailable
	case errors.Is(err, batch.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout // unknown: the client sends the same key again
	case r.Context().Err() != nil: // the client is gone
	default:
		ctxreq.From(r.Context()).Report(err)
	}
	http.Error(w, http.StatusText(code), code)
}
