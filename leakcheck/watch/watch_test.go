package watch_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func TestSamplesOfThisProcess(t *testing.T) {
	runtime.GC()
	s := watch.ReadOne()
	assert.Positive(t, s.Live)
	assert.GreaterOrEqual(t, s.Heap, s.Live/2)
	assert.Positive(t, s.Objects)
	assert.Positive(t, s.Goal)
	assert.Positive(t, s.Fixed)
	assert.Positive(t, s.Goroutines)
	assert.Positive(t, s.Cycles)
	assert.Positive(t, s.Allocated)
	assert.EqualValues(t, -1, s.Traffic)
	if runtime.GOOS != "linux" {
		assert.EqualValues(t, -1, s.RSS)
		return
	}
	assert.Positive(t, s.RSS)
	assert.GreaterOrEqual(t, s.Outside, int64(0))
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer f.Close()
	assert.Equal(t, s.Files+1, watch.ReadOne().Files)
}

func TestStopEndsAllGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		w, err := watch.Start(watch.Options{Interval: time.Second, Log: slog.New(slog.NewTextHandler(&lines, nil)), OnFinding: func(watch.Finding) {}})
		require.NoError(t, err)
		time.Sleep(10*time.Second + time.Millisecond)
		w.Stop()
		w.Stop()
		assert.Equal(t, 10, strings.Count(lines.String(), "msg=memory rss="), lines.String())
	})
}

func TestStart(t *testing.T) {
	for name, c := range map[string]struct {
		o    watch.Options
		want string
	}{
		"negative interval": {watch.Options{Interval: -1}, "watch: Options.Interval is -1ns: give a positive interval, or 0 for 10 s"},
		"negative history":  {watch.Options{History: -1}, "watch: Options.History is -1ns"},
		"negative limit":    {watch.Options{Limit: -1}, "watch: Options.Limit is -1"},
		"negative floor":    {watch.Options{Floor: -1}, "watch: Options.Floor is -1"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := watch.Start(c.o)
			require.ErrorContains(t, err, c.want)
			assert.Nil(t, w)
		})
	}
}

// leaking is a series in which a finding comes after some minutes.
func leaking() curve { return curve{lasts: 30 * min, live: climbing(40*mib, 64*kib)} }

func none(*watch.Watcher) {}

func TestFindingIsToldOnce(t *testing.T) {
	var told []watch.Finding
	var lines bytes.Buffer
	var w *watch.Watcher
	synctest.Test(t, func(t *testing.T) {
		var err error
		w, err = watch.FeedEach(watch.Options{
			Limit: 1024 * mib, Log: slog.New(slog.NewTextHandler(&lines, nil)),
			OnFinding: func(f watch.Finding) { told = append(told, f) },
		}, leaking().samples(), none)
		require.NoError(t, err)
		w.Begin()
		synctest.Wait()
		w.Stop()
	})
	require.Len(t, told, 1)
	assert.Equal(t, told, w.Findings())
	assert.Equal(t, 1, strings.Count(lines.String(), "level=WARN"))
	assert.Regexp(t, `^live heap grows: [\d.]+ MiB to [\d.]+ MiB in 12 min, 225 MiB an hour; reaches 1 GiB \(Options\.Limit\) in about .*; doubling the limit buys 2 h 17 min`, told[0].String())
}

func TestFindingStandsUntilHalfIsGone(t *testing.T) {
	twice := curve{lasts: 2 * hour, live: func(t float64) float64 {
		return 40*mib + 64*kib*math.Mod(t, hour)
	}}
	w, err := watch.FeedEach(watch.Options{Limit: 8 << 30}, twice.samples(), none)
	require.NoError(t, err)
	assert.Len(t, w.Findings(), 1, "the second climb does not pass the first one's height")

	higher := curve{lasts: 2 * hour, live: func(t float64) float64 {
		return 40*mib + 64*kib*math.Mod(t, hour)*map[bool]float64{true: 1, false: 6}[t < hour]
	}}
	w, err = watch.FeedEach(watch.Options{Limit: 8 << 30}, higher.samples(), none)
	require.NoError(t, err)
	assert.Len(t, w.Findings(), 2, "the second climb is higher")
}

