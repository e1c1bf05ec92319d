// Command authapi is a small account service under a phased load: sign up,
// log in, read, update, on SQLite. It measures a change (a logger for each request,
// removed), and compares the heap before and after the load.
//
//	go run -C examples/authapi .
//	go run -C examples/authapi . -leaky
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// roleEnv makes any binary of this package the server or the load generator:
// in a test it is the test's binary. configEnv is its configuration, as JSON.
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
	leaky := flag.Bool("leaky", false, "build a mapper for every request, as the story's service did, and fail")
	length := flag.Duration("phase", 2*time.Second, "how long each of the six phases lasts")
	dir := flag.String("dir", "", "where reports and dumps go (default: a folder of the system's temporary files)")
	flag.Parse()
	var err error
	switch role := os.Getenv(roleEnv); role {
	case "":
		err = run(os.Stdout, *dir, *leaky, *length)
	default:
		err = runRole(role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "authapi:", err)
		os.Exit(1)
	}
}

func runRole(role string) error {
	var c config
	if err := json.Unmarshal([]byte(os.Getenv(configEnv)), &c); err != nil {
		return err
	}
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

func run(out io.Writer, dir string, leaky bool, length time.Duration) error {
	if dir == "" {
		temp, err := os.MkdirTemp("", "leaksafe-authapi-")
		if err != nil {
			return err
		}
		dir = temp
	}
	rows := filepath.Join(dir, "payloads.csv")
	if err := writeRows(rows, 5000, 1); err != nil {
		return err
	}
	var r results
	var err error
	if !leaky {
		fmt.Fprintf(out, "8, 24, 48, 150, 48, 24 arrivals a second, each for %v: sign up, log in, read, update, read.\n\n", length)
		fmt.Fprintln(out, "                            created  completed  requests  req/s  avg ms  stdev   p99    max  answers")
		if r.Before, err = measure(config{Logger: true, Rows: rows, Phase: length}); err != nil {
			return err
		}
		r.Before.print(out, "a logger for each request")
		if r.After, err = measure(config{Rows: rows, Phase: length}); err != nil {
			return err
		}
		r.After.print(out, "without it")
		fmt.Fprintln(out)
	}
	if r.Heap, err = compareHeaps(dir, config{Leaky: leaky, Dumps: true, Rows: rows, Phase: length}); err != nil {
		return err
	}
	fmt.Fprintf(out, "the heap before and after the load:\n\n%s\n", r.Heap)
	if r.Rows, err = head(rows, 5); err != nil {
		return err
	}
	if err := r.write(dir); err != nil {
		return err
	}
	fmt.Fprintf(out, "reports: %s and report.json beside it\n", filepath.Join(dir, "report.html"))
	if leaky {
		return errors.New("the registry keeps a mapper for every request: run without -leaky")
	}
	return nil
}

func (r report) print(out io.Writer, name string) {
	var answers []string
	for _, code := range slices.Sorted(maps.Keys(r.Codes)) {
		answers = append(answers, fmt.Sprintf("%s: %d", code, r.Codes[code]))
	}
	for _, class := range slices.Sorted(maps.Keys(r.Errors)) {
		answers = append(answers, fmt.Sprintf("%s: %d", class, r.Errors[class]))
	}
	fmt.Fprintf(out, "%-27s %7d %10d %9d %6.0f %7.2f %6.2f %5.1f %6.1f  %s\n", name, r.Created, r.Completed, r.Requests, r.PerSecond,
		r.Average, r.Stdev, r.P99, r.Max, strings.Join(answers, ", "))
}

// measure puts a server of its own under load.
func measure(c config) (report, error) {
	s, err := startServer(c)
	if err != nil {
		return report{}, err
	}
	r, err := s.load(c)
	r.Logger = c.Logger
	return r, errors.Join(err, s.stop())
}

// compareHeaps dumps a server's heap when it is warm and after a load, and
// has the two compared.
func compareHeaps(dir string, c config) (string, error) {
	s, err := startServer(c)
	if err != nil {
		return "", err
	}
	before, after := filepath.Join(dir, "before.dump"), filepath.Join(dir, "after.dump")
	defer os.Remove(before) // a dump holds everything, secrets too
	defer os.Remove(after)
	warm := c
	warm.Phase = c.Phase / 4
	_, err = s.load(warm)
	err = errors.Join(err, s.dump(before))
	c.First = 2500
	_, lerr := s.load(c)
	if err = errors.Join(err, lerr, s.dump(after), s.stop()); err != nil {
		return "", err
	}
	// go run and go test link without symbols; with a binary of go build, add -exe for types.
	cmd := exec.Command("go", "run", "github.com/leaksafe/leaksafe/leakcheck/cmd/leakcheck", "compare", "-n", "5", before, after)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	return string(text), err
}

// A child is the server's process.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
	url   string
	dir   string // its database, removed at the end
}

func command(role string, c config) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, configEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd, nil
}

func startServer(c config) (*child, error) {
	dir, err := os.MkdirTemp("", "leaksafe-authapi-db-")
	if err != nil {
		return nil, err
	}
	c.Dir = dir
	cmd, err := command("server", c)
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
	s := &child{cmd: cmd, in: in, lines: bufio.NewReader(out), dir: dir}
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
func (s *child) load(c config) (report, error) {
	c.URL = s.url
	cmd, err := command("generator", c)
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
				fmt.Fprintf(f, "\rload %s%s", strings.Repeat("█", part), strings.Repeat("░", 40-part))
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
