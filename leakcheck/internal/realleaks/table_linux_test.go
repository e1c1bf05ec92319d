package realleaks

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The fixed versions are silent so many times, in so many processes.
const silentRuns, silentProcesses = 5, 4

// TestTable runs each test with the version that leaks, where it must fail and name the cause, and
// with the fixed one, where it must be silent. With -v it prints the table of docs/benchmarks.md.
func TestTable(t *testing.T) {
	if os.Getenv("LEAKSAFE_LONG") == "" {
		t.Skip("builds both versions and runs them for minutes: set LEAKSAFE_LONG=1, as .ci/long does")
	}
	leaky, fixed := build(t, "leaky.mod"), build(t, "go.mod")
	var table strings.Builder
	table.WriteString("| module, leaky → fixed | issue | named with the leaky version, processor time | silent with the fixed one |\n| --- | --- | --- | --- |\n")
	for _, l := range leaks {
		t.Run(l.test, func(t *testing.T) {
			text, failed, red := leaky.run(t, l.test, 1)
			require.True(t, failed, "%s leaks in this version, but the test passes:\n%s", l.module, text)
			for _, name := range l.names {
				assert.Contains(t, text, name)
			}
			var green time.Duration
			for range silentProcesses {
				text, failed, took := fixed.run(t, l.test, silentRuns)
				assert.False(t, failed, "%s is fixed in this version, but the test fails:\n%s", l.module, text)
				green += took / (silentRuns * silentProcesses)
			}
			fmt.Fprintf(&table, "| %s %s → %s | %s | 1 of 1, %.1f s | %d of %d, %.1f s each |\n", l.module, version(t, leaky.file, l.module), version(t, fixed.file, l.module),
				l.issue, red.Seconds(), silentRuns*silentProcesses, silentRuns*silentProcesses, green.Seconds())
		})
	}
	if testing.Verbose() {
		fmt.Print("\n" + table.String())
	}
}

// A binary is this package's tests, built with the versions of a file.
type binary struct{ file, path string }

func build(t *testing.T, file string) binary {
	t.Helper()
	b := binary{file, filepath.Join(t.TempDir(), "real.test")}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-o", b.path, ".")
	cmd.Env = append(os.Environ(), "GOFLAGS=-modfile="+file)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return b
}

// run runs one test so many times, in one process. It returns the processor time too.
func (b binary) run(t *testing.T, test string, count int) (text string, failed bool, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.path, "-test.run=^"+test+"$", "-test.v", fmt.Sprintf("-test.count=%d", count))
	cmd.Env = append(os.Environ(), "LEAKSAFE_LONG=", "GOFLAGS=-modfile="+b.file) // it builds itself again for the names of variables
	out, err := cmd.CombinedOutput()
	text = string(out)
	require.NoError(t, ctx.Err(), text)
	passes, fails := strings.Count("\n"+text, "\n--- PASS: "+test+" "), strings.Count("\n"+text, "\n--- FAIL: "+test+" ")
	require.Equal(t, count, passes+fails, "it did not run to its end: %v\n%s", err, text)
	return text, fails > 0, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// version is the version of a module that a file requires.
func version(t *testing.T, file, module string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == module {
			return f[1]
		}
	}
	t.Fatalf("%s does not require %s", file, module)
	return ""
}
