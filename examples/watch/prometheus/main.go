// Command prometheus serves what watch measures as Prometheus metrics. Copy
// the collector.
//
//	go run -C examples/watch/prometheus .
package main

import (
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func main() {
	address := flag.String("addr", "127.0.0.1:9100", "where to serve /metrics")
	flag.Parse()
	w, err := watch.Start(watch.Options{Interval: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Stop()
	log.Printf("metrics at http://%s/metrics", *address)
	server := &http.Server{Addr: *address, Handler: handler(w), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func handler(w *watch.Watcher) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{w})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
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
	findings   = prometheus.NewDesc("leaksafe_finding", "1 for each signal with a finding.", []string{"signal"}, nil)
)

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("leaksafe_"+name, help, nil, nil)
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
	found := map[string]bool{}
	for _, f := range c.w.Findings() {
		if !found[f.Signal] {
			found[f.Signal] = true
			gauge(findings, 1, f.Signal)
		}
	}
}