func TestPressure(t *testing.T) {
	var calls atomic.Int32
	var got watch.Pressure
	curve := curve{lasts: hour, live: func(t float64) float64 {
		switch {
		case t < 20*min:
			return 400*mib + 400*mib*t/(20*min)
		case t < 30*min:
			return 100 * mib
		default:
			return 850 * mib
		}
	}}
	synctest.Test(t, func(t *testing.T) {
		_, err := watch.FeedEach(watch.Options{Limit: 1000 * mib, OnPressure: func(p watch.Pressure) { got = p; calls.Add(1) }}, curve.samples(), func(w *watch.Watcher) {
			synctest.Wait()
			if used := w.Last().Live + w.Last().Outside; used < 800*mib && w.Last().Up < 20*min {
				require.Zero(t, calls.Load(), "called at %d MiB", used/mib)
			}
		})
		require.NoError(t, err)
	})
	assert.EqualValues(t, 2, calls.Load(), "once at each rise above 80 %")
	assert.EqualValues(t, 855*mib, got.Used)
	assert.EqualValues(t, 1000*mib, got.Limit)
	assert.Equal(t, "Options.Limit", got.LimitSource)
}

// kept is what the test's leaking lines keep.
var kept [][]byte

func TestFindingNamesTheLine(t *testing.T) {
	defer func() { kept = nil }()
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	defer func() { runtime.MemProfileRate = rate }()
	w, err := watch.FeedEach(watch.Options{Limit: 1024 * mib}, leaking().samples(), func(*watch.Watcher) {
		kept = append(kept, make([]byte, 4000))
		if len(kept)%30 == 0 {
			runtime.GC() // the profile is as of the collection before the last
			runtime.GC()
		}
	})
	require.NoError(t, err)
	require.NotEmpty(t, w.Findings())
	sites := w.Findings()[0].Sites
	require.NotEmpty(t, sites)
	assert.Contains(t, sites[0].Func, "TestFindingNamesTheLine")
	assert.True(t, strings.HasSuffix(sites[0].File, "watch_test.go"), sites[0].File)
	assert.Positive(t, sites[0].Bytes)
}

func TestGoroutineFindingNamesTheFunction(t *testing.T) {
	stop, running, before := make(chan struct{}), make(chan struct{}), runtime.NumGoroutine()
	defer func() {
		close(stop)
		for runtime.NumGoroutine() > before {
			runtime.Gosched()
		}
	}()
	started := 0
	c := curve{lasts: hour, live: flat(40 * mib), goroutines: climbing(50, 1)}
	w, err := watch.FeedEach(watch.Options{}, c.samples(), func(w *watch.Watcher) {
		for ; started < int(w.Last().Up/10); started++ {
			go blocked(running, stop)
			<-running // before it runs, its stack does not name the function
		}
	})
	require.NoError(t, err)
	require.NotEmpty(t, w.Findings())
	require.NotEmpty(t, w.Findings()[0].Sites)
	assert.Contains(t, w.Findings()[0].Sites[0].Func, "watch_test.blocked")
}

func blocked(running, stop chan struct{}) {
	running <- struct{}{}
	<-stop
}

func TestWhatExportersRead(t *testing.T) {
	w, err := watch.FeedEach(watch.Options{Limit: 1000 * mib}, (curve{}).samples(), none)
	require.NoError(t, err)
	_, ok := w.Pressure()
	assert.False(t, ok, "no sample yet")
	assert.Empty(t, w.Retainers())

	w, err = watch.FeedEach(watch.Options{Limit: 1000 * mib}, (curve{lasts: 20, live: flat(100 * mib)}).samples(), none)
	require.NoError(t, err)
	p, ok := w.Pressure()
	assert.True(t, ok)
	assert.EqualValues(t, 105*mib, p.Used)
	assert.EqualValues(t, 1000*mib, p.Limit)
	w.SetRetainers([]watch.Retainer{{Root: "main.store"}})
	w.Retainers()[0].Root = "changed"
	assert.Equal(t, "main.store", w.Retainers()[0].Root, "the caller has a copy")
}

func TestExpect(t *testing.T) {
	w, err := watch.FeedEach(watch.Options{}, curve{lasts: 20, live: flat(mib)}.samples(), none)
	require.NoError(t, err)
	type session struct{ user *string }
	held, dropped := &session{user: new("a")}, &session{user: new("b")}
	watch.Expect(w, held, "session")
	watch.Expect(w, dropped, "session")
	watch.Expect(w, (*session)(nil), "nothing")
	watch.Expect[session](nil, held, "nothing")
	count := func() float64 {
		list, _ := data(t, w)["expected"].([]any)
		if len(list) == 0 {
			return 0
		}
		require.Equal(t, "session", list[0].(map[string]any)["name"])
		return list[0].(map[string]any)["alive"].(float64)
	}
	assert.EqualValues(t, 2, count())
	runtime.KeepAlive(dropped)
	require.Eventually(t, func() bool { runtime.GC(); return count() == 1 }, 10*time.Second, time.Millisecond)
	runtime.KeepAlive(held)
}

