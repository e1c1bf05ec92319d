package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wholeEnv makes the test's binary the whole program.
const wholeEnv = "LEAKSAFE_WATCH_WHOLE"

// TestASignalLeavesNothing ends the program while it starts and while it measures. Its children
// have its standard error: the pipe ends when all of them have.
func TestASignalLeavesNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals to another process")
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		for _, after := range []time.Duration{0, time.Second} {
			t.Run(sig.String()+" after "+after.String(), func(t *testing.T) {
				t.Parallel()
				temp := t.TempDir()
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				// Only a test's binary is built again for its names, in a folder that a killed
				// child leaves. Without a go command there is no such build.
				cmd.Env = append(os.Environ(), wholeEnv+"=1", "TMPDIR="+temp, "PATH=")
				open, err := cmd.StderrPipe()
				require.NoError(t, err)
				require.NoError(t, cmd.Start())
				require.Eventually(t, func() bool {
					folders, err := filepath.Glob(filepath.Join(temp, "leaksafe-watch-*"))
					return err == nil && len(folders) > 0
				}, time.Minute, time.Millisecond, "the program makes its folder")
				time.AfterFunc(after, func() { _ = cmd.Process.Signal(sig) })
				text, err := io.ReadAll(open)
				require.NoError(t, err)
				require.Error(t, cmd.Wait())
				assert.Equal(t, "watch: interrupted\n", string(text))
				assert.Equal(t, 1, cmd.ProcessState.ExitCode())
				left, err := os.ReadDir(temp)
				require.NoError(t, err)
				assert.Empty(t, left)
			})
		}
	}
}
