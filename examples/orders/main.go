// Command orders compares two services that do the same: package safe, on leaksafe, and package
// plain, on errgroup, sync.Pool, copier and batches by hand.
//
//	go run -C examples/orders .
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/leaksafe/leaksafe/examples/orders/order"
)

//go:embed safe/safe.go plain/plain.go
var sources embed.FS

var sourceOf = map[string]string{nameSafe: "safe/safe.go", namePlain: "plain/plain.go"}

func main() {
	if text := os.Getenv(configEnv); text != "" {
		exitIf(runChild(text))
		return
	}
	length := flag.Duration("length", 500*time.Millisecond, "one round of load, 50ms to 5s")
	hang := flag.Duration("hang", 5*time.Second, "how long inserts hang, 100ms to 30s")
	flag.Usage = usageText
	flag.Parse()
	if flag.NArg() > 0 || *length < 50*time.Millisecond || *length > 5*time.Second ||
		*hang < 100*time.Millisecond || *hang > 30*time.Second {
		usageText()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *length, *hang)
	if err != nil && interrupted(ctx) {
		err = errors.New("interrupted")
	}
	stop()
	exitIf(err)
}

func exitIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
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

func usageText() {
	fmt.Fprint(flag.CommandLine.Output(),
		`orders runs two services that do the same, each as a process of its own on 127.0.0.1:
one on leaksafe; one on errgroup, sync.Pool, copier and batches by hand. It ends them under load
(kill -9, and in order), plants late writes, lets the database hang, measures their speed in turns,
and prints a table. It takes about a minute. Databases are in a new temporary folder, which it
removes.

`)
	flag.PrintDefaults()
}

// run makes the folder first, runs the trials, and prints the table.
func run(ctx context.Context, out io.Writer, length, hang time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "leaksafe-orders-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := &comparison{dir: dir, length: length, hang: hang}
	fmt.Fprintf(out, "%-46s %12s %12s\n", "", nameSafe, namePlain)
	for _, part := range []func(context.Context, io.Writer) error{
		c.printLines, c.printKills, c.printStops, c.printLate, c.printStalls, c.printSpeeds,
	} {
		if err := part(ctx, out); err != nil {
			return err
		}
	}
	return nil
}

// row prints one figure of both results.
func row[R any](out io.Writer, what string, results map[string]R, figure func(R) any) {
	ours, theirs := figure(results[nameSafe]), figure(results[namePlain])
	fmt.Fprintf(out, "%-46s %12v %12v\n", what, ours, theirs)
}

// both runs a trial with each service.
func both[R any](trial func(name string) (R, error)) (map[string]R, error) {
	results := map[string]R{}
	for _, name := range names {
		r, err := trial(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		results[name] = r
	}
	return results, nil
}

func (c *comparison) printLines(_ context.Context, out io.Writer) error {
	lines, err := both(func(name string) (int, error) {
		text, err := sources.ReadFile(sourceOf[name])
		return countLines(string(text)), err
	})
	if err != nil {
		return err
	}
	row(out, "lines of code", lines, func(n int) any { return n })
	return nil
}

// countLines leaves out blank lines and lines of comment.
func countLines(source string) (n int) {
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}

func (c *comparison) printKills(ctx context.Context, out io.Writer) error {
	fmt.Fprintf(out, "\nkill -9 under load, %d times\n", kills)
	return c.printLosses(ctx, out, func(s *child) error {
		s.kill()
		return nil
	})
}

func (c *comparison) printStops(ctx context.Context, out io.Writer) error {
	fmt.Fprintf(out, "\nclosed in order under load, %d times\n", kills)
	return c.printLosses(ctx, out, (*child).stop)
}

func (c *comparison) printLosses(ctx context.Context, out io.Writer, end func(*child) error) error {
	losses, err := both(func(name string) (loss, error) { return c.endings(ctx, name, end) })
	if err != nil {
		return err
	}
	row(out, "  orders acknowledged (201)", losses, func(l loss) any { return l.acknowledged })
	row(out, "  of them missing after a restart", losses, func(l loss) any { return l.missing })
	row(out, "  of them never confirmed", losses, func(l loss) any { return l.unsent })
	return nil
}

func (c *comparison) printLate(ctx context.Context, out io.Writer) error {
	late, err := both(func(name string) (lateness, error) { return c.lateWrites(ctx, name) })
	if err != nil {
		return err
	}
	fmt.Fprint(out, "\na goroutine writes after its handler has ended\n")
	row(out, "  such requests", late, func(l lateness) any { return l.slow })
	row(out, "  answers checked, all clients", late, func(l lateness) any { return l.checked })
	row(out, "  of them corrupted", late, func(l lateness) any { return l.corrupted })
	row(out, "  late writes refused and reported", late, func(l lateness) any { return l.refused })
	row(out, "  the service died", late, func(l lateness) any { return l.died })
	return nil
}

func (c *comparison) printStalls(ctx context.Context, out io.Writer) error {
	stalls, err := both(func(name string) (stall, error) { return c.stalls(ctx, name) })
	if err != nil {
		return err
	}
	fmt.Fprintf(out,
		"\ninserts hang for %v, at most %d orders a second, deadline of an insert %v\n",
		c.hang, hangRate, order.Timeout)
	codes := map[string]int{}
	for _, s := range stalls {
		maps.Copy(codes, s.codes)
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		row(out, "  answers "+code, stalls, func(s stall) any { return s.codes[code] })
	}
	row(out, "  slowest answer", stalls, func(s stall) any { return short(s.slowest) })
	row(out, "  first 201 to an order sent after it", stalls, func(s stall) any {
		return short(s.recovered)
	})
	row(out, "  most goroutines", stalls, func(s stall) any { return s.PeakGoroutines })
	row(out, "  most memory, heap and stacks", stalls, func(s stall) any {
		return fmt.Sprintf("%.1f MiB", float64(s.PeakMemory)/(1<<20))
	})
	return nil
}

func short(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return d.Round(time.Millisecond).String()
}

func (c *comparison) printSpeeds(ctx context.Context, out io.Writer) error {
	speeds, err := c.speeds(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nspeed, %d clients, %d rounds of %v in turns\n", clients, rounds, c.length)
	row(out, "  requests a second, median", speeds, func(s *speed) any {
		return fmt.Sprintf("%.0f", median(s.perSecond))
	})
	row(out, "  as a multiple of plain's, median of rounds", speeds, func(s *speed) any {
		return fmt.Sprintf("%.2f", median(ratios(s, speeds[namePlain])))
	})
	row(out, "  lowest and highest such multiple", speeds, func(s *speed) any {
		all := ratios(s, speeds[namePlain])
		return fmt.Sprintf("%.2f–%.2f", slices.Min(all), slices.Max(all))
	})
	row(out, "  processor time a request", speeds, func(s *speed) any {
		return (s.processor / time.Duration(max(s.requests, 1))).Round(time.Microsecond)
	})
	row(out, "  allocations a request", speeds, func(s *speed) any {
		return s.allocs / uint64(max(s.requests, 1))
	})
	row(out, "  bytes allocated a request", speeds, func(s *speed) any {
		return s.bytes / uint64(max(s.requests, 1))
	})
	return nil
}

func ratios(a, b *speed) []float64 {
	var all []float64
	for i := range a.perSecond {
		all = append(all, a.perSecond[i]/b.perSecond[i])
	}
	return all
}
