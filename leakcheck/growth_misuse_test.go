package leakcheck_test

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

// A listener is a test that hears what a check says and does not fail.
type listener struct {
	testing.TB
	mu   sync.Mutex
	said strings.Builder
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(p)
}

func (l *listener) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}

func (l *listener) Helper()                   {}
func (l *listener) Error(args ...any)         { fmt.Fprintln(l, args...) }
func (l *listener) Errorf(f string, a ...any) { fmt.Fprintf(l, f+"\n", a...) }
func (l *listener) Log(args ...any)           { fmt.Fprintln(l, args...) }
func (l *listener) Logf(f string, a ...any)   { fmt.Fprintf(l, f+"\n", a...) }
func (l *listener) FailNow()                  { runtime.Goexit() }
func (l *listener) Output() io.Writer         { return l }

func TestNoGrowthWithoutOperation(t *testing.T) {
	l := &listener{TB: t}
	r := leakcheck.NoGrowth(l, nil)
	assert.Equal(t, leakcheck.Unmeasured, r.Verdict)
	assert.Equal(t, "leakcheck: NoGrowth: op is nil: pass the operation to repeat\n", l.text())
	_, err := leakcheck.Measure(nil)
	assert.ErrorContains(t, err, "op is nil")
}

func TestNoGrowthWithoutTest(t *testing.T) {
	assert.PanicsWithValue(t, "leakcheck: NoGrowth: t is nil: pass the test's own *testing.T, B or F", func() {
		leakcheck.NoGrowth(nil, func() {})
	})
}

func TestNoGrowthRefusesOptions(t *testing.T) {
	for _, o := range []leakcheck.Option{
		leakcheck.Iterations(0), leakcheck.Rounds(1), leakcheck.Warmup(-1), leakcheck.AllowPerOp(-1),
		leakcheck.IgnoreSite(""), leakcheck.Grace(-1),
	} {
		l := &listener{TB: t}
		ran := false
		assert.Equal(t, leakcheck.Unmeasured, leakcheck.NoGrowth(l, func() { ran = true }, o).Verdict)
		assert.False(t, ran)
		assert.Contains(t, l.text(), "leakcheck: ")
		_, err := leakcheck.Measure(func() { ran = true }, o)
		assert.ErrorContains(t, err, "leakcheck: ")
	}
}

func TestNoGrowthPassesAPanicOn(t *testing.T) {
	rate := runtime.MemProfileRate
	assert.PanicsWithValue(t, "boom", func() { leakcheck.NoGrowth(t, func() { panic("boom") }) })
	assert.Equal(t, rate, runtime.MemProfileRate)
	requireMeasures(t)
}

func TestNoGrowthPassesFailNowOn(t *testing.T) {
	rate := runtime.MemProfileRate
	l := &listener{TB: t}
	returned := false
	var wg sync.WaitGroup
	wg.Go(func() {
		leakcheck.NoGrowth(l, func() { l.FailNow() })
		returned = true
	})
	wg.Wait()
	assert.False(t, returned)
	assert.Empty(t, l.text())
	assert.Equal(t, rate, runtime.MemProfileRate)
	requireMeasures(t)
}

// requireMeasures proves that the check before let go of the process.
func requireMeasures(t *testing.T) {
	t.Helper()
	r, err := leakcheck.Measure(func() {})
	require.NoError(t, err)
	assert.Equal(t, leakcheck.Steady.String(), r.Verdict.String())
}

func TestNoGrowthWithinNoGrowth(t *testing.T) {
	const text = "leakcheck: NoGrowth inside an operation that is being measured (or on a goroutine whose starter has ended, while another is measured): call it outside"
	var wg sync.WaitGroup
	for name, within := range map[string]func(f func()){
		"the operation":                       func(f func()) { f() },
		"its goroutine":                       func(f func()) { wg.Go(f); wg.Wait() },
		"its goroutine's":                     func(f func()) { wg.Go(func() { wg.Go(f); runtime.Gosched() }); wg.Wait() },
		"a goroutine whose starter has ended": func(f func()) { wg.Go(func() { wg.Go(f) }); wg.Wait() },
	} {
		t.Run(name, func(t *testing.T) {
			var once sync.Once
			r := leakcheck.NoGrowth(t, func() {
				once.Do(func() {
					within(func() {
						l := &listener{TB: t}
						assert.Equal(t, leakcheck.Unmeasured, leakcheck.NoGrowth(l, func() { t.Error("ran") }).Verdict)
						assert.Equal(t, text+"\n", l.text())
						_, err := leakcheck.Measure(func() { t.Error("ran") })
						assert.EqualError(t, err, text)
					})
				})
			})
			assert.Equal(t, leakcheck.Steady.String(), r.Verdict.String(), "the outer one goes on")
		})
	}
}

func TestNoGrowthOneAtATime(t *testing.T) {
	var running, most atomic.Int32
	op := func() {
		most.Store(max(most.Load(), running.Add(1)))
		running.Add(-1)
	}
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			leakcheck.NoGrowth(t, op)
		})
	}
	t.Cleanup(func() { assert.EqualValues(t, 1, most.Load(), "operations of two checks at once") })
}

