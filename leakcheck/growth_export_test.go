package leakcheck

import (
	"runtime"
	"sync/atomic"
	"time"
)

// A Recording is a series of rounds for tests of the decision rule.
type Recording struct {
	rounds []round
	series series
	live   func(ops int, clock time.Duration) (objects, bytes int64)
	ops    int
	clock  time.Duration
}

// NewRecording starts with the look after the warm-up.
func NewRecording(warmup int, live func(ops int, clock time.Duration) (objects, bytes int64)) *Recording {
	r := &Recording{live: live, ops: warmup}
	r.look()
	return r
}

func (r *Recording) look() {
	objects, bytes := r.live(r.ops, r.clock)
	r.series.objects = append(r.series.objects, objects)
	r.series.bytes = append(r.series.bytes, bytes)
}

func (r *Recording) run(p phase, ops int, took time.Duration) {
	r.ops += ops
	r.clock += took
	r.look()
	r.rounds = append(r.rounds, round{p, ops, took})
}

// Scales adds the rounds that every check runs: a look takes look, an
// operation cost.
func (r *Recording) Scales(look, cost time.Duration) {
	for p := small; p <= large; p++ {
		n := largerRounds
		if p == small {
			n = defaultRounds
		}
		for range n {
			ops := defaultIterations * scales[p]
			r.run(p, ops, look+time.Duration(ops)*cost)
		}
	}
}

// Confirm adds a suspect's rounds, and the idle rounds between them.
func (r *Recording) Confirm(look, cost time.Duration) {
	ops := defaultIterations * scales[confirm]
	took := look + time.Duration(ops)*cost
	for _, p := range []phase{burst, confirm, confirm, confirm} {
		r.run(p, ops, took)
		r.run(confirm, 0, took)
	}
}

// Close adds the look after running goroutines were given time.
func (r *Recording) Close() { r.run(closing, 0, time.Second) }

func (r *Recording) Suspicious() bool { return suspicious(r.rounds, r.series) }

func (r *Recording) Judge(allow float64) (Verdict, bool) { return judge(r.rounds, r.series, allow) }

// Resolve says on whose behalf a stack allocates, and its frames.
func Resolve(stack []uintptr) (from string, functions []string) {
	fs, o := resolve(stack)
	for _, f := range fs {
		functions = append(functions, f.Func)
	}
	return [...]string{elsewhere: "elsewhere", operation: "operation", harness: "harness", unrelated: "unrelated"}[o], functions
}

// startMeter makes a meter that the caller closes.
func startMeter(op func()) *meter {
	m, err := newMeter(op, newConfig(nil))
	if err != nil {
		panic(err)
	}
	return m
}

// Considered are the allocation stacks of the process while op is measured, and
// whether each may be called a leak.
func Considered(op func()) (stacks [][]uintptr, considered []bool) {
	m := startMeter(op)
	defer m.close()
	m.measure()
	for i := range m.profile.stacks {
		_, ok := m.stackSuspect(i)
		stacks = append(stacks, trim(&m.profile.stacks[i]))
		considered = append(considered, ok)
	}
	return stacks, considered
}

// CountsWithoutProfile says whether a check believes its figures when the
// profiler was off for some of its looks.
func CountsWithoutProfile() bool {
	m := startMeter(func() {})
	defer m.close()
	m.profile = newProfile()
	m.look()
	runtime.MemProfileRate = 0
	for range 2 * runtime.GOMAXPROCS(0) { // each P still counts one object
		m.look()
	}
	runtime.MemProfileRate = 1
	m.look()
	return m.report().Verdict != Unmeasured
}

// Settle waits as a look does for the goroutines that start starts.
func Settle(start func()) {
	m := startMeter(func() {})
	defer m.close()
	m.countRoutines()
	start()
	m.settle()
}

// LooksAgain says whether a check looks at the heap once more after goroutines
// that ended while the look before was taken.
func LooksAgain() bool {
	m := startMeter(func() {})
	defer m.close()
	m.profile = newProfile()
	m.look()
	m.alive = append(m.alive, m.alive[0]+1, m.alive[0])
	m.waitForGoroutines()
	return len(m.rounds) == 1 && last(m.rounds[0])
}

// Drains says whether a check of little patience waits for the end of a
// finalizer that has begun.
func Drains(finalizer func()) bool {
	m := startMeter(func() {})
	defer m.close()
	m.collect()
	var begun atomic.Bool
	runtime.SetFinalizer(new([64]int), func(*[64]int) { begun.Store(true); finalizer() })
	for !begun.Load() {
		runtime.GC()
	}
	m.patience = 40 * time.Millisecond
	m.drain()
	return m.gauges.waiting() == 0
}
