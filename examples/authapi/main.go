// Command authapi is a small account service under a phased load: sign up,
// log in, read, update, on SQLite. It measures a change (a logger for each request,
// removed), and compares the heap before and after the load.
//
//	go run -C examples/authapi .
//	go run -C examples/authapi . -leaky
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// If roleEnv is set, the program runs as the server or the load generator. In a test it is the test
// binary. configEnv is its configuration, as JSON.
const (
	roleEnv   = "LEAKSAFE_AUTHAPI_ROLE"
	configEnv = "LEAKSAFE_AUTHAPI_CONFIG"
)

// A config is what a child must know.
type config struct {
	Dir    string        // the server's database
	Logger bool          // the server makes a logger for each request
	Leaky  bool          // and a mapper
	Dumps  bool          // the server's heap will be dumped
	URL    string        // the server's, for the generator
	Rows   string        // the payload file
	First  int           // the first row of it to use
	Phase  time.Duration // how long each of the six phases lasts
}

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		exitIf(runRole(role))
		return
	}
	leaky := flag.Bool("leaky", false, "build a mapper for every request, and fail")
	length := flag.Duration("phase", 2*time.Second, "how long each of the six phases lasts")
	dir := flag.String("dir", "", "the folder for the reports (default: a new temporary folder)")
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() > 0 || *length <= 0 {
		usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *dir, *leaky, *length)
	if err != nil && interrupted(ctx) {
		err = errors.New("interrupted")
	}
	stop()
	exitIf(err)
}

func exitIf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "authapi:", err)
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
		`authapi puts a small account service on SQLite under load:
sign up, log in, read, update. It measures one change (a logger for each request, removed) and
compares the heap of the service before and after the load. It takes about 40 seconds.

`)
	flag.PrintDefaults()
}

func runRole(role string) error {
	var c config
	if err := json.Unmarshal([]byte(os.Getenv(configEnv)), &c); err != nil {
		return fmt.Errorf("%s: %w", configEnv, err)
	}
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // the parent ends this process
	if role == "server" {
		return serve(c)
	}
	return generate(c)
}

// Results are what is written as JSON and HTML.
type results struct {
	Before, After report // with a logger for each request, and without
	Heap          string // what compare says of the heap before and after the load
	Rows          []string
}

// run measures and writes the reports. If a tool is missing or a file cannot be written, it fails
// before it measures. What it has written before an error is removed, unless the reports are there.
func run(
	ctx context.Context, out io.Writer, dir string, leaky bool, length time.Duration,
) (err error) {
	remove := func() error { return os.Remove(filepath.Join(dir, "payloads.csv")) }
	if dir == "" {
		if dir, err = os.MkdirTemp("", "leaksafe-authapi-"); err != nil {
			return err
		}
		remove = func() error { return os.RemoveAll(dir) }
	}
	reported := false
	defer func() {
		if !reported {
			_ = remove()
		}
	}()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	rows := filepath.Join(dir, "payloads.csv")
	if err := writeRows(rows, 5000, 1); err != nil {
		return err
	}
	p, err := buildPrograms(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.dir)) }()
	var r results
	if !leaky {
		fmt.Fprintf(out, "8, 24, 48, 150, 48, 24 arrivals a second, each for %v:\n", length)
		fmt.Fprintf(out, "sign up, log in, read, update, read.\n\n%-27s", "")
		fmt.Fprintln(out, " created  completed  requests  req/s  avg ms  stdev   p99    max"+
			"  answers")
		r.Before, err = p.measure(ctx, config{Logger: true, Rows: rows, Phase: length})
		if err != nil {
			return err
		}
		r.Before.print(out, "a logger for each request")
		if r.After, err = p.measure(ctx, config{Rows: rows, Phase: length}); err != nil {
			return err
		}
		r.After.print(out, "without it")
		fmt.Fprintln(out)
	}
	dumped := config{Leaky: leaky, Dumps: true, Rows: rows, Phase: length}
	if r.Heap, err = p.compareHeaps(ctx, dir, dumped); err != nil {
		return err
	}
	fmt.Fprintf(out, "the heap before and after the load:\n\n%s\n", r.Heap)
	if r.Rows, err = head(rows, 5); err != nil {
		return err
	}
	if err := r.write(dir); err != nil {
		return err
	}
	reported = true
	fmt.Fprintf(out, "reports: %s and report.json beside it\n", filepath.Join(dir, "report.html"))
	if leaky {
		return errors.New("the registry keeps a mapper for every request: run without -leaky")
	}
	return nil
}

