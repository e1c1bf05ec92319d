package leakcheck

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
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
	if why := untrackable(p); why != "" {
		t.Errorf("leakcheck: Track(%T): %s", p, why)
		return p
	}
	if s := enter(t, "Track", nil); s != nil {
		s.track(newTracked(p, t.Name(), caller(1)))
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
	var object *tracked
	var why string
	at := caller(1)
	done := make(chan bool)
	go func() {
		returned := false
		defer func() { done <- returned }()
		p := build()
		if why = untrackable(p); why == "" {
			object = newTracked(p, t.Name(), at)
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
		s.reportTracked(t, s.awaitCollection([]*tracked{object}))
	}
}

// A tracked object must not keep the object.
type tracked struct {
	test      string
	typ       string
	at        source.Frame // of the caller of Track
	collected func() bool
	address   func() uintptr // while it is not collected
}

func newTracked[T any](p *T, test string, at source.Frame) *tracked {
	w := weak.Make(p)
	return &tracked{
		test:      test,
		typ:       fmt.Sprintf("%T", p),
		at:        at,
		collected: func() bool { return w.Value() == nil },
		address:   func() uintptr { return uintptr(unsafe.Pointer(w.Value())) },
	}
}

// untrackable says why *p cannot be tracked; it is empty where it can.
func untrackable[T any](p *T) string {
	switch {
	case p == nil:
		return "the pointer is nil: there is nothing to watch"
	case unsafe.Sizeof(*p) == 0:
		return "the value has no size: all such values share one address, and none is ever collected; track what holds it"
	case !onHeap(p):
		return "it points into a package variable, which lives as long as the program; track a value made in the test"
	case unsafe.Sizeof(*p) <= 16 && !hasPointers[T]():
		return "the value is so small (at most 16 bytes, no pointers) that it shares its memory with others and lives as long as they do; track what holds it"
	}
	return ""
}

// onHeap relies on AddCleanup doing nothing for what the linker allocated.
func onHeap[T any](p *T) bool {
	c := runtime.AddCleanup(p, func(int) {}, 0)
	onHeap := c != runtime.Cleanup{}
	c.Stop()
	return onHeap
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
		alive := remaining(s.tracked)
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
func (s *scope) judgeTracked(t testing.TB, alive []*tracked) {
	t.Helper()
	if len(alive) == 0 {
		return
	}
	if outer := tests.around(s); outer != nil && !s.planted {
		outer.track(alive...)
		return
	}
	s.reportTracked(t, s.awaitCollection(alive))
}

// remaining are the objects that a collection leaves.
func remaining(all []*tracked) []*tracked {
	runtime.GC()
	var alive []*tracked
	for _, o := range all {
		if !o.collected() {
			alive = append(alive, o)
		}
	}
	return alive
}

// awaitCollection returns the objects that are alive when the grace ends. In a
// bubble, where waiting would move its clock, a few collections must do.
func (s *scope) awaitCollection(all []*tracked) (alive []*tracked) {
	end := time.Now().Add(s.cfg.grace)
	pause := time.Millisecond
	for attempt := 1; ; attempt++ {
		alive = remaining(all)
		switch {
		case len(alive) == 0:
			return nil
		case s.bubble != 0:
			if attempt == 5 {
				return alive
			}
			continue
		case !time.Now().Before(end):
			return alive
		}
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// reportTracked fails the test for what is alive, unless only a test itself
// holds it. What is planted needs no heap dump.
func (s *scope) reportTracked(t testing.TB, alive []*tracked) {
	t.Helper()
	groups := groupTracked(alive)
	switch {
	case len(groups) == 0:
	case s.planted:
		for _, g := range groups {
			f := g.failure()
			f.Add("remedy", letGo...)
			report(t, f)
		}
	default:
		s.explainTracked(t, groups)
	}
}

// explainTracked gives the verdict when the heap has said who keeps the objects.
// What is known is written first: the runtime can die while it dumps the heap.
func (s *scope) explainTracked(t testing.TB, groups []trackedGroup) {
	t.Helper()
	addrs := make([][]uintptr, len(groups))
	for i, g := range groups {
		t.Log(g.failure())
		fmt.Fprintln(os.Stderr, g.failure())
		for _, o := range g {
			addrs[i] = append(addrs[i], o.address())
		}
	}
	paths, err := explain(t, addrs)
	for i, g := range groups {
		f, leaked := &failure.Failure{}, true
		if len(groups) > 1 {
			f.Add("tracked at", g[0].at.String())
		}
		if err != nil {
			f.Add("kept by", "unknown: "+err.Error())
		} else {
			leaked = s.addPaths(f, paths[i], len(g))
		}
		if leaked {
			f.Add("remedy", letGo...)
			t.Fail()
			g.failure().Annotate(os.Stderr)
		} else { // standard error has said that it cannot be collected
			fmt.Fprintf(os.Stderr, "leakcheck: the %s is no leak: %s\n", g[0].typ, paths[i][0].Answer)
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

// A trackedGroup is objects of one type, tracked at one place.
type trackedGroup []*tracked

func groupTracked(all []*tracked) (groups []trackedGroup) {
	type place struct {
		at  source.Frame
		typ string
	}
	for _, group := range failure.Group(all, func(o *tracked) place { return place{o.at, o.typ} }) {
		groups = append(groups, group)
	}
	return groups
}

func (g trackedGroup) failure() *failure.Failure {
	at := g[0].at
	what := "a " + g[0].typ
	if len(g) > 1 {
		what = fmt.Sprintf("%d %s", len(g), g[0].typ)
	}
	f := &failure.Failure{Title: fmt.Sprintf("%s cannot be collected at the end of %s", what, failure.Tally(g, func(o *tracked) string { return o.test })), File: at.File, Line: at.Line}
	f.Add("tracked at", at.String())
	return f
}

func (s *scope) track(objects ...*tracked) {
	tests.Lock()
	defer tests.Unlock()
	s.tracked = append(s.tracked, objects...)
}

// hasPointers reports whether values of type T contain pointers: without, small
// ones share a block of memory.
func hasPointers[T any]() bool { return typeHasPointers(reflect.TypeFor[T]()) }

func typeHasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && typeHasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if typeHasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.String, reflect.Slice, reflect.Map, reflect.Chan, reflect.Func,
		reflect.Interface, reflect.Pointer, reflect.UnsafePointer:
		return true
	default:
		return false
	}
}
