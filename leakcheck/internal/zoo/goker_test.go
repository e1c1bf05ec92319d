package zoo_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// kernelMain takes the place of the kernels' own main: a test runs one kernel
// under one judge.
const kernelMain = `package main

import (
	"os"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck"
	"go.uber.org/goleak"
)

const yieldCount = 10 // which the kernels use

var kernels = map[string]func(){}

func register(name string, f func()) { kernels[name] = f }

func TestKernel(t *testing.T) {
	run := kernels[os.Getenv("LEAKSAFE_KERNEL")]
	if os.Getenv("LEAKSAFE_ZOO_JUDGE") == "goleak" {
		ignore := goleak.IgnoreCurrent()
		run()
		if err := goleak.Find(ignore); err != nil {
			t.Error(err)
		}
		return
	}
	leakcheck.Check(t, leakcheck.Grace(500*time.Millisecond))
	run()
}
`

// goker is where Go keeps 62 kernels of real concurrency bugs, from
// "GoBench: A Benchmark Suite of Real-World Go Concurrency Bugs" (CGO 2021).
func goker(t *testing.T) string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no go command: ", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "src/runtime/testdata/testgoroutineleakprofile/goker")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("this Go comes without the kernels: ", err)
	}
	return dir
}

var kernelName = regexp.MustCompile(`register\("(\w+)"`)

// buildKernels compiles a copy of the kernels, as a package of this module
// that exists only in the build's overlay.
func buildKernels(t *testing.T, from string) (bin string, names []string) {
	_, self, _, _ := runtime.Caller(0)
	virtual := filepath.Join(filepath.Dir(self), "goker")
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	add := func(name, text string) {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		overlay.Replace[filepath.Join(virtual, name)] = file
	}
	files, err := filepath.Glob(filepath.Join(from, "*.go"))
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		m := kernelName.FindSubmatch(text)
		if m == nil || string(m[1]) == "Kubernetes1321" { // has a race: Go leaves it out too
			continue
		}
		names = append(names, string(m[1]))
		// What the runtime's profile says is printed and not needed here.
		add(filepath.Base(f), strings.ReplaceAll(string(text), `"goroutineleak"`, `"goroutine"`))
	}
	add("kernel_test.go", kernelMain)
	spec, err := json.Marshal(overlay)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), spec, 0o600))
	bin = filepath.Join(dir, "goker.test")
	cmd := exec.Command("go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", bin, "./goker")
	cmd.Dir = filepath.Dir(self)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return bin, names
}

// TestGoKer counts the kernels whose leak each judge finds. Some kernels leak
// in a few runs of a hundred only: each gets the same number of tries.
func TestGoKer(t *testing.T) {
	testgate.Minutes(t)
	bin, names := buildKernels(t, goker(t))
	const tries = 20
	judges := []string{"leakcheck", "goleak"}
	var mu sync.Mutex
	found := map[string][]string{}
	missed := map[string][]string{}
	t.Run("kernels", func(t *testing.T) {
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				for _, judge := range judges {
					leaks := leaksIn(t, bin, name, judge, tries)
					mu.Lock()
					if leaks {
						found[judge] = append(found[judge], name)
					} else {
						missed[judge] = append(missed[judge], name)
					}
					mu.Unlock()
				}
			})
		}
	})
	for _, judge := range judges {
		fmt.Printf("GoKer: %s finds %d of %d kernels; missed: %v\n", judge, len(found[judge]), len(names), missed[judge])
	}
	assert.GreaterOrEqual(t, len(names), 62)
	assert.GreaterOrEqual(t, len(found["leakcheck"]), 60)
	assert.GreaterOrEqual(t, len(found["leakcheck"]), len(found["goleak"])-1, "a kernel more or less is chance")
}

// leaksIn runs a kernel until its judge finds a leak.
func leaksIn(t *testing.T, bin, name, judge string, tries int) bool {
	for range tries {
		cmd := exec.Command(bin, "-test.run=^TestKernel$", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), "LEAKSAFE_KERNEL="+name, envJudge+"="+judge, "PATH=")
		out, err := cmd.CombinedOutput()
		if err == nil {
			continue
		}
		require.Contains(t, string(out), "--- FAIL: TestKernel", "the kernel itself failed:\n%s", out)
		return true
	}
	return false
}
