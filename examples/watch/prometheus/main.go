// Command prometheus serves what watch measures as Prometheus metrics, and the page and the
// retention profile beside them. Copy the collector.
//
//	go run -C examples/watch/prometheus .
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func main() {
	address := flag.String("addr", "127.0.0.1:9100", "where to serve /metrics")
	dir := flag.String("dir", "",
		"watch.Options.Dir: with it, what retains the memory is exported too")
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *address, *dir); err != nil {
		log.Fatal(err)
	}
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(),
		`prometheus watches itself, and serves what it sees as Prometheus metrics until Ctrl-C or
SIGTERM, with the page and the retention profile beside them.

`)
	flag.PrintDefaults()
}

// serve answers until ctx ends. It makes the folder dir, if it has a name.
func serve(ctx context.Context, address, dir string) error {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	w, err := watch.Start(watch.Options{Interval: time.Second, Dir: dir})
	if err != nil {
		return err
	}
	defer w.Stop()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	log.Printf("metrics at http://%s/metrics", listener.Addr())
	server := &http.Server{Handler: handler(w), ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(w *watch.Watcher) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{w})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /debug/leaks/", w.Handler()) // in a service: behind authorization
	mux.Handle("GET /debug/leaks/retained", w.Retained())
	return mux
}

// A collector reads the newest sample when it is scraped.
type collector struct{ w *watch.Watcher }

var (
	live       = describe("live_heap_bytes", "Heap that survived the last collection.")
	fixed      = describe("runtime_bytes", "What the runtime holds besides the heap.")
	outside    = describe("outside_bytes", "Resident memory that is not the Go runtime's.")
	goroutines = describe("goroutines", "Goroutines.")
	files      = describe("open_files", "Open file descriptors.")
	collection = describe("collection_cpu_share", "Share of the CPU time that collection takes.")
	used       = describe("used_bytes",
		"Memory that no collection frees: what counts against the limit.")
	limit    = describe("limit_bytes", "The memory limit that watch found.")
	pressure = describe("pressure_ratio",
		"Used memory as a share of the limit; at 0.8 watch acts.")
	findings = describe("finding", "1 for each signal that grew and did not stop.", "signal")
	retained = describe("retained_bytes",
		"What a root alone retained in the last frozen copy; the three largest roots.", "root")
)

// describe names a metric, and the labels that tell its lines apart.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("leaksafe_"+name, help, labels, nil)
}

func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		if v >= 0 { // -1: this system cannot measure it
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
		}
	}
	s, ok := c.w.Latest()
	if !ok {
		return
	}
	gauge(live, float64(s.Live))
	gauge(fixed, float64(s.Fixed))
	gauge(outside, float64(s.Outside))
	gauge(goroutines, float64(s.Goroutines))
	gauge(files, float64(s.Files))
	gauge(collection, s.Collection)
	if p, ok := c.w.Pressure(); ok && p.Limit > 0 {
		gauge(used, float64(p.Used))
		gauge(limit, float64(p.Limit))
		gauge(pressure, float64(p.Used)/float64(p.Limit))
	}
	for signal := range growing(c.w.Findings()) {
		gauge(findings, 1, signal)
	}
	for root, bytes := range byRoot(c.w.Retainers()) {
		gauge(retained, float64(bytes), root)
	}
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

// byRoot has at most three roots, under names that are not too long for a label.
func byRoot(all []watch.Retainer) map[string]int64 {
	roots := make(map[string]int64)
	for _, r := range all {
		name := []rune(strings.ToValidUTF8(r.Root, "?"))
		roots[string(name[:min(len(name), 120)])] += r.Bytes
	}
	return roots
}
