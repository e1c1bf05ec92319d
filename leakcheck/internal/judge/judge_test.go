package judge

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// A recording is a series of rounds for tests of the decision rule.
type recording struct {
	iterations int
	rounds     []Round
	series     Series
	live       func(ops int, clock time.Duration) (objects, bytes int64)
	ops        int
	clock      time.Duration
	rest       bool // idle rounds stand between those that confirm
}

// newRecording starts with the look after the warm-up.
func newRecording(warmup int, live func(ops int, clock time.Duration) (objects, bytes int64)) *recording {
	r := &recording{iterations: 20, live: live, ops: warmup}
	r.look()
	return r
}

func (r *recording) look() {
	objects, bytes := r.live(r.ops, r.clock)
	r.series.Objects = append(r.series.Objects, objects)
	r.series.Bytes = append(r.series.Bytes, bytes)
}

func (r *recording) run(p Phase, ops int, took time.Duration) {
	r.ops += ops
	r.clock += took
	r.look()
	r.rounds = append(r.rounds, Round{p, ops, took})
}

// scales adds the rounds that every check runs: a look takes look, an
// operation cost.
func (r *recording) scales(look, cost time.Duration) {
	for p := Small; p <= Large; p++ {
		n := 2
		if p == Small {
			n = 3
		}
		for range n {
			ops := r.iterations * Scales[p]
			r.run(p, ops, look+time.Duration(ops)*cost)
		}
	}
}

// confirm adds a suspect's rounds, and the idle rounds between them.
func (r *recording) confirm(look, cost time.Duration) {
	again := slices.ContainsFunc(r.rounds, func(r Round) bool { return r.Phase == Burst })
	for i, f := range Retry {
		p := Confirm
		switch {
		case again:
			f *= Again
		case i == 0:
			p = Burst
		}
		ops := int(float64(r.iterations)*f + 0.5)
		took := look + time.Duration(ops)*cost
		r.run(p, ops, took)
		if r.rest {
			r.run(Confirm, 0, took)
		}
	}
}

// pace adds rounds with few operations in the time of many.
func (r *recording) pace(look, cost time.Duration) {
	for range len(Retry) / 2 {
		r.run(Paced, 120, look+960*cost)
	}
}

// close adds the look after running goroutines were given time.
func (r *recording) close() { r.run(Closing, 0, time.Second) }

func (r *recording) suspicious() bool { return Suspicious(r.rounds, r.series) }

func (r *recording) judge(allow float64) (Verdict, bool) {
	f := Judge(r.rounds, r.series, allow)
	return f.Verdict, f.Steps
}

// The shapes that what is live at a site takes over operations and time.
type shape = func(ops int, clock time.Duration) (objects, bytes int64)

// perOp keeps n objects of size bytes every period operations.
func perOp(n, period, size int) shape {
	return func(ops int, _ time.Duration) (int64, int64) {
		kept := int64(ops / period * n)
		return kept, kept * int64(size)
	}
}

// doubling is one array that doubles when it is full.
func doubling(start, elem int) shape {
	return func(ops int, _ time.Duration) (int64, int64) {
		c := 1
		for c < start+ops {
			c *= 2
		}
		return 1, int64(c * elem)
	}
}

// appended is one slice as append grows it.
func appended(ops int, _ time.Duration) (int64, int64) {
	var s []byte
	for range ops {
		s = append(s, 1)
	}
	return 1, int64(cap(s))
}

// cache keeps an object for each operation until it is full.
func cache(size int) shape {
	return func(ops int, _ time.Duration) (int64, int64) {
		n := int64(min(ops, size))
		return n, 64 * n
	}
}

// collector keeps an object for every new key of n equally likely ones.
func collector(n int) shape {
	return func(ops int, _ time.Duration) (int64, int64) {
		seen := int64(float64(n) * (1 - math.Exp(-float64(ops)/float64(n))))
		return seen, 64 * seen
	}
}

// ticking grows with time alone.
func ticking(every time.Duration) shape {
	return func(_ int, clock time.Duration) (int64, int64) {
		n := int64(clock / every)
		return n, 16 * n
	}
}

// inTurn is one number of objects for each look; the last eight are repeated, each time on top of
// what was gained in them.
func inTurn(objects ...int64) shape {
	look := -1
	return func(int, time.Duration) (int64, int64) {
		look++
		n := int64(0)
		for i := look; ; i -= 8 {
			if i < len(objects) {
				n += objects[i]
				return n, 64 * n
			}
			n += objects[len(objects)-1] - objects[len(objects)-9]
		}
	}
}

