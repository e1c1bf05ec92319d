package watch_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// A shot is a sample of a process that reads a frozen copy of itself, in MiB, as it was recorded.
type shot struct{ live, fixed, rss, outside float64 }

func (x shot) sample(up float64) watch.Sample {
	mb := func(v float64) int64 { return int64(v * mib) }
	return watch.Sample{
		Time: began, Up: up, Live: mb(x.live), Heap: mb(x.live), Goal: mb(2 * x.live), Fixed: mb(x.fixed), RSS: mb(x.rss), Outside: mb(x.outside),
		Objects: 16_000, Cycles: int64(up) + 2, Allocated: int64(up * mib), Traffic: -1, Goroutines: 20, Files: 9,
	}
}

// A service with a limit of 128 MiB, on eight processors. In 2.5 s its live heap rose from 61 to 68
// MiB, and by 41 MiB more for what reading took.
var (
	beforeReading = shot{61.0, 6.8, 72.9, 3.0}
	whileReading  = []shot{
		{92.1, 7.1, 74.8, 0}, {91.3, 7.1, 80.5, 0}, {96.9, 7.2, 85.2, 0}, {100.0, 7.1, 87.0, 0}, {101.6, 7.2, 91.6, 0},
		{103.1, 7.2, 92.7, 0}, {104.3, 7.2, 94.7, 0}, {106.9, 7.2, 96.2, 0}, {109.1, 7.4, 100.3, 0},
	}
	afterReading = shot{67.9, 7.4, 82.1, 3.6}
)

const takes = 343 * mib / 10

// What reading a copy takes is watch's own: it is no pressure. The same samples are pressure where
// nothing is read.
func TestReadingIsNoPressure(t *testing.T) {
	for _, reads := range []bool{true, false} {
		t.Run(fmt.Sprintf("reads=%v", reads), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				file := filepath.Join(t.TempDir(), "log")
				w, err := watch.FeedEachOpen(watch.Options{Limit: 128 * mib, TerminationLog: file, OnPressure: func(watch.Pressure) { calls.Add(1) }}, curve{}.samples())
				require.NoError(t, err)
				defer w.Stop()
				w.Take(beforeReading.sample(1))
				if reads {
					w.BeginReading(beforeReading.sample(1), takes)
					text, err := os.ReadFile(file)
					require.NoError(t, err)
					assert.Contains(t, string(text), "leaksafe: watch reads a frozen copy of the process, which takes about", "the kernel may kill it meanwhile")
				}
				for i, x := range whileReading {
					w.Take(x.sample(float64(2 + i)))
				}
				p, ok := w.Pressure()
				assert.True(t, ok)
				if reads {
					assert.Less(t, p.Used, int64(90*mib))
					w.EndReading()
				}
				w.Take(afterReading.sample(11))
				synctest.Wait()
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				if !reads {
					assert.EqualValues(t, 1, calls.Load())
					assert.Contains(t, string(text), "memory is near the limit")
					return
				}
				assert.Zero(t, calls.Load())
				assert.False(t, w.Evident())
				assert.Empty(t, string(text), "it was not the end")
			})
		})
	}
}

// Memory that rises by more than reading takes is pressure at once.
func TestPressureWhileACopyIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		file := filepath.Join(t.TempDir(), "log")
		w, err := watch.FeedEachOpen(watch.Options{Limit: 160 * mib, TerminationLog: file, OnPressure: func(watch.Pressure) { calls.Add(1) }}, curve{}.samples())
		require.NoError(t, err)
		defer w.Stop()
		w.BeginReading(beforeReading.sample(1), takes)
		w.Take(shot{140, 7, 150, 0}.sample(2))
		synctest.Wait()
		assert.Zero(t, calls.Load())
		w.Take(shot{156, 7.5, 158, 0}.sample(3))
		synctest.Wait()
		assert.EqualValues(t, 1, calls.Load())
		w.EndReading()
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Contains(t, string(text), "memory is near the limit of 160 MiB", "it stays when the reading is over")
	})
}

