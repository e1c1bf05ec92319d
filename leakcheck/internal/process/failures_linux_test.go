//go:build linux && (amd64 || arm64)

package process

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/failures.txt anew")

var tempFile = regexp.MustCompile(`/\S*/(core|missing)`)

// TestFailures has every error text of the package in one file, to be read.
func TestFailures(t *testing.T) {
	var all strings.Builder
	show := func(when string, err error) {
		require.Error(t, err, when)
		fmt.Fprintf(&all, "# %s\n%s\n\n", when, tempFile.ReplaceAllString(err.Error(), "$1"))
	}
	for _, row := range reasons {
		show(row.name, explain(files(t, row.proc), 7, row.err))
	}
	_, err := Open(os.Getpid())
	show("the command itself", errors.New(strings.ReplaceAll(err.Error(), fmt.Sprint(os.Getpid()), "7")))
	_, err = Open(4194304)
	show("no such process", err)
	show("memory that is not there", readError(0x1000, 8, syscall.EFAULT))
	show("it ended while it was read", readError(0x1000, 8, syscall.ESRCH))
	show("another error while it was read", readError(0x1000, 8, syscall.EINVAL))

	p := &Process{}
	defer p.Close()
	_, err = p.inFile(1<<20, filepath.Join(t.TempDir(), "missing"))
	show("no file for the copy", errors.New(regexp.MustCompile(`leakcheck-\d+`).ReplaceAllString(err.Error(), "leakcheck-1")))
	_, err = p.take(1 << 62)
	show("no memory for the copy", errors.New(regexp.MustCompile(`\(\d+ MB\)`).ReplaceAllString(err.Error(), "(4096 MB)")))

	core := func(when string, b []byte) {
		file := filepath.Join(t.TempDir(), "core")
		require.NoError(t, os.WriteFile(file, b, 0o600))
		c, err := OpenCore(file)
		if err == nil {
			defer c.Close()
			if _, err = c.View(0x10ff0, 8, nil); err == nil {
				_, err = c.Entry()
			}
		}
		show(when, err)
	}
	core("a core that is another file", []byte("text"))
	core("a core of another processor", aCore(8, nil))
	core("a core that is cut", aCore(62, nil)[:3000])
	core("a core without the place of its executable", aCore(62, nil))

	file := filepath.Join("testdata", "failures.txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(all.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), all.String(), "go test -run TestFailures -update writes it anew")
}
