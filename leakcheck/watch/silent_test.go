package watch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// cleanSeries makes series of services that do not leak, of one kind, as a seed has it.
var cleanSeries = map[string]func(r *rand.Rand) curve{
	"a daily wave": func(r *rand.Rand) curve {
		low := between(r, 20, 100) * mib
		shape := shifted(wave(low, low*between(r, 1.2, 8)), r.Float64()*day)
		base := between(r, .5, 2) * mib
		return curve{live: shape, rate: func(t float64) float64 { return base * shape(t) / low }, goroutines: func(t float64) float64 { return 50 * shape(t) / low }}
	},
	"deploys": func(r *rand.Rand) curve {
		level, every, lasts := between(r, 50, 400)*mib, between(r, 1, 12)*hour, between(r, 1, 10)*min
		return curve{live: func(t float64) float64 {
			if math.Mod(t, every) < lasts {
				return level / 5
			}
			return level
		}}
	},
	"a cache fills": func(r *rand.Rand) curve {
		return curve{live: filling(between(r, 20, 400)*mib, math.Exp(between(r, math.Log(min), math.Log(hour))))}
	},
	"bursts": func(r *rand.Rand) curve {
		level, burst, every, lasts := between(r, 50, 200)*mib, between(r, 10, 300)*mib, between(r, .3, 6)*hour, between(r, .5, 15)*min
		return curve{live: func(t float64) float64 {
			if math.Mod(t, every) < lasts {
				return level + burst
			}
			return level
		}, rate: func(t float64) float64 {
			if math.Mod(t, every) < lasts {
				return 20 * mib
			}
			return 2 * mib
		}}
	},
	"restarts": func(r *rand.Rand) curve {
		return curve{live: filling(between(r, 20, 400)*mib, between(r, 1, 30)*min), lasts: between(r, 4, 12) * hour}
	},
}

func between(r *rand.Rand, from, to float64) float64 { return from + (to-from)*r.Float64() }

func shifted(f func(float64) float64, by float64) func(float64) float64 {
	return func(t float64) float64 { return f(t + by) }
}

// TestCleanSeriesAreSilent looks for one finding in many series; ten thousand with LEAKSAFE_LONG.
func TestCleanSeriesAreSilent(t *testing.T) {
	testgate.Seconds(t)
	each := 4
	if testgate.Long() {
		each = 2000
	}
	var series atomic.Int64
	t.Run("all", func(t *testing.T) {
		for kind, make := range cleanSeries {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(each) {
					r := rand.New(rand.NewPCG(seed, 7))
					c := make(r)
					c.seed, c.noise = seed, between(r, 0, .03)
					runs := 1
					var o watch.Options
					if o.Limit = 2048 * mib; kind == "restarts" {
						runs, o.Dir = 4, t.TempDir()
					} else {
						c.lasts = day
					}
					for run := range runs {
						w, err := watch.FeedRules(o, c.samples())
						require.NoError(t, err)
						for _, f := range w.Findings() {
							t.Errorf("seed %d, run %d: %v", seed, run, f)
						}
					}
					if n := series.Add(1); n%500 == 0 {
						t.Logf("%d series so far", n)
					}
				}
			})
		}
	})
	assert.EqualValues(t, each*len(cleanSeries), series.Load())
	t.Logf("%d series", series.Load())
}

// Caches that fill slowly, with noise: for ten windows they looked as straight as a leak.
func TestNoisyCachesAreSilent(t *testing.T) {
	for kind, seeds := range map[string][]uint64{"a cache fills": {201, 221}, "restarts": {1114}} {
		for _, seed := range seeds {
			r := rand.New(rand.NewPCG(seed, 7))
			c := cleanSeries[kind](r)
			c.seed, c.noise, c.lasts = seed, between(r, 0, .03), 4*hour
			w, err := watch.FeedRules(watch.Options{Limit: 2048 * mib}, c.samples())
			require.NoError(t, err)
			assert.Empty(t, w.Findings(), "%s, seed %d", kind, seed)
		}
	}
}

// A leak of one object a request, at 20 requests a second, is found within 15 windows, whatever the
// noise.
func TestSlowLeakIsFoundWithin15Windows(t *testing.T) {
	testgate.NoRace(t)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 8))
		found := math.Inf(1)
		c := curve{lasts: 15 * 80, seed: seed, live: climbing(between(r, 20, 60)*mib, 20*between(r, 64, 4096)), noise: .00002}
		w, err := watch.FeedEach(watch.Options{Limit: 1024 * mib, Floor: 64 * kib}, c.samples(), func(w *watch.Watcher) {
			if math.IsInf(found, 1) && len(w.Findings()) > 0 {
				found = w.Last().Up
			}
		})
		require.NoError(t, err)
		require.NotEmpty(t, w.Findings(), "seed %d", seed)
		assert.LessOrEqual(t, found, 15*80.0, "seed %d", seed)
	}
}

// Runs that end while traffic or a cache is high are no mountains.
func TestRunsThatAreNoMountains(t *testing.T) {
	testgate.Seconds(t)
	for name, live := range map[string]func(float64) float64{
		"a cache fills, then a deploy a day later": filling(300*mib, 20*min),
		"a deploy a day at noon":                   shifted(wave(60*mib, 400*mib), 11*hour),
		"a deploy a day in the evening":            shifted(wave(60*mib, 400*mib), 18*hour),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range 6 {
				for at := 80.0; at < day; at += 80 {
					require.NoError(t, watch.Append(dir, int64(i+1)*int64(24*time.Hour), at, int64(live(at))))
				}
			}
			w, err := watch.FeedEach(watch.Options{Dir: dir}, curve{lasts: 20, live: flat(mib)}.samples(), none)
			require.NoError(t, err)
			assert.Empty(t, w.Findings(), fmt.Sprint(slices.Collect(func(yield func(string) bool) {
				for _, f := range w.Findings() {
					yield(f.String())
				}
			})))
		})
	}
}

// Memory does not depend on how long a process lives: at most 1 MiB after a million samples.
func TestMemoryAfterAMillionSamples(t *testing.T) {
	testgate.Seconds(t)
	samples := 100_000
	if testgate.Long() {
		samples = 1_000_000
	}
	held := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	w, err := watch.FeedEach(watch.Options{Limit: 1 << 40, Dir: t.TempDir(), TerminationLog: "none"}, curve{lasts: float64(samples) * 10, live: flat(40 * mib), noise: .02}.samples(), none)
	require.NoError(t, err)
	grown := held() - before
	t.Logf("%d samples: %d KiB", samples, grown>>10)
	assert.Less(t, grown, int64(mib))
	runtime.KeepAlive(w)
}
