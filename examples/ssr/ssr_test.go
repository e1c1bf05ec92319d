package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv(envServe) != "" {
		exitIf(serve()) // this test binary is the server
		return
	}
	if os.Getenv(wholeEnv) != "" {
		_ = os.Unsetenv(wholeEnv) // its children are themselves
		main()
		return
	}
	leakcheck.Main(m)
}

// The leak test, as a service has it: a page must not grow the heap.

func TestNormalDoesNotGrow(t *testing.T) {
	leakcheck.Check(t)
	leakcheck.NoGrowth(t, requests(t, "/normal"), leakcheck.Iterations(iterations))
}

func TestMemoryLeakIsFound(t *testing.T) {
	forget(t)
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.NoGrowth(t, requests(t, "/memory-leak"), leakcheck.Iterations(iterations))
	})
}

// requests returns an operation: one request for a page of a real server.
func requests(t testing.TB, page string) func() {
	s := httptest.NewServer(pages())
	t.Cleanup(s.Close)
	return func() {
		if err := get(s.Client(), s.URL+page, io.Discard); err != nil {
			t.Error(err)
		}
	}
}

// forget empties the list when the test ends.
func forget(t *testing.T) {
	t.Cleanup(func() { history.pages = nil })
}

// TestWatch loads a server with a hundred requests a second: the leaking page
// is found within ten windows, and by its line; the other is silent for five minutes.
func TestWatch(t *testing.T) {
	if os.Getenv("LEAKSAFE_LONG") == "" {
		t.Skip("takes five minutes: set LEAKSAFE_LONG=1")
	}
	// A hundred requests a second are so few that the collector would run once in
	// twenty seconds; a window without a collection does not count.
	t.Cleanup(func() { os.Unsetenv("GOGC") })
	require.NoError(t, os.Setenv("GOGC", "10"))
	for page, long := range map[string]time.Duration{
		"/normal": 5 * time.Minute, "/memory-leak": 110 * time.Second,
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			c, err := start(t.Context(), page)
			require.NoError(t, err)
			defer c.stop()
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for range long / (10 * time.Millisecond) {
				<-tick.C
				require.NoError(t, get(c.client, c.base+page, io.Discard))
			}
			var text bytes.Buffer
			require.NoError(t, get(c.client, c.base+"/debug/leaks/data.json", &text))
			var data struct{ Findings []watch.Finding }
			require.NoError(t, json.Unmarshal(text.Bytes(), &data))
			if page == "/normal" {
				assert.Empty(t, data.Findings)
				return
			}
			require.NotEmpty(t, data.Findings)
			f := data.Findings[0]
			assert.Equal(t, "live heap", f.Signal)
			assert.LessOrEqual(t, time.Duration(f.Over), 10*8*time.Second, "ten windows")
			assert.Contains(t, f.Sites[0].Func, ".memoryLeak")
			t.Log(f)
		})
	}
}

func TestBothPagesShowTheSame(t *testing.T) {
	forget(t)
	s := httptest.NewServer(pages())
	defer s.Close()
	var normal, leak bytes.Buffer
	require.NoError(t, get(s.Client(), s.URL+"/normal", &normal))
	require.NoError(t, get(s.Client(), s.URL+"/memory-leak", &leak))
	assert.Equal(t, normal.String(), leak.String())
	assert.Contains(t, normal.String(), "<li>Tea 1: 7 (sold out)</li>")
}

func TestJob(t *testing.T) {
	if os.Getenv("LEAKSAFE_CI") == "" && os.Getenv("LEAKSAFE_LONG") == "" {
		t.Skip("takes seven seconds: set LEAKSAFE_CI=1")
	}
	leakcheck.Check(t)
	file := filepath.Join(t.TempDir(), "graphs", "ssr.html")
	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, time.Second, file))
	t.Log("\n" + out.String())
	assert.Regexp(t, `(?m)^/normal +[▁-█]{24}`, out.String())
	assert.Regexp(t, `(?m)^/normal +steady$`, out.String())
	assert.Regexp(t, `(?m)^/memory-leak +growing$`, out.String())
	assert.Contains(t, out.String(), "memoryLeak")
	assert.Contains(t, out.String(), `p := &page{Title: "Shop", Products: catalogue}`)

	page, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(page), "<polyline")
	assert.Contains(t, string(page), "memoryLeak")
	assert.NotContains(t, string(page), "<script")
	assert.NotContains(t, string(page), "src=")
}

func TestRefusedBeforeMeasuring(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	var out strings.Builder
	err := run(t.Context(), &out, time.Second, filepath.Join(file, "graph.html"))
	assert.ErrorContains(t, err, "not a directory")
	assert.ErrorContains(t, run(t.Context(), &out, time.Millisecond, ""), "too short")
	assert.Empty(t, out.String())
}

func TestExpected(t *testing.T) {
	verdicts := func(normal, leak string) []*child {
		return []*child{{Finding: finding{Verdict: normal}}, {Finding: finding{Verdict: leak}}}
	}
	assert.NoError(t, expected(verdicts("steady", "growing")))
	assert.EqualError(t, expected(verdicts("growing", "growing")),
		"ssr: normal is growing and memory-leak is growing; expected steady and growing")
	assert.Error(t, expected(verdicts("steady", "steady")))
	assert.Error(t, expected(verdicts("steady", "noisy")))
}

func TestServerErrorEndsTheJob(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	c := &child{Page: "/normal", base: s.URL, client: s.Client()}
	assert.ErrorContains(t, c.measure(), "404")
	assert.ErrorContains(t, c.load(time.Millisecond), "404")
}

func TestBarIsForTerminals(t *testing.T) {
	var out bytes.Buffer
	newBar(&out).show(.5, "half")
	assert.Empty(t, out.String())

	r, w, err := os.Pipe()
	require.NoError(t, err)
	newBar(w).show(.5, "half")
	require.NoError(t, w.Close())
	piped, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.Empty(t, piped)

	bar{&out}.show(.5, "half")
	assert.Equal(t, "\r\x1b[K████████████░░░░░░░░░░░░  50%  half", out.String())
}

func TestSeries(t *testing.T) {
	s := series{0, 1, 2, 3}
	assert.Equal(t, "▁▃▅▇", s.spark(4, 4))
	assert.Equal(t, "▁▃▆█", s.spark(4, 3))
	assert.Equal(t, "▂▆", s.spark(2, 4), "two samples a character")
	assert.Equal(t, "▁▁▃▃▅▅▇▇", s.spark(8, 4), "two characters a sample")
	assert.Equal(t, "█", series{5}.spark(1, 5))
	for v, want := range map[float64]float64{
		0: 1, 1: 1, 1.1: 2, 3: 5, 96: 100, 129: 200, 15000: 20000,
	} {
		assert.Equal(t, want, nice(v), "%v", v)
	}
}
