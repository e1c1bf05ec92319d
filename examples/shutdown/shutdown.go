// Package shutdown ends an HTTP service in the order that loses nothing.
package shutdown

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/ctxreq"
)

// A Store is the database: Insert writes a batch of rows.
type Store interface {
	Insert(ctx context.Context, rows []string) error
	Close() error
}

// A Service accepts orders. Each stage is fed by the stages above it.
type Service struct {
	server http.Server
	jobs   ctxreq.Jobs
	rows   *batch.Batcher[string]
	store  Store
}

// New returns a service that owns the store: Close closes it.
func New(store Store) (*Service, error) {
	rows, err := batch.New(batch.Options[string]{MaxItems: 100}, store.Insert)
	if err != nil {
		return nil, err
	}
	s := &Service{rows: rows, store: store}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders/{id}", s.order)
	s.server.Handler = mux
	return s, nil
}

// Serve answers until ctx ends, and then closes the service. Give the supervisor's grace period,
// as Kubernetes' terminationGracePeriodSeconds, some seconds more than the 20 here.
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

// Close ends each stage after the stages that feed it. An error does not stop it: what is left of
// a stage when ctx ends is in its error.
func (s *Service) Close(ctx context.Context) error {
	requests := s.server.Shutdown(ctx) // no new requests; waits for those in progress
	jobs := s.jobs.Shutdown(ctx)       // waits for the work that requests started
	rows := s.rows.Close(ctx)          // sends the last batches of requests and jobs
	store := s.store.Close()           // nobody writes any more
	return errors.Join(requests, jobs, rows, store)
}

// order answers with 202 once the row is in a batch. A job confirms it later.
func (s *Service) order(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if err := s.rows.Add(r.Context(), "order "+id); err != nil {
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	err := s.jobs.Go(r.Context(), "confirm", func(ctx context.Context) error {
		return s.rows.Add(ctx, "confirmed "+id)
	})
	if err != nil {
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}
