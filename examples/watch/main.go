// Command watch shows how a service that leaks loses nothing. The service sees its memory climb and
// says which line grows. Before it reaches its limit it stops taking work, drains its batches and
// ends, and a supervisor starts it again. The command is that supervisor, and the clients too.
//
//	go run ./examples/watch
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// If serveEnv is set, the program runs as the service. In a test it is the test binary.
const serveEnv = "LEAKSAFE_WATCH_SERVE"

func main() {
	if dir := os.Getenv(serveEnv); dir != "" {
		code, err := runService(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, "watch: service:", err)
		}
		os.Exit(code)
	}
	lives := flag.Int("lives", 4, "how many times the service is started")
	dir := flag.String("dir", "",
		"the folder for findings, profiles and the page (default: a new temporary folder)")
	pause := flag.Duration("pause", 0,
		"how long each of the four clients waits between two messages")
	flag.Usage = usage
	flag.Parse()
	if flag.NArg() > 0 || *lives < 1 {
		usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := supervise(ctx, os.Stdout, *dir, *lives, *pause)
	if err != nil && interrupted(ctx) {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "watch:", err)
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
		`watch starts a service that leaks 8 KiB of every message, under a limit of 128 MiB.
The service sees its memory climb, drains its batches and ends before it reaches the limit.
watch starts it again, and counts the messages that were accepted and not delivered: none.
It takes about 15 seconds.

`)
	flag.PrintDefaults()
}

// A life is one run of the service, as its clients and its exit code show it.
type life struct {
	accepted int64 // messages the service said it had taken
	code     int   // its exit code
	last     farewell
	page     []byte
}

// supervise starts the service lives times and sends messages until it ends. It fails if a message
// was taken and not delivered. A temporary folder is removed unless the page is in it.
func supervise(
	ctx context.Context, out io.Writer, dir string, lives int, pause time.Duration,
) (err error) {
	written := false
	if dir == "" {
		if dir, err = os.MkdirTemp("", "leaksafe-watch-"); err != nil {
			return err
		}
		defer func() {
			if !written {
				_ = os.RemoveAll(dir)
			}
		}()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fmt.Fprint(out,
		"A service with a limit of 128 MiB keeps 8 KiB of every message by mistake.\n\n")
	fmt.Fprintf(out, "life  taken  delivered  lost  memory at the end  exit code\n")
	var lost int64
	var l life
	for n := range lives {
		var err error
		if l, err = runLife(ctx, dir, pause); err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		gone := max(0, l.accepted-l.last.Delivered)
		lost += gone
		fmt.Fprintf(out, "%4d %6d %10d %5d %14d MiB %10d\n",
			n+1, l.accepted, l.last.Delivered, gone, l.last.Used>>20, l.code)
		if l.code != watch.ExitPressure {
			return fmt.Errorf("the service ended with code %d instead of %d",
				l.code, watch.ExitPressure)
		}
	}
	fmt.Fprintln(out)
	for _, f := range l.last.Findings {
		fmt.Fprintln(out, "found:", f)
	}
	page := filepath.Join(dir, "page.html")
	if err := os.WriteFile(page, l.page, 0o600); err != nil {
		return err
	}
	written = true
	fmt.Fprintf(out, "\nThe memory graph of the last life, with the mountains before it: %s\n",
		page)
	if lost != 0 {
		return fmt.Errorf("%d messages were lost", lost)
	}
	return nil
}

// runLife starts the service and sends it messages until it ends.
func runLife(ctx context.Context, dir string, pause time.Duration) (life, error) {
	self, err := os.Executable()
	if err != nil {
		return life{}, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), "GOMEMLIMIT=128MiB", serveEnv+"="+dir)
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe() // the service ends when its supervisor does
	if err != nil {
		return life{}, err
	}
	defer hold.Close()
	says, err := cmd.StdoutPipe()
	if err != nil {
		return life{}, err
	}
	if err := cmd.Start(); err != nil {
		return life{}, err
	}
	lines := bufio.NewReader(says)
	url, err := lines.ReadString('\n')
	if err != nil {
		return life{}, fmt.Errorf("the service did not start: %w", errors.Join(err, cmd.Wait()))
	}
	l := send(strings.TrimSpace(url), pause)
	words, err := io.ReadAll(lines)
	if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return life{}, err
	}
	l.code = cmd.ProcessState.ExitCode()
	if err := errors.Join(err, json.Unmarshal(words, &l.last)); err != nil {
		return life{}, fmt.Errorf("the service's last words were %q: %w", words, err)
	}
	return l, nil
}

// send posts messages, four at a time, until the service refuses one or has ended. It also requests
// the page now and then.
func send(url string, pause time.Duration) life {
	var l life
	var accepted atomic.Int64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	message := strings.Repeat("distinct message ", 512)
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for post(client, url+"/send", message) {
				accepted.Add(1)
				time.Sleep(pause)
			}
		}()
	}
	for running := 4; running > 0; {
		select {
		case <-done:
			running--
		default:
			if page, ok := get(client, url+"/debug/leaks/"); ok {
				l.page = page
			} else {
				<-done
				running--
			}
		}
	}
	l.accepted = accepted.Load()
	return l
}

func post(client *http.Client, url, message string) bool {
	resp, err := client.Post(url, "text/plain", strings.NewReader(message))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusAccepted
}

func get(client *http.Client, url string) ([]byte, bool) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	return page, err == nil && resp.StatusCode == http.StatusOK
}
