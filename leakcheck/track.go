package leakcheck

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
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
// not a leak. The failure names what retains *p; see [WhyAlive] for what that costs.
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
	if s := enter(t, "Track", nil); s != nil {
		s.track(tracked.New(p, t.Name(), caller(1)))
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
		s := newScope(t, 0, "Collected", nil)
		s.strict = true
		if around := tests.of(t); around != nil {
			s.cfg = around.cfg
		}
		s.reportTracked(t, tracked.Await([]*tracked.Object{object}, s.cfg.grace, s.Bubble != 0))
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

// overwriteCleanups registers Cleanups that do nothing, until the tracked objects are collected or
// enough were tried. Package testing keeps the closures of Cleanups that have run in the slots of
// its list, and with them what they refer to; new Cleanups take those slots. Nobody knows how many
// there are, so each attempt takes four times as many as the one before.
func (s *scope) overwriteCleanups(t testing.TB) (alive []*tracked.Object) {
	const first, last = 1 << 6, 1 << 14
	if len(s.tracked) == 0 {
		return nil
	}
	for n := first; n <= last; n *= 4 {
		for range n {
			t.Cleanup(func() {})
		}
		if alive = tracked.Remaining(s.tracked); len(alive) == 0 {
			return nil
		}
	}
	return alive
}

// judgeTracked leaves the verdict to the test around s where that has a Check: an object that a
// subtest cannot release may be the outer test's, such as a row of its table.
func (s *scope) judgeTracked(t testing.TB, alive []*tracked.Object) {
	t.Helper()
	if len(alive) == 0 {
		return
	}
	if outer := tests.around(s); outer != nil && !s.Planted {
		outer.track(alive...)
		return
	}
	s.reportTracked(t, tracked.Await(alive, s.cfg.grace, s.Bubble != 0))
}

// reportTracked fails the test for what is alive, unless only a test itself retains it, or the
// baseline knows it.
func (s *scope) reportTracked(t testing.TB, alive []*tracked.Object) {
	t.Helper()
	groups := slices.DeleteFunc(tracked.Groups(alive), func(g tracked.Group) bool {
		return !s.Planted && baseline.Known("object", g.Key())
	})
	if len(groups) == 0 {
		return
	}
	paths, err := s.explainTracked(t, groups)
	for i, g := range groups {
		f, leaked := g.Failure(s.strict), true
		var steps []advice.Step
		switch {
		case err != nil:
			f.Add("retained by", unknown(err)...)
		case paths != nil:
			leaked = s.addPaths(f, paths[i], len(g))
			steps = paths[i][0].held().Steps
		}
		if !leaked {
			t.Logf("leakcheck: no leak: %s is still %s", g[0].Type, paths[i][0].Answer)
			continue
		}
		f.Add("fix", advice.ObjectFix(steps))
		f.Add("silence", baseline.Command())
		report(t, f)
	}
}

// explainTracked asks what retains the objects of each group. What is planted needs no heap dump:
// then there are no paths.
func (s *scope) explainTracked(t testing.TB, groups []tracked.Group) ([][]Path, error) {
	if s.Planted {
		return nil, nil
	}
	addrs := make([][]uintptr, len(groups))
	for i, g := range groups {
		_ = g[0].At.Name() // reads the name of its package, which the path may have too
		for _, o := range g {
			addrs[i] = append(addrs[i], o.Address())
		}
	}
	f := groups[0].Failure(s.strict)
	return explainObjects(t, fmt.Sprintf("%s, tracked at %s:%d", f.Title, f.File, f.Line), addrs)
}

// addPaths says what retains the objects, and reports whether that is more than a test itself.
func (s *scope) addPaths(f *failure.Failure, paths []Path, objects int) (leaked bool) {
	const most = 3
	for i, p := range paths {
		name, lines := "retained by", p.lines()
		if p.byTest && !s.strict {
			name, lines[0] = "no leak", p.Answer
		} else {
			leaked = true
		}
		if objects > 1 {
			lines[0] = fmt.Sprintf("(%d of %d) %s", p.Count, objects, lines[0])
		}
		if i < most {
			f.Add(name, lines...)
		}
	}
	if more := len(paths) - most; more > 0 {
		f.Add("", fmt.Sprintf("and %d more paths", more))
	}
	return leaked
}

func (s *scope) track(objects ...*tracked.Object) {
	tests.Lock()
	defer tests.Unlock()
	s.tracked = append(s.tracked, objects...)
}
