package symbols_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

const program = `package main

import "fmt"

type session struct{ next *session; data [3][]byte }

var open = map[string]*session{}

var zero [10]int

func main() { fmt.Println(open, zero) }
`

// build compiles the program for a system; every format is read on every system.
func build(t *testing.T, goos, goarch string, flags ...string) string {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	out := filepath.Join(dir, "program")
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, filepath.Join(dir, "main.go"))...)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=")
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", text)
	return out
}

func TestEveryFormat(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH")
	}
	for _, system := range []struct{ goos, goarch string }{{"linux", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"linux", "386"}} {
		t.Run(system.goos+" "+system.goarch, func(t *testing.T) {
			if system.goos+system.goarch != runtime.GOOS+runtime.GOARCH {
				testgate.Seconds(t) // builds the standard library for another system
			}
			testFormat(t, build(t, system.goos, system.goarch))
		})
	}
}

func testFormat(t *testing.T, exe string) {
	table, err := symbols.Open(exe)
	require.NoError(t, err)
	data, dataLen := table.Segment("data")
	bss, bssLen := table.Segment("bss")

	const moved = 0x10000 // by an address space that is laid out at random
	require.NoError(t, table.Place(data+moved, dataLen, bss+moved, bssLen))
	assert.ErrorContains(t, table.Place(data, dataLen+8, bss, bssLen), "not the same build")
	require.NoError(t, table.Place(data+moved, dataLen, bss+moved, bssLen))

	at, ok := table.Address("main.open", false)
	require.True(t, ok)
	s, off, ok := table.Data(at, false)
	require.True(t, ok)
	assert.Equal(t, "main.open", s.Name)
	assert.Zero(t, off)

	types, err := table.Types()
	require.NoError(t, err)
	typ, ok := types.Variable("main.open")
	require.True(t, ok)
	assert.Equal(t, "map[string]*main.session", symbols.Name(typ))

	entry, ok := table.Entry("main.main")
	require.True(t, ok)
	require.True(t, table.PlaceText("main.main", entry+moved))
	line := table.Line(entry + moved + 4)
	assert.Equal(t, "main.main", line.Func)
	assert.EqualValues(t, entry+moved, line.Entry)

	assert.True(t, table.Begins(entry+moved))
	assert.False(t, table.Begins(entry+moved+4))
	code, ok := table.Text(entry + moved)
	assert.True(t, ok)
	assert.Equal(t, entry, code)
	table.OtherCode()
	_, ok = table.Text(entry + moved)
	assert.False(t, ok, "lines of other code say nothing")
}

func TestStripped(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH")
	}
	_, err := symbols.Open(build(t, "linux", "amd64", "-ldflags=-s -w"))
	assert.ErrorIs(t, err, symbols.ErrStripped)
}

func TestOpenOfWhatIsNoExecutable(t *testing.T) {
	_, err := symbols.Open("symbols_test.go")
	assert.ErrorContains(t, err, "symbols_test.go is no ELF, Mach-O or PE executable")
	_, err = symbols.Open("nowhere")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestShort(t *testing.T) {
	for name, want := range map[string]string{
		"example.com/a/cache.Store":                         "cache.Store",
		"map[string]*example.com/a/cache.entry":             "map[string]*cache.entry",
		"example.com/a/cache.(*Store).Put":                  "cache.(*Store).Put",
		"example.com/cache/v2.Store":                        "cache.Store",
		"gopkg.in/yaml%2ev3.Node":                           "yaml.v3.Node",
		"sync/atomic.Pointer[example.com/a/cache.Store]":    "atomic.Pointer[cache.Store]",
		"noalg.map.group[string]*example.com/a/cache.entry": "map.group[string]*cache.entry",
		"struct { a *int; b example.com/a.T }":              "struct { a *int; b a.T }",
		"main.main.func1":                                   "main.main.func1",
	} {
		assert.Equal(t, want, symbols.Short(name))
	}
}