func TestMarksAndFindingsAreBounded(t *testing.T) {
	w, err := watch.FeedEach(watch.Options{}, curve{lasts: 20, live: flat(mib)}.samples(), none)
	require.NoError(t, err)
	for range 1000 {
		w.Mark("deploy")
	}
	assert.Len(t, data(t, w)["marks"], 64)
}

// get asks the handler.
func get(w *watch.Watcher, method, path string) *http.Response {
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	return rec.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(b)
}

func data(t *testing.T, w *watch.Watcher) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(body(t, get(w, "GET", "/debug/leaks/data.json"))), &v))
	return v
}

func TestHandler(t *testing.T) {
	dir := t.TempDir()
	w, err := watch.FeedEach(watch.Options{Limit: 1024 * mib, Dir: dir, ServeFiles: true}, leaking().samples(), none)
	require.NoError(t, err)
	dump := "leaksafe-20260101T000000.000Z-redacted.dump"
	require.NoError(t, os.WriteFile(filepath.Join(dir, dump), []byte("go1.7 heap dump\n"), 0o600))
	w.Mark("deploy <1.4.2>")
	require.NotEmpty(t, w.Findings())
	captures := w.Findings()[0].Captures
	require.NotEmpty(t, captures)

	for name, c := range map[string]struct {
		method, path string
		status       int
		contains     string
	}{
		"page":                  {"GET", "/debug/leaks/", 200, "<svg"},
		"head":                  {"HEAD", "/debug/leaks/", 200, ""},
		"json":                  {"GET", "/debug/leaks/data.json", 200, `"version":1`},
		"profile":               {"GET", "/debug/leaks/files/" + captures[0], 200, "\x1f\x8b"},
		"dump":                  {"GET", "/debug/leaks/files/" + dump, 200, "go1.7 heap dump"},
		"profile that is gone":  {"GET", "/debug/leaks/files/leaksafe-20000101T000000.000Z-heap.pb.gz", 404, "gone"},
		"post":                  {"POST", "/debug/leaks/", 405, "only GET and HEAD"},
		"delete":                {"DELETE", "/debug/leaks/files/" + captures[0], 405, "only GET and HEAD"},
		"unknown":               {"GET", "/debug/leaks/x", 404, "no such page"},
		"history is no profile": {"GET", "/debug/leaks/files/leaksafe-history.jsonl", 404, "no such profile"},
		"path out of the dir":   {"GET", "/debug/leaks/files/..%2f..%2fetc%2fpasswd", 404, "no such page"},
	} {
		t.Run(name, func(t *testing.T) {
			r := get(w, c.method, c.path)
			assert.Equal(t, c.status, r.StatusCode)
			assert.Contains(t, body(t, r), c.contains)
			if c.status == 405 {
				assert.Equal(t, "GET, HEAD", r.Header.Get("Allow"))
			}
		})
	}

	page := body(t, get(w, "GET", "/debug/leaks/"))
	assert.Contains(t, page, "live heap grows")
	assert.Contains(t, page, "deploy &lt;1.4.2&gt;")
	for _, name := range append(captures, dump) {
		assert.Contains(t, page, `<li><a href="files/`+name+`">`)
	}
	assert.NotContains(t, page, "<script")
	assert.NotRegexp(t, `(src|href)="?(https?:)?//`, page, "the page asks nobody")
	for _, path := range regexp.MustCompile(` d="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		assert.Regexp(t, `^(M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)*)+$`, path[1])
	}
}

// Without ServeFiles the page and its numbers are all there is.
func TestHandlerServesThePageAlone(t *testing.T) {
	dir := t.TempDir()
	w, err := watch.FeedEach(watch.Options{Limit: 1024 * mib, Dir: dir}, leaking().samples(), none)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "leaksafe-20260101T000000.000Z-redacted.dump"), []byte("contents"), 0o600))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Greater(t, len(entries), 4, "there is something to see")
	for _, e := range entries {
		for _, path := range []string{"", "files/", "files/../", "files//", "x/files/", "%2e%2e/files/"} {
			r := get(w, "GET", "/debug/leaks/"+path+e.Name())
			assert.Equal(t, 404, r.StatusCode, path+e.Name())
		}
	}
	for _, path := range []string{"retained", "files", "pprof", "heap", "dump", ".", "..", "data.json.bak"} {
		assert.Equal(t, 404, get(w, "GET", "/debug/leaks/"+path).StatusCode, path)
	}
	page := body(t, get(w, "GET", "/debug/leaks/"))
	assert.NotContains(t, page, `href="files/`)
	assert.Equal(t, []string{`href="data.json"`}, regexp.MustCompile(`(?:href|src|action)="[^"]*"`).FindAllString(page, -1))
}

