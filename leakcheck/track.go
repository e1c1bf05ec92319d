package leakcheck

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"

	"github.com/leaksafe/leaksafe/leakcheck/internal/tracked"
)

// Track fails t when *p cannot be collected once t has ended: when something
// that outlives the test still refers to it. It returns p, so that it can wrap
// the expression that makes it, and does not itself keep *p alive.
//
//	store := leakcheck.Track(t, cache.New())
//
// The verdict collects garbage until *p is gone, and waits up to [Grace] for
// it. In a subtest of a test with a [Check] it is given when that test ends, for
// the outer test may still use *p. What only a test itself still holds (its own
// Cleanups, its frame, the table of the test around it) is not a leak. The failure
// names who keeps *p; see [WhyAlive] for what that costs.
//
// Three kinds of pointers cannot work, and Track refuses them: to a package
// variable, which is never collected; to a value without size, which shares
// its address with others; and to a value without pointers of at most 16 bytes,
// which shares its memory with others.
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

// Collected fails t when the value that build returns cannot be collected
// after it was dropped: build itself, or something it calls, has kept it.
// build runs once, on a goroutine of its own, whose stack keeps nothing;
// Collected waits for it, and then up to [Grace] for the collection.
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
		s := newScope(t, 0, nil)
		s.strict = true
		s.reportTracked(t, tracked.Await([]*tracked.Object{object}, s.cfg.grace, s.bubble != 0))
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

// firstOverwrite is how many Cleanups the verdict puts above itself at first.
const firstOverwrite = 64

// endTracked registers the verdict as a new Cleanup below overwrite others
// that do nothing. Package testing keeps the closures of Cleanups that have run in
// the slots of its list, and with them what they refer to; new Cleanups take
// those slots. Nobody knows how many there are, so while objects remain, the next
// attempt takes four times as many.
//
// It must not be a Helper: package testing loops for ever when it looks for the
// caller of a Cleanup that a Cleanup registered and finds only helpers.
func (s *scope) endTracked(t testing.TB, overwrite int) {
	const last = 1 << 14
	t.Cleanup(func() {
		alive := tracked.Remaining(s.tracked)
		if overwrite < last && len(alive) > 0 {
			s.endTracked(t, 4*overwrite)
			return
		}
		tests.leave(s)
		s.judgeTracked(t, alive)
		s.prove(t)
	})
	for range overwrite {
		t.Cleanup(func() {})
	}
}

// judgeTracked leaves the verdict to the test around s where that has a Check:
// what a subtest cannot let go may be the outer test's, such as a row of its
// table.
func (s *scope) judgeTracked(t testing.TB, alive []*tracked.Object) {
	t.Helper()
	if len(alive) == 0 {
		return
	}
	if outer := tests.around(s); outer != nil && !s.planted {
		outer.track(alive...)
		return
	}
	s.reportTracked(t, tracked.Await(alive, s.cfg.grace, s.bubble != 0))
}

// reportTracked fails the test for what is alive, unless only a test itself
// holds it. What is planted needs no heap dump.
func (s *scope) reportTracked(t testing.TB, alive []*tracked.Object) {
	t.Helper()
	groups := tracked.Groups(alive)
	switch {
	case len(groups) == 0:
	case s.planted:
		for _, g := range groups {
			f := g.Failure()
			f.Add("remedy", letGo...)
			report(t, f)
		}
	default:
		s.explainTracked(t, groups)
	}
}

// explainTracked gives the verdict when the heap has said who keeps the objects.
// What is known is written first: the runtime can die while it dumps the heap.
func (s *scope) explainTracked(t testing.TB, groups []tracked.Group) {
	t.Helper()
	addrs := make([][]uintptr, len(groups))
	for i, g := range groups {
		t.Log(g.Failure())
		fmt.Fprintln(os.Stderr, g.Failure())
		for _, o := range g {
			addrs[i] = append(addrs[i], o.Address())
		}
	}
	paths, err := explainObjects(t, addrs)
	for i, g := range groups {
		f, leaked := &failure.Failure{}, true
		if len(groups) > 1 {
			f.Add("tracked at", g[0].At.String())
		}
		if err != nil {
			f.Add("kept by", "unknown: "+err.Error())
		} else {
			leaked = s.addPaths(f, paths[i], len(g))
		}
		if leaked {
			f.Add("remedy", letGo...)
			t.Fail()
			g.Failure().Annotate(os.Stderr)
		} else { // standard error has said that it cannot be collected
			fmt.Fprintf(os.Stderr, "leakcheck: the %s is no leak: %s\n", g[0].Typ, paths[i][0].Answer)
		}
		io.WriteString(t.Output(), f.More())
	}
}

var letGo = []string{
	"remove it from what keeps it: a map, a list, a package variable, a goroutine that has not ended,",
	"or a Cleanup registered before leakcheck's first call in this test",
}

// addPaths says who keeps the objects, and reports whether that is more than a
// test itself.
func (s *scope) addPaths(f *failure.Failure, paths []Path, objects int) (leaked bool) {
	const most = 3
	for i, p := range paths {
		name := "kept by"
		if p.byTest && !s.strict {
			name = "no leak"
		} else {
			leaked = true
		}
		if objects > 1 {
			name = fmt.Sprintf("%d %s", p.Count, name)
		}
		if i < most {
			f.Add(name, strings.Split(p.String(), "\n")...)
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
