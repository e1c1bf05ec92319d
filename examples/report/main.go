// Command report shows the error reporter that kept every request, and the one that does not:
// 100,000 requests to each, in a process of its own, with errors and panics reported to a local
// endpoint that speaks Sentry's protocol.
//
//	go run -C examples/report .
//	go run -C examples/report . -leaky
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// If childEnv is set, the program runs as a service of this kind. In a test it is the test binary.
const childEnv = "LEAKSAFE_REPORT_CHILD"

func main() {
	if kind := os.Getenv(childEnv); kind != "" {
		exitIf(child(kind))
		return
	}
	leaky := flag.Bool("leaky", false, "run the leaky service only, and fail as it does")
	requests := flag.Int("n", 100_000, "requests to the safe service; the leaky one gets a fifth")
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() > 0 || *requests < 1000 {
		usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *leaky, *requests)
	if err != nil && interrupted(ctx) {
		err = errors.New("interrupted")
	}
	stop()
	exitIf(err)
}

// interrupted says whether a signal has ended ctx. Ctrl-C goes to the children too, and a child
// that ends at once may be noticed before the signal.
func interrupted(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(),
		`report runs services that report errors to a local Sentry endpoint.
It says what each service keeps of a request, and what the last report shows of its headers.
It takes about half a minute; -n makes it shorter (at least 1000).

`)
	flag.PrintDefaults()
}

func exitIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// A result is what a service's process prints about itself.
type result struct {
	Requests  int
	Reports   int
	PerSecond float64
	Before    int64 // bytes of live heap, after a warm-up
	After     int64
	Headers   map[string]string // of the last report
}

func (r result) perRequest() float64 { return float64(r.After-r.Before) / float64(r.Requests) }

func run(ctx context.Context, out io.Writer, leaky bool, requests int) error {
	fmt.Fprintln(out,
		`One request in a thousand panics, one fails; both are reported to a local Sentry endpoint.
A dashboard keeps the contexts of recent requests: the last 100, or, by mistake, all.`)
	fmt.Fprintln(out)
	fmt.Fprintln(out, "service                       requests  reports  requests/s  "+
		"heap before → after   kept per request")
	row := func(name, kind string, n int) (result, error) {
		r, err := runChild(ctx, kind, n)
		if err == nil {
			fmt.Fprintf(out, "%-28s %9d %8d %11.0f %8.1f → %5.1f MiB %12.0f B\n",
				name, r.Requests,
				r.Reports, r.PerSecond, mib(r.Before), mib(r.After), max(0, r.perRequest()))
		}
		return r, err
	}
	var safe result
	if !leaky {
		var err error
		if safe, err = row("ctxreq, the last 100", "safe", requests); err != nil {
			return err
		}
		if _, err = row("ctxreq, all", "safe all", requests/5); err != nil {
			return err
		}
	}
	bad, err := row("sentryhttp, all", "leaky", requests/5)
	if err != nil {
		return err
	}
	shown := safe
	if leaky {
		shown = bad
	}
	fmt.Fprintln(out, "\nthe headers of the last report:")
	for _, name := range slices.Sorted(maps.Keys(shown.Headers)) {
		fmt.Fprintf(out, "  %-16s %s\n", name, shown.Headers[name])
	}
	if leaky {
		return fmt.Errorf("every request stays alive, %.0f bytes each: run without -leaky",
			bad.perRequest())
	}
	if safe.perRequest() > 20 {
		return fmt.Errorf("the safe service keeps %.0f bytes of each request", safe.perRequest())
	}
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// runChild starts a service as a process that ends when ctx does.
func runChild(ctx context.Context, kind string, requests int) (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", childEnv, kind, requests))
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return result{}, fmt.Errorf("the %s service: %w", kind, err)
	}
	var r result
	return r, json.Unmarshal(text, &r)
}

// child runs one service, sends it its requests and prints a result.
func child(kind string) error {
	i := strings.LastIndexByte(kind, ' ')
	var requests int
	if _, err := fmt.Sscan(kind[i+1:], &requests); err != nil {
		return err
	}
	e := startEndpoint()
	defer e.stop()
	handler, service, err := newHandler(kind[:i], e.server.URL)
	if err != nil {
		return err
	}
	defer service.close()
	r, err := drive(handler, requests)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bad != nil {
		return fmt.Errorf("the endpoint could not read a report: %w", e.bad)
	}
	r.Reports = e.events
	if e.last.Request != nil {
		r.Headers = e.last.Request.Headers
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// newHandler makes a service of a kind; the caller closes it.
func newHandler(kind, endpoint string) (http.Handler, *service, error) {
	var recent dashboard = new(all)
	if kind == "safe" {
		recent = new(last)
	}
	s, err := newService(endpoint, recent)
	if err != nil {
		return nil, nil, err
	}
	if kind == "leaky" {
		return s.leaky(), s, nil
	}
	return s.safe(), s, nil
}

// drive sends requests over real HTTP, eight at a time. After a warm-up it measures the heap before
// and after them.
func drive(handler http.Handler, requests int) (result, error) {
	server := httptest.NewServer(handler)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	warm := min(requests, 1000)
	if err := send(client, server.URL, warm, func(int) {}); err != nil {
		return result{}, err
	}
	r := result{Requests: requests, Before: liveHeap()}
	began := time.Now()
	err := send(client, server.URL, requests, progressBar(os.Stderr, requests))
	r.PerSecond = float64(requests) / time.Since(began).Seconds()
	r.After = liveHeap()
	runtime.KeepAlive(handler)
	return r, err
}

func send(client *http.Client, url string, n int, progress func(int)) error {
	var next atomic.Int64
	var clients errgroup.Group
	for range 8 {
		clients.Go(func() error {
			for k := int(next.Add(1)); k <= n; k = int(next.Add(1)) {
				if err := request(client, url, k); err != nil {
					return err
				}
				progress(k)
			}
			return nil
		})
	}
	return clients.Wait()
}

// request sends the k-th request, with headers that a report must not show.
func request(client *http.Client, url string, k int) error {
	r, err := http.NewRequest("GET", fmt.Sprintf("%s/pay?n=%d&token=s3cret", url, k), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer s3cret")
	r.Header.Set("Cookie", "session=s3cret")
	r.Header.Set("X-Author", "ada")
	r.Header.Set("X-Custom-Pin", "s3cret")
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// progressBar draws on a terminal and is silent elsewhere.
func progressBar(f *os.File, total int) func(done int) {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func(int) {}
	}
	return func(done int) {
		if done == total {
			fmt.Fprint(f, "\r\033[K")
		} else if done%max(1, total/50) == 0 {
			fmt.Fprintf(f, "\r%3d %%", 100*done/total)
		}
	}
}
