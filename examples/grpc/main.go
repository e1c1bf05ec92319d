// Command grpc gives every RPC a scope of its own. Work that the handler starts ends with the RPC,
// and nothing retains the RPC afterwards.
//
//	go run -C examples/grpc .
//	go run -C examples/grpc . -leaky
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	leaky := flag.Bool("leaky", false,
		"start the audit as a plain goroutine, which outlives its RPC")
	calls := flag.Int("calls", 5000, "how many RPCs of each kind to make")
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() > 0 || *calls <= 0 {
		usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *leaky, *calls)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `grpc serves RPCs over memory.
Each starts an audit that never gets an answer.
It counts the goroutines and the memory that the RPCs leave behind. It takes some seconds.

`)
	flag.PrintDefaults()
}

// run makes the calls and prints what is left of them. It fails if anything is left.
func run(ctx context.Context, out io.Writer, leaky bool, calls int) error {
	s := startServer(leaky)
	defer s.stop()
	client, err := s.dial()
	if err != nil {
		return err
	}
	defer client.close()

	how := "a scope for each RPC"
	if leaky {
		how = "a plain goroutine for each RPC"
	}
	fmt.Fprintf(out, "%d unary RPCs and %d streams, each with an audit of its own: %s.\n\n",
		calls, calls, how)
	if err := client.round(ctx); err != nil { // opens connections and fills caches
		return err
	}
	heap, goroutines := memory(), runtime.NumGoroutine()
	progress := progressBar(os.Stderr, calls)
	for n := range calls {
		if err := client.round(ctx); err != nil {
			return err
		}
		progress(n + 1)
	}
	s.settle()
	left := runtime.NumGoroutine() - goroutines
	fmt.Fprintf(out, "scopes in flight   %d\n", len(s.scopes.InFlight()))
	fmt.Fprintf(out, "goroutines left    %d\n", left)
	kept := max(0, memory()-heap) / int64(2*calls)
	fmt.Fprintf(out, "heap kept          %d bytes for each RPC\n", kept)

	_, err = client.echo(ctx, "panic")
	fmt.Fprintln(out, "a panic in a handler")
	fmt.Fprintf(out, "  the client sees    %v\n  the report says    %v\n", err, s.reports.last())
	_, err = client.echo(ctx, "failing audit")
	fmt.Fprintf(out, "an audit that fails beside a handler that succeeds\n")
	fmt.Fprintf(out, "  the client sees    %v\n  the report says    %v\n", err, s.reports.last())
	if left > calls/10 {
		return errors.New("the audits outlive their RPCs: run without -leaky")
	}
	return nil
}

// round makes one call of each kind.
func (c *client) round(ctx context.Context) error {
	if _, err := c.echo(ctx, "hello"); err != nil {
		return err
	}
	return c.count(ctx, 3, func(*wrapperspb.StringValue) {})
}

func memory() int64 {
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
		if done%(max(1, total/50)) == 0 {
			fmt.Fprintf(f, "\r%3d %%", 100*done/total)
		}
		if done == total {
			fmt.Fprint(f, "\r\033[K")
		}
	}
}
