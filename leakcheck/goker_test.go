package leakcheck_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// GoKer: the kernels of real leaks that Go ships as test data. Each is run in a
// process of its own under Check and under goleak. goleak finds 60 of 62, and
// Check must find no fewer; some kernels leak only now and then, and get
// three attempts.
func TestGoKer(t *testing.T) {
	if os.Getenv("LEAKSAFE_LONG") == "" {
		t.Skip("builds and runs 60 programs: set LEAKSAFE_LONG=1")
	}
	source := filepath.Join(goroot(t), "src", "runtime", "testdata", "testgoroutineleakprofile", "goker")
	kernels, err := filepath.Glob(filepath.Join(source, "*.go"))
	require.NoError(t, err)
	if len(kernels) == 0 {
		t.Skip("this Go ships no kernels")
	}
	dir := t.TempDir()
	var names []string
	for _, file := range kernels {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		// Some Go releases lack the profile; what it says is not the question here.
		text = []byte(strings.ReplaceAll(string(text), `pprof.Lookup("goroutineleak")`, `pprof.Lookup("threadcreate")`))
		for _, m := range registration.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600))
	}
	binary := buildKernels(t, dir)
	slices.Sort(names)

	found := map[string][]string{}
	var mu sync.Mutex
	var group sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, name := range names {
		for _, judge := range []string{"Check", "goleak"} {
			group.Go(func() {
				free <- struct{}{}
				defer func() { <-free }()
				if !kernelLeaks(binary, judge, name) {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				found[judge] = append(found[judge], name)
			})
		}
	}
	group.Wait()
	t.Logf("of %d kernels: Check found %d, goleak %d", len(names), len(found["Check"]), len(found["goleak"]))
	for _, name := range names {
		if !slices.Contains(found["Check"], name) {
			t.Logf("Check missed %s", name)
		}
		if !slices.Contains(found["goleak"], name) {
			t.Logf("goleak missed %s", name)
		}
	}
	assert.GreaterOrEqual(t, len(found["Check"]), len(names)-2)
	assert.GreaterOrEqual(t, len(found["Check"]), len(found["goleak"]))
}

var registration = regexp.MustCompile(`register\("(\w+)"`)

const kernelTest = `package main

import (
	"os"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck"
	"go.uber.org/goleak"
)

var kernels = map[string]func(){}

func register(name string, f func()) { kernels[name] = f }

func TestKernel(t *testing.T) {
	if os.Getenv("JUDGE") == "goleak" {
		defer goleak.VerifyNone(t)
	} else {
		leakcheck.Check(t, leakcheck.Grace(500*time.Millisecond))
	}
	kernels[os.Getenv("KERNEL")]()
}
`

func buildKernels(t *testing.T, dir string) (binary string) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	mod := "module goker\n\ngo 1.26.0\n\nrequire (\n\tgithub.com/leaksafe/leaksafe v0.0.0\n\tgo.uber.org/goleak v1.3.0\n)\n\nreplace github.com/leaksafe/leaksafe => " + root + "\n"
	for name, text := range map[string]string{"go.mod": mod, "go.sum": string(sums), "kernel_test.go": kernelTest} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	binary = filepath.Join(dir, "kernels.test")
	build := exec.Command("go", "test", "-mod=mod", "-vet=off", "-c", "-o", binary, ".")
	build.Dir = dir
	text, err := build.CombinedOutput()
	require.NoError(t, err, string(text))
	return binary
}

// kernelLeaks reports whether judge sees the kernel's leak in one of three runs.
// One that hangs has deadlocked its test, too, and is not counted.
func kernelLeaks(binary, judge, name string) bool {
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		cmd := exec.CommandContext(ctx, binary, "-test.run=^TestKernel$")
		cmd.Env = append(os.Environ(), "JUDGE="+judge, "KERNEL="+name)
		text, _ := cmd.CombinedOutput()
		cancel()
		said := string(text)
		if strings.Contains(said, "outlive") || strings.Contains(said, "found unexpected goroutines") {
			return true
		}
	}
	return false
}

func goroot(t *testing.T) string {
	text, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}
