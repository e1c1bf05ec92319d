package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// A farewell is what the service prints before it ends.
type farewell struct {
	Delivered int64    `json:"delivered"`
	Used      int64    `json:"used"`
	Findings  []string `json:"findings"`
}

// runService takes messages and delivers them in batches, until memory is under pressure: then it
// drains and ends with the code watch.ExitPressure. Every path closes the batches and stops the
// Watcher.
func runService(dir string) (code int, err error) {
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // Ctrl-C reaches it too; its supervisor ends it
	s, err := newService(dir)
	if err != nil {
		return 1, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 1, errors.Join(err, s.close())
	}
	fmt.Printf("http://%s\n", listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the supervisor
		_ = s.server.Close()
	}()
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(listener) }()

	select {
	case err := <-served:
		return 1, errors.Join(err, s.close())
	case p := <-s.pressed:
		// Stop taking work, drain, end. Every message that was answered with 202 is in the batches.
		// Behind a load balancer, wait here until it has seen that /ready fails.
		s.draining.Store(true)
		if err := s.close(); err != nil {
			return 1, err
		}
		last := farewell{Delivered: s.delivered.Load(), Used: p.Used}
		for _, f := range s.watcher.Findings() {
			last.Findings = append(last.Findings, f.String())
		}
		return watch.ExitPressure, json.NewEncoder(os.Stdout).Encode(last)
	}
}

// A service owns what must be closed.
type service struct {
	server    *http.Server
	batches   *batch.Batcher[[]byte]
	watcher   *watch.Watcher
	pressed   chan watch.Pressure
	delivered atomic.Int64
	draining  atomic.Bool
}

// newService starts everything but the listener. The caller closes the service.
func newService(dir string) (*service, error) {
	s := &service{pressed: make(chan watch.Pressure, 1)}
	var err error
	s.watcher, err = watch.Start(watch.Options{
		Interval:   10 * time.Millisecond, // a service would take 10 s
		Dir:        dir,
		OnPressure: func(p watch.Pressure) { s.pressed <- p },
	})
	if err != nil {
		return nil, err
	}
	options := batch.Options[[]byte]{MaxItems: 100, PendingItems: 1000}
	s.batches, err = batch.New(options, func(_ context.Context, messages [][]byte) error {
		s.delivered.Add(int64(len(messages)))
		return nil
	})
	if err != nil {
		s.watcher.Stop()
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /debug/leaks/", s.watcher.Handler())
	mux.HandleFunc("POST /send", s.send)
	mux.HandleFunc("GET /ready", s.ready)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return s, nil
}

// ready answers Kubernetes' readiness probe: 503 once the service drains.
func (s *service) ready(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
	}
}

// send answers 202 once the batches have taken the message.
func (s *service) send(w http.ResponseWriter, r *http.Request) {
	message, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remember(message)
	if err := s.batches.Add(r.Context(), message); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// close ends the requests, then the batches that they fill, then the Watcher.
func (s *service) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := errors.Join(s.server.Shutdown(ctx), s.batches.Close(ctx))
	s.watcher.Stop()
	return err
}

// seen is the leak: it retains a part of every message and never drops one.
var (
	seenMu sync.Mutex
	seen   [][]byte
)

func remember(message []byte) {
	seenMu.Lock()
	defer seenMu.Unlock()
	seen = append(seen, append([]byte(nil), message[:min(len(message), 8<<10)]...))
}
