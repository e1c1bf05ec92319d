package leakcheck_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// whyChild runs one function of whyChildren in a process of its own, and returns what it printed.
func whyChild(t *testing.T, name string, env ...string) (string, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestWhyChild$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(append(os.Environ(), "WHY_CHILD="+name), env...)
	out, err := cmd.CombinedOutput()
	t.Logf("%s\n%s", name, out)
	return string(out), err
}

var whyChildren = map[string]func(t *testing.T){
	"why": func(t *testing.T) {
		e := &whyEntry{key: "x"}
		whyDefault.items["some key"] = e
		p, err := leakcheck.WhyAlive(e)
		fmt.Println(p, err)
	},
	"why after a leak in the goroutineleak profile": func(t *testing.T) {
		findLeak()
		leakcheck.LeakProfileFound()
		_, err := leakcheck.WhyAlive(&whyEntry{})
		fmt.Println(err)
	},
	"dump after a leak in the goroutineleak profile": func(t *testing.T) {
		findLeak()
		f, err := os.Create(filepath.Join(t.TempDir(), "dump"))
		require.NoError(t, err)
		debug.WriteHeapDump(f.Fd())
		fmt.Println("the dump is written")
	},
}

func findLeak() {
	if p := pprof.Lookup("goroutineleak"); p != nil {
		started := make(chan int)
		go func() { started <- 1; <-make(chan int) }()
		<-started
		p.WriteTo(os.Stdout, 1)
	}
}

// TestWhyChild is the other process of the tests below.
func TestWhyChild(t *testing.T) {
	f := whyChildren[os.Getenv("WHY_CHILD")]
	if f == nil {
		t.Skip("is run by other tests")
	}
	f(t)
}

func TestWhyAliveWithoutTheGoCommandSaysWhereAndHow(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	if _, err := symbols.Open(exe); !errors.Is(err, symbols.ErrStripped) {
		t.Skip("this executable has symbols, no go command is needed")
	}
	out, err := whyChild(t, "why", "PATH=")
	require.NoError(t, err)
	assert.Regexp(t, `retained by package variable at (bss|data)\+0x[0-9a-f]+ \(for its name: go test -ldflags='-s=false -w=false'\)`, out)
}

func TestDumpsAreDeleted(t *testing.T) {
	testgate.Seconds(t)
	dir := t.TempDir()
	_, err := whyChild(t, "why", "PATH=", "TMPDIR="+dir, "TMP="+dir, "LEAKSAFE_DUMP=")
	require.NoError(t, err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestDumpsAreKeptOnlyOnRequest(t *testing.T) {
	testgate.Seconds(t)
	dir := t.TempDir()
	_, err := whyChild(t, "why", "PATH=", "LEAKSAFE_DUMP=1", "LEAKSAFE_DIR="+dir)
	require.NoError(t, err)
	kept, err := filepath.Glob(filepath.Join(dir, "leakcheck-*.dump"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	s, err := os.Stat(kept[0])
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Equal(t, os.FileMode(0o600), s.Mode().Perm(), "a dump holds secrets")
	}
}

// The runtime throws in a heap dump once the goroutineleak profile has found a leak: no dump may be
// tried, but of a frozen copy.
func TestNoDumpAfterTheGoroutineLeakProfile(t *testing.T) {
	testgate.Seconds(t)
	// Without the go command nothing is known of the runtime's structures, so that there is no dump
	// of a frozen copy. It fails for the leak itself.
	out, _ := whyChild(t, "why after a leak in the goroutineleak profile", "PATH=")
	assert.Contains(t, out, "no path: the goroutineleak profile has found a leak in this process")
	if runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		out, _ = whyChild(t, "why after a leak in the goroutineleak profile")
		assert.Contains(t, out, "<nil>")
	}

	if pprof.Lookup("goroutineleak") == nil {
		t.Skip("this runtime has no goroutineleak profile")
	}
	out, _ = whyChild(t, "dump after a leak in the goroutineleak profile")
	if strings.Contains(out, "the dump is written") {
		t.Log("this runtime survives: the guard is no longer needed")
		return
	}
	assert.Contains(t, out, "dumpgs in STW - bad status")
}

func TestWhyAliveOfNil(t *testing.T) {
	_, err := leakcheck.WhyAlive[int](nil)
	assert.ErrorContains(t, err, "leakcheck: WhyAlive of a nil pointer")
}

// What only the caller holds is said to be the caller's.
func TestWhyAliveOfAnObjectThatOnlyTheCallerHolds(t *testing.T) {
	testgate.Seconds(t)
	k := &kept{}
	keptOnly = k // on the heap
	keptOnly = nil
	p, err := leakcheck.WhyAlive(k)
	require.NoError(t, err)
	assert.Contains(t, p.Answer, "retained by your test, in leakcheck_test.TestWhyAliveOfAnObjectThatOnlyTheCallerHolds")
	assert.Zero(t, k.id)
}

func TestWhyAliveOfAPackageVariable(t *testing.T) {
	testgate.Seconds(t)
	p, err := leakcheck.WhyAlive(&keptStruct)
	require.NoError(t, err)
	assert.Equal(t, "it is part of the package variable leakcheck_test.keptStruct, which lives as long as the program", p.Answer)
}

// Dumps of parallel tests wait for each other, and stop the world while others run. Each caller is
// told from those whose dump came before, and the symbols that all share are read by one at a time.
func TestWhyAliveFromManyGoroutines(t *testing.T) {
	testgate.Seconds(t)
	done := make(chan error)
	for range 4 {
		go func() {
			k := new(kept)
			p, err := leakcheck.WhyAlive(k)
			if err == nil && !strings.Contains(p.Answer, "retained by nothing but the calling goroutine, in leakcheck_test.TestWhyAliveFromManyGoroutines.func1") {
				err = errors.New(p.Answer)
			}
			runtime.KeepAlive(k)
			done <- err
		}()
	}
	for range 4 {
		assert.NoError(t, <-done)
	}
}