func TestNoGrowthInABenchmark(t *testing.T) {
	testgate.Seconds(t)
	var r leakcheck.Report
	b := testing.Benchmark(func(b *testing.B) {
		r = leakcheck.NoGrowth(b, func() { _ = fmt.Sprint(next()) })
		b.SetBytes(1)
	})
	assert.Positive(t, b.N)
	assert.Equal(t, leakcheck.Steady.String(), r.Verdict.String())
}

func TestNoGrowthNoticesThatNothingIsCounted(t *testing.T) {
	testgate.Seconds(t)
	for name, op := range map[string]func(){
		"switched off":         func() { runtime.MemProfileRate = 0 },
		"switched off and on":  func() { runtime.MemProfileRate = 1 - runtime.MemProfileRate },
		"switched to sampling": func() { runtime.MemProfileRate = 512 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			rate := runtime.MemProfileRate
			l := &listener{TB: t}
			n := 0
			r := leakcheck.NoGrowth(l, func() {
				if n++; n%21 == 0 {
					op()
				}
			})
			assert.Equal(t, leakcheck.Unmeasured.String(), r.Verdict.String())
			assert.Contains(t, l.text(), "nothing was measured: runtime.MemProfileRate changed")
			_, err := leakcheck.Measure(op)
			assert.ErrorContains(t, err, "nothing was measured")
			assert.Equal(t, rate, runtime.MemProfileRate, "put back")
		})
	}
}

// Measuring must not leak either: a meter and all it recorded must go.
func TestNoGrowthDoesNotGrow(t *testing.T) {
	testgate.Seconds(t)
	live := func() int64 {
		for range 3 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapObjects)
	}
	run := func(n int) {
		for range n {
			requireMeasures(t)
		}
	}
	run(3)
	before := live()
	const runs = 6
	run(runs)
	// A meter is some 700 objects; a dozen come and go by chance.
	assert.Less(t, live()-before, int64(100), "objects kept by %d runs", runs)
}

// neighbour leaks one object every 200 µs until the returned stop.
func neighbour() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var kept []*entry
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				kept = append(kept, &entry{key: len(kept)})
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// Beside a neighbour that leaks, no clean operation is blamed for it, every leak
// is found, and the neighbour's is not named.
func TestNoGrowthBesideANeighbour(t *testing.T) {
	testgate.Seconds(t)
	runs := 1
	if testgate.Long() {
		runs = 50
	}
	clean := func(rest time.Duration, opts ...leakcheck.Option) {
		leakcheck.NoGrowth(t, func() { time.Sleep(rest); _ = fmt.Sprint(next()) }, opts...)
	}
	leaky := func(rest time.Duration, opts ...leakcheck.Option) {
		var kept []*entry
		r, err := leakcheck.Measure(func() { time.Sleep(rest); kept = append(kept, new(entry)) }, opts...)
		require.NoError(t, err)
		require.Equal(t, leakcheck.Growing.String(), r.Verdict.String())
		for _, s := range r.Sites {
			if s.Verdict == leakcheck.Growing {
				assert.Contains(t, lineOf(t, s), "new(entry)", "the neighbour's is not named")
			}
		}
	}
	run := func() {
		defer neighbour()() // anew, because what it has leaked slows each collection
		clean(0)
		leaky(0)
		// Slow operations: only idle rounds tell.
		few := []leakcheck.Option{leakcheck.Iterations(2), leakcheck.Warmup(2)}
		leaky(2*time.Millisecond, few...)
		if runs > 1 {
			clean(2*time.Millisecond, few...)
		}
	}
	for range runs {
		run()
	}
}

// The environments that change how the collector runs.
func TestNoGrowthInEveryEnvironment(t *testing.T) {
	testgate.Seconds(t)
	const tests = "TestNoGrowthFinds|TestNoGrowthIsSilent"
	all, pattern := [][]string{{"GOGC=off", "GOMAXPROCS=1"}}, tests+")$/^(an_int_map.*|a_map_of.*|garbage|a_ring|a_pool.*"
	if testgate.Long() {
		all, pattern = append(all, []string{"GOGC=1"}, []string{"GOMEMLIMIT=1MiB"}, []string{"GOMAXPROCS=2"}, []string{"GOMAXPROCS=8"},
			[]string{"GODEBUG=gccheckmark=1"}, []string{"GODEBUG=madvdontneed=1,asyncpreemptoff=1"}), tests
	}
	for _, env := range all {
		t.Run(strings.Join(env, " "), func(t *testing.T) {
			o := child(t, "bare", pattern, append(env, "LEAKSAFE_LONG=")...)
			assert.Zero(t, o.code)
			assert.Empty(t, o.failed)
			assert.Contains(t, o.text, "--- PASS: TestNoGrowthFinds/an_int_map_that_only_grows")
			assert.Contains(t, o.text, "--- PASS: TestNoGrowthIsSilent/a_ring")
		})
	}
}
