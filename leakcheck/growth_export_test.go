package leakcheck

import "time"

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
		functions = append(functions, f.function)
	}
	return [...]string{elsewhere: "elsewhere", operation: "operation", harness: "harness", unrelated: "unrelated"}[o], functions
}

// WholeProfile is every allocation stack, with MemProfileRate at 1 while f runs.
func WholeProfile(f func()) [][]uintptr {
	m, err := newMeter(f, newConfig(nil))
	if err != nil {
		panic(err)
	}
	defer m.close()
	m.measure()
	var all [][]uintptr
	for i := range m.profile.stacks {
		all = append(all, trim(&m.profile.stacks[i]))
	}
	return all
}