// Answers has the answers by status code, and then the errors by class.
func (r report) Answers() string {
	var answers []string
	for _, code := range slices.Sorted(maps.Keys(r.Codes)) {
		answers = append(answers, fmt.Sprintf("%s: %d", code, r.Codes[code]))
	}
	for _, class := range slices.Sorted(maps.Keys(r.Errors)) {
		answers = append(answers, fmt.Sprintf("%s: %d", class, r.Errors[class]))
	}
	return strings.Join(answers, ", ")
}

func (r report) print(out io.Writer, name string) {
	fmt.Fprintf(out, "%-27s %7d %10d %9d %6.0f %7.2f %6.2f %5.1f %6.1f  %s\n", name,
		r.Created, r.Completed, r.Requests, r.PerSecond,
		r.Average, r.Stdev, r.P99, r.Max, r.Answers())
}

// measure puts a server of its own under load.
func (p programs) measure(ctx context.Context, c config) (report, error) {
	s, err := p.startServer(ctx, c)
	if err != nil {
		return report{}, err
	}
	r, err := s.load(ctx, c)
	r.Logger = c.Logger
	return r, errors.Join(err, s.stop())
}

// compareHeaps dumps a server's heap when it is warm and after a load, and
// has the two compared.
func (p programs) compareHeaps(ctx context.Context, dir string, c config) (string, error) {
	s, err := p.startServer(ctx, c)
	if err != nil {
		return "", err
	}
	before, after := filepath.Join(dir, "before.dump"), filepath.Join(dir, "after.dump")
	defer os.Remove(before) // a dump holds all memory, with secrets
	defer os.Remove(after)
	warm := c
	warm.Phase = c.Phase / 4
	_, err = s.load(ctx, warm)
	err = errors.Join(err, s.dump(before))
	c.First = 2500
	_, lerr := s.load(ctx, c)
	if err = errors.Join(err, lerr, s.dump(after), s.stop()); err != nil {
		return "", err
	}
	// -exe names variables and types.
	cmd := exec.CommandContext(ctx, p.leakcheck,
		"compare", "-n", "5", "-exe", p.server, before, after)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	return strings.ReplaceAll(string(text), dir+string(filepath.Separator), ""), err
}

// A child is the server's process.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
	url   string
	dir   string // its database, removed at the end
}

func command(ctx context.Context, program, role string, c config) (*exec.Cmd, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, configEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd, nil
}

func (p programs) startServer(ctx context.Context, c config) (s *child, err error) {
	dir, err := os.MkdirTemp("", "leaksafe-authapi-db-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	c.Dir = dir
	cmd, err := command(ctx, p.server, "server", c)
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s = &child{cmd: cmd, in: in, lines: bufio.NewReader(out), dir: dir}
	s.url, err = s.lines.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the server did not start: %w", errors.Join(err, cmd.Wait()))
	}
	s.url = strings.TrimSpace(s.url)
	return s, nil
}

func (s *child) stop() error {
	return errors.Join(s.in.Close(), s.cmd.Wait(), os.RemoveAll(s.dir))
}

// dump has the server write its heap.
func (s *child) dump(file string) error {
	if _, err := fmt.Fprintln(s.in, file); err != nil {
		return err
	}
	_, err := s.lines.ReadString('\n')
	return err
}

// load runs the generator, a process of its own, and takes its report.
func (s *child) load(ctx context.Context, c config) (report, error) {
	c.URL = s.url
	cmd, err := command(ctx, s.cmd.Path, "generator", c)
	if err != nil {
		return report{}, err
	}
	end := progress(os.Stderr, 6*c.Phase)
	text, err := cmd.Output()
	end()
	if err != nil {
		return report{}, fmt.Errorf("the load generator: %w", err)
	}
	var r report
	return r, json.Unmarshal(text, &r)
}

// progress draws a bar by time on a terminal, until end is called.
func progress(f *os.File, length time.Duration) (end func()) {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		began := time.Now()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				fmt.Fprint(f, "\r\033[K")
				return
			case <-tick.C:
				part := min(40, int(40*time.Since(began)/length))
				done, left := strings.Repeat("█", part), strings.Repeat("░", 40-part)
				fmt.Fprintf(f, "\rload %s%s", done, left)
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// head is the first lines of a file.
func head(file string, n int) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := strings.SplitN(string(text), "\n", n+1)
	return lines[:min(n, len(lines))], nil
}
