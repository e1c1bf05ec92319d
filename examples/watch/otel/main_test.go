package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

func TestRun(t *testing.T) { require.NoError(t, run(t.Context())) }

func TestPressureAndBounds(t *testing.T) {
	w, err := watch.Start(watch.Options{Interval: time.Millisecond, Limit: 1 << 40})
	require.NoError(t, err)
	defer w.Stop()
	sampled := func() bool { _, ok := w.Latest(); return ok }
	require.Eventually(t, sampled, 10*time.Second, time.Millisecond)
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	defer func() { _ = provider.Shutdown(t.Context()) }()
	require.NoError(t, register(provider.Meter("leaksafe"), w))
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	shares := map[string]float64{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		if g, ok := m.Data.(metricdata.Gauge[float64]); ok {
			shares[m.Name] = g.DataPoints[0].Value
		}
	}
	assert.Greater(t, shares["leaksafe.pressure"], 0.0)
	assert.Less(t, shares["leaksafe.pressure"], 0.1)

	assert.Equal(t, map[string]bool{"live heap": true}, growing([]watch.Finding{
		{Signal: "live heap"}, {Signal: "live heap"}, {Signal: "goroutines", Stopped: time.Now()},
	}))
	assert.Equal(t, map[string]int64{strings.Repeat("é", 120): 3}, byRoot([]watch.Retainer{
		{Root: strings.Repeat("é", 999), Bytes: 1}, {Root: strings.Repeat("é", 998), Bytes: 2},
	}))
}

func TestRunDoesNotGrow(t *testing.T) {
	leakcheck.NoGrowth(t, func() { _ = run(t.Context()) }, leakcheck.Iterations(2))
}
