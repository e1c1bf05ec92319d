package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// Builds of one program, of which each lays something out in another way. The module's name has no
// dot: with -trimpath, files of the standard library are named as its own are.
var builds = []struct {
	name string
	env  []string
	args []string
	run  []string // what runs it
}{
	{"plain", nil, nil, nil},
	{"-trimpath", nil, []string{"-trimpath"}, nil},
	{"pointers of 4 bytes", []string{"GOOS=linux", "GOARCH=386"}, nil, nil},
	{"ARM, in an emulator", []string{"GOOS=linux", "GOARCH=arm"}, nil, []string{"qemu-arm"}},
	{"groups of a map keep keys and elements apart", []string{"GOTOOLCHAIN=go1.27.0", "GOEXPERIMENT=mapsplitgroup"}, nil, nil},
	{"no mark bits in pages", []string{"GOTOOLCHAIN=go1.26.8", "GOEXPERIMENT=nogreenteagc"}, nil, nil},
}

func TestBuilds(t *testing.T) {
	testgate.Seconds(t)
	if testing.Short() {
		t.Skip("builds programs with the go command")
	}
	for _, b := range builds {
		t.Run(b.name, func(t *testing.T) {
			if b.run != nil && !testgate.Long() {
				t.Skip("takes a minute; LEAKSAFE_LONG=1 runs it")
			}
			dir := t.TempDir()
			text, err := os.ReadFile("testdata/maps/main.go")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), text, 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module warehouse\n\ngo 1.26\n"), 0o600))
			exe, dump := filepath.Join(dir, "maps.exe"), filepath.Join(dir, "dump")
			build := exec.Command("go", append(append([]string{"build", "-o", exe}, b.args...), ".")...)
			build.Dir = dir
			build.Env = append(os.Environ(), b.env...)
			out, err := build.CombinedOutput()
			if err != nil && strings.Contains(string(out), "toolchain") {
				t.Skipf("this release of Go is not here: %s", out)
			}
			require.NoError(t, err, "%s", out)
			command := append(slices.Clone(b.run), exe, dump)
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Skip(err)
			}
			out, err = exec.Command(command[0], command[1:]...).CombinedOutput()
			if err != nil && len(b.env) > 0 && (runtime.GOOS != "linux" || runtime.GOARCH != "amd64") {
				t.Skipf("cannot run it here: %v %s", err, out)
			}
			if errors.Is(err, syscall.ENOEXEC) {
				t.Skipf("this kernel does not run such programs: %v", err)
			}
			require.NoError(t, err, "%s", out)
			entries := leakcheck(t, "why", dump, "-exe", exe, "-type", "main.entry", "-n", "0")
			for _, want := range []string{`main\.byName\["name\d+"\]`, `main\.byInt\[77777777777\]`, `main\.byByte\[7\]`, `main\.byBool\[true\]`,
				`main\.inPlace\[3\]\[99\]`, `main\.large\[\d+\]`, `main\.large\[(0|8589934592|\d*[1-9]\d*)\]`} {
				assert.Regexp(t, want, entries)
			}
			assert.NotContains(t, entries, "[…")
			assert.Contains(t, leakcheck(t, "why", dump, "-exe", exe, "-type", "[]byte"), `main.nested[42]["x"].buf`)
			page := leakcheck(t, "why", dump, "-exe", exe, "-type", "main.page")
			assert.Contains(t, page, "method value main.(*service).serve")
			assert.Contains(t, page, "→ main.service .page")
			assert.Contains(t, leakcheck(t, "why", dump, "-exe", exe, "-type", "main.service"), "retained by package variable main.handlers")
			joined := leakcheck(t, "why", dump, "-exe", exe, "-site", "main.join")
			assert.Regexp(t, `(warehouse|001)/main\.go:4\d`, joined)
			assert.NotContains(t, joined, "strings/builder.go")
		})
	}
}
