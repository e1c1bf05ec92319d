package leakcheck_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

// flushed keeps entries until it has bound of them, and then drops them all.
func flushed(bound int) func() {
	held := make([]*entry, 0, bound)
	return func() {
		if held = append(held, new(entry)); len(held) == bound {
			clear(held)
			held = held[:0]
		}
	}
}

// afresh is a map that begins anew when it has bound keys.
func afresh(bound int) func() {
	seen := map[int]*entry{}
	return func() {
		if seen[next()] = new(entry); len(seen) == bound {
			clear(seen)
		}
	}
}

// What is bounded does not grow, whatever its bound: package judge tries every bound on numbers,
// this test some of them in fact. 29, 79 and 207 to 211 leave small remainders of 20, 80, 320 and
// 1280.
func TestBoundedBuffersDoNotGrow(t *testing.T) {
	testgate.Seconds(t)
	bounds := []int{1, 20, 29, 79, 207, 208, 209, 210, 211, 1280, 4999}
	if testgate.Long() {
		for bound := 2; bound <= 400; bound++ {
			bounds = append(bounds, bound)
		}
	}
	for _, bound := range bounds {
		for name, op := range map[string]func(){"a slice that is flushed": flushed(bound), "a map that begins anew": afresh(bound)} {
			r, err := leakcheck.Measure(op)
			assert.NoError(t, err)
			assert.Contains(t, []leakcheck.Verdict{leakcheck.Steady, leakcheck.Saturating}, r.Verdict, "%s at %d: %v %v", name, bound, r.Rounds, r.Sites)
		}
	}
	leakcheck.MustDetect(t, func(t testing.TB) { leakcheck.NoGrowth(t, flushed(1<<20)) })
}

// A window of counters is bounded by time, not by operations.
func TestChildWindow(t *testing.T) {
	childTest(t)
	const width, span = 100 * time.Millisecond, 10 * time.Second
	window := map[int64]*entry{}
	leakcheck.NoGrowth(t, func() {
		now := time.Now().UnixNano() / int64(width)
		if window[now] == nil {
			window[now] = new(entry)
		}
		delete(window, now-int64(span/width))
		time.Sleep(3 * time.Millisecond)
	})
}

func TestBoundedByTime(t *testing.T) {
	testgate.Seconds(t)
	o := child(t, "bare", "TestChildWindow")
	assert.Zero(t, o.code)
	assert.NotContains(t, o.text, "leak:")
}

var registry = map[int]*entry{}

type fake struct{ history []*[512]byte }

func (f *fake) ask() { f.history = append(f.history, new([512]byte)) }

// Two leaks with two holders.
func TestChildTwoHolders(t *testing.T) {
	childTest(t)
	f := &fake{}
	leakcheck.NoGrowth(t, func() {
		f.ask()
		registry[len(registry)] = new(entry)
	})
}

func TestEachHolderIsNamed(t *testing.T) {
	testgate.Seconds(t)
	o := child(t, "bare", "TestChildTwoHolders")
	assert.Equal(t, []string{"TestChildTwoHolders"}, o.failed)
	first, rest, _ := strings.Cut(o.text, "also ")
	assert.Contains(t, first, "retained by    ")
	assert.Contains(t, first, "TestChildTwoHolders", "the fake is the test's own")
	assert.Contains(t, rest, "retained by ", "the registry")
	assert.Contains(t, rest, "leakcheck_test.registry[")
}
