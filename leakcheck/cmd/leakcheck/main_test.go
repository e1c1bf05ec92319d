package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// A service is testdata/service, built and run once with each rate.
type service struct{ exe, before, after, beforeDefault, afterDefault string }

// small is a command whose heap does not depend on the machine: the runtime's own objects are as
// many as there are processors, and would be a part of a small heap that can be seen.
func small(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	return cmd
}

func runService(t *testing.T) service {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH: cannot build the service")
	}
	dir := t.TempDir()
	s := service{filepath.Join(dir, "service.exe"), filepath.Join(dir, "before"), filepath.Join(dir, "after"),
		filepath.Join(dir, "before-default"), filepath.Join(dir, "after-default")}
	out, err := exec.Command("go", "build", "-o", s.exe, "./testdata/service").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = small(s.exe, s.before, s.after).CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := small(s.exe, s.beforeDefault, s.afterDefault)
	cmd.Env = append(cmd.Env, "RATE=default")
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return s
}

func leakcheck(t *testing.T, args ...string) string {
	var out, errOut bytes.Buffer
	require.NoError(t, run(args, &out, &errOut), "%s", errOut.String())
	t.Logf("leakcheck %s\n%s", strings.Join(args, " "), out.String())
	return out.String()
}

func fails(t *testing.T, args ...string) string {
	var out bytes.Buffer
	err := run(args, &out, &out)
	require.Error(t, err)
	t.Log(err)
	return err.Error()
}

func TestCommands(t *testing.T) {
	testgate.NoRace(t)
	s := runService(t)

	t.Run("compare puts the leaking line first", func(t *testing.T) {
		_, rows, ok := strings.Cut(leakcheck(t, "compare", s.before, s.after), "# new  # deleted  # delta  size delta  retained")
		require.True(t, ok)
		first := strings.Split(rows, "\n")[1]
		assert.Contains(t, first, "main.(*sessions).start (service/main.go:22)  never freed  opened :=")
	})
	t.Run("compare counts what is new and what is gone", func(t *testing.T) {
		rows := leakcheckRows(t, s.before, s.after)
		freed, once := 0, 0
		r := rows[0]
		assert.InDelta(t, 2000, r.New, 10)
		assert.Equal(t, r.Delta, r.New-r.Deleted)
		assert.Greater(t, r.RetainedDelta, int64(2_000_000))
		assert.True(t, r.NeverFreed)
		for _, r := range rows {
			assert.False(t, r.NeverFreed && r.Deleted > 0, "%+v", r)
			switch {
			case strings.Contains(r.Source, "all but the last"):
				assert.False(t, r.NeverFreed, "some of them were freed: %+v", r)
				freed++
			case strings.Contains(r.Source, "just one"):
				assert.False(t, r.NeverFreed, "one object says nothing: %+v", r)
				once++
			}
		}
		assert.NotZero(t, freed)
		assert.NotZero(t, once)
		for _, r := range leakcheckRows(t, s.after, s.after) {
			t.Errorf("a dump differs from itself: %+v", r)
		}
	})
	t.Run("compare by type where nothing was sampled", func(t *testing.T) {
		out := leakcheck(t, "compare", "-exe", s.exe, s.beforeDefault, s.afterDefault)
		assert.Contains(t, out, "objects have an allocation site; run with runtime.MemProfileRate = 1 to have all")
		assert.Regexp(t, `\+(99\d|1,00\d) .*main\.session`, out)
		assert.Contains(t, out, "map[int]*main.session")
	})
	t.Run("compare by layout without the executable", func(t *testing.T) {
		out := leakcheck(t, "compare", s.beforeDefault, s.afterDefault)
		assert.Regexp(t, `\+(99\d|1,00\d) .*48 B with pointers in words 0 2`, out)
	})
	t.Run("summary", func(t *testing.T) {
		out := leakcheck(t, "summary", s.after, "-exe", s.exe, "-n", "3")
		assert.Contains(t, out, "count  shallow  retained")
		assert.Contains(t, out, "main.(*sessions).start (service/main.go:22)")
		_, rows, _ := strings.Cut(out, "count  shallow  retained")
		assert.Equal(t, 4, strings.Count(rows, "\n"))
	})
	t.Run("no line is wider than 120 columns", func(t *testing.T) {
		for _, args := range [][]string{{"summary", s.after}, {"compare", s.before, s.after}, {"why", s.after, "-site", "main.main", "-n", "0"}} {
			for _, line := range strings.Split(leakcheck(t, append(args, "-exe", s.exe)...), "\n") {
				if !strings.HasPrefix(line, s.after) && !strings.HasPrefix(line, s.before) { // names of files may be long
					assert.LessOrEqual(t, utf8.RuneCountInString(line), 120, line)
				}
			}
		}
	})
	t.Run("suspects in words", func(t *testing.T) {
		out := leakcheck(t, "summary", s.after, "-exe", s.exe, "-n", "1")
		assert.Regexp(t, `MiB, 9\d % of the heap, is retained by the package variable main\.open, in 1,1\d\d objects\n  → main\.open\.byID → map\[int\]\*main\.session\n`, out)
		out = leakcheck(t, "compare", s.before, s.after, "-exe", s.exe, "-n", "1")
		assert.Regexp(t, `MiB more than before, 9\d % of the growth, is retained by the package variable main\.open`, out)
		out = leakcheck(t, "compare", s.after, s.after, "-exe", s.exe)
		assert.NotContains(t, out, "more than before")
	})
	t.Run("a page", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "page.html")
		leakcheck(t, "summary", s.after, "-exe", s.exe, "-html", file)
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		text := string(b)
		assert.Contains(t, text, "of the heap, is retained by the package variable main.open")
		assert.Contains(t, text, "<details><summary>")
		assert.Contains(t, text, "main.session.page → []byte")
		assert.NotContains(t, text, "<script")
		assert.NotContains(t, text, "http")
		leakcheck(t, "compare", s.before, s.after, "-exe", s.exe, "-html", file)
		b, err = os.ReadFile(file)
		require.NoError(t, err)
		assert.Contains(t, string(b), "What the growth is retained by")
	})
	t.Run("why by site", func(t *testing.T) {
		out := leakcheck(t, "why", s.after, "-site", "sessions).start", "-exe", s.exe)
		assert.Regexp(t, `retained by package variable main\.open: main\.open\.byID\[\d+\]`, out)
		assert.Regexp(t, `main\.session \(1,(09\d|100) like it`, out)
	})
	t.Run("why prints as many paths as asked for", func(t *testing.T) {
		out := leakcheck(t, "why", s.after, "-site", "main.main", "-n", "1")
		assert.Regexp(t, `^.* objects, on 1 path or more \(-n 0 prints all\)\n`, out)
		out = leakcheck(t, "why", s.after, "-site", "main.main", "-n", "0")
		assert.Regexp(t, `^.* objects, on \d+ paths\n`, out)
	})
	t.Run("why by type", func(t *testing.T) {
		out := leakcheck(t, "why", s.afterDefault, "-type", "*main.session", "-exe", s.exe)
		assert.Regexp(t, `main\.session \(1,(09\d|100) like it`, out)
	})
	t.Run("why by address, as JSON", func(t *testing.T) {
		h := open(t, s.after)
		var paths []retain.Path
		o := h.ObjectsAllocatedIn("main.main")[0]
		require.NoError(t, json.Unmarshal([]byte(leakcheck(t, "why", s.after, "-addr", "0x"+hex(h.Addr(o)), "-json")), &paths))
		require.Len(t, paths, 1)
		assert.NotEmpty(t, paths[0].Hops)
	})
	t.Run("clear errors", func(t *testing.T) {
		b, err := os.ReadFile(s.after)
		require.NoError(t, err)
		cut := filepath.Join(t.TempDir(), "cut")
		require.NoError(t, os.WriteFile(cut, b[:len(b)/2], 0o600))
		assert.Contains(t, fails(t, "summary", cut), "the heap dump is cut short")
		assert.Contains(t, fails(t, "summary", s.exe), "not a Go heap dump")
		other := filepath.Join(t.TempDir(), "other")
		require.NoError(t, os.WriteFile(other, append([]byte("go1.4 heap dump\n"), b...), 0o600))
		assert.Contains(t, fails(t, "summary", other), `a dump of another version: it says "go1.4 heap dump"`)
		assert.Contains(t, fails(t, "summary", s.after, "-exe", os.Args[0]), "symbols:")
		assert.Contains(t, fails(t, "why", s.after, "-site", "nowhere"), "no object was allocated in nowhere")
		assert.Contains(t, fails(t, "why", s.after), "say what to look for")
		assert.Contains(t, fails(t, "why", s.after, "-addr", "zz"), "is not a hexadecimal address")
		assert.Contains(t, fails(t, "why", s.after, "-type", "T"), "-type needs -exe")
		assert.Contains(t, fails(t, "nonsense"), `there is no subcommand "nonsense"`)
	})
	t.Run("compare of two builds matches sites without their lines", func(t *testing.T) {
		testgate.Seconds(t)
		out := leakcheck(t, "compare", s.before, otherBuild(t))
		assert.Contains(t, out, "two processes: sites are matched without their lines")
		assert.Regexp(t, `\+[23],\d\d\d .*main\.\(\*sessions\)\.start`, out)
	})
}

