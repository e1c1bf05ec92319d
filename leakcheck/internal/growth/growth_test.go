package growth

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A look waits for goroutines that have something to do.
func TestSettles(t *testing.T) {
	before := runtime.NumGoroutine()
	settle(func() {
		for range 10 {
			go func() {
				for range 5_000 { // some milliseconds together
					runtime.Gosched()
				}
			}()
		}
	})
	assert.LessOrEqual(t, runtime.NumGoroutine(), before)
}

// A look waits for finalizers that run, and not for those that block.
func TestDrains(t *testing.T) {
	assert.True(t, drains(func() {
		for start := time.Now(); time.Since(start) < 100*time.Millisecond; {
			runtime.Gosched()
		}
	}))
	gate := make(chan struct{})
	assert.False(t, drains(func() { <-gate }))
	close(gate)
}

func TestStacksAreToldApart(t *testing.T) {
	callers := func() []uintptr {
		pcs := make([]uintptr, 32)
		return pcs[:runtime.Callers(1, pcs)]
	}
	var beneath, beside []uintptr
	var wg sync.WaitGroup
	m, err := New(func() {
		beneath = callers()
		wg.Go(func() { beside = callers() })
		wg.Wait()
	}, Settings{})
	require.NoError(t, err)
	m.Measure()
	from, functions := resolveNames(beneath)
	assert.Equal(t, "operation", from)
	assert.Len(t, functions, 2, "cut at the operation: %s", functions)
	from, _ = resolveNames(beside)
	assert.Equal(t, "elsewhere", from)
	from, _ = resolveNames(callers())
	assert.Equal(t, "unrelated", from, "the goroutine of a test")

	seen := map[string]bool{}
	stacks, oursToo := considered(func() { wg.Go(func() { _ = fmt.Sprint(new(int)) }); wg.Wait() })
	for i, stack := range stacks {
		from, functions := resolveNames(stack)
		seen[from] = true
		assert.Equal(t, from == "operation" || from == "elsewhere", oursToo[i], functions)
		if slices.ContainsFunc(functions, func(f string) bool { return strings.HasSuffix(f, ".(*profile).read") }) {
			assert.Equal(t, "harness", from, functions)
		}
		if slices.ContainsFunc(functions, func(f string) bool { return f == "runtime.malg" || f == "runtime.acquireSudog" }) {
			assert.Equal(t, "unrelated", from, functions)
		}
	}
	assert.Len(t, seen, 4, "all kinds of stacks were there")
}

// What grows in steps is run again a second time. Beside it a goroutine of the program fills a
// cache in every round up to the first retry.
func TestSecondRetryBesideANeighbour(t *testing.T) {
	var log [][256]byte
	var kept []*int
	work := make(chan bool)
	defer close(work)
	go func() {
		for range work {
			if len(kept) < 1000 {
				kept = append(kept, new(int))
			}
			work <- true
		}
	}()
	m, err := New(func() {
		log = append(log, [256]byte{})
		work <- true
		<-work
	}, Settings{})
	require.NoError(t, err)
	r := m.Measure()
	assert.Equal(t, 2, m.retries)
	assert.Equal(t, judge.Growing, r.Verdict)
	require.NotEmpty(t, r.Sites)
	assert.True(t, r.Sites[0].steps)
}

func TestLooksAgainAfterGoroutines(t *testing.T) {
	assert.True(t, looksAgain(), "they may have held what the last look counted")
}
func TestPlantsObjectsToCount(t *testing.T) {
	assert.False(t, countsWithoutProfile(), "an object that is there was not counted")
}

// resolveNames says on whose behalf a stack allocates, and its frames.
func resolveNames(stack []uintptr) (from string, functions []string) {
	fs, o := resolve(stack)
	for _, f := range fs {
		functions = append(functions, f.Func)
	}
	return [...]string{elsewhere: "elsewhere", operation: "operation", harness: "harness", unrelated: "unrelated"}[o], functions
}

// startMeter makes a meter that the caller closes.
func startMeter(op func()) *Meter {
	m, err := New(op, Settings{Grace: 2 * time.Second})
	if err != nil {
		panic(err)
	}
	return m
}

// considered are the allocation stacks of the process while op is measured, and
// whether each may be called a leak.
func considered(op func()) (stacks [][]uintptr, oursToo []bool) {
	m := startMeter(op)
	defer m.close()
	m.measure()
	for i := range m.profile.stacks {
		_, ok := m.stackSuspect(i)
		stacks = append(stacks, trim(&m.profile.stacks[i]))
		oursToo = append(oursToo, ok)
	}
	return stacks, oursToo
}

// countsWithoutProfile says whether a check believes its figures when the
// profiler was off for some of its looks.
func countsWithoutProfile() bool {
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
	return m.report().Verdict != judge.Unmeasured
}

// settle waits as a look does for the goroutines that start starts.
func settle(start func()) {
	m := startMeter(func() {})
	defer m.close()
	m.countRoutines()
	start()
	m.settle()
}

// looksAgain says whether a check looks at the heap once more after goroutines
// that ended while the look before was taken.
func looksAgain() bool {
	m := startMeter(func() {})
	defer m.close()
	m.profile = newProfile()
	m.look()
	m.alive = append(m.alive, m.alive[0]+1, m.alive[0])
	m.waitForGoroutines()
	return len(m.rounds) == 1 && m.rounds[0].Phase == judge.Closing
}

// drains says whether a check of little patience waits for the end of a
// finalizer that has begun.
func drains(finalizer func()) bool {
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

// Each look and the search of the heap take time for each object that has leaked: an operation that
// leaks many is run again less often.
func TestManyObjectsShortenTheRounds(t *testing.T) {
	after := func(objects int64) *Meter {
		return &Meter{iterations: 20, rounds: []judge.Round{{Ops: 100}}, heap: []int64{0, 0}, open: []int64{0, 0}, alive: []int64{0, 0}, objects: []int64{0, 100 * objects}}
	}
	longest := judge.Retry[0]
	assert.Equal(t, 1280, after(0).retryLength(longest, math.MaxInt))
	assert.Equal(t, 1280, after(39).retryLength(longest, math.MaxInt))
	assert.Equal(t, 500, after(100).retryLength(longest, math.MaxInt))
	assert.Equal(t, 25, after(2000).retryLength(longest, math.MaxInt))
	assert.Equal(t, 20, after(1_000_000).retryLength(longest, math.MaxInt), "never fewer than in the smallest round")
}
