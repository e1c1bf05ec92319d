package watch_test

import (
	"iter"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

const (
	kib  = 1 << 10
	mib  = 1 << 20
	sec  = 1.0
	min  = 60 * sec
	hour = 60 * min
	day  = 24 * hour
)

// A curve is a made series: what the process looks like t seconds after its
// start. The noise is garbage and work in flight: it only adds.
type curve struct {
	live       func(t float64) float64
	rate       func(t float64) float64 // bytes allocated a second; nil: 1 MiB
	goroutines func(t float64) float64
	files      func(t float64) float64
	outside    func(t float64) float64
	collection func(t float64) float64
	traffic    func(t float64) float64 // requests a second; nil: no counter
	gogc       func(t float64) float64
	noise      float64 // of live, as a share
	missing    func(t float64) bool
	clock      func(t float64) time.Duration // by how much the wall clock is off
	pause      float64                       // seconds between collections; 10 where 0
	lasts      float64
	seed       uint64
}

func flat(v float64) func(float64) float64 { return func(float64) float64 { return v } }

// began is when every curve begins, by the wall clock.
var began = time.Now().Add(-time.Hour)

// samples draws the curve at one sample in 10 s.
func (c curve) samples() iter.Seq[watch.Sample] {
	value := func(f func(float64) float64, t, otherwise float64) float64 {
		if f == nil {
			return otherwise
		}
		return f(t)
	}
	return func(yield func(watch.Sample) bool) {
		random := rand.New(rand.NewPCG(c.seed, 2))
		allocated, traffic, live, collected := 0.0, 0.0, 0.0, -1e9
		cycles := int64(0)
		if c.pause == 0 {
			c.pause = 10
		}
		for t := 0.0; t < c.lasts; t += 10 {
			allocated += 10 * value(c.rate, t, mib)
			traffic += 10 * value(c.traffic, t, 0)
			if t-collected >= c.pause {
				collected = t
				cycles++
				live = c.live(t) * (1 + c.noise*random.Float64())
			}
			if c.missing != nil && c.missing(t) {
				continue
			}
			wall := began.Add(time.Duration(t * float64(time.Second)))
			if c.clock != nil {
				wall = wall.Add(c.clock(t))
			}
			s := watch.Sample{
				Time: wall, Up: t, Live: int64(live), Cycles: cycles, Allocated: int64(allocated),
				Goal:       int64(live * (1 + value(c.gogc, t, 100)/100)),
				Goroutines: int64(value(c.goroutines, t, 50)),
				Files:      int64(value(c.files, t, 20)),
				Outside:    int64(value(c.outside, t, 5*mib)),
				Collection: value(c.collection, t, 0.02),
				Traffic:    -1,
			}
			s.RSS = s.Goal + s.Outside
			if c.traffic != nil {
				s.Traffic = int64(traffic)
			}
			if !yield(s) {
				return
			}
		}
	}
}

func wave(low, high float64) func(float64) float64 {
	return func(t float64) float64 { return low + (high-low)*(1-math.Cos(2*math.Pi*t/day))/2 }
}

func TestSeries(t *testing.T) {
	const limit = 1024 * mib
	cases := []struct {
		name   string
		curve  curve
		signal string  // the finding; none where empty
		within float64 // seconds until it is found
	}{
		{name: "flat", curve: curve{live: flat(200 * mib), noise: .05, lasts: 2 * day}},
		{name: "flat, with a dip at each deployment", curve: curve{lasts: 2 * day, noise: .05, live: func(t float64) float64 {
			if math.Mod(t, 6*hour) < 3*min {
				return 20 * mib
			}
			return 200 * mib
		}}},
		{name: "a daily wave of traffic carries memory along", curve: curve{lasts: 3 * day, noise: .03, live: wave(60*mib, 400*mib), rate: wave(mib, 8*mib), goroutines: wave(50, 400)}},
		{name: "a daily wave with a counter of requests", curve: curve{lasts: 3 * day, noise: .03, live: wave(60*mib, 400*mib), rate: flat(mib), traffic: wave(10, 80)}},
		{name: "a cache fills quickly", curve: curve{lasts: day, noise: .002, live: filling(300*mib, 10*min)}},
		{name: "a cache fills in an hour", curve: curve{lasts: day, noise: .002, live: filling(300*mib, hour)}},
		{name: "a step that holds", curve: curve{lasts: day, noise: .02, live: step(100*mib, 300*mib, 6*hour)}},
		{name: "GOGC is changed from 100 to 400", curve: curve{lasts: day, noise: .02, live: flat(100 * mib), gogc: step(100, 400, 6*hour)}},
		{name: "the wall clock jumps", curve: curve{lasts: day, noise: .02, live: flat(100 * mib), clock: func(t float64) time.Duration {
			return map[bool]time.Duration{true: -40 * time.Hour}[t > 6*hour]
		}}},
		{name: "samples are missing", curve: curve{lasts: day, noise: .02, live: flat(100 * mib), missing: func(t float64) bool { return math.Mod(t, 4*hour) < hour }}},
		{name: "an idle night with a collection every two minutes", curve: curve{lasts: 12 * hour, noise: .0005, live: flat(40 * mib), rate: flat(kib), pause: 120}},
		{name: "collection is busy for a quarter of an hour", curve: curve{lasts: 12 * hour, live: flat(40 * mib), collection: func(t float64) float64 {
			if t > hour && t < hour+8*min {
				return .6
			}
			return .03
		}}},

		{name: "64 B an operation at 100 operations a second", signal: "live heap", within: 10 * 80,
			curve: curve{lasts: 11 * 80, live: climbing(40*mib, 6400)}},
		{name: "a leak with noise", signal: "live heap", within: 2 * hour,
			curve: curve{lasts: day, noise: .01, live: climbing(40*mib, 6400)}},
		{name: "a slow climb of days", signal: "live heap", within: 3 * day,
			curve: curve{lasts: 4 * day, noise: .02, live: climbing(100*mib, 30*mib/day)}},
		{name: "a leak beside a daily wave", signal: "live heap", within: 4 * day,
			curve: curve{lasts: 4 * day, noise: .01, live: func(t float64) float64 { return wave(60*mib, 200*mib)(t) + 2000*t }, rate: wave(mib, 4*mib)}},
		{name: "a leak whose throughput falls as memory climbs", signal: "live heap", within: 2 * hour,
			curve: curve{lasts: 4 * hour, live: func(t float64) float64 { return 50*mib + filling(900*mib, 3*hour)(t) }, rate: func(t float64) float64 { return 4 * mib * math.Exp(-t/(3*hour)) }}},
		{name: "a leak while samples are missing", signal: "live heap", within: 4 * hour,
			curve: curve{lasts: 6 * hour, live: climbing(40*mib, 6400), missing: func(t float64) bool { return math.Mod(t, 20*min) < 5*min }}},
		{name: "a leak while the wall clock jumps", signal: "live heap", within: hour,
			curve: curve{lasts: hour, live: climbing(40*mib, 6400), clock: func(t float64) time.Duration { return map[bool]time.Duration{true: -40 * time.Hour}[t > 5*min] }}},
		{name: "a cache that wants more than the limit", signal: "live heap", within: 6 * hour,
			curve: curve{lasts: day, live: filling(6000*mib, 12*hour)}},
		{name: "a cache that fills for half a day is reported: nothing tells it from a leak yet", signal: "live heap", within: 6 * hour,
			curve: curve{lasts: day, noise: .002, live: filling(300*mib, 12*hour)}},
		{name: "goroutines", signal: "goroutines", within: hour,
			curve: curve{lasts: hour, live: flat(40 * mib), goroutines: climbing(50, .1)}},
		{name: "file descriptors", signal: "file descriptors", within: hour,
			curve: curve{lasts: hour, live: flat(40 * mib), files: climbing(20, .1)}},
		{name: "memory outside the heap", signal: "memory outside the Go heap", within: hour,
			curve: curve{lasts: hour, live: flat(40 * mib), outside: climbing(5*mib, 20*kib)}},
		{name: "collection eats the CPU", signal: "collection", within: hour,
			curve: curve{lasts: hour, live: flat(900 * mib), collection: flat(.4)}},
	}
	seeds := uint64(testgate.Count(1, 1, 10))
	for i := range uint64(len(cases)) * seeds {
		c := cases[i/seeds]
		c.curve.seed = i % seeds
		t.Run(c.name, func(t *testing.T) {
			if c.curve.lasts > 12*hour {
				testgate.Seconds(t)
			}
			t.Parallel()
			found := math.Inf(1)
			w, err := watch.FeedEach(watch.Options{Limit: limit}, c.curve.samples(), func(w *watch.Watcher) {
				if math.IsInf(found, 1) && len(w.Findings()) > 0 {
					found = w.Last().Up
				}
			})
			require.NoError(t, err)
			findings := w.Findings()
			if c.signal == "" {
				assert.Empty(t, findings)
				return
			}
			require.NotEmpty(t, findings, "nothing was found")
			f := findings[0]
			assert.Equal(t, c.signal, f.Signal)
			assert.LessOrEqual(t, found, c.within, "found too late: %v", f)
		})
	}
}

func climbing(from, perSecond float64) func(float64) float64 {
	return func(t float64) float64 { return from + perSecond*t }
}

func filling(to, half float64) func(float64) float64 {
	return func(t float64) float64 { return 20*mib + to*(1-math.Exp(-t/half)) }
}

func step(low, high, at float64) func(float64) float64 {
	return func(t float64) float64 {
		if t < at {
			return low
		}
		return high
	}
}

func TestETA(t *testing.T) {
	testgate.Seconds(t)
	for name, c := range map[string]curve{
		"quick":              {lasts: 20 * min, live: climbing(40*mib, 64*kib)},
		"quick, with noise":  {lasts: 30 * min, noise: .002, live: climbing(40*mib, 64*kib)},
		"of days":            {lasts: 4 * day, noise: .01, live: climbing(100*mib, 60*mib/day)},
		"with missing hours": {lasts: 30 * min, live: climbing(40*mib, 64*kib), missing: func(t float64) bool { return math.Mod(t, 10*min) < 3*min }},
	} {
		t.Run(name, func(t *testing.T) {
			const limit = 512 * mib
			var f watch.Finding
			var at float64
			_, err := watch.FeedEach(watch.Options{Limit: limit}, c.samples(), func(w *watch.Watcher) {
				if found := w.Findings(); f.Signal == "" && len(found) > 0 {
					f, at = found[0], w.Last().Up
				}
			})
			require.NoError(t, err)
			require.Equal(t, "live heap", f.Signal)
			// Without GOMEMLIMIT the heap passes the limit at its goal, twice what lives.
			perSecond := (c.live(at) - c.live(at-1000)) / 1000
			want := ((limit-5*mib)/2 - c.live(at)) / perSecond
			assert.InEpsilon(t, want, time.Duration(f.ETA).Seconds(), .10)
			assert.InEpsilon(t, limit/2/perSecond, time.Duration(f.DoubleBuys).Seconds(), .10)
			assert.Contains(t, f.String(), "reaches 512 MiB (Options.Limit) in about")
		})
	}
}
