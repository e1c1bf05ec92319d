package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// If roleEnv is set, the program runs as a child with this role. In a test it is the test binary.
// configEnv is the child's configuration, as JSON.
const (
	roleEnv   = "LEAKSAFE_PUSH_ROLE"
	configEnv = "LEAKSAFE_PUSH_CONFIG"
)

// A config is what a child must know.
type config struct {
	NATS     string // the broker's address
	FCM      string // the downstream's address
	Dir      string // where statuses and the broker's files go
	Limit    int64  // bytes of memory, for a worker
	AckWait  int64  // milliseconds until an unacknowledged message is delivered again
	LatencyM int64  // milliseconds that the downstream takes for a message
	Failures bool   // the downstream fails now and then
}

// A child is a process of this program. It prints a line when it is ready, and its last words as
// JSON after its standard input was closed.
type child struct {
	cmd   *exec.Cmd
	hold  io.Closer
	lines *bufio.Reader
	ready string // its first line
}

func startChild(role string, c config, env ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), roleEnv+"="+role, configEnv+"="+string(text)), env...)
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
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
	ch := &child{cmd: cmd, hold: hold, lines: bufio.NewReader(out)}
	line, err := ch.lines.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the %s did not start: %w", role, errors.Join(err, cmd.Wait()))
	}
	ch.ready = strings.TrimSpace(line)
	return ch, nil
}

// stop asks the child to end and decodes its last words. The exit code is 0,
// or what the child ended with.
func (c *child) stop(last any) (code int, err error) {
	_ = c.hold.Close()
	return c.wait(last)
}

func (c *child) wait(last any) (code int, err error) {
	words, err := io.ReadAll(c.lines)
	if werr := c.cmd.Wait(); werr != nil && !errors.As(werr, new(*exec.ExitError)) {
		return 0, werr
	}
	code = c.cmd.ProcessState.ExitCode()
	if err != nil || last == nil {
		return code, err
	}
	if err := json.Unmarshal(words, last); err != nil {
		return code, fmt.Errorf("last words %q, exit code %d: %w", words, code, err)
	}
	return code, nil
}

// kill ends the child as a crash would. It may have ended already.
func (c *child) kill() {
	_ = c.hold.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// runRole runs this process as a child.
func runRole(role string) error {
	var c config
	if err := json.Unmarshal([]byte(os.Getenv(configEnv)), &c); err != nil {
		return fmt.Errorf("%s: %w", configEnv, err)
	}
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // the parent closes our input
	switch role {
	case "broker":
		return runBroker(c)
	case "downstream":
		return runDownstream(c)
	case "worker":
		return runWorker(c)
	case "leaky":
		return runLeaky(c)
	}
	return fmt.Errorf("no such role: %q", role)
}

// untilParentIsGone blocks until the parent closes our input, or ends.
func untilParentIsGone() { _, _ = io.Copy(io.Discard, os.Stdin) }

// sayReady is a child's first line.
func sayReady(line string) { fmt.Println(line) }

// sayLast is a child's last words.
func sayLast(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }
