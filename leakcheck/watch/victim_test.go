//go:build linux && (amd64 || arm64)

package watch_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// group makes a cgroup with a memory limit, and returns the file to which a process writes to join
// it; "" where that is not allowed.
func group(t *testing.T, limit int64) string {
	for _, v := range []struct{ root, limit, swap string }{
		{"/sys/fs/cgroup", "memory.max", "memory.swap.max"},
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.swappiness"},
	} {
		if _, err := os.Stat(filepath.Join(v.root, "cgroup.procs")); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(v.root, "leaksafe-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() {
			for end := time.Now().Add(10 * time.Second); syscall.Rmdir(dir) != nil && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond) // the kernel lets go of the group a moment after its last process
			}
		})
		if os.WriteFile(filepath.Join(dir, v.limit), []byte(strconv.FormatInt(limit, 10)), 0) != nil {
			continue
		}
		_ = os.WriteFile(filepath.Join(dir, v.swap), []byte("0"), 0) // or it would be slowed down instead of killed
		return filepath.Join(dir, "cgroup.procs")
	}
	return ""
}

// resident is a process's memory, in bytes.
func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	n, _ := strconv.ParseInt(fields[1], 10, 64)
	return n * int64(os.Getpagesize())
}

// killed runs a victim until the kernel kills it in its cgroup, or where there is none until this
// test does, as soon as it has used its limit.
func killed(t *testing.T, exe, dir, message string, limit, start int64, rate int) {
	args := []string{dir, message, "0", strconv.Itoa(rate), strconv.FormatInt(limit/100*start/(32<<10), 10)}
	procs := group(t, limit)
	if procs == "" {
		args[2] = strconv.FormatInt(limit, 10)
	} else {
		args = append(args, procs)
	}
	cmd := exec.Command(exe, args...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "started", lines.Text())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines.Scan() {
			t.Log(lines.Text())
		}
	}()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-done:
		default:
			if time.Now().After(end) || procs == "" && resident(cmd.Process.Pid) > limit {
				_ = cmd.Process.Kill()
			}
			continue
		}
		break
	}
	require.Error(t, cmd.Wait())
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Signaled() && status.Signal() == syscall.SIGKILL, "%v", status)
}

// victim builds the program that is killed. The test runs beside others from here on.
func victim(t *testing.T) string {
	testgate.Seconds(t)
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH: cannot build the victim")
	}
	exe := filepath.Join(t.TempDir(), "victim")
	out, err := exec.Command("go", "build", "-o", exe, "./testdata/victim").CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Parallel()
	return exe
}

// What retains the memory is known after the kernel has killed the process: in all of 20 runs under
// LEAKSAFE_LONG, and 1 otherwise.
func TestEvidenceOutlivesTheKill(t *testing.T) {
	exe := victim(t)
	for i := range testgate.Count(1, 1, 20) {
		dir, message := t.TempDir(), filepath.Join(t.TempDir(), "termination-log")
		killed(t, exe, dir, message, 768<<20, 75, 12)
		text, err := os.ReadFile(message)
		require.NoError(t, err)
		t.Logf("run %d:\n%s", i, text)
		assert.Contains(t, string(text), "memory is near the limit of 768 MiB")
		assert.Contains(t, string(text), "1. main.open (variable) retains ")
		assert.Contains(t, string(text), "main.session")
		assert.Contains(t, string(text), "allocated at main.(*store).login:")
		for _, kind := range []string{"heap.pb.gz", "goroutine.pb.gz", "retained.pb.gz", "redacted.dump"} {
			files, err := filepath.Glob(filepath.Join(dir, "leaksafe-*-"+kind))
			require.NoError(t, err)
			assert.NotEmpty(t, files, kind)
		}
	}
}

// Under a small limit there is no room for a copy at the pressure. It is taken before: also in a
// process that starts at half of its limit.
func TestEvidenceUnderASmallLimit(t *testing.T) {
	exe := victim(t)
	for i := range testgate.Count(1, 1, 20) {
		dir, message := t.TempDir(), filepath.Join(t.TempDir(), "termination-log")
		start := int64(25)
		if testgate.Long() {
			start = []int64{10, 25, 40}[i%3]
		}
		killed(t, exe, dir, message, 128<<20, start, 8)
		text, err := os.ReadFile(message)
		require.NoError(t, err)
		t.Logf("run %d:\n%s", i, text)
		assert.Contains(t, string(text), "memory is near the limit of 128 MiB")
		assert.Contains(t, string(text), ". main.open (variable) retains ")
		files, err := filepath.Glob(filepath.Join(dir, "leaksafe-*-retained.pb.gz"))
		require.NoError(t, err)
		assert.NotEmpty(t, files)
	}
}
