package watch_test

import (
	"crypto/rand"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/profile"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// What the process really holds while a made series is fed.
var (
	filled  [][]byte // by a cache that is full before the windows that are judged
	growing [][]byte
	secrets map[string][]string
)

//go:noinline
func fill() { filled = append(filled, make([]byte, 1<<20)) }

//go:noinline
func grow() { growing = append(growing, make([]byte, 1<<20)) }

// A cache that filled while memory was rising already is no part of the finding, though it holds
// more than what leaks.
func TestFindingNamesWhatGrewInItsTime(t *testing.T) {
	testgate.Seconds(t)
	filled, growing = nil, nil
	defer func() { filled, growing = nil, nil }()
	n := 0
	w, err := watch.FeedEach(watch.Options{Limit: 8 << 30}, (curve{lasts: 90 * min, live: func(t float64) float64 {
		if t < 10*min { // faster than what follows, which for some windows looks like a cache that fills
			return 40*mib + 512*kib*t
		}
		return 40*mib + 512*kib*10*min + 64*kib*(t-10*min)
	}}).samples(), func(*watch.Watcher) {
		switch n++; {
		case n < 60:
			fill()
		case n%2 == 0:
			grow()
		}
		if n%8 == 0 {
			runtime.GC()
			runtime.GC() // the profile is as of the collection before the last
		}
	})
	require.NoError(t, err)
	var last watch.Finding
	for _, f := range w.Findings() {
		if f.Signal == "live heap" {
			last = f
		}
	}
	require.NotEmpty(t, last.Sites, "%v", w.Findings())
	for _, s := range last.Sites {
		t.Log(s)
	}
	assert.Contains(t, last.Sites[0].Func, "watch_test.grow")
}

// The finding names what retains the objects, from a frozen copy; the retention profile and the
// redacted dump are in Dir.
func TestFindingNamesTheRetainer(t *testing.T) {
	testgate.Seconds(t)
	if runtime.GOOS != "linux" {
		t.Skip("no frozen copies here")
	}
	growing = nil
	defer func() { growing = nil }()
	dir := t.TempDir()
	told := make(chan watch.Finding, 10)
	w, err := watch.FeedEach(watch.Options{Dir: dir, TerminationLog: "none", OnFinding: func(f watch.Finding) { told <- f }}, leaking().samples(),
		func(w *watch.Watcher) {
			w.TakeCopies()
			grow()
			if len(growing)%8 == 0 {
				runtime.GC()
				runtime.GC()
			}
		})
	require.NoError(t, err)
	secret := rand.Text()
	copy(growing[0][5000:], secret)
	secrets = map[string][]string{"password " + secret: {"token " + secret}}
	defer func() { secrets = nil }()
	w.Begin()
	defer w.Stop()
	var f watch.Finding
	select {
	case f = <-told:
	case <-time.After(2 * time.Minute):
		t.Fatal("nobody was told")
	}
	require.Empty(t, f.NoRetainers)
	require.NotEmpty(t, f.Retainers)
	assert.Contains(t, f.Sites[0].Func, "watch_test.grow")
	assert.Contains(t, f.RetainedBy, "retained by package variable watch_test.growing")
	found := false
	for _, r := range f.Retainers {
		t.Log(r)
		found = found || r.Root == "watch_test.growing (variable)"
	}
	assert.True(t, found)
	assert.Equal(t, f, w.Findings()[len(w.Findings())-1])
	assert.Contains(t, f.String(), "watch_test.growing")
	text, err := json.Marshal(f)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"retainedBy":"retained by package variable`)
	for _, kind := range []string{"retained.pb.gz", "redacted.dump"} {
		files, err := filepath.Glob(filepath.Join(dir, "leaksafe-*-"+kind))
		require.NoError(t, err)
		require.Len(t, files, 1, kind)
		info, err := os.Stat(files[0])
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		if kind == "redacted.dump" {
			file, err := os.Open(files[0])
			require.NoError(t, err)
			defer file.Close()
			d, err := heapdump.Read(file, info.Size(), nil)
			require.NoError(t, err)
			large := 0
			for i := range int32(d.Len()) {
				if d.Size(i) == 1<<20 {
					large++
				}
			}
			assert.GreaterOrEqual(t, large, len(growing))
			assert.Less(t, info.Size(), int64(large)<<20, "contents are left out")
			all, err := os.ReadFile(files[0])
			require.NoError(t, err)
			for cut := 8; cut <= len(secret); cut++ {
				assert.False(t, strings.Contains(string(all), secret[cut-8:cut]), "redacted")
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	assert.Empty(t, left)

	second, err := w.Explain(f)
	require.NoError(t, err)
	assert.Contains(t, second.NoRetainers, "less than an hour ago", "one copy an hour")
}

func TestTerminationLog(t *testing.T) {
	w, err := watch.Start(watch.Options{TerminationLog: filepath.Join(t.TempDir(), "missing", "file")})
	require.NoError(t, err, "nothing keeps a service from starting")
	assert.Contains(t, data(t, w)["problem"], "watch: Options.TerminationLog cannot be written")
	w.Stop()

	// It is told once, and emptied when memory falls again.
	file := filepath.Join(t.TempDir(), "log")
	w, err = watch.FeedEach(watch.Options{Limit: 1024 * mib, TerminationLog: file}, (curve{lasts: 5 * min, live: flat(100 * mib)}).samples(), none)
	require.NoError(t, err)
	read := func() string {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(text)
	}
	assert.Empty(t, read())
	s := w.Last()
	s.Up += 10
	s.Live, s.Collection = 900*mib, .4
	w.Take(s)
	assert.Contains(t, read(), "memory is near the limit of 1 GiB (Options.Limit)")
	assert.Contains(t, read(), " % of the CPU: 1 MiB allocated a second, up to 1 MiB before")
	assert.Contains(t, read(), "the collector takes 40 % of the CPU: ")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	s.Up += 10
	w.Take(s)
	assert.Equal(t, "mine", read(), "told once")
	s.Up += 10
	s.Live, s.RSS = 100*mib, 100*mib
	w.Take(s)
	assert.Empty(t, read(), "it was not the end")
}

func TestRetainedIsServed(t *testing.T) {
	testgate.NoRace(t)
	growing = nil
	defer func() { growing = nil }()
	for range 32 {
		grow()
	}
	w, err := watch.Start(watch.Options{TerminationLog: "none"})
	require.NoError(t, err)
	defer w.Stop()
	ask := func(method string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		w.Retained().ServeHTTP(rec, httptest.NewRequest(method, "/debug/leaks/retained", nil))
		return rec
	}
	assert.Equal(t, http.StatusMethodNotAllowed, ask(http.MethodPost).Code)
	assert.Equal(t, http.StatusMethodNotAllowed, ask(http.MethodHead).Code, "it costs a copy")
	answer := ask(http.MethodGet)
	if runtime.GOOS != "linux" {
		assert.Equal(t, http.StatusServiceUnavailable, answer.Code)
		return
	}
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	p, err := profile.Read(answer.Body)
	require.NoError(t, err)
	assert.Equal(t, "inuse_space", p.Default)
	var bytes int64
	for _, s := range p.Samples {
		if p.Frames[s.Stack[len(s.Stack)-1]].Func == "watch_test.growing (variable)" {
			bytes += s.Values[1]
		}
	}
	assert.GreaterOrEqual(t, bytes, int64(32<<20))
	again := ask(http.MethodGet)
	assert.Equal(t, http.StatusServiceUnavailable, again.Code)
	assert.Contains(t, again.Body.String(), "less than 10 s ago")

	// It is mounted on purpose, not with the page.
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/debug/leaks/retained", nil))
	assert.Equal(t, http.StatusNotFound, rec.Code)
}

// What was left by a process that was killed goes; what another process is at stays.
func TestHalfReadCopiesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	old, fresh, other := filepath.Join(dir, ".leaksafe-copy-1.part"), filepath.Join(dir, ".leaksafe-copy-2.part"), filepath.Join(dir, "copy.part")
	for _, f := range []string{old, fresh, other} {
		require.NoError(t, os.WriteFile(f, nil, 0o600))
	}
	hourAgo := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(old, hourAgo, hourAgo))
	require.NoError(t, os.Chtimes(other, hourAgo, hourAgo))
	w, err := watch.Start(watch.Options{Dir: dir, TerminationLog: "none"})
	require.NoError(t, err)
	w.Stop()
	assert.NoFileExists(t, old)
	assert.FileExists(t, fresh)
	assert.FileExists(t, other)
}

// Near the limit reading a copy could be what ends the process.
func TestNoCopyNearTheLimit(t *testing.T) {
	w, err := watch.Start(watch.Options{Limit: 64 * mib, TerminationLog: "none"})
	require.NoError(t, err)
	defer w.Stop()
	rec := httptest.NewRecorder()
	w.Retained().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
	assert.Contains(t, rec.Body.String(), "are left below the limit")
}

// A finding says whether growth goes on, and what restarts hid.
func TestFindingSaysWhetherGrowthGoesOn(t *testing.T) {
	top := 30 * min
	climb := curve{lasts: 60 * min, live: func(t float64) float64 { return 40*mib + 64*kib*math.Min(t, top) }}
	w, err := watch.FeedEach(watch.Options{Limit: 8 << 30}, climb.samples(), none)
	require.NoError(t, err)
	f := w.Findings()
	require.Len(t, f, 1)
	assert.False(t, f[0].Stopped.IsZero())
	assert.Contains(t, f[0].String(), "; it has stopped: no new height since ")

	w, err = watch.FeedEach(watch.Options{Limit: 8 << 30}, leaking().samples(), none)
	require.NoError(t, err)
	require.Len(t, w.Findings(), 1)
	assert.True(t, w.Findings()[0].Stopped.IsZero())

	dir := t.TempDir()
	for life := range int64(4) {
		for i := range int64(10) {
			require.NoError(t, watch.Append(dir, 1+life, float64(60*i), (50+20*i)*mib))
		}
	}
	w, err = watch.FeedEach(watch.Options{Limit: 8 << 30, Dir: dir}, leaking().samples(), none)
	require.NoError(t, err)
	var heap watch.Finding
	for _, f := range w.Findings() {
		if f.Signal == "live heap" {
			heap = f
		}
	}
	assert.Equal(t, 4, heap.Lives)
	assert.Contains(t, heap.String(), "it climbed like this in the 4 runs before too")
}

// A line of another module is named with the program's own line that called it.
func TestSiteNamesTheProgramsOwnLine(t *testing.T) {
	pcs := make([]uintptr, 32)
	own := watch.UserSite(pcs[:runtime.Callers(1, pcs)])
	assert.Contains(t, own.Func, "watch_test.TestSiteNamesTheProgramsOwnLine")
	assert.Empty(t, own.Caller)

	var inner []uintptr
	assert.Condition(t, func() bool {
		inner = callersWithoutInnermost()
		return true
	})
	s := watch.UserSite(inner)
	assert.Contains(t, s.Func, "testify/assert.Condition")
	assert.Regexp(t, `^watch_test\.TestSiteNamesTheProgramsOwnLine \(retainers_test\.go:\d+\)$`, s.Caller)

	for function, want := range map[string]bool{
		"main.main": false, "net/http.(*conn).serve": true, "runtime.mallocgc": true, "github.com/x/y.F": false,
		"github.com/leaksafe/leaksafe/leakcheck/watch_test.grow": false,
	} {
		assert.Equal(t, want, watch.Standard(function), function)
	}
}

// callersWithoutInnermost is a stack whose innermost frame is testify's.
func callersWithoutInnermost() []uintptr {
	pcs := make([]uintptr, 32)
	return pcs[:runtime.Callers(3, pcs)]
}

// Collection that eats the CPU is told with what it costs: the throughput beside it.
func TestCollectionIsToldWithTheThroughput(t *testing.T) {
	thrash := curve{lasts: 40 * min, live: flat(900 * mib), collection: flat(.4), traffic: func(t float64) float64 { return 100 - t/min }}
	w, err := watch.FeedEach(watch.Options{Limit: 1 << 30, TerminationLog: "none", Traffic: func() int64 { return 0 }}, thrash.samples(), none)
	require.NoError(t, err)
	var f watch.Finding
	for _, x := range w.Findings() {
		if x.Signal == "collection" {
			f = x
		}
	}
	require.Equal(t, "requests", f.WorkUnit)
	assert.Less(t, f.Work, f.WorkBest)
	assert.Regexp(t, `collection takes 40 % of the CPU, for .* \(\d+ requests a second, up to \d+ before\): throughput falls`, f.String())
}
