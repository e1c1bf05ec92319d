package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

// fresh gives the package a new Config and new Jobs for a test.
func fresh(t *testing.T) {
	oldConfig, oldJobs, oldLog := config, jobs, slog.Default()
	t.Cleanup(func() { config, jobs = oldConfig, oldJobs; slog.SetDefault(oldLog) })
	// So long that a busy machine fails no test.
	config = &ctxreq.Config{Grace: time.Minute, CleanupTimeout: time.Minute}
	jobs = &ctxreq.Jobs{Config: config}
	slog.SetDefault(slog.New(slog.DiscardHandler))
}

func order(h http.Handler) int {
	r := httptest.NewRequest("POST", "/orders/7", strings.NewReader("user=jane"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

func TestService(t *testing.T) {
	fresh(t)
	leakcheck.Check(t)
	var failing error
	mailed := make(chan string, 2)
	h, shutdown := New(
		func(context.Context, string) error { return failing },
		func(_ context.Context, to string) error { mailed <- to; return nil },
	)
	require.Equal(t, http.StatusAccepted, order(h))
	failing = io.ErrUnexpectedEOF
	require.Equal(t, http.StatusServiceUnavailable, order(h))
	require.NoError(t, shutdown(t.Context()))
	close(mailed)
	require.Equal(t, "jane", <-mailed)
	require.Empty(t, <-mailed, "no mail for the order that failed")
	require.Empty(t, config.InFlight())
}

// kept is what a careless callee retains.
var (
	mu   sync.Mutex
	kept []context.Context
)

// careless retains the context of every call.
func careless() func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, ctx)
		return nil
	}
}

// tracked is a middleware whose value of the request has to be collected.
func tracked(t testing.TB, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value := leakcheck.Track(t, &http.Request{Header: r.Header})
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, value))
		next.ServeHTTP(w, r)
	})
}

type requestKey struct{}

func TestACalleeThatKeepsTheContextKeepsNoRequest(t *testing.T) {
	fresh(t)
	t.Cleanup(func() { kept = nil })
	h, shutdown := New(careless(), careless())
	require.Equal(t, http.StatusAccepted, order(tracked(t, h)))
	require.NoError(t, shutdown(t.Context()))
	require.Len(t, kept, 3)
}

func TestWithoutAScopeItKeepsIt(t *testing.T) {
	t.Cleanup(func() { kept = nil })
	leakcheck.MustDetect(t, func(t testing.TB) {
		load := careless()
		order(tracked(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			load(r.Context(), "stock")
		})))
	})
}

func TestServiceDoesNotGrow(t *testing.T) {
	fresh(t)
	h, shutdown := New(
		func(context.Context, string) error { return errors.New("down") },
		func(context.Context, string) error { return nil },
	)
	leakcheck.NoGrowth(t, func() { order(h) })
	require.NoError(t, shutdown(t.Context()))
}
