// Command push sends 100,000 distinct push messages that arrive in one burst,
// through a slow downstream, with flat memory and none lost; and shows what the same
// burst does to a worker that bounds nothing.
//
//	go run -C examples/push .
//	go run -C examples/push . -leaky
//
// It starts its own NATS broker and its own endpoint that speaks FCM's HTTP v1
// API, each a child process. Set NATS_URL to use a broker or a cluster of yours.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// memoryLimit is what each worker may use.
const memoryLimit = 96 << 20

func main() {
	leaky := flag.Bool("leaky", false, "run the leaky worker only, and fail as it does")
	n := flag.Int("n", 100_000, "how many messages arrive")
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() > 0 || *n < 1 {
		usage()
		os.Exit(2)
	}
	var err error
	if role := os.Getenv(roleEnv); role != "" {
		err = runRole(role)
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, os.Stdout, *leaky, *n)
		if err != nil && interrupted(ctx) {
			err = errors.New("interrupted")
		}
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "push:", err)
		os.Exit(1)
	}
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
		`push sends 100,000 distinct push messages, which arrive in one burst, through a slow
downstream: memory stays flat, and none is lost. It also shows what the same burst does to a worker
that bounds nothing.

It starts its own NATS broker and its own endpoint that speaks FCM's HTTP v1 API, each a child
process, in a temporary folder that it removes. Set NATS_URL to use a broker of yours. It takes
about a minute.

`)
	flag.PrintDefaults()
}

// run shows the safe worker and the leaky one, or the leaky one alone.
func run(ctx context.Context, out io.Writer, leaky bool, n int) error {
	fmt.Fprintf(out, "%d distinct messages arrive at once. "+
		"The downstream takes 40 ms for each and fails now and then.\n", n)
	fmt.Fprintf(out, "A worker may use %d MiB.\n\n", memoryLimit>>20)
	fmt.Fprintln(out, "worker      sent  rejected  retried  lost  duplicates  "+
		"peak heap  Go's memory    time  ended")
	var problem error
	if !leaky {
		r, err := deliverAll(ctx, "worker", n)
		if err != nil {
			return err
		}
		r.print(out, "safe")
		if r.lost() != 0 || r.code != 0 {
			problem = errors.New("the safe worker lost messages or did not end by itself")
		}
	}
	r, err := deliverAll(ctx, "leaky", n)
	if err != nil {
		return err
	}
	r.print(out, "leaky")
	if r.words.InUse > 0 {
		fmt.Fprintf(out, "\nout of memory: %.1f MiB were in use that no collection frees, "+
			"more than 80 %% of %d MiB. That is the heap that is\n"+
			"alive, stacks, and the program itself; "+
			"Go's memory is less, because it does not count the program.\n",
			mib(r.words.InUse), memoryLimit>>20)
	}
	if r.words.Kept != "" {
		fmt.Fprintf(out, "\nwhat retains the leaky worker's memory:\n%s\n", r.words.Kept)
	}
	if leaky && r.code != 0 {
		problem = fmt.Errorf("the worker ran out of memory with %d of %d messages sent: "+
			"run without -leaky", r.tally.Sent, n)
	}
	return problem
}

// A result is one row of the table.
type result struct {
	published int
	words     words
	tally     tally
	code      int
	took      time.Duration
}

func (r result) lost() int { return r.published - r.tally.Sent - r.tally.Rejected }

