// Command otel reports what watch measures as OpenTelemetry metrics. Copy
// register; here a reader that prints stands for your exporter.
//
//	go run -C examples/watch/otel .
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	w, err := watch.Start(watch.Options{Interval: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	defer w.Stop()
	reader := sdk.NewManualReader()
	provider := sdk.NewMeterProvider(sdk.WithReader(reader))
	defer func() { _ = provider.Shutdown(ctx) }()
	if err := register(provider.Meter("leaksafe"), w); err != nil {
		return err
	}
	for _, ok := w.Latest(); !ok; _, ok = w.Latest() {
		<-time.After(time.Millisecond)
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &all); err != nil {
		return err
	}
	for _, m := range all.ScopeMetrics[0].Metrics {
		fmt.Printf("%-28s %v\n", m.Name, m.Data.(metricdata.Gauge[int64]).DataPoints[0].Value)
	}
	return nil
}

// register makes gauges that read the newest sample when they are collected.
func register(meter metric.Meter, w *watch.Watcher) error {
	gauge := func(name, unit string, value func(watch.Sample) int64) error {
		_, err := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			if s, ok := w.Latest(); ok && value(s) >= 0 {
				o.Observe(value(s))
			}
			return nil
		}))
		return err
	}
	for _, g := range []struct {
		name, unit string
		value      func(watch.Sample) int64
	}{
		{"leaksafe.heap.live", "By", func(s watch.Sample) int64 { return s.Live }},
		{"leaksafe.runtime", "By", func(s watch.Sample) int64 { return s.Fixed }},
		{"leaksafe.outside", "By", func(s watch.Sample) int64 { return s.Outside }},
		{"leaksafe.goroutines", "{goroutine}", func(s watch.Sample) int64 { return s.Goroutines }},
		{"leaksafe.files", "{file}", func(s watch.Sample) int64 { return s.Files }},
		{"leaksafe.findings", "{finding}", func(watch.Sample) int64 { return int64(len(w.Findings())) }},
	} {
		if err := gauge(g.name, g.unit, g.value); err != nil {
			return err
		}
	}
	return nil
}
