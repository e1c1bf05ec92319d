// Ssr is the memory graph of two pages that are one line apart.
//
// It starts a server twice, each in a process of its own, lets leakcheck
// measure one page of each, and then sends real requests to one after the other.
// /normal renders a page; /memory-leak renders the same page and also appends it
// to a list declared outside its function. It prints both memory graphs with the
// requests per second beside them, leakcheck's verdicts and the line that
// leaks, and writes the graphs as a page.
//
// The exit code is 0 if the verdicts are "normal: steady, memory-leak:
// growing", and 1 otherwise.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if os.Getenv(envServe) != "" {
		exitIf(serve())
		return
	}
	long := flag.Duration("for", 6*time.Second, "how long to send requests, to both together")
	file := flag.String("o", "",
		"the file for the graph, an HTML page (default: in a new temporary folder)")
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() > 0 {
		usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *long, *file)
	if err != nil && interrupted(ctx) {
		err = errors.New("ssr: interrupted")
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
		`ssr serves two web pages, one line of code apart, from two processes.
It sends requests to both, draws their memory, and says which page leaks and where.
It takes about 10 seconds.

`)
	flag.PrintDefaults()
}

func exitIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run measures, prints and writes the graphs. If the file cannot be written, it fails before it
// measures.
func run(ctx context.Context, w io.Writer, long time.Duration, file string) (err error) {
	if long < 2*slice {
		return fmt.Errorf("ssr: -for %v is too short: at least %v", long, 2*slice)
	}
	graph, remove, err := create(file)
	if err != nil {
		return err
	}
	written := false
	defer func() {
		if !written {
			err = errors.Join(err, graph.Close(), remove())
		}
	}()
	var children []*child
	defer func() {
		for _, c := range children {
			if stopped := c.stop(); err == nil {
				err = stopped
			}
		}
	}()
	for _, page := range []string{"/normal", "/memory-leak"} {
		c, err := start(ctx, page)
		if err != nil {
			return err
		}
		children = append(children, c)
	}
	if err := drive(ctx, w, children, long); err != nil {
		return err
	}
	printGraphs(w, children)
	printVerdicts(w, children)
	if err := writePage(graph, children); err != nil {
		return err
	}
	written = true
	if err := graph.Close(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\ngraph      %s\n", graph.Name())
	return expected(children)
}

// create opens the file for the graph, with the folders above it. Without a name it is in a
// temporary folder of its own. Remove removes the file, or that folder.
func create(file string) (graph *os.File, remove func() error, err error) {
	remove = func() error { return os.Remove(file) }
	if file == "" {
		dir, err := os.MkdirTemp("", "leaksafe-ssr-")
		if err != nil {
			return nil, nil, err
		}
		file = filepath.Join(dir, "graph.html")
		remove = func() error { return os.RemoveAll(dir) }
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, nil, err
	}
	graph, err = os.Create(file)
	return graph, remove, err
}

// slice is how long requests are sent for one sample.
const slice = 100 * time.Millisecond

// measuring is the part of the bar that the measurement takes.
const measuring = 0.3

// drive has every page measured, and then sends requests to one server after
// the other, so that the collector of one does not slow the other down.
func drive(ctx context.Context, w io.Writer, children []*child, long time.Duration) error {
	bar := newBar(w)
	defer bar.clear()
	if err := measure(ctx, bar, children); err != nil {
		return err
	}
	each := max(1, int(long/slice)/len(children))
	for i, c := range children {
		for n := range each {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := c.load(slice); err != nil {
				return err
			}
			done := float64(i*each+n+1) / float64(len(children)*each)
			bar.show(measuring+(1-measuring)*done, status(children[:i+1]))
		}
	}
	return nil
}

// measure asks all servers at once. Each measures itself and gets no other requests meanwhile, so
// the bar can show only the time.
func measure(ctx context.Context, bar bar, children []*child) error {
	errs := make(chan error)
	for _, c := range children {
		go func() { errs <- c.measure() }()
	}
	began := time.Now()
	tick := time.NewTicker(slice)
	defer tick.Stop()
	var failed error
	for running := len(children); running > 0; {
		select {
		case err := <-errs:
			failed = errors.Join(failed, err)
			running--
		case <-tick.C:
			s := time.Since(began).Seconds()
			bar.show(measuring*s/(s+2), fmt.Sprintf("leakcheck measures both pages, %.0f s", s))
		}
	}
	return errors.Join(failed, context.Cause(ctx))
}

// expected returns an error unless the verdicts are the expected ones.
func expected(children []*child) error {
	normal, leak := children[0].Finding, children[1].Finding
	if normal.Verdict != "steady" || leak.Verdict != "growing" {
		return fmt.Errorf("ssr: normal is %s and memory-leak is %s; expected steady and growing",
			normal.Verdict, leak.Verdict)
	}
	return nil
}
