//go:build linux && (amd64 || arm64)

package process

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// files writes files below a directory that stands for /.
func files(t *testing.T, contents map[string]string) string {
	dir := t.TempDir()
	for name, text := range contents {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

const (
	plainUser = "Uid:\t1000\t1000\t1000\t1000\nTracerPid:\t0\nCapEff:\t0000000000000000\n"
	otherUser = "Uid:\t0\t0\t0\t0\nTracerPid:\t0\n"
	traced    = "Uid:\t1000\t1000\t1000\t1000\nTracerPid:\t99\n"
	mighty    = "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80c25fb\n" // with SYS_PTRACE
	noTrace   = "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n" // root in a container
)

const yamaScope = "sys/kernel/yama/ptrace_scope"

// reasons are those for which a process cannot be read.
var reasons = []struct {
	name string
	proc map[string]string
	err  error
	want string
}{
	{"ended", map[string]string{"self/status": plainUser}, syscall.EPERM, "process 7 ended"},
	{"ended just now", map[string]string{"7/status": plainUser}, syscall.ESRCH, "process 7 ended"},
	{"kernel thread", map[string]string{"7/status": otherUser}, errNoMemory, "it is a thread of the kernel"},
	{"debugged", map[string]string{"7/status": traced, "self/status": plainUser}, syscall.EPERM, "process 99, a debugger or strace, traces it already"},
	{"other user", map[string]string{"7/status": otherUser, "self/status": plainUser}, syscall.EACCES, "it belongs to user 0, and this is user 1000; run the command as that user, or as root"},
	{"yama 1", map[string]string{"7/status": plainUser, "self/status": plainUser, yamaScope: "1\n"}, syscall.EPERM, "kernel.yama.ptrace_scope is 1; run the command as root (sudo)"},
	{"yama 2", map[string]string{"7/status": plainUser, "self/status": plainUser, yamaScope: "2\n"}, syscall.EPERM, "--cap-add=SYS_PTRACE"},
	{"yama 3", map[string]string{"7/status": plainUser, "self/status": plainUser, yamaScope: "3\n"}, syscall.EPERM, "nobody can undo before the next boot; let the process write its own dump"},
	{"no yama", map[string]string{"7/status": plainUser, "self/status": plainUser}, syscall.EPERM, "it may have more rights than this process"},
	{"root, container", map[string]string{"7/status": otherUser, "self/status": noTrace, yamaScope: "1\n"}, syscall.EPERM, "docker run --cap-add=SYS_PTRACE"},
	{"seccomp", map[string]string{"7/status": otherUser, "self/status": mighty}, syscall.EPERM, "the seccomp profile of the container forbids it"},
	{"another error", map[string]string{"7/status": plainUser}, syscall.EIO, "WriteHeapDump"},
}

// Each reason says what to do.
func TestExplain(t *testing.T) {
	for _, row := range reasons {
		t.Run(row.name, func(t *testing.T) {
			err := explain(files(t, row.proc), 7, row.err)
			assert.ErrorContains(t, err, row.want)
			assert.True(t, strings.HasPrefix(err.Error(), "process: "))
		})
	}
}

// A copy must not push a container over its limit: that would kill the service that is looked at.
func TestAvailable(t *testing.T) {
	const gb = "1073741824\n"
	machine := "MemTotal: 9 kB\nMemAvailable:    4194304 kB\n"
	for name, row := range map[string]struct {
		files map[string]string
		want  uint64
	}{
		"machine": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n"}, 4 << 30},
		"limit":   {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": gb, "sys/fs/cgroup/a/b/memory.current": "73741824\n"}, 1000000000},
		"limit above": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "1\n",
			"sys/fs/cgroup/a/memory.max": gb, "sys/fs/cgroup/a/memory.current": gb}, 0},
		"cached files": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": gb, "sys/fs/cgroup/memory.current": gb,
			"sys/fs/cgroup/memory.stat": "anon 5\ninactive_file 1000\n"}, 1000},
		"over": {map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "5\n", "sys/fs/cgroup/memory.current": gb}, 0},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, row.want, available(files(t, row.files))) })
	}
}

// A copy that does not fit into memory goes to a file that has no name.
func TestCopyInAFile(t *testing.T) {
	p := &Process{}
	defer p.Close()
	dir := t.TempDir()
	b, err := p.inFile(1<<20, dir)
	require.NoError(t, err)
	b[1<<19] = 1
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	_, err = p.inFile(1<<20, filepath.Join(dir, "missing"))
	assert.ErrorContains(t, err, "cannot make a file for the copy")
	_, err = p.inMemory(1 << 63)
	assert.ErrorContains(t, err, "not possible")
}
