//go:build linux && (amd64 || arm64)

package process

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sleeper starts a process that waits for input. It has answered a line before that: from then on
// its mappings do not change.
func sleeper(t *testing.T) *Process {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	_, err = in.Write([]byte("x\n"))
	require.NoError(t, err)
	_, err = io.ReadFull(out, make([]byte, 2))
	require.NoError(t, err)
	p, err := Open(cmd.Process.Pid)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// mappings are the pieces of memory that can be read.
func mappings(t *testing.T, p *Process) (out []Range) {
	text, err := os.ReadFile(procPath(p.pid, "maps"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var r Range
		var mode string
		_, err := fmt.Sscanf(line, "%x-%x %s", &r.Start, &r.End, &mode)
		require.NoError(t, err)
		if mode[0] == 'r' && !strings.Contains(line, "[v") { // not what the kernel lends
			out = append(out, r)
		}
	}
	return out
}

func (p *Process) status(name string) string {
	b, _ := os.ReadFile(procPath(p.pid, "status"))
	return statusField(b, name)
}

func TestStopAndContinue(t *testing.T) {
	p := sleeper(t)
	require.NoError(t, p.Stop())
	assert.Equal(t, "t", p.status("State:"))
	assert.NotEqual(t, "0", p.status("TracerPid:"))
	threads := p.Threads()
	require.Len(t, threads, 1)
	assert.Equal(t, uint64(p.pid), threads[0].ID)
	assert.NotZero(t, threads[0].SP)
	assert.True(t, slices.ContainsFunc(mappings(t, p), func(r Range) bool { return threads[0].SP >= r.Start && threads[0].SP < r.End }))
	_, err := p.View(threads[0].SP, 8, nil)
	require.NoError(t, err)
	p.Continue()
	p.Continue()
	assert.Equal(t, "0", p.status("TracerPid:"))
	b, err := p.View(threads[0].SP, 8, nil) // what was read stays
	require.NoError(t, err)
	assert.Len(t, b, 8)
	_, err = p.View(16, 8, nil)
	assert.ErrorIs(t, err, ErrUnmapped)
}

func TestTwoTracersAreOneTooMany(t *testing.T) {
	p := sleeper(t)
	require.NoError(t, p.Stop())
	other, err := Open(p.pid)
	require.NoError(t, err)
	assert.ErrorContains(t, other.Stop(), "a debugger or strace, traces it already")
	p.Continue()
	require.NoError(t, other.Stop())
	other.Close()
	assert.Equal(t, "0", p.status("TracerPid:"))
}

// Where a container forbids process_vm_readv, the process's file is read instead.
func TestCopyIsTheSameByFile(t *testing.T) {
	p := sleeper(t)
	q := &Process{pid: p.pid}
	var err error
	q.file, err = os.Open(procPath(p.pid, "mem"))
	require.NoError(t, err)
	q.now = newBlocks(q.read)
	t.Cleanup(q.Close)

	ranges := mappings(t, p)
	require.Greater(t, len(ranges), 5)
	_, err = p.Reserve(Total(ranges), p.Now(), t.TempDir())
	require.NoError(t, err)
	require.NoError(t, p.Stop())
	require.NoError(t, p.Copy(slices.Clone(ranges)))
	require.NoError(t, q.Copy(slices.Clone(ranges))) // nothing is reserved: it gets what it needs
	p.Continue()
	for _, r := range ranges {
		a, ok := p.copy.Slice(r.Start, int(r.End-r.Start))
		require.True(t, ok)
		b, ok := q.copy.Slice(r.Start, int(r.End-r.Start))
		require.True(t, ok)
		assert.Equal(t, a, b)
	}
	assert.ErrorIs(t, p.Copy([]Range{{16, 64}}), ErrUnmapped)
}

// A process that ends while it is stopped is an error, not a hang.
func TestProcessThatEnds(t *testing.T) {
	p := sleeper(t)
	require.NoError(t, p.Stop())
	process, err := os.FindProcess(p.pid)
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	assert.Eventually(t, func() bool { return p.status("State:") == "Z" || p.status("State:") == "" }, 30*time.Second, time.Millisecond)
	_, err = p.Now().View(p.Threads()[0].SP, 8, nil)
	assert.Error(t, err)
	p.Continue()
	assert.Error(t, p.Stop())
}
