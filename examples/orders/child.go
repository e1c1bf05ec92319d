package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/examples/orders/order"
	"github.com/leaksafe/leaksafe/examples/orders/plain"
	"github.com/leaksafe/leaksafe/examples/orders/safe"
)

// configEnv makes any binary of this package a service: in a test it is the test's binary. Its
// value is the service's configuration, as JSON.
const configEnv = "LEAKSAFE_ORDERS_CHILD"

// The names of the two services.
const (
	nameSafe  = "leaksafe"
	namePlain = "plain"
)

var names = []string{nameSafe, namePlain}

// A config is what a service must know.
type config struct {
	Name   string
	Dir    string // its database
	Mailer string // where confirmations go; none if empty
	Late   bool   // plant the late write
}

// A usage is what a service says of itself. Peaks are since the last time it was asked.
type usage struct {
	PeakMemory     uint64 // bytes of Go memory in use: heap and stacks
	PeakGoroutines int
	Goroutines     int    // now
	Allocs, Bytes  uint64 // allocated since the start
	Refused        int    // late writes that the service refused and reported
}

// A service is one of the two.
type service interface {
	http.Handler
	Serve(context.Context, net.Listener) error
	Close(context.Context) error
}

func newService(name string, deps order.Deps, reporter ctxreq.Reporter) (service, error) {
	if name == nameSafe {
		return safe.New(deps, reporter)
	}
	return plain.New(deps)
}

// runChild serves until its standard input is closed. Lines of input are
// commands: "usage" prints a usage as JSON, "hang 3s" makes inserts hang.
func runChild(text string) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // Ctrl-C reaches it too; its parent ends it
	var c config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("%s: %w", configEnv, err)
	}
	store, err := order.Open(c.Dir)
	if err != nil {
		return err
	}
	deps := order.Deps{Store: store, Confirm: mailer(c.Mailer)}
	if c.Late {
		deps.Wrap = lateWriter
	}
	var late lateWrites
	s, err := newService(c.Name, deps, &late)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		obey(os.Stdin, store, &late)
		cancel()
	}()
	fmt.Printf("http://%s\n", l.Addr())
	return s.Serve(ctx, l)
}

func obey(in io.Reader, store *order.Store, late *lateWrites) {
	var p peaks
	go p.watch()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "hang "); ok {
			if d, err := time.ParseDuration(text); err == nil {
				store.Hang(d)
			}
			fmt.Println("hangs")
			continue
		}
		u := p.take()
		u.Refused = late.count()
		_ = json.NewEncoder(os.Stdout).Encode(u)
	}
}

// mailer returns what confirms an order: it takes 5 ms to write the mail, and sends it to url.
func mailer(url string) func(context.Context, order.Order) error {
	if url == "" {
		return func(context.Context, order.Order) error { return nil }
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: order.MaxJobs}}
	return func(ctx context.Context, o order.Order) error {
		timer := time.NewTimer(5 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		r, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(o.Key))
		if err != nil {
			return err
		}
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return errors.Join(err, resp.Body.Close())
	}
}

// lateText is what the late write writes into the answer.
var lateText = bytes.Repeat([]byte("LATE"), 8)

// slowText is what GET /slow answers.
const slowText = "working\n"

// lateWriter is the planted fault: GET /slow starts a look-up, tells the client that it is working,
// and gives up on it. The look-up returns 2 ms later and writes what it found, to a writer that the
// server may have given to another request. Of an answer that is short and not flushed, net/http
// refuses a late write itself, because the length has been sent.
func lateWriter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			next.ServeHTTP(w, r)
			return
		}
		_, _ = io.WriteString(w, slowText)
		_ = http.NewResponseController(w).Flush()
		go func() {
			time.Sleep(2 * time.Millisecond)
			_, _ = w.Write(lateText)
		}()
	})
}

// lateWrites counts the late writes that were reported, and logs everything else.
type lateWrites struct {
	mu sync.Mutex
	n  int
}

func (l *lateWrites) Report(_ context.Context, r *ctxreq.Report) {
	if r.Kind != ctxreq.KindLateUse {
		fmt.Fprintln(os.Stderr, "orders:", r.Kind, r.Err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
}

func (l *lateWrites) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// peaks knows the largest memory and the most goroutines since the last take.
type peaks struct {
	mu sync.Mutex
	usage
}

// watch looks every 20 ms, for as long as the process lives.
func (p *peaks) watch() {
	for range time.Tick(20 * time.Millisecond) {
		p.look()
	}
}

func (p *peaks) look() {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(samples)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.PeakMemory = max(p.PeakMemory, samples[0].Value.Uint64()+samples[1].Value.Uint64())
	p.Goroutines = runtime.NumGoroutine()
	p.PeakGoroutines = max(p.PeakGoroutines, p.Goroutines)
}

// take returns the peaks and begins anew.
func (p *peaks) take() usage {
	p.look()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Allocs, p.Bytes = m.Mallocs, m.TotalAlloc
	u := p.usage
	p.usage = usage{}
	return u
}

// A child is a service's process.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.Closer
	lines *bufio.Reader
	url   string
	ended chan struct{} // closed when the process has ended
	err   error         // valid then
}

// startChild starts a service. It is killed when ctx ends.
func startChild(ctx context.Context, c config) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), configEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// Not StdoutPipe: Wait, which runs beside the reader, would close it.
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	ch := &child{cmd: cmd, in: in, out: out, lines: bufio.NewReader(out)}
	ch.ended = make(chan struct{})
	go func() {
		ch.err = cmd.Wait()
		close(ch.ended)
	}()
	line, err := ch.lines.ReadString('\n')
	if err != nil {
		ch.kill()
		return nil, fmt.Errorf("%s did not start: %w", c.Name, errors.Join(err, ch.err))
	}
	ch.url = strings.TrimSpace(line)
	return ch, nil
}

// kill ends the process at once, as kill -9 does, and waits for it.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.stop()
}

// stop has the service close in order, and waits for it.
func (c *child) stop() error {
	_ = c.in.Close()
	<-c.ended
	_ = c.out.Close()
	return c.err
}

// died says whether the process has ended although nobody asked it to.
func (c *child) died() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *child) hang(d time.Duration) error {
	_, err := c.ask("hang " + d.String())
	return err
}

func (c *child) usage() (usage, error) {
	line, err := c.ask("usage")
	if err != nil {
		return usage{}, err
	}
	var u usage
	return u, json.Unmarshal([]byte(line), &u)
}

func (c *child) ask(command string) (string, error) {
	if _, err := fmt.Fprintln(c.in, command); err != nil {
		return "", err
	}
	return c.lines.ReadString('\n')
}
