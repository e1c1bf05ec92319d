package remote

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/failures.txt anew")

const (
	kib = 1 << 10
	mib = 1 << 20
)

// measured makes n fetches, 5 s apart, of a service whose heap and goroutines are functions of the
// number of the fetch.
func measured(n int, heap, goroutines func(i float64) float64) []Measurement {
	all := make([]Measurement, n)
	for i := range all {
		m := &all[i]
		x := float64(i)
		m.Seconds, m.Live, m.Goroutines, m.Leaked = 5*x, int64(heap(x)), int64(goroutines(x)), -1
		m.Allocated, m.Collections = int64(64*mib*(i+1)), int64(i+1)
		m.heap = snapshot{{fn: "main.load", file: "main.go", line: 7}: m.Live}
		m.goroutines = snapshot{{fn: "main.wait", file: "main.go", line: 9, caller: "main.wait"}: m.Goroutines}
	}
	return all
}

func flat(v float64) func(float64) float64 { return func(float64) float64 { return v } }

func line(from, step float64) func(float64) float64 {
	return func(i float64) float64 { return from + step*i }
}

// sawtooth is noise that has no direction.
func sawtooth(i float64) float64 { return 40*mib + 8*mib*math.Mod(i*0.37, 1) }

var series12 = []struct {
	name             string
	heap, goroutines func(float64) float64
	verdict          string
}{
	{"a leak", line(40*mib, 2*mib), flat(10), Growing},
	{"a slow leak", line(40*mib, 256*kib), flat(10), Growing},
	{"goroutines", flat(40 * mib), line(10, 5), Growing},
	{"nothing", flat(40 * mib), flat(10), Steady},
	{"noise", sawtooth, flat(10), Steady},
	{"less than the floor", line(40*mib, 64*kib), flat(10), Steady},
	{"a few goroutines", flat(40 * mib), line(10, 1), Steady},
	{"a cache that fills", func(i float64) float64 { return 40*mib + 60*mib*(1-math.Exp(-i/4)) }, flat(10), Steady},
	{"a cache that filled", func(i float64) float64 { return 40*mib + 10*mib*math.Min(i, 5) }, flat(10), Steady},
	{"a step", func(i float64) float64 { return 40*mib + 20*mib*math.Floor(i/6) }, flat(10), Unknown},
	{"growth with pauses", func(i float64) float64 { return 40*mib + 5*mib*math.Floor(i*0.7) }, flat(10), Unknown},
	{"it shrinks", line(80*mib, -2*mib), flat(10), Steady},
}

func TestVerdicts(t *testing.T) {
	for _, x := range series12 {
		r := judge("http://host/debug/pprof/", Options{Fetches: 12, Floor: mib}, measured(12, x.heap, x.goroutines), nil)
		assert.Equal(t, x.verdict, r.Verdict, "%s: %s", x.name, r.Reason)
		assert.Equal(t, x.verdict == Growing, len(r.Findings) > 0, x.name)
	}
}

// The rule needs a cause: a leak that is given no time, or that stands still, is none.
func TestFewFetches(t *testing.T) {
	for n := range 13 {
		r := judge("", Options{Fetches: 12, Floor: mib}, measured(n, line(40*mib, 4*mib), flat(10)), errors.New("x"))
		want := Growing
		if n < 6 {
			want = Unknown
		}
		assert.Equal(t, want, r.Verdict, n)
	}
}

func TestSitesAreThoseThatStillGrow(t *testing.T) {
	all := measured(12, line(40*mib, 2*mib), flat(10))
	for i := range all {
		all[i].heap = snapshot{
			{fn: "main.leak", line: 1}:  int64(i) * 2 * mib,
			{fn: "main.cache", line: 2}: min(int64(i), 3) * 50 * mib, // more, but full
			{fn: "main.noise", line: 3}: int64(i%2) * 10 * mib,
		}
	}
	r := judge("", Options{Fetches: 12, Floor: mib}, all, nil)
	require.Len(t, r.Findings, 1)
	require.Len(t, r.Findings[0].Sites, 1)
	assert.Equal(t, "main.leak", r.Findings[0].Sites[0].Func)
	assert.InEpsilon(t, 24*mib, r.Findings[0].Sites[0].Growth, 0.01)
}

