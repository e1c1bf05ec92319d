package main

import (
	"context"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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
	sampled := func() bool { _, ok := w.Latest(); return ok }
	require.Eventually(t, sampled, 10*time.Second, time.Millisecond)
	rec := httptest.NewRecorder()
	handler(w).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	assert.Equal(t, 200, rec.Code)
	assert.Regexp(t, `(?m)^leaksafe_live_heap_bytes \d`, rec.Body.String())
	assert.Regexp(t, `(?m)^leaksafe_goroutines [1-9]`, rec.Body.String())
}

func TestPressureIsExported(t *testing.T) {
	w, err := watch.Start(watch.Options{Interval: time.Millisecond, Limit: 1 << 40})
	require.NoError(t, err)
	defer w.Stop()
	sampled := func() bool { _, ok := w.Latest(); return ok }
	require.Eventually(t, sampled, 10*time.Second, time.Millisecond)
	rec := httptest.NewRecorder()
	handler(w).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	assert.Contains(t, rec.Body.String(), "leaksafe_limit_bytes 1.099511627776e+12\n")
	assert.Regexp(t, `(?m)^leaksafe_pressure_ratio [\d.e-]+$`, rec.Body.String())
}

// Whatever a service keeps, a scrape has few lines, of bounded length.
func TestLabelsAreBounded(t *testing.T) {
	long := strings.Repeat("é", 1000)
	roots := byRoot([]watch.Retainer{
		{Root: long + "a", Bytes: 1}, {Root: long + "b", Bytes: 2},
		{Root: "main.store \xff", Bytes: 4},
	})
	assert.Equal(t, map[string]int64{strings.Repeat("é", 120): 3, "main.store ?": 4}, roots)

	var all []watch.Finding
	for range 100 {
		all = append(all, watch.Finding{Signal: "live heap"}, watch.Finding{Signal: "goroutines"},
			watch.Finding{Signal: "file descriptors", Stopped: time.Now()})
	}
	assert.Equal(t, map[string]bool{"live heap": true, "goroutines": true}, growing(all))
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

// TestServeEnds: a signal, which ends ctx, and an address that is in use both stop the Watcher. A
// folder that cannot be made is refused before there is one.
func TestServeEnds(t *testing.T) {
	leakcheck.Check(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, serve(ctx, "127.0.0.1:0", ""))
	inUse, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer inUse.Close()
	require.Error(t, serve(t.Context(), inUse.Addr().String(), ""))
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Error(t, serve(t.Context(), "127.0.0.1:0", filepath.Join(file, "dir")))
}