func TestHandlerRefusesOtherOrigins(t *testing.T) {
	dir := t.TempDir()
	w, err := watch.FeedEach(watch.Options{Limit: 1024 * mib, Dir: dir, ServeFiles: true}, leaking().samples(), none)
	require.NoError(t, err)
	capture := "/debug/leaks/files/" + w.Findings()[0].Captures[0]
	ask := func(method, path, site string) int {
		r := httptest.NewRequest(method, path, strings.NewReader("a=b"))
		r.Header.Set("Origin", "https://elsewhere.example")
		r.Header.Set("Sec-Fetch-Site", site)
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, r)
		assert.Equal(t, "", rec.Header().Get("Access-Control-Allow-Origin"))
		return rec.Code
	}
	for _, path := range []string{"/debug/leaks/", "/debug/leaks/data.json", capture} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			assert.Equal(t, 405, ask(method, path, "cross-site"), method+path)
		}
	}
	assert.Equal(t, 200, ask("GET", "/debug/leaks/", "cross-site"), "a link to the page, in a chat")
	assert.Equal(t, 403, ask("GET", "/debug/leaks/data.json", "cross-site"))
	assert.Equal(t, 403, ask("GET", capture, "cross-site"))
	assert.Equal(t, 200, ask("GET", capture, "same-origin"))
	retained := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/debug/leaks/retained", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w.Retained().ServeHTTP(retained, r)
	assert.Equal(t, 403, retained.Code, "no copy is taken for an image of another site")
	policy := get(w, "GET", "/debug/leaks/").Header
	assert.Contains(t, policy.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	assert.Equal(t, "same-origin", policy.Get("Cross-Origin-Resource-Policy"))
}

func TestPlace(t *testing.T) {
	for name, c := range map[string]struct{ function, file, want string }{
		"of this module":            {"github.com/leaksafe/leaksafe/examples/sessions.(*Store).Open", "/home/u/src/leaksafe/examples/sessions/sessions.go", "examples/sessions/sessions.go:27"},
		"built with -trimpath":      {"github.com/leaksafe/leaksafe/examples/sessions.(*Store).Open", "github.com/leaksafe/leaksafe/examples/sessions/sessions.go", "examples/sessions/sessions.go:27"},
		"at the module's root":      {"github.com/leaksafe/leaksafe.Do", "/x/do.go", "do.go:27"},
		"of another module":         {"example.com/lib/v3.New", "/root/go/pkg/mod/example.com/lib@v3.1.0/new.go", "example.com/lib/v3/new.go:27"},
		"of a module alike":         {"github.com/leaksafe/leaksafe2.New", "/x/new.go", "github.com/leaksafe/leaksafe2/new.go:27"},
		"a dot in the last element": {"gopkg.in/yaml%2ev3.Unmarshal", "/x/yaml.go", "gopkg.in/yaml.v3/yaml.go:27"},
		"a test":                    {"github.com/leaksafe/leaksafe/pool_test.TestX.func1", "/x/pool_test.go", "pool/pool_test.go:27"},
		"of the standard library":   {"net/http.(*conn).serve", "/usr/lib/go/src/net/http/server.go", "net/http/server.go:27"},
		"on Windows":                {"github.com/leaksafe/leaksafe/pool.New", `C:\src\leaksafe\pool\pool.go`, "pool/pool.go:27"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, watch.Site{Func: c.function, File: c.file, Line: 27}.Place())
		})
	}
}

// What watch allocates itself is bounded, and would only hide the program's lines.
func TestOwnMemoryIsNotListed(t *testing.T) {
	testgate.Seconds(t)
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	defer func() { runtime.MemProfileRate = rate }()
	w, err := watch.FeedEach(watch.Options{Limit: 1024 * mib, Dir: t.TempDir()}, leaking().samples(), none)
	require.NoError(t, err)
	for range 20 {
		body(t, get(w, "GET", "/"))
	}
	runtime.GC()
	runtime.GC()
	sites := watch.HeldSites()
	require.NotEmpty(t, sites)
	for _, s := range sites {
		assert.False(t, watch.Own(s.Func), s.Func)
	}
	assert.True(t, watch.Own("github.com/leaksafe/leaksafe/leakcheck/watch.(*level).push"))
	assert.False(t, watch.Own("github.com/leaksafe/leaksafe/leakcheck/watch_test.TestX"))
	runtime.KeepAlive(w)
}