func leakcheckRows(t *testing.T, before, after string) (rows []Row) {
	var all struct{ Sites []Row }
	require.NoError(t, json.Unmarshal([]byte(leakcheck(t, "compare", "-json", before, after)), &all))
	return all.Sites
}

func hex(n uint64) string {
	const digits = "0123456789abcdef"
	s := ""
	for ; n > 0; n /= 16 {
		s = string(digits[n%16]) + s
	}
	return s
}

func open(t *testing.T, file string) *retain.Heap {
	f, err := os.Open(file)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	s, err := f.Stat()
	require.NoError(t, err)
	d, err := heapdump.Read(f, s.Size(), nil)
	require.NoError(t, err)
	return retain.New(d, retain.Names{})
}

// otherBuild is the second dump of a service whose lines and variables are elsewhere.
func otherBuild(t *testing.T) string {
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/service/main.go")
	require.NoError(t, err)
	moved := strings.Replace(string(text), "var seen", "\n\nvar more [1000]*int\n\nvar seen", 1)
	moved = strings.Replace(moved, "type session struct", "\n\n\ntype session struct", 1)
	moved = strings.Replace(moved, "func main() {", "func main() {\n\tmore[len(os.Args)] = new(int)", 1)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(moved), 0o600))
	exe := filepath.Join(dir, "other.exe")
	out, err := exec.Command("go", "build", "-o", exe, filepath.Join(dir, "main.go")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	after := filepath.Join(dir, "after")
	out, err = small(exe, filepath.Join(dir, "before"), after).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return after
}