const (
	look  = 2 * time.Millisecond
	cheap = time.Microsecond
	slow  = time.Millisecond
)

func record(warmup int, s shape, cost time.Duration) *recording {
	r := newRecording(warmup, s)
	r.rest = true
	r.scales(look, cost)
	r.confirm(look, cost)
	return r
}

func TestJudge(t *testing.T) {
	for _, row := range []struct {
		name  string
		shape shape
		cost  time.Duration
		want  Verdict
		steps bool
	}{
		{"nothing changes", perOp(0, 1, 0), cheap, Steady, false},
		{"an object per operation", perOp(1, 1, 64), cheap, Growing, false},
		{"an object per operation, slow ones", perOp(1, 1, 64), slow, Growing, false},
		{"an object in five operations", perOp(1, 5, 8), cheap, Growing, false},
		{"an object in 50: not in every small round", perOp(1, 50, 8), cheap, Growing, true},
		{"an object in 300: only at 16x", perOp(1, 300, 8), cheap, Growing, true},
		{"an array that doubles", doubling(0, 8), cheap, Growing, true},
		{"a slice of bytes", appended, cheap, Growing, true},
		{"an array beside one object a round: both rules see it", func(ops int, c time.Duration) (int64, int64) {
			_, b := doubling(0, 8)(ops, c)
			return int64(ops), b
		}, cheap, Growing, false},
		{"a leak behind a large lazy allocation: objects tell", func(ops int, c time.Duration) (int64, int64) {
			n, b := perOp(1, 1, 16)(ops, c)
			if ops > 50 {
				b += 1 << 20
			}
			return n, b
		}, cheap, Growing, false},

		{"a cache filled in the warm-up", cache(20), cheap, Steady, false},
		{"a cache filled at 1x", cache(70), cheap, Steady, false},
		{"a cache filled at 4x", cache(200), cheap, Steady, false},
		{"a cache filled late at 16x", cache(870), cheap, Saturating, false},
		{"a cache filled when run again", cache(3000), cheap, Saturating, true},
		{"a cache filled in the first half", cache(5000), cheap, Saturating, true},
		{"a cache filled in the very last round", cache(10500), cheap, Growing, true},
		{"a cache larger than all operations: documented", cache(1e6), cheap, Growing, false},
		{"keys that repeat", collector(900), cheap, Saturating, true},
		{"a single lazy object at 16x", func(ops int, _ time.Duration) (int64, int64) {
			return int64(min(1, ops/500)), int64(min(1, ops/500)) << 20
		}, cheap, Steady, false},
		{"a buffer as large as the largest burst", func(ops int, _ time.Duration) (int64, int64) {
			burst := 20
			for done, n := range map[int]int{81: 80, 241: 320, 881: 1280} {
				if ops >= done {
					burst = max(burst, n)
				}
			}
			return 1, int64(burst * 32)
		}, cheap, Saturating, true},
		{"a buffer flushed every 700 operations", func(ops int, _ time.Duration) (int64, int64) {
			return int64(ops % 700), int64(ops%700) * 64
		}, cheap, Steady, false},
		{"growth that slows down", func(ops int, _ time.Duration) (int64, int64) {
			n := int64(20 * math.Log(float64(ops)))
			return n, 64 * n
		}, cheap, Saturating, true},

		{"a neighbour, cheap operations", ticking(200 * time.Microsecond), cheap, Steady, false},
		{"a neighbour, slow operations: only idle rounds tell", ticking(200 * time.Microsecond), slow, Steady, false},
		{"a rare neighbour, slow operations", ticking(15 * time.Millisecond), slow, Steady, false},
		{"a buffer whose size wanders", func(ops int, _ time.Duration) (int64, int64) {
			return 1, 64 + int64(ops/8)%1024
		}, cheap, Steady, true},
		{"a buffer that grew once, and wanders", func(ops int, _ time.Duration) (int64, int64) {
			return 1, 64 + int64(ops/8)%1024 + 4096*int64(min(1, ops/100))
		}, cheap, Steady, true},
		{"a buffer that hardly grows in the end", func(ops int, _ time.Duration) (int64, int64) {
			return 1, int64(1.9*float64(min(ops, 240)) + float64(min(max(ops-240, 0), 1920)) + 0.48*float64(max(ops-2160, 0)))
		}, cheap, Saturating, true},
		{"an object in some rounds", func(ops int, _ time.Duration) (int64, int64) {
			var n int64
			for _, at := range []int{100, 500, 3000} {
				if ops >= at {
					n++
				}
			}
			return n, 48 * n
		}, cheap, Steady, true},
		{"a neighbour's map", func(_ int, clock time.Duration) (int64, int64) {
			_, b := doubling(0, 16)(int(clock/(50*time.Microsecond)), 0)
			return 1, b
		}, slow, Steady, false},
		{"a neighbour's buffers in flight: what it gains is given back", inTurn(0, 10, 30, 20, 60, 50, 120, 150, // then an idle round after each
			250, 160, 400, 200, 500, 230, 600, 250), cheap, Steady, false},
		{"a neighbour that is held up, and catches up beside the operation", inTurn(0, 49, 132, 225, 315, 405, 479, 551, // then an idle round after each
			650, 853, 14317, 14718, 14804, 15040, 15128, 15399), cheap, Steady, false},
		{"growth in steps, a sixth of it without the operation", func(ops int, c time.Duration) (int64, int64) {
			n := int64(ops/50) + int64(c/(260*time.Millisecond))
			return n, 64 * n
		}, slow, Steady, false},
		{"a leak at a site that a neighbour uses a little", func(ops int, c time.Duration) (int64, int64) {
			n := int64(ops) + int64(c/(20*time.Millisecond))
			return n, 16 * n
		}, slow, Growing, false},

		{"a connection more now and then", func(ops int, _ time.Duration) (int64, int64) {
			var n int64
			for _, at := range []int{300, 700, 2000, 3000, 3400, 4800, 5900} {
				if ops >= at {
					n++
				}
			}
			return n, 8192 * n
		}, cheap, Saturating, true},
		{"a connection made anew in the last round, after next to nothing", func(ops int, _ time.Duration) (int64, int64) {
			var n, b int64
			for _, at := range []int{300, 700, 1500} {
				if ops >= at {
					n, b = n+1, b+8
				}
			}
			if ops >= 5900 {
				n, b = n+8, b+4096
			}
			return n, b
		}, cheap, Steady, true},
		{"an operation that keeps more each time", func(ops int, _ time.Duration) (int64, int64) {
			n := int64(ops/50) * int64(ops/50)
			return n, 64 * n
		}, cheap, Growing, true},
		{"up and down, a little more up", func(ops int, _ time.Duration) (int64, int64) {
			b := int64(8 * ops)
			if ops > 1000 {
				b += int64([]int{50_000, 0, 60_000, 0}[(ops-20)/1280%4])
			}
			return 1, b
		}, cheap, Noisy, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			v, steps := record(20, row.shape, row.cost).judge(0)
			assert.Equal(t, row.want.String(), v.String())
			if v == Growing {
				assert.Equal(t, row.steps, steps, "grows in steps")
			}
		})
	}
}