// Windows in which a copy is read neither are growth nor hide it: what is found is the same.
func TestReadingIsNoGrowth(t *testing.T) {
	for name, live := range map[string]func(float64) float64{"flat": flat(61 * mib), "a climb": climbing(61*mib, 64*kib)} {
		t.Run(name, func(t *testing.T) {
			feed := func(reads bool) (findings []watch.Finding, found float64) {
				w, err := watch.FeedEachOpen(watch.Options{Limit: 8 << 30, TerminationLog: "none"}, curve{}.samples())
				require.NoError(t, err)
				defer w.Stop()
				n := 0
				for s := range (curve{lasts: 40 * min, live: live}).samples() {
					if n++; reads && n == 60 { // a whole window is taken while it reads
						w.BeginReading(s, takes)
					}
					if reads && n >= 60 && n < 73 {
						s.Live += 20 * mib
					}
					w.Take(s)
					if reads && n == 73 {
						w.EndReading()
					}
					if found == 0 && len(w.Findings()) > 0 {
						found = s.Up
					}
				}
				return w.Findings(), found
			}
			want, wantAt := feed(false)
			got, at := feed(true)
			assert.Equal(t, name == "a climb", len(want) == 1)
			require.Len(t, got, len(want))
			assert.InDelta(t, wantAt, at, 80, "a window later at most")
			for i := range want {
				assert.InDelta(t, want[i].To, got[i].To, 6*mib)
			}
		})
	}
}

// A program that stands still while a copy is read has not stopped growing.
func TestGrowthHasNotStoppedWhileACopyIsRead(t *testing.T) {
	top := 20 * min
	w, err := watch.FeedEachOpen(watch.Options{Limit: 8 << 30, TerminationLog: "none"}, curve{}.samples())
	require.NoError(t, err)
	defer w.Stop()
	for s := range (curve{lasts: 60 * min, live: func(t float64) float64 { return 61*mib + 64*kib*math.Min(t, top) }}).samples() {
		if s.Up == top {
			w.BeginReading(s, takes)
		}
		w.Take(s)
		if s.Up == 2*top {
			require.Len(t, w.Findings(), 1)
			assert.True(t, w.Findings()[0].Stopped.IsZero())
			w.EndReading()
		}
	}
	assert.False(t, w.Findings()[0].Stopped.IsZero())
}

var early = watch.Retainer{Root: "main.open (variable)", Bytes: 30 * mib, Objects: 1000, Share: .9}

// Under a limit that leaves no room for a copy at the pressure, copies are taken before: from a
// quarter of it on, each time that use has grown by an eighth.
func TestEarlyCopies(t *testing.T) {
	testgate.NoRace(t)
	const limit = 100 * mib
	climb := func(from, to float64) func(float64) float64 {
		return func(t float64) float64 { return (from + (to-from)*t/hour) * limit }
	}
	for name, c := range map[string]struct {
		live  func(float64) float64
		lasts float64
		limit int64
		want  []float64 // shares of the limit at which copies are taken
	}{
		"a climb from the start":     {climb(.05, .79), hour, limit, []float64{.25, .375, .5, .625, .75}},
		"a process that starts high": {climb(.55, .79), hour, limit, []float64{.55, .675}},
		"steady":                     {flat(.6 * limit), day, limit, []float64{.6}},
		"room for a copy at the end": {climb(.05, .79), hour, 1 << 40, nil},
		"less than a quarter":        {flat(.2 * limit), day, limit, nil},
		"no known limit, so no end":  {flat(.6 * limit), day, 0, nil},
		"a wave of two hours":        {func(t float64) float64 { return (.5 + .2*math.Sin(2*math.Pi*t/(2*hour))) * limit }, 4 * hour, limit, []float64{.5, .625, .5, .625}},
		"a wave of 20 minutes":       {func(t float64) float64 { return (.5 + .2*math.Sin(2*math.Pi*t/(20*min))) * limit }, 2 * hour, limit, []float64{.5, .63, .501, .63}},
	} {
		t.Run(name, func(t *testing.T) {
			var used []float64
			w, err := watch.FeedEachOpen(watch.Options{Limit: max(c.limit, 1), Dir: t.TempDir(), TerminationLog: "none"}, curve{}.samples())
			require.NoError(t, err)
			defer w.Stop()
			if c.limit == 0 {
				w.NoLimit()
			} else {
				w.SetLimit(c.limit)
			}
			for s := range (curve{lasts: c.lasts, live: c.live, outside: flat(0), gogc: flat(0)}).samples() {
				w.SetLook(func() ([]watch.Retainer, error) {
					used = append(used, float64(s.Live)/limit)
					return []watch.Retainer{early}, nil
				})
				w.Take(s)
				w.Settle()
			}
			require.Len(t, used, len(c.want), "%v", used)
			assert.InDeltaSlice(t, c.want, used, .006)
		})
	}
}

