package leakcheck

import (
	"runtime"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
)

// NoGrowth fails t when repeating op makes the heap grow, leaves goroutines
// running or files open. It names the site, its rate per operation and its
// source line.
//
//	func TestPut(t *testing.T) {
//		s := cache.New()
//		leakcheck.NoGrowth(t, func() { s.Put(key(), "value") })
//	}
//
// It runs op on the calling goroutine: a warm-up, then rounds of 20, 80 and
// 320 operations ([Iterations], [Rounds], [Warmup] change them; an operation
// that takes over 5 ms gets fewer). After each round it collects garbage until
// no finalizer waits and counts what is live at every allocation site, with
// [runtime.MemProfileRate] at 1. What grew at every scale is run again, four
// times, at up to 64x, and beside idle rounds, before the test fails. An
// operation with side effects must stand being run some thousand times.
//
// What cannot be seen: less than one object per round of 16x (320
// operations); a cache that takes more than some 3,000 operations to fill is
// called growing (give it [Warmup], or [IgnoreSite]); growth in steps at a
// line where another goroutine gains all the time as well; memory outside the
// Go heap; files on systems other than Linux.
//
// A cheap operation is checked in a tenth of a second. Every allocation is
// recorded meanwhile, at about a microsecond each: a page served over HTTP takes
// some 1.5 s, and Iterations(5) a quarter of that. A leak costs more: suspects
// are run again, running goroutines get the grace, and who keeps the objects is
// searched for.
//
// One such check runs at a time in a process; others wait, so that it may be
// used in parallel tests. The growth of tests that run beside it is told from
// op's by the idle rounds. In a benchmark its time counts: call it before
// b.Loop. NoGrowth within op measures nothing and fails. A panic or t.FailNow
// in op passes through. op may start goroutines; those that still run after
// [Grace] are leaked.
func NoGrowth(t testing.TB, op func(), opts ...Option) Report {
	t = must(t, "NoGrowth")
	t.Helper()
	m, err := startMeter(op, newConfig("NoGrowth", plantedOptions(t, opts)))
	if err != nil {
		t.Errorf("%v", err)
		return Report{Verdict: Unmeasured}
	}
	r := m.Measure()
	if r.Verdict != judge.Unmeasured {
		forgive(t, r)
	}
	paths := tell(t, r) // with the profiler at rest: it searches the heap
	runtime.KeepAlive(op)
	return newReport(r, paths)
}

// Measure is [NoGrowth] without a test: what grew is in the report. The error
// says why nothing was measured.
func Measure(op func(), opts ...Option) (Report, error) {
	m, err := startMeter(op, newConfig("Measure", opts))
	if err != nil {
		return Report{Verdict: Unmeasured}, err
	}
	r := newReport(m.Measure(), nil)
	if r.Verdict == Unmeasured {
		return r, growth.ErrUnmeasured
	}
	return r, nil
}

// startMeter begins to measure op, unless an option makes no sense.
func startMeter(op func(), c config) (*growth.Meter, error) {
	if op != nil && c.misuse != nil {
		return nil, c.misuse
	}
	c.growth.Grace = c.grace
	c.growth.Ignores = c.names
	return growth.New(op, c.growth)
}
