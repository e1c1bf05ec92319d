package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// A shop is testdata/shop, built and run once.
type shop struct{ exe, before, after string }

func runShop(tb testing.TB, users int) shop {
	if _, err := exec.LookPath("go"); err != nil {
		tb.Skip("the go command is not on PATH: cannot build the shop")
	}
	dir := tb.TempDir()
	s := shop{filepath.Join(dir, "shop.exe"), filepath.Join(dir, "before"), filepath.Join(dir, "after")}
	out, err := exec.Command("go", "build", "-o", s.exe, "./testdata/shop").CombinedOutput()
	require.NoError(tb, err, "%s", out)
	out, err = small(s.exe, strconv.Itoa(users), s.before, s.after).CombinedOutput()
	require.NoError(tb, err, "%s", out)
	return s
}

func pprof(t *testing.T, args ...string) string {
	tool, err := pprofFile()
	require.NoError(t, err)
	out, err := exec.Command(tool, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// pprofFile builds pprof once: the go command that does so takes longer than pprof does.
var pprofFile = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "tool", "-n", "pprof").Output()
	return strings.TrimSpace(string(out)), err
})

// cum is what pprof's table says is at and below a frame, in kilobytes.
func cum(t *testing.T, table, frame string) float64 {
	row := regexp.MustCompile(`(?m)^.* (-?[\d.]+)(kB|B|MB)? +-?[\d.]+%  ` + regexp.QuoteMeta(frame) + `$`).FindStringSubmatch(table)
	require.NotNil(t, row, "no row for %s in\n%s", frame, table)
	n, err := strconv.ParseFloat(row[1], 64)
	require.NoError(t, err)
	return n * map[string]float64{"B": 1.0 / 1024, "": 1, "kB": 1, "MB": 1024}[row[2]]
}

