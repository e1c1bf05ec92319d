package ownheap_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/frozen"
	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
)

func init() { ownheap.InTest(testing.CoverMode) }

// A service that imports this package links neither package testing nor its flags.
func TestServiceHasNoTesting(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH")
	}
	out, err := exec.Command("go", "list", "-deps", "github.com/leaksafe/leaksafe/leakcheck/watch").Output()
	require.NoError(t, err)
	packages := strings.Fields(string(out))
	assert.Contains(t, packages, "github.com/leaksafe/leaksafe/leakcheck/internal/ownheap")
	for _, p := range []string{"testing", "flag", "github.com/stretchr/testify/assert"} {
		assert.NotContains(t, packages, p)
	}
}

func inDir(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	return files
}

// The file has no name from before the dump is written: a process that dies leaves nothing behind.
func TestDumpHasNoName(t *testing.T) {
	testgate.Seconds(t) // the first dump builds this test again
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	d, err := ownheap.Take(ownheap.Options{})
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Empty(t, inDir(t, dir))
	}
	assert.NotZero(t, d.Len())
	d.Close()
	assert.Empty(t, inDir(t, dir))
}

func TestDumpIsKeptOnRequest(t *testing.T) {
	testgate.Seconds(t) // the first dump builds this test again
	dir := t.TempDir()
	d, err := ownheap.Take(ownheap.Options{Keep: dir})
	require.NoError(t, err)
	d.Close()
	assert.Equal(t, []string{d.File()}, inDir(t, dir))
}

func TestNoPlaceForADump(t *testing.T) {
	_, err := ownheap.Take(ownheap.Options{Keep: filepath.Join(t.TempDir(), "missing")})
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "cannot write a heap dump")
}

// The kernel makes a frozen copy where it can. Its objects are those of a dump that stops the
// world.
func TestDumpIsOfAFrozenCopy(t *testing.T) {
	testgate.Seconds(t) // the first dump builds this test again
	d, err := ownheap.Take(ownheap.Options{})
	require.NoError(t, err)
	d.Close()
	d, err = ownheap.Take(ownheap.Options{}) // now the symbols are on the heap too
	require.NoError(t, err)
	stood, why := d.Frozen()
	objects := d.Len()
	d.Close()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		assert.ErrorIs(t, why, frozen.ErrUnsupported)
		return
	}
	require.NoError(t, why)
	assert.NotZero(t, stood)

	c, err := frozen.Take(time.Minute, nil) // then there cannot be another
	require.NoError(t, err)
	defer c.Close()
	d, err = ownheap.Take(ownheap.Options{})
	require.NoError(t, err)
	_, why = d.Frozen()
	assert.ErrorIs(t, why, frozen.ErrBusy)
	assert.InEpsilon(t, d.Len(), objects, 0.05)
	d.Close()
	_, err = ownheap.Take(ownheap.Options{OnlyFrozen: true})
	assert.ErrorIs(t, err, frozen.ErrBusy)
}

// After the goroutineleak profile has found something, the runtime dies when it writes a dump
// itself.
func TestNothingIsDeadlyToAFrozenCopy(t *testing.T) {
	testgate.Seconds(t) // the first dump builds this test again
	lift := ownheap.Forbid()
	defer lift()
	d, err := ownheap.Take(ownheap.Options{})
	if errors.Is(err, frozen.ErrUnsupported) {
		assert.ErrorContains(t, err, "the runtime would die")
		return
	}
	require.NoError(t, err)
	d.Close()
	c, err := frozen.Take(time.Minute, nil)
	require.NoError(t, err)
	defer c.Close()
	_, err = ownheap.Take(ownheap.Options{})
	assert.ErrorContains(t, err, "the runtime would die")
}

// A service whose goroutines run while it is copied: in every dump each known object is found, and
// the variable that holds it. 3 dumps, and 200 under LEAKSAFE_LONG.
func TestDumpsOfABusyService(t *testing.T) {
	testgate.Seconds(t)
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("no frozen copies here")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH: cannot build the service")
	}
	exe := filepath.Join(t.TempDir(), "busy")
	out, err := exec.Command("go", "build", "-o", exe, "./testdata/busy").CombinedOutput()
	require.NoError(t, err, "%s", out)
	n := strconv.Itoa(testgate.Count(1, 3, 200))
	out, err = exec.Command(exe, n).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "0 of "+n+" failed\n", string(out))
}