func (r result) print(out io.Writer, name string) {
	ended, lost := "by itself", fmt.Sprint(r.lost())
	if r.code != 0 {
		ended, lost = fmt.Sprintf("code %d", r.code), "-"
	}
	if r.words.InUse > 0 {
		ended = fmt.Sprintf("out of memory, code %d", r.code)
	}
	fmt.Fprintf(out, "%-8s %7d %9d %8d %5s %11d %5.1f MiB %8.1f MiB %5.1f s  %s\n",
		name, r.tally.Sent, r.tally.Rejected, r.words.Retried, lost, r.tally.Duplicates,
		mib(r.words.PeakHeap), mib(r.words.PeakMemory), r.took.Seconds(), ended)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// deliverAll sends n messages through one worker of a kind.
func deliverAll(ctx context.Context, kind string, n int) (result, error) {
	s, err := startScene(ctx, 30*time.Second, 40*time.Millisecond)
	if err != nil {
		return result{}, err
	}
	defer s.close()
	if err := s.publish(ctx, n); err != nil {
		return result{}, err
	}
	began := time.Now()
	w, err := startChild(kind, s.config)
	if err != nil {
		return result{}, err
	}
	r := result{published: n}
	gone := make(chan struct{})
	var ended error
	go func() {
		defer close(gone)
		r.code, ended = w.wait(&r.words)
	}()
	s.waitUntilDone(ctx, n, gone)
	r.took = time.Since(began)
	if ctx.Err() != nil {
		_ = w.cmd.Process.Kill()
	}
	_ = w.hold.Close() // the worker sends what it has, and prints its last words
	<-gone
	if err := cmp.Or(context.Cause(ctx), ended); err != nil {
		return result{}, err
	}
	r.tally, err = s.endDownstream()
	return r, err
}

// A scene is a broker and a downstream.
type scene struct {
	config     config
	broker     *child // nil with NATS_URL
	downstream *child
	js         jetstream.JetStream
	stream     jetstream.Stream
	closeConn  func()
}

func startScene(ctx context.Context, ackWait, latency time.Duration) (_ *scene, err error) {
	s := new(scene)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	dir, err := os.MkdirTemp("", "leaksafe-push-")
	if err != nil {
		return nil, err
	}
	s.config = config{
		NATS: os.Getenv("NATS_URL"), Dir: dir, Limit: memoryLimit,
		AckWait: ackWait.Milliseconds(), LatencyM: latency.Milliseconds(), Failures: true,
	}
	if s.config.NATS == "" {
		if s.broker, err = startChild("broker", s.config); err != nil {
			return nil, err
		}
		s.config.NATS = s.broker.ready
	}
	if s.downstream, err = startChild("downstream", s.config); err != nil {
		return nil, err
	}
	s.config.FCM = s.downstream.ready
	nc, js, stream, err := connect(ctx, s.config.NATS)
	if err != nil {
		return nil, err
	}
	s.js, s.stream, s.closeConn = js, stream, nc.Close
	return s, s.stream.Purge(ctx)
}

func (s *scene) close() {
	if s.closeConn != nil {
		s.closeConn()
	}
	for _, c := range []*child{s.downstream, s.broker} {
		if c != nil {
			_, _ = c.stop(nil)
		}
	}
	if s.config.Dir != "" {
		_ = os.RemoveAll(s.config.Dir)
	}
}

// endDownstream ends the downstream, and returns what it received.
func (s *scene) endDownstream() (tally, error) {
	var t tally
	_, err := s.downstream.stop(&t)
	s.downstream = nil
	return t, err
}

// publish puts n messages into the queue, as fast as the broker takes them.
func (s *scene) publish(ctx context.Context, n int) error {
	progress := progressBar(os.Stderr, "arriving", n)
	for i := range n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wire, err := encode(i)
		if err != nil {
			return err
		}
		_, err = s.js.PublishAsync(subject, wire, jetstream.WithStallWait(30*time.Second))
		if err != nil {
			return err
		}
		progress(i + 1)
	}
	select {
	case <-s.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitUntilDone polls the downstream until it has seen all n messages and the queue is empty
// (true), or until the worker has ended (false).
func (s *scene) waitUntilDone(ctx context.Context, n int, gone <-chan struct{}) bool {
	progress := progressBar(os.Stderr, "sending", n)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			progress(n)
			return false
		case <-ctx.Done():
			return false
		case <-tick.C:
			t, err := s.tally(ctx)
			if err != nil {
				continue
			}
			progress(min(t.Sent+t.Rejected, n-1))
			if info, err := s.stream.Info(ctx); err == nil && info.State.Msgs == 0 {
				progress(n)
				return true
			}
		}
	}
}

// tally asks the downstream for its tally.
func (s *scene) tally(ctx context.Context) (tally, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", s.downstream.ready+"/tally", nil)
	if err != nil {
		return tally{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return tally{}, err
	}
	defer resp.Body.Close()
	var t tally
	return t, json.NewDecoder(resp.Body).Decode(&t)
}

// progressBar draws on a terminal and is silent elsewhere.
func progressBar(f *os.File, what string, total int) func(done int) {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func(int) {}
	}
	drawn := -1
	return func(done int) {
		part := 40 * done / cmp.Or(total, 1)
		if part == drawn {
			return
		}
		drawn = part
		fmt.Fprintf(f, "\r%s %s%s %3d %%", what,
			strings.Repeat("█", part), strings.Repeat("░", 40-part), 100*done/cmp.Or(total, 1))
		if done == total {
			fmt.Fprint(f, "\r\033[K")
		}
	}
}
