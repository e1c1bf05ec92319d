// Command otel reports what watch measures as OpenTelemetry metrics. Copy register. This program
// prints the metrics; use your exporter instead.
//
//	go run -C examples/watch/otel .
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(),
			"otel watches itself for a moment, and prints what it would send to OpenTelemetry.")
	}
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
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
		switch data := m.Data.(type) {
		case metricdata.Gauge[int64]:
			show(m.Name, data.DataPoints)
		case metricdata.Gauge[float64]:
			show(m.Name, data.DataPoints)
		}
	}
	return nil
}

func show[N int64 | float64](name string, points []metricdata.DataPoint[N]) {
	for _, p := range points {
		fmt.Printf("%-28s %v %s\n", name, p.Value, p.Attributes.Encoded(attribute.DefaultEncoder()))
	}
}

// register makes gauges that read the newest sample when they are collected.
func register(meter metric.Meter, w *watch.Watcher) error {
	gauge := func(name, unit string, value func(watch.Sample) int64) error {
		read := func(_ context.Context, o metric.Int64Observer) error {
			if s, ok := w.Latest(); ok && value(s) >= 0 {
				o.Observe(value(s))
			}
			return nil
		}
		_, err := meter.Int64ObservableGauge(name,
			metric.WithUnit(unit), metric.WithInt64Callback(read))
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
	} {
		if err := gauge(g.name, g.unit, g.value); err != nil {
			return err
		}
	}
	return errors.Join(
		observe(meter, "leaksafe.pressure", "1", func(o metric.Float64Observer) {
			if p, ok := w.Pressure(); ok && p.Limit > 0 {
				o.Observe(float64(p.Used) / float64(p.Limit))
			}
		}),
		observe(meter, "leaksafe.finding", "1", func(o metric.Float64Observer) {
			for signal := range growing(w.Findings()) {
				o.Observe(1, metric.WithAttributes(attribute.String("signal", signal)))
			}
		}),
		observe(meter, "leaksafe.retained", "By", func(o metric.Float64Observer) {
			for root, bytes := range byRoot(w.Retainers()) {
				o.Observe(float64(bytes), metric.WithAttributes(attribute.String("root", root)))
			}
		}),
	)
}

// observe makes a gauge of which there may be one for each signal or root, or none.
func observe(meter metric.Meter, name, unit string, values func(metric.Float64Observer)) error {
	read := func(_ context.Context, o metric.Float64Observer) error {
		values(o)
		return nil
	}
	_, err := meter.Float64ObservableGauge(name,
		metric.WithUnit(unit), metric.WithFloat64Callback(read))
	return err
}

// growing has the signals that still grow: six at most.
func growing(all []watch.Finding) map[string]bool {
	signals := make(map[string]bool)
	for _, f := range all {
		if signals[f.Signal] = f.Stopped.IsZero(); !signals[f.Signal] {
			delete(signals, f.Signal)
		}
	}
	return signals
}

// byRoot has at most three roots, under names that are not too long for an attribute.
func byRoot(all []watch.Retainer) map[string]int64 {
	roots := make(map[string]int64)
	for _, r := range all {
		name := []rune(strings.ToValidUTF8(r.Root, "?"))
		roots[string(name[:min(len(name), 120)])] += r.Bytes
	}
	return roots
}
