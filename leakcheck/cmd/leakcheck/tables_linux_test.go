//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// For how long a process stands still, beside the runtime's own dump of the same process. Nothing
// is asserted: a busy machine decides.
func TestTableOfStops(t *testing.T) {
	testgate.Minutes(t)
	stopped := regexp.MustCompile(`was stopped for (\d+\.\d ms); file (.*?), (redacted|not)`)
	t.Logf("%-8s %-22s %-12s %-10s %-10s %s", "heap", "how", "stopped", "per MB", "file", "memory of the command")
	for _, mb := range []int{100, 1000, 4000} {
		v := plain.run(t, "large", func(c *exec.Cmd) { c.Env = append(c.Env, fmt.Sprintf("MEGABYTES=%d", mb)) })
		for _, args := range [][]string{{"dump", "-pid", v.pid}, {"dump", "-pid", v.pid, "-contents"}} {
			for range 3 {
				out := temp(t, "dump")
				cmd := tool(t, append(args, out)...)
				b, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s", b)
				m := stopped.FindStringSubmatch(string(b))
				require.NotNil(t, m, "%s", b)
				d, err := time.ParseDuration(strings.ReplaceAll(m[1], " ", ""))
				require.NoError(t, err)
				how := m[3]
				if how == "not" {
					how = "with contents"
				}
				usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
				t.Logf("%-8d %-22s %-12s %-10.3f %-10s %d MB", mb, how, m[1], d.Seconds()*1000/float64(mb), m[2], usage.Maxrss>>10)
				require.NoError(t, os.Remove(out))
			}
		}
		out := temp(t, "theirs")
		start := time.Now()
		require.Equal(t, "dumped", v.ask("dump "+out))
		d := time.Since(start)
		t.Logf("%-8d %-22s %-12s %-10.3f", mb, "WriteHeapDump", d.Round(time.Millisecond), d.Seconds()*1000/float64(mb))
		require.NoError(t, os.Remove(out))
		v.cmd.Process.Kill()
		v.cmd.Wait()
	}
}

// What the commands cost on dumps of 1, 4.6 and 10 million objects: processor time, and memory as a
// share of the dump. Nothing is asserted: a busy machine decides.
func TestTableOfCommands(t *testing.T) {
	testgate.Minutes(t)
	t.Logf("%-12s %-14s %-10s %-10s %s", "objects", "command", "CPU", "wall", "memory / dump")
	for _, users := range []int{50_000, 230_000, 500_000} {
		s := runShop(t, users)
		for _, args := range [][]string{
			{"summary", s.after}, {"summary", "-exe", s.exe, s.after}, {"compare", "-exe", s.exe, s.before, s.after},
			{"why", "-exe", s.exe, "-type", "main.Session", s.after}, {"flame", "-exe", s.exe, s.after, temp(t, "flame.pb.gz")},
		} {
			cmd := tool(t, args...)
			start := time.Now()
			b, err := cmd.CombinedOutput()
			wall := time.Since(start)
			require.NoError(t, err, "%s", b)
			dump, err := os.Stat(s.after)
			require.NoError(t, err)
			name := args[0]
			if name == "summary" && len(args) > 2 {
				name += " -exe"
			}
			usage, ps := cmd.ProcessState.SysUsage().(*syscall.Rusage), cmd.ProcessState
			objects := regexp.MustCompile(`in ([\d,]+) objects`).FindStringSubmatch(string(b))
			if objects == nil {
				objects = []string{"", ""}
			}
			t.Logf("%-12s %-14s %-10.2f %-10.2f %.2f", objects[1], name, (ps.UserTime() + ps.SystemTime()).Seconds(), wall.Seconds(), float64(usage.Maxrss<<10)/float64(dump.Size()))
		}
	}
}