func TestAxesAreRound(t *testing.T) {
	for _, c := range []struct {
		top    float64
		wholes bool
		want   string
	}{
		{850 * mib, false, "0 200 MiB 400 MiB 600 MiB 800 MiB"},
		{1024 * mib, false, "0 0.2 GiB 0.4 GiB 0.6 GiB 0.8 GiB 1 GiB"},
		{3.2 * 1024 * mib, false, "0 1 GiB 2 GiB 3 GiB"},
		{48 * mib, false, "0 10 MiB 20 MiB 30 MiB 40 MiB"},
		{3, false, "0 1 B 2 B 3 B"},
		{0, false, "0"},
		{0, true, "0"},
		{7, true, "0 2 4 6"},
		{52000, true, "0 10000 20000 30000 40000 50000"},
	} {
		assert.Equal(t, c.want, strings.Join(watch.Ticks(c.top, c.wholes, 6), " "), "%v", c.top)
	}
	for span, want := range map[time.Duration]time.Duration{
		0: time.Second, 20 * time.Second: 5 * time.Second, time.Hour: 10 * time.Minute, 24 * time.Hour: 3 * time.Hour,
		7 * 24 * time.Hour: 24 * time.Hour, 400 * 24 * time.Hour: 51 * 24 * time.Hour,
	} {
		step, _ := watch.TimeStep(span, 8)
		assert.Equal(t, want, step, "%v", span)
	}
}

func TestJSONForm(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, watch.Append(dir, began.Add(-time.Hour).UnixNano(), 80, 100*mib))
	w, err := watch.FeedEach(watch.Options{Limit: 1024 * mib, Dir: dir}, leaking().samples(), none)
	require.NoError(t, err)
	w.Mark("deploy")
	v := data(t, w)
	keys := func(v any) []string {
		var out []string
		for k := range v.(map[string]any) {
			out = append(out, k)
		}
		return out
	}
	assert.ElementsMatch(t, []string{"version", "time", "interval", "limit", "limitSource", "samples", "past", "marks", "findings", "expected", "captures"}, keys(v))
	assert.ElementsMatch(t, []string{"time", "up", "live", "heap", "objects", "goal", "fixed", "rss", "outside", "goroutines", "files", "collection", "cycles", "allocated", "traffic"}, keys(v["samples"].([]any)[0]))
	assert.ElementsMatch(t, []string{"life", "time", "up", "used", "live", "rss"}, keys(v["past"].([]any)[0]))
	assert.ElementsMatch(t, []string{"time", "text"}, keys(v["marks"].([]any)[0]))
	assert.Subset(t, keys(v["findings"].([]any)[0]), []string{"signal", "time", "over", "from", "to", "perHour", "limit", "limitSource", "eta", "doubleBuys", "captures"})
	assert.EqualValues(t, 10, v["interval"])
	assert.Len(t, v["samples"], 180)
}

func TestHistoryIsShownAtCoarserSteps(t *testing.T) {
	testgate.NoRace(t)
	c := curve{lasts: 2 * day, live: flat(40 * mib)}
	w, err := watch.FeedEach(watch.Options{History: 24 * time.Hour}, c.samples(), none)
	require.NoError(t, err)
	samples := data(t, w)["samples"].([]any)
	assert.LessOrEqual(t, len(samples), 300)
	first := samples[0].(map[string]any)["up"].(float64)
	assert.InDelta(t, 1*day, first, 11*min, "a day back, within a step")
	last := samples[len(samples)-1].(map[string]any)["up"].(float64)
	assert.InDelta(t, 2*day-10, last, 1)
}

// No text of the axis of time covers another, or is cut by the edge.
func TestTimeLabelsStandApart(t *testing.T) {
	start := time.Date(2026, 11, 30, 6, 0, 0, 0, time.UTC)
	for span := 3 * time.Second; span < 3*365*24*time.Hour; span = span * 5 / 4 {
		for part := range 8 {
			from := start.Add(span * time.Duration(part) / 8)
			for _, labels := range watch.TimeLabels(from, from.Add(span)) {
				require.NotEmpty(t, labels, "%v from %v", span, from)
				for i := range labels[1:] {
					require.Greater(t, labels[i+1][0], labels[i][1], "%v from %v", span, from)
				}
				require.GreaterOrEqual(t, labels[0][0], 0.0, "%v from %v", span, from)
			}
		}
	}
}
