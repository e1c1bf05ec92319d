package leakcheck_test

import (
	"flag"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/leaksafe/leaksafe/leakcheck"
)

// TestMain gives this package's tests goleak's own verdict: a bug of Main must
// not hide itself. In a child process (see child) Main is what is tested.
func TestMain(m *testing.M) {
	switch os.Getenv("LEAKCHECK_CHILD") {
	case "":
		os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // a second for each child under -race
		goleak.VerifyTestMain(m)
	case "main", "bare":
		background(os.Getenv("LEAKCHECK_BACKGROUND"))
	}
	var shared []leakcheck.Option
	if how := os.Getenv("LEAKCHECK_SHARED"); how != "" {
		shared = startShared(how == "use")
		if how == "start" {
			shared = nil
		}
	}
	switch os.Getenv("LEAKCHECK_CHILD") {
	case "main":
		if file := os.Getenv("LEAKCHECK_TESTLOG"); file != "" {
			flag.Set("test.testlogfile", file)
		}
		leakcheck.Main(m, append(childOptions(), shared...)...)
	case "bare":
		os.Exit(m.Run())
	}
}

// childTest skips a test that is meant to fail, but for the child process that
// is started to see it fail.
func childTest(t testing.TB) {
	if only := os.Getenv("LEAKCHECK_ONLY"); os.Getenv("LEAKCHECK_CHILD") == "" || only != "" && only != t.Name() {
		t.Skip("runs in a child process only")
	}
}

type outcome struct {
	text   string
	failed []string // names of the tests that failed, sorted
	code   int
}

// assertOnlyTheRunFails checks that no test failed, and that Main failed with this text.
func assertOnlyTheRunFails(t *testing.T, o outcome, text string) {
	t.Helper()
	assert.Empty(t, o.failed)
	assert.Equal(t, 1, o.code)
	assert.Contains(t, o.text, text)
}

var failLine = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// child runs the tests that match pattern in a process of their own: with
// leakcheck.Main for mode "main", without for "bare".
func child(t *testing.T, mode, pattern string, env ...string) outcome {
	t.Helper()
	return start(t, mode, pattern, env...)()
}

// start is child for several at once, which mostly wait for a grace to end. The
// function it returns waits for the child.
func start(t *testing.T, mode, pattern string, env ...string) func() outcome {
	run, skip := "^("+pattern+")$", ""
	if pattern == "" { // without -run: LEAKCHECK_ONLY says which
		run, skip = "", "^(Test([^C]|C([^h]|h[^i]))|Fuzz|Example)"
	}
	cmd := exec.Command(os.Args[0], "-test.run="+run, "-test.skip="+skip, "-test.bench=^("+pattern+")$", "-test.benchtime=2x", "-test.v", "-test.parallel=8", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), "LEAKCHECK_CHILD="+mode, "LEAKSAFE_BASELINE=", "GITHUB_ACTIONS=")
	cmd.Env = append(cmd.Env, env...)
	var text []byte
	var err error
	var running sync.WaitGroup
	running.Go(func() { text, err = cmd.CombinedOutput() })
	t.Cleanup(running.Wait)
	return func() outcome {
		t.Helper()
		running.Wait()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		o := outcome{text: strings.ReplaceAll(string(text), "\r\n", "\n"), code: cmd.ProcessState.ExitCode()}
		for _, m := range failLine.FindAllStringSubmatch(o.text, -1) {
			o.failed = append(o.failed, m[1])
		}
		slices.Sort(o.failed)
		t.Logf("child %s %s: exit code %d\n%s", mode, pattern, o.code, indent(o.text))
		return o
	}
}

func indent(s string) string { return "\t" + strings.ReplaceAll(s, "\n", "\n\t") }

func childOptions() []leakcheck.Option {
	return append([]leakcheck.Option{short}, goleakOptions(os.Getenv("LEAKCHECK_OPTIONS"))...)
}