// An array that doubles must be found however full it was at the start.
func TestJudgeFindsEveryDoubling(t *testing.T) {
	for start := range 300 {
		r := record(20, doubling(start, 8), cheap)
		v, _ := r.judge(0)
		require.Equal(t, Growing.String(), v.String(), "%d elements before the warm-up", start)
	}
}

// sawtooth is a buffer that is emptied to low when it has bound items.
func sawtooth(bound, low int) func(ops int) int {
	return func(ops int) int {
		if ops < bound {
			return ops
		}
		return low + (ops-bound)%(bound-low)
	}
}

// capacities are those that append gives a slice of words, by its length.
var capacities = func() []int {
	var s []int
	all := make([]int, 12000)
	for n := range all {
		all[n] = cap(s)
		s = append(s, n)
	}
	return all
}()

// table is the size of a hash table that doubles.
func table(items int) int {
	c := 8
	for c*7/8 < items {
		c *= 2
	}
	return c
}

// bounded are the shapes of what holds at most bound items.
func bounded(bound int) map[string]func(ops int) (objects, bytes int) {
	flushed, evicted, filled := sawtooth(bound, 0), sawtooth(bound, bound/2), func(ops int) int { return min(ops, bound) }
	sizes := [...]int{16, 1024, 24, 48, 16, 256, 4096, 80, 16}
	mixed := make([]int, bound+1)
	for i := range bound {
		mixed[i+1] = mixed[i] + sizes[i%len(sizes)]
	}
	return map[string]func(ops int) (objects, bytes int){
		"objects, flushed":                  func(n int) (int, int) { return flushed(n), 24 * flushed(n) },
		"objects, half of them evicted":     func(n int) (int, int) { return evicted(n), 24 * evicted(n) },
		"objects of several sizes, flushed": func(n int) (int, int) { return flushed(n), mixed[flushed(n)] },
		"an LRU":                            func(n int) (int, int) { return filled(n), 64 * filled(n) },
		"an LRU's map":                      func(n int) (int, int) { return table(filled(n)) / 1024, 16 * table(filled(n)) },
		"a slice cut to length 0":           func(n int) (int, int) { return 1, 8 * capacities[filled(n)] },
		"a slice set to nil":                func(n int) (int, int) { return 1, 8 * capacities[flushed(n)] },
		"a slice cut in half":               func(n int) (int, int) { return 1, 8 * capacities[evicted(n)] },
		"a byte buffer that doubles, reset": func(n int) (int, int) { return 1, table(filled(n)) },
		"a map that is cleared":             func(n int) (int, int) { return 1, 16 * table(filled(n)) },
		"a map made new":                    func(n int) (int, int) { return 1, 16 * table(flushed(n)) },
		"objects and their map, made new":   func(n int) (int, int) { return flushed(n), 24*flushed(n) + 16*table(flushed(n)) },
		"two buffers, filled in turn":       func(n int) (int, int) { m := flushed(n/2) + flushed((n+1)/2+bound/3); return m, 24 * m },
	}
}

