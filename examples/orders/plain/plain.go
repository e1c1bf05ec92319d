// Package plain is the same service as package safe with what teams use today: errgroup, sync.Pool,
// copier, and batches by hand.
package plain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/jinzhu/copier"
	"golang.org/x/sync/errgroup"

	"github.com/leaksafe/leaksafe/examples/orders/order"
)

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// errClosed is what an order gets that comes after Close.
var errClosed = errors.New("closed")

// A Service accepts orders.
type Service struct {
	server    http.Server
	jobs      errgroup.Group
	queue     chan waiting
	stop      chan struct{} // closed by Close
	collected chan struct{} // closed when the collector has ended
	closing   sync.Once
	deps      order.Deps
}

// waiting is an order whose handler waits for its result.
type waiting struct {
	order order.Order
	done  chan order.Inserted // has room for the result
}

// New returns a service.
func New(deps order.Deps) (*Service, error) {
	s := &Service{
		queue:     make(chan waiting, order.MaxBatch),
		stop:      make(chan struct{}),
		collected: make(chan struct{}),
		deps:      deps,
	}
	s.jobs.SetLimit(order.MaxJobs)
	go s.collect()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", s.create)
	mux.HandleFunc("GET /orders/{id}", s.show)
	var handler http.Handler = mux
	if deps.Wrap != nil {
		handler = deps.Wrap(mux)
	}
	s.server.Handler = http.MaxBytesHandler(handler, order.MaxBody)
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

// Close ends the server, the collector, the jobs and the store. Only the server heeds ctx.
func (s *Service) Close(ctx context.Context) error {
	requests := s.server.Shutdown(ctx)
	s.closing.Do(func() { close(s.stop) })
	<-s.collected
	return errors.Join(requests, s.jobs.Wait(), s.deps.Store.Close())
}

// collect inserts whatever waits, and goes on while anything does.
func (s *Service) collect() {
	defer close(s.collected)
	for {
		select {
		case first := <-s.queue:
			s.insert(s.fill(first))
		case <-s.stop:
			select {
			case first := <-s.queue:
				s.insert(s.fill(first))
			default:
				return
			}
		}
	}
}

// fill returns first and what else waits now.
func (s *Service) fill(first waiting) []waiting {
	batch := []waiting{first}
	for len(batch) < order.MaxBatch {
		select {
		case next := <-s.queue:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

func (s *Service) insert(batch []waiting) {
	ctx, cancel := context.WithTimeout(context.Background(), order.Timeout)
	defer cancel()
	rows := make([]order.Order, len(batch))
	for i, w := range batch {
		rows[i] = w.order
	}
	inserted, err := s.deps.Store.Insert(ctx, rows)
	for i, w := range batch {
		if err != nil {
			w.done <- order.Inserted{Err: err}
		} else {
			w.done <- inserted[i]
		}
	}
}

// store queues an order and waits for its own result.
func (s *Service) store(ctx context.Context, o order.Order) (int64, error) {
	w := waiting{o, make(chan order.Inserted, 1)}
	select {
	case s.queue <- w:
	case <-s.stop:
		return 0, errClosed
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case in := <-w.done:
		return in.ID, in.Err
	case <-s.collected:
		select {
		case in := <-w.done:
			return in.ID, in.Err
		default:
			return 0, errClosed
		}
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (s *Service) create(w http.ResponseWriter, r *http.Request) {
	body := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(body)
	body.Reset()
	_, err := body.ReadFrom(r.Body)
	var in order.Request
	if err != nil || json.Unmarshal(body.Bytes(), &in) != nil || !in.Valid() {
		http.Error(w, "want an order: key, item and count", http.StatusBadRequest)
		return
	}
	var o order.Order
	if err := copier.Copy(&o, &in); err != nil {
		fail(w, r, err)
		return
	}
	o.Created = time.Now().UTC().Truncate(time.Microsecond)
	if o.ID, err = s.store(r.Context(), o); err != nil {
		fail(w, r, err)
		return
	}
	ctx := context.WithoutCancel(r.Context())
	s.jobs.Go(func() error {
		if err := s.deps.Confirm(ctx, o); err != nil {
			slog.Error("confirmation failed", "error", err)
		}
		return nil
	})
	answer(w, r, http.StatusCreated, o)
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
	answer(w, r, http.StatusOK, o)
}

func answer(w http.ResponseWriter, r *http.Request, code int, o order.Order) {
	var a order.Answer
	if err := copier.Copy(&a, &o); err != nil {
		fail(w, r, err)
		return
	}
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	if err := json.NewEncoder(b).Encode(a); err != nil {
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
	case errors.Is(err, errClosed):
		w.Header().Set("Retry-After", "1")
		code = http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout // unknown: the client sends the same key again
	case r.Context().Err() != nil: // the client is gone
	default:
		slog.Error("request failed", "error", err)
	}
	http.Error(w, http.StatusText(code), code)
}
