package zoo_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/internal/zoo"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// Each judgement is a run of this test binary as a child process, with the
// test TestJudge alone, as a user's test would be: it fails when the judge
// finds a leak, and what it prints is what a user would read.
const (
	envCase  = "LEAKSAFE_ZOO_CASE"
	envFixed = "LEAKSAFE_ZOO_FIXED"
	envJudge = "LEAKSAFE_ZOO_JUDGE"
	envURL   = "LEAKSAFE_ZOO_URL"
)

// Beside leakcheck's detectors, these judge too.
const (
	judgeGoleak  zoo.Detector = "goleak"
	judgeProfile zoo.Detector = "goroutineleak"
)

// A verdict is what one judge said in a number of runs.
type verdict struct {
	runs, found, named int
	text               string // of the last finding
}

func (v *verdict) add(o verdict) {
	v.runs += o.runs
	v.found += o.found
	v.named += o.named
	if o.found > 0 || v.found == 0 {
		v.text = o.text
	}
}

// A world is what the children need.
type world struct {
	symbols string // the test binary with symbols, see withSymbols
	url     string // of the server, see upstream
}

// judge runs a case under one detector, count times in one child process.
func judge(t *testing.T, w world, c zoo.Case, fixed bool, by zoo.Find, count int) verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	exe := os.Args[0]
	if !fixed && c.RetainedBy != "" && ofHeap(by) { // reading symbols takes time
		exe = cmp.Or(w.symbols, exe)
	}
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestJudge$", "-test.v", fmt.Sprintf("-test.count=%d", count))
	cmd.Env = append(os.Environ(),
		envCase+"="+c.Name, envFixed+"="+fmt.Sprint(fixed), envJudge+"="+string(by.By), envURL+"="+w.url,
		"LEAKSAFE_DIR=", "LEAKSAFE_BASELINE=", "GITHUB_ACTIONS=",
		"PATH=") // so that it does not build once more, for the names of variables: withSymbols has
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	v := verdict{text: string(out)}
	v.found = strings.Count("\n"+v.text, "\n--- FAIL: TestJudge ")
	v.runs = v.found + strings.Count("\n"+v.text, "\n--- PASS: TestJudge ")
	if v.found > 0 && strings.Contains(v.text, by.Names) && (w.symbols == "" || retains(v.text, c, by)) {
		v.named = v.found
	}
	require.Equal(t, count, v.runs, "%s by %s did not run to its end:\n%s", c.Name, by.By, out)
	return v
}

// ofHeap says whether what is found is an object, and the text can say what retains it.
func ofHeap(by zoo.Find) bool {
	return by.By == zoo.Objects || by.By == zoo.Bytes || by.By == zoo.Track
}

// retains says whether everything that is said to retain something is what the case planted.
func retains(text string, c zoo.Case, by zoo.Find) bool {
	if c.RetainedBy == "" || !ofHeap(by) {
		return true
	}
	said := 0
	for line := range strings.Lines(text) {
		before, words, ok := strings.Cut(line, "retained by ")
		if ok && strings.TrimSpace(before) == "" {
			said++
			if !strings.Contains(words, c.RetainedBy) {
				return false
			}
		}
	}
	return said > 0
}

// hops counts the steps of the paths in a text, and those without a type and a name.
func hops(text string) (all int, anonymous []string) {
	for line := range strings.Lines(text) {
		hop, ok := strings.CutPrefix(strings.TrimSpace(line), "→ ")
		if !ok {
			continue
		}
		if all++; anonymousHop.MatchString(hop) {
			anonymous = append(anonymous, hop)
		}
	}
	return all, anonymous
}

var anonymousHop = regexp.MustCompile(`^(object|the object)( of|$| \(|: \d)|^closure($|  )`)

// withSymbols builds this test binary once more, as it is but with the names of variables, which go
// test leaves out. It is empty where there is no go command, and under -race, where reading the
// names takes ten times as long.
func withSymbols(t *testing.T) string {
	goCmd, err := exec.LookPath("go")
	info, ok := debug.ReadBuildInfo()
	if err != nil || ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Log("nothing is asked about what retains a leak: no go command, or -race")
		return ""
	}
	bin := filepath.Join(t.TempDir(), "zoo.test")
	out, err := exec.Command(goCmd, "test", "-c", "-vet=off", "-o", bin).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return bin
}

// TestJudge is the child: one case, one judge.
func TestJudge(t *testing.T) {
	name := os.Getenv(envCase)
	if name == "" {
		t.Skip("the other tests run this one in child processes")
	}
	c := find(t, name)
	setup, opts := c.Leak, []leakcheck.Option{leakcheck.Grace(300 * time.Millisecond)} // a leak does not end later
	if os.Getenv(envFixed) == "true" {
		setup, opts = c.Fixed, nil
	}
	env := &zoo.Env{TB: t, URL: os.Getenv(envURL), Track: func(*zoo.Object) {}}
	switch by := zoo.Detector(os.Getenv(envJudge)); by {
	case judgeGoleak:
		ignore := goleak.IgnoreCurrent()
		operate(t, env, setup)
		if err := goleak.Find(ignore); err != nil {
			t.Error(err)
		}
	case judgeProfile:
		operate(t, env, setup)
		if leaked := leakedGoroutines(t); leaked != "" {
			t.Error(leaked)
		}
	case zoo.Track:
		leakcheck.Check(t, opts...)
		env.Track = func(o *zoo.Object) { leakcheck.Track(t, o) }
		operate(t, env, setup)
	case zoo.Check:
		leakcheck.Check(t, opts...)
		operate(t, env, setup)
	default:
		leakcheck.NoGrowth(t, setup(env), append(opts, options(c)...)...)
	}
}

// operate runs a case as a test of three operations, with its cleanups.
func operate(t *testing.T, env *zoo.Env, setup zoo.Setup) {
	if os.Getenv(envJudge) == string(zoo.Check) || os.Getenv(envJudge) == string(zoo.Track) {
		run(setup(env)) // in the test that Check watches
		return
	}
	t.Run("operations", func(t *testing.T) {
		env.TB = t
		run(setup(env))
	})
}

func run(op func()) {
	for range 3 {
		op()
	}
}

func find(t *testing.T, name string) zoo.Case {
	for _, c := range zoo.Cases() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no case %q", name)
	return zoo.Case{}
}

func options(c zoo.Case) (opts []leakcheck.Option) {
	if c.Iterations > 0 {
		opts = append(opts, leakcheck.Iterations(c.Iterations))
	}
	if c.AllowPerOp > 0 {
		opts = append(opts, leakcheck.AllowPerOp(c.AllowPerOp))
	}
	return opts
}

// leakedGoroutines asks the runtime which goroutines nothing can ever wake.
func leakedGoroutines(t *testing.T) string {
	p := pprof.Lookup("goroutineleak")
	if p == nil {
		t.Fatal("this Go has no goroutineleak profile")
	}
	for range 10 {
		runtime.Gosched()
	}
	time.Sleep(20 * time.Millisecond) // what ends by itself may end
	var b bytes.Buffer
	require.NoError(t, p.WriteTo(&b, 2))
	var leaked []string
	for g := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(g, "(leaked)") {
			leaked = append(leaked, g)
		}
	}
	return strings.Join(leaked, "\n\n")
}

// upstream is the server of the cases that need one; the cases run in other
// processes.
func upstream(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}