// verdictOn is what a check says: it runs a site that is noisy again.
func verdictOn(warmup int, live func(ops int) (objects, bytes int)) (Finding, bool) {
	return verdictIn(20, warmup, live)
}

// verdictIn is verdictOn with another length of the smallest round.
func verdictIn(iterations, warmup int, live func(ops int) (objects, bytes int)) (Finding, bool) {
	r := newRecording(warmup, func(ops int, _ time.Duration) (int64, int64) {
		o, b := live(ops)
		return int64(o), int64(b)
	})
	r.iterations = iterations
	return r.verdict()
}

// verdict runs the rounds as a check does: a second retry where the first proves nothing.
func (r *recording) verdict() (f Finding, twice bool) {
	r.scales(look, cheap)
	if !r.suspicious() {
		return Finding{Verdict: Steady}, false
	}
	r.confirm(look, cheap)
	f = Judge(r.rounds, r.series, 0)
	if f.Verdict == Noisy || f.Verdict == Growing && f.Steps {
		r.confirm(look, cheap)
		return Judge(r.rounds, r.series, 0), true
	}
	return f, false
}

// Nothing that holds at most 5,000 items grows, whatever its bound and however full it was at the
// start.
func TestBounded(t *testing.T) {
	testgate.NoRace(t)
	wrong, again, all := 0, 0, 0
	for bound := 1; bound <= 5000; bound++ {
		for name, live := range bounded(bound) {
			for _, warmup := range []int{20, 20 + bound/3} {
				f, twice := verdictOn(warmup, live)
				all++
				if twice {
					again++
				}
				if f.Verdict == Growing || f.Verdict == Noisy {
					wrong++
					if wrong < 30 {
						t.Errorf("%s of at most %d, after %d operations: %v", name, bound, warmup, f)
					}
				}
			}
		}
	}
	t.Logf("%d of %d series wrong, %d run twice", wrong, all, again)
}

// With other lengths of the smallest round the bound is as many times as large or small.
func TestBoundedInOtherRounds(t *testing.T) {
	testgate.NoRace(t)
	for _, iterations := range []int{2, 3, 4, 7, 13, 16, 50} {
		for bound := 1; bound <= min(250*iterations, 5000); bound += 1 + bound/200 {
			for name, live := range bounded(bound) {
				f, _ := verdictIn(iterations, iterations, live)
				require.NotEqual(t, Growing, f.Verdict, "%s of at most %d, rounds of %d", name, bound, iterations)
				require.NotEqual(t, Noisy, f.Verdict, "%s of at most %d, rounds of %d", name, bound, iterations)
			}
		}
	}
}

// The counterpart of TestBounded: what has no bound grows, however full it was at the start.
func TestUnbounded(t *testing.T) {
	testgate.NoRace(t)
	wrong, all := 0, 0
	for start := range 2000 {
		for name, live := range map[string]func(ops int) (objects, bytes int){
			"an object for each operation":   func(n int) (int, int) { return n, 24 * n },
			"an object of 7 operations":      func(n int) (int, int) { return n / 7, 8 * (n / 7) },
			"an object of 50 operations":     func(n int) (int, int) { return n / 50, 8 * (n / 50) },
			"an object of 320 operations":    func(n int) (int, int) { return n / 320, 64 * (n / 320) },
			"a slice":                        func(n int) (int, int) { return 1, 8 * capacity(n) },
			"a map":                          func(n int) (int, int) { return 1, 16 * table(n) },
			"a flushed buffer beside a leak": func(n int) (int, int) { return n + n%200, 24 * (n + n%200) },
			"a cache beside a leak":          func(n int) (int, int) { return n + min(n, 100), 24 * (n + min(n, 100)) },
		} {
			if start >= 300 && (name == "a slice" || name == "a map") {
				continue // it need not double in the first 860 operations: documented
			}
			f, _ := verdictOn(20+start, live)
			all++
			if f.Verdict != Growing {
				wrong++
				if wrong < 30 {
					t.Errorf("%s, %d operations before the first round: %v", name, start, f)
				}
			}
		}
	}
	t.Logf("%d of %d series wrong", wrong, all)
}

