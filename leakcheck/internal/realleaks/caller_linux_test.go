package realleaks

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

// countUsers counts a user with a label of its own: what leaks is allocated in prometheus, and the
// mistake is here.
func countUsers(users *prometheus.CounterVec, n int) {
	users.WithLabelValues("user " + strconv.Itoa(n)).Inc() // the caller's line
}

// callersLine is the line in countUsers.
func callersLine(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("caller_linux_test.go")
	require.NoError(t, err)
	before, _, found := strings.Cut(string(text), "// the caller's line\n")
	require.True(t, found)
	return strings.Count(before, "\n") + 1
}

func newUsers() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "users"}, []string{"user"})
}

// Where a library has allocated, NoGrowth and Measure name the line that called it too.
func TestCallerIsNamed(t *testing.T) {
	users, n := newUsers(), 0
	r, err := leakcheck.Measure(func() { n++; countUsers(users, n) })
	require.NoError(t, err)
	require.Equal(t, leakcheck.Growing, r.Verdict)
	foreign := 0
	for _, s := range r.Sites {
		if s.Kind != leakcheck.KindHeap || !strings.Contains(s.File, "client_golang@") {
			continue
		}
		foreign++
		assert.True(t, strings.HasSuffix(s.Caller.Func, "realleaks.countUsers"), "%+v", s)
		assert.Equal(t, "caller_linux_test.go", filepath.Base(s.Caller.File))
		assert.Equal(t, callersLine(t), s.Caller.Line)
	}
	assert.NotZero(t, foreign, "%+v", r.Sites)
}

// The command compare names both lines of each row.
func TestCompareNamesTheCaller(t *testing.T) {
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	dir, users := t.TempDir(), newUsers()
	dump := func(name string) string {
		runtime.GC()
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		debug.WriteHeapDump(f.Fd())
		require.NoError(t, f.Close())
		return f.Name()
	}
	before := dump("before.dump")
	for n := range 500 {
		countUsers(users, n)
	}
	after := dump("after.dump")
	runtime.KeepAlive(users)
	out, err := exec.CommandContext(t.Context(), "go", "run", "github.com/leaksafe/leaksafe/leakcheck/cmd/leakcheck", "compare", "-n", "10", before, after).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Regexp(t, `\+500 .*realleaks\.countUsers \(realleaks/caller_linux_test\.go:`+strconv.Itoa(callersLine(t))+`\), in prom`, string(out))
}
