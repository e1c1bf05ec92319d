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
	"sync"
	"sync/atomic"
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

// seen is the mistake: it keeps a part of every message for ever.
var (
	seenMu sync.Mutex
	seen   [][]byte
)

// runService takes messages and delivers them in batches, until memory is
// under pressure: then it drains and ends with watch.ExitPressure.
func runService(dir string) error {
	var delivered atomic.Int64
	batches, err := batch.New(batch.Options[[]byte]{MaxItems: 100, PendingItems: 1000}, func(_ context.Context, messages [][]byte) error {
		delivered.Add(int64(len(messages)))
		return nil
	})
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	pressed := make(chan watch.Pressure, 1)
	w, err := watch.Start(watch.Options{
		Interval:   10 * time.Millisecond, // a service would take 10 s
		Dir:        dir,
		OnPressure: func(p watch.Pressure) { pressed <- p },
	})
	if err != nil {
		return err
	}
	mux.Handle("GET /debug/leaks/", w.Handler())
	mux.HandleFunc("POST /send", func(rw http.ResponseWriter, r *http.Request) {
		message, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		remember(message)
		if err := batches.Add(r.Context(), message); err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		rw.WriteHeader(http.StatusAccepted)
	})

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Printf("http://%s\n", listener.Addr()); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the supervisor
		_ = server.Close()
	}()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	select {
	case err := <-served:
		return err
	case p := <-pressed:
		// Stop taking work, drain, end. What was answered with 202 is in the batches.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(server.Shutdown(ctx), batches.Close(ctx)); err != nil {
			return err
		}
		w.Stop()
		last := farewell{Delivered: delivered.Load(), Used: p.Used}
		for _, f := range w.Findings() {
			last.Findings = append(last.Findings, f.String())
		}
		if err := json.NewEncoder(os.Stdout).Encode(last); err != nil {
			return err
		}
		os.Exit(watch.ExitPressure)
		return nil
	}
}

func remember(message []byte) {
	seenMu.Lock()
	defer seenMu.Unlock()
	seen = append(seen, append([]byte(nil), message[:min(len(message), 4<<10)]...))
}
