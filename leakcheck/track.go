package leakcheck

import (
	"runtime"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/scope"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
	"github.com/leaksafe/leaksafe/leakcheck/internal/tracked"
)

// Track fails t when *p cannot be collected once t has ended: when something that outlives the test
// still refers to it. It returns p, so it can wrap the expression that makes it, and does not
// itself keep *p alive. It does not block.
//
//	store := leakcheck.Track(t, cache.New())
//
// The verdict collects garbage until *p is gone, and waits up to [Grace] for it. In a subtest of a
// test with a [Check] it is given when that test ends, for the outer test may still use *p. What
// only a test itself still holds (its own Cleanups, its frame, the table of the test around it) is
// not a leak. The failure points to the line that called Track, and names what retains *p; see
// [WhyAlive] for the cost.
//
// Track refuses three kinds of pointers, because they cannot work: to a package variable, which is
// never collected; to a value without size, which shares its address with others; and to a value
// without pointers of at most 16 bytes, which shares its memory with others.
func Track[T any](t testing.TB, p *T) *T {
	t = must(t, "Track")
	t.Helper()
	if why := tracked.Refuse(p); why != "" {
		t.Errorf("leakcheck: Track(%T): %s", p, why)
		return p
	}
	if s := scope.Enter(t, "Track", all(nil)); s != nil {
		s.Track(tracked.New(p, t.Name(), caller(1)))
	}
	return p
}

// Collected fails t when the value that build returns cannot be collected after it was dropped:
// build itself, or something it calls, has kept it. build runs once, on a goroutine of its own,
// whose stack keeps nothing. Collected waits for it, and then up to the test's [Grace] for the
// collection.
func Collected[T any](t testing.TB, build func() *T) {
	t = must(t, "Collected")
	t.Helper()
	if build == nil {
		t.Error("leakcheck: Collected: build is nil: pass a function that makes the value")
		return
	}
	var object *tracked.Object
	var why string
	at := caller(1)
	done := make(chan bool)
	go func() {
		returned := false
		defer func() { done <- returned }()
		p := build()
		if why = tracked.Refuse(p); why == "" {
			object = tracked.New(p, t.Name(), at)
		}
		returned = true
	}()
	switch returned := <-done; {
	case !returned:
		t.FailNow() // build called t.FailNow or t.SkipNow
	case why != "":
		t.Errorf("leakcheck: Collected(%T): %s", build, why)
	default:
		scope.JudgeBuilt(t, object)
	}
}

func caller(skip int) source.Frame {
	pc, file, line, _ := runtime.Caller(skip + 1)
	f := source.Frame{File: file, Line: line}
	if fn := runtime.FuncForPC(pc); fn != nil {
		f.Func = fn.Name()
	}
	return f
}
