package main

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

func TestMetrics(t *testing.T) {
	w, err := watch.Start(watch.Options{Interval: time.Millisecond})
	require.NoError(t, err)
	defer w.Stop()
	require.Eventually(t, func() bool { _, ok := w.Latest(); return ok }, 10*time.Second, time.Millisecond)
	rec := httptest.NewRecorder()
	handler(w).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	assert.Equal(t, 200, rec.Code)
	assert.Regexp(t, `(?m)^leaksafe_live_heap_bytes \d`, rec.Body.String())
	assert.Regexp(t, `(?m)^leaksafe_goroutines [1-9]`, rec.Body.String())
}

func TestScrapesDoNotGrow(t *testing.T) {
	w, err := watch.Start(watch.Options{Interval: time.Hour})
	require.NoError(t, err)
	defer w.Stop()
	h := handler(w)
	leakcheck.NoGrowth(t, func() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
	})
}