func capacity(n int) int {
	if n < len(capacities) {
		return capacities[n]
	}
	return capacities[len(capacities)-1] * (1 + (n-len(capacities))/4000)
}

func TestJudgeAllowsBytesPerOperation(t *testing.T) {
	r := record(20, perOp(1, 1, 64), cheap)
	v, _ := r.judge(64)
	assert.Equal(t, Saturating.String(), v.String())
	v, _ = r.judge(63)
	assert.Equal(t, Growing.String(), v.String())
}

// A buffer that ends with less than before is not said to grow by what AllowPerOp allows.
func TestReasonWithoutGrowth(t *testing.T) {
	for bound := 890; bound < 1200; bound++ {
		r := newRecording(20, func(ops int, _ time.Duration) (int64, int64) {
			n := int64(sawtooth(bound, 0)(ops))
			return n, 24 * n
		})
		f, _ := r.verdict()
		assert.NotEqual(t, Allowed, f.Reason, "%d items", bound)
	}
}

// What grows with the clock gains as much in rounds of few operations as in rounds of many.
func TestByTime(t *testing.T) {
	window := func(width, span time.Duration) shape { // one bucket for each width, dropped after span
		return func(_ int, clock time.Duration) (int64, int64) {
			n := int64(clock/width) - max(0, int64((clock-span)/width))
			return n, 48 * n
		}
	}
	for _, row := range []struct {
		name  string
		shape shape
		cost  time.Duration
		want  Finding
	}{
		{"windows of 10 ms, slow operations", window(10*time.Millisecond, time.Minute), slow, Finding{Verdict: Saturating, Reason: ByTime}},
		{"windows of 250 ms, slow operations", window(250*time.Millisecond, time.Minute), slow, Finding{Verdict: Saturating, Reason: ByTime}},
		{"windows of 20 ms on a busy machine, where most operations begin one", func(ops int, clock time.Duration) (int64, int64) {
			n := min(int64(clock/(20*time.Millisecond)), int64(ops))
			return n, 48 * n
		}, 12 * time.Millisecond, Finding{Verdict: Saturating, Reason: ByTime}},
		{"a leak that takes a step while few operations run", func(ops int, _ time.Duration) (int64, int64) {
			n := int64(ops/10 + (ops+600)/1500*500)
			return n, 16 * n
		}, cheap, Finding{Verdict: Growing}},
		{"a leak, slow operations", perOp(1, 1, 48), slow, Finding{Verdict: Growing}},
		{"a leak, cheap operations", perOp(1, 1, 48), cheap, Finding{Verdict: Growing}},
		{"a rare leak, slow operations", perOp(1, 50, 48), slow, Finding{Verdict: Growing, Steps: true}},
		{"a slice, slow operations", appended, slow, Finding{Verdict: Growing, Steps: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRecording(20, row.shape)
			r.scales(look, row.cost)
			r.confirm(look, row.cost)
			f := Judge(r.rounds, r.series, 0)
			assert.Equal(t, Growing.String(), f.Verdict.String(), "before another pace was tried")
			r.pace(look, row.cost)
			assert.Equal(t, row.want, Judge(r.rounds, r.series, 0))
		})
	}
}

func TestJudgeLetsGoroutinesEnd(t *testing.T) {
	released := func(ops int, clock time.Duration) (int64, int64) {
		if clock > time.Second {
			return int64(ops / 3), int64(ops / 3)
		}
		return int64(ops), int64(ops)
	}
	r := record(20, released, cheap)
	v, _ := r.judge(0)
	require.Equal(t, Growing.String(), v.String(), "still held")
	r.close()
	v, _ = r.judge(0)
	assert.Equal(t, Steady.String(), v.String(), "two thirds went away")
}

func TestOnlySuspectsAreRunAgain(t *testing.T) {
	clean := newRecording(20, cache(200))
	clean.scales(look, cheap)
	assert.False(t, clean.suspicious())
	leak := newRecording(20, perOp(1, 5, 8))
	leak.scales(look, cheap)
	assert.True(t, leak.suspicious())
}