func TestFlame(t *testing.T) {
	testgate.Seconds(t)
	s := runShop(t, 2048)
	file := filepath.Join(t.TempDir(), "retained.pb.gz")
	said := leakcheck(t, "flame", s.after, "-exe", s.exe, file)
	assert.Contains(t, said, "go tool pprof -http=: "+file)
	table := pprof(t, "-top", "-cum", "-nodefraction=0", "-unit=kB", file)

	t.Run("each root has what only it retains", func(t *testing.T) {
		const each = 640 + 16 + 48 + 8 // image, name, item, cart
		closure := "variable report of func main.serve.register.func2 → []byte"
		if !strings.Contains(table, closure) { // Go 1.27 names a closure by the function it is written in
			closure = "variable report of func main.register.func1 → []byte"
		}
		for frame, want := range map[string]float64{
			"main.store (variable)":                                   2048 * each / 1024,
			"map[string]*main.Session[…] → main.Session":              2048 * each / 1024,
			"main.Item.image → []byte":                                2048*640/1024 + 256,
			"main.images (variable)":                                  256 + 12,
			"sync.Map.Load(…) → main.Item":                            256 + 12,
			"main.hooks (variable)":                                   256,
			"main.retries (variable)":                                 64 * 4.75,
			closure:                                                   256,
			"pending timers":                                          256,
			"goroutines created by main.serve (shop∕main.go:90)":      32 * 4.75,
			"in main.work (shop∕main.go:54), blocked in chan receive": 32 * 4.75,
			"shared with other roots":                                 128 * (640 + 48) / 1024,
		} {
			got := cum(t, table, frame)
			assert.GreaterOrEqual(t, got, want, frame)
			assert.Less(t, got, want*2+20, frame)
		}
	})
	t.Run("what two roots retain is below neither alone", func(t *testing.T) {
		peek := pprof(t, "-peek", "shared with other roots$", file)
		assert.Regexp(t, `main\.offers \(variable\)|main\.store \(variable\)`, peek)
		assert.Contains(t, peek, "[]*main.Item[…] → main.Item")
	})
	t.Run("a list is one frame", func(t *testing.T) {
		peek := pprof(t, "-peek", `main\.visit\.before → main\.visit$`, file)
		assert.Contains(t, peek, "main.Session.history → main.visit")
		assert.Equal(t, 1, strings.Count(peek, "|   main.Session.history"))
		assert.InDelta(t, 2048*7*24/1024, cum(t, table, "main.visit.before → main.visit")-cum(t, table, "main.visit.path → string"), 120)
	})
	t.Run("leaves are the lines that allocated", func(t *testing.T) {
		assert.Contains(t, table, "allocated at main.(*Store).login:59")
		raw := pprof(t, "-raw", file)
		assert.Contains(t, raw, "testdata/shop/main.go:59")
		assert.Contains(t, raw, "state:[blocked in chan receive]")
		for _, kind := range []string{"variable", "goroutine", "timer"} {
			assert.Contains(t, raw, "root:["+kind+"]")
		}
		assert.NotRegexp(t, `(?m)^ +\d+: 0x0 M=1 [^:]*/[^:]* /`, raw, "pprof shows only what follows the last slash of a name")
	})
	t.Run("growth alone", func(t *testing.T) {
		grown := filepath.Join(t.TempDir(), "grown.pb.gz")
		leakcheck(t, "flame", "-exe", s.exe, s.before, s.after, grown)
		growth := pprof(t, "-top", "-cum", "-nodefraction=0", "-unit=kB", grown)
		before := filepath.Join(t.TempDir(), "before.pb.gz")
		leakcheck(t, "flame", "-exe", s.exe, s.before, before)
		base := pprof(t, "-top", "-cum", "-nodefraction=0", "-unit=kB", before)
		for _, frame := range []string{"main.store (variable)", "main.hooks (variable)", "pending timers"} {
			assert.InDelta(t, cum(t, table, frame)-cum(t, base, frame), cum(t, growth, frame), 1, frame)
		}
		same := pprof(t, "-top", "-cum", "-nodefraction=0", "-unit=kB", "-diff_base", before, file)
		assert.InDelta(t, cum(t, same, "main.store (variable)"), cum(t, growth, "main.store (variable)"), 1, "as pprof's own -diff_base")

		nothing := filepath.Join(t.TempDir(), "nothing.pb.gz")
		leakcheck(t, "flame", "-exe", s.exe, "-diff", s.after, s.after, nothing)
		assert.Regexp(t, `Showing nodes accounting for 0, 0% of`, pprof(t, "-top", nothing))
	})
	t.Run("without the executable", func(t *testing.T) {
		plain := filepath.Join(t.TempDir(), "plain.pb.gz")
		leakcheck(t, "flame", s.after, plain)
		text := pprof(t, "-top", "-cum", "-nodefraction=0", "-unit=kB", plain)
		assert.Greater(t, cum(t, text, "package variables whose names are unknown"), 1800.0)
		assert.Contains(t, text, "allocated at main.(*Store).login:59")
	})
	t.Run("standard output", func(t *testing.T) {
		out := leakcheck(t, "flame", s.after)
		require.NoError(t, os.WriteFile(file, []byte(out), 0o600))
		pprof(t, "-top", file)
	})
}

func TestFlameIsCalledWrongly(t *testing.T) {
	assert.Contains(t, fails(t, "flame"), "flame: name a dump")
	assert.Contains(t, fails(t, "flame", "a", "b", "c"), "3 dumps are named")
	assert.Contains(t, fails(t, "flame", "a", "b.pb.gz", "c.pb.gz"), "two profiles are named")
	assert.Contains(t, fails(t, "flame", filepath.Join(t.TempDir(), "missing"), "out.pb.gz"), "no such file")
}

// BenchmarkFlame makes the profile of a million objects, without reading the dump.
func BenchmarkFlame(b *testing.B) {
	s := runShop(b, 50_000)
	c := &command{out: &bytes.Buffer{}, errOut: &bytes.Buffer{}, exe: s.exe}
	d, err := c.open(s.after)
	require.NoError(b, err)
	defer d.Close()
	for b.Loop() {
		d.Tree()
	}
	b.ReportMetric(float64(d.Len()), "objects")
}