func TestLibraryAndOtherModules(t *testing.T) {
	for fn, want := range map[string]bool{
		"net/http.(*conn).serve": true, "runtime.mallocgc": true, "internal/poll.(*FD).Read": true, "vendor/golang.org/x/net/http2.F": true,
		"main.main": false, "shop/store.(*T).F": false, "shop.F": false, "example.com/a.F": false,
	} {
		assert.Equal(t, want, standard(fn), fn)
	}
	for file, want := range map[string]bool{
		"/root/go/pkg/mod/github.com/x/y@v1.2.3/z.go": true, "github.com/x/y@v1.2.3/z.go": true, "/src/app/vendor/github.com/x/y/z.go": true,
		"/src/app/cache.go": false,
	} {
		assert.Equal(t, want, foreign(file), file)
	}
}

var port = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// TestFailures has the texts of the package in one file, to be read.
func TestFailures(t *testing.T) {
	var all strings.Builder
	show := func(when string, text any) {
		fmt.Fprintf(&all, "# %s\n%s\n\n", when, port.ReplaceAllString(fmt.Sprint(text), "127.0.0.1:6060"))
	}
	for _, x := range series12 {
		r := judge("", Options{Fetches: 12, Floor: mib}, measured(12, x.heap, x.goroutines), nil)
		if r.Reason != "" {
			show(x.name, r.Verdict+": "+r.Reason)
		}
	}
	idle := measured(12, flat(40*mib), flat(10))
	for i := range idle {
		idle[i].Allocated = int64(i * mib)
	}
	r := judge("", Options{Fetches: 12, Floor: mib}, idle, nil)
	show("no requests", r.Verdict+": "+r.Reason)
	again := measured(12, flat(40*mib), flat(10))
	again[7].Allocated = 0
	r = judge("", Options{Fetches: 12, Floor: mib}, again, nil)
	show("it was started again", r.Verdict+": "+r.Reason)
	r = judge("", Options{Fetches: 12}, again[:3], errors.New("remote: http://host:6060/debug/pprof/heap: 503 Service Unavailable"))
	show("fetches that fail", fmt.Sprint(r.Verdict, ": ", r.Reason, "\n", r.Notes[0]))

	options := Options{URL: "http://127.0.0.1:1", Fetches: 12, Interval: time.Millisecond}
	with := func(f func(*Options)) Options {
		o := options
		f(&o)
		return o
	}
	for _, x := range []struct {
		when string
		o    Options
	}{
		{"too few fetches", with(func(o *Options) { o.Fetches = 3 })},
		{"no interval", with(func(o *Options) { o.Interval = 0 })},
		{"a negative floor", with(func(o *Options) { o.Floor = -1 })},
		{"no scheme", with(func(o *Options) { o.URL = "127.0.0.1:6060" })},
		{"no service", options},
	} {
		_, err := Watch(context.Background(), x.o)
		require.Error(t, err, x.when)
		show(x.when, err)
	}
	for _, x := range []struct {
		when string
		code int
		body string
	}{
		{"no pprof", 404, ""},
		{"no right", 401, ""},
		{"a server error", 500, ""},
		{"another page", 200, "<html>"},
		{"a heap profile that is none", 200, "# HeapAlloc = 1\n# TotalAlloc = 1\n# NumGC = 1\n"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(x.code)
			fmt.Fprint(w, x.body)
		}))
		_, err := Watch(context.Background(), with(func(o *Options) { o.URL = "http://user:secret@" + s.Listener.Addr().String() }))
		s.Close()
		require.Error(t, err, x.when)
		assert.NotContains(t, err.Error(), "secret")
		show(x.when, err)
	}

	file := filepath.Join("testdata", "failures.txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(all.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), all.String(), "go test -run TestFailures -update writes it anew")
}

// What happens to be under way when a fetch looks is no line that grows.
func TestNotable(t *testing.T) {
	assert.Equal(t, []Site{{Growth: 1750}, {Growth: 40}}, notable([]Site{{Growth: 1750}, {Growth: 40}, {Growth: 1}}, 0))
	assert.Equal(t, []Site{{Growth: 3}, {Growth: 2}, {Growth: 1}}, notable([]Site{{Growth: 3}, {Growth: 2}, {Growth: 1}}, 0))
	assert.Equal(t, []Site{{Growth: 25 * mib}, {Growth: 2 * mib}}, notable([]Site{{Growth: 25 * mib}, {Growth: 2 * mib}, {Growth: mib}}, fewSamples), "two samples by chance")
	assert.Equal(t, []Site{{Growth: mib}}, notable([]Site{{Growth: mib}}, fewSamples), "the only one")
	assert.Empty(t, notable(nil, 0))
}