// What a copy before the pressure has shown is in the evidence. Where it has failed, so is why.
func TestEvidenceOfEarlyCopies(t *testing.T) {
	const limit = 100 * mib
	for name, c := range map[string]struct {
		copies []error // what each copy ends with
		want   []string
		not    string
	}{
		"the last one": {[]error{nil, nil, nil, nil, nil, errors.New("no room at the end")}, []string{"1. main.open5 (variable) retains", "no room at the end"}, "allocated at github"},
		"an earlier one": {[]error{nil, errors.New("no room"), errors.New("no room"), errors.New("no room"), errors.New("no room in the fifth"), errors.New("no room at the end")},
			[]string{"1. main.open1 (variable) retains", "no room at the end"}, "no room in the fifth"},
		"none": {[]error{errors.New("a"), errors.New("b"), errors.New("c"), errors.New("d"), errors.New("no room before"), errors.New("no room at the end")},
			[]string{"allocated at ", "no room at the end\n", "Z: no room before\n"}, "retains"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "log")
			w, err := watch.FeedEachOpen(watch.Options{Limit: limit, Dir: t.TempDir(), TerminationLog: file}, curve{}.samples())
			require.NoError(t, err)
			defer w.Stop()
			filled = nil
			defer func() { filled = nil }()
			for range 16 {
				fill()
			}
			runtime.GC()
			runtime.GC() // now the heap profile has them
			n := 0
			w.SetLook(func() ([]watch.Retainer, error) {
				n++
				r := early
				r.Root = fmt.Sprintf("main.open%d (variable)", n)
				return []watch.Retainer{r}, c.copies[n-1]
			})
			for s := range (curve{lasts: hour, live: climbing(.05*limit, .8*limit/hour), outside: flat(0), gogc: flat(0)}).samples() {
				w.Take(s)
				w.Settle()
			}
			assert.Equal(t, len(c.copies), n)
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, want := range c.want {
				assert.Contains(t, string(text), want)
			}
			assert.NotContains(t, string(text), c.not)
		})
	}
}

// Memory that falls and rises again is told each time, and a copy taken once in ten minutes.
func TestPressureThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "log")
		w, err := watch.FeedEachOpen(watch.Options{Limit: 1000 * mib, Dir: t.TempDir(), TerminationLog: file}, curve{}.samples())
		require.NoError(t, err)
		defer w.Stop()
		copies := 0
		w.SetLook(func() ([]watch.Retainer, error) { copies++; return []watch.Retainer{early}, nil })
		for i := range 100 {
			up := float64(20 * i)
			w.Take(shot{850, 5, 860, 0}.sample(up))
			w.Settle()
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Contains(t, string(text), "memory is near the limit")
			time.Sleep(10 * time.Second) // of the bubble's clock
			w.Take(shot{300, 5, 310, 0}.sample(up + 10))
			text, err = os.ReadFile(file)
			require.NoError(t, err)
			require.Empty(t, text)
			time.Sleep(10 * time.Second)
		}
		assert.Equal(t, 4, copies, "in 2,000 s")
	})
}

// Memory falls while the copy for the evidence is read: then it was not the end, and the message
// stays empty.
func TestEvidenceThatComesTooLate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	w, err := watch.FeedEachOpen(watch.Options{Limit: 1000 * mib, Dir: t.TempDir(), TerminationLog: file}, curve{}.samples())
	require.NoError(t, err)
	defer w.Stop()
	fallen := make(chan struct{})
	w.SetLook(func() ([]watch.Retainer, error) { <-fallen; return []watch.Retainer{early}, nil })
	w.Take(shot{850, 5, 860, 0}.sample(1))
	w.Take(shot{300, 5, 310, 0}.sample(2))
	close(fallen)
	w.Settle()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Empty(t, string(text))
	assert.Equal(t, []watch.Retainer{early}, w.Retainers())
}
