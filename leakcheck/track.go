package leakcheck

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
	"weak"
)

// Track fails t when *p cannot be collected once t has ended: when something
// that outlives the test still refers to it. It returns p, so that it can wrap
// the expression that makes it, and does not itself keep *p alive.
//
//	store := leakcheck.Track(t, cache.New())
//
// The verdict collects garbage until *p is gone, and waits up to [Grace] for
// it. What only the test itself still holds (its own Cleanups, its frame, the
// table of the test around it) is not a leak. The failure names who keeps *p.
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
		s.inherit(newTracked(p, caller(1)))
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
			object = newTracked(p, at)
		}
		returned = true
	}()
	switch returned := <-done; {
	case !returned:
		t.FailNow() // build called t.FailNow or t.SkipNow
	case why != "":
		t.Errorf("leakcheck: Collected(%T): %s", build, why)
	default:
		s := &scope{t: t, name: t.Name(), cfg: newConfig(nil)}
		s.reportTracked(s.awaitCollection([]*tracked{object}))
	}
}

// A tracked object must not keep the object.
type tracked struct {
	typ       string
	size      uintptr
	at        frame // of the caller of Track
	collected func() bool
	address   func() uintptr // while it is not collected
}

func newTracked[T any](p *T, at frame) *tracked {
	w := weak.Make(p)
	return &tracked{
		typ:       fmt.Sprintf("%T", p),
		size:      unsafe.Sizeof(*p),
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

func caller(skip int) frame {
	pc, file, line, _ := runtime.Caller(skip + 1)
	f := frame{file: file, line: line}
	if fn := runtime.FuncForPC(pc); fn != nil {
		f.function = fn.Name()
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
func (s *scope) endTracked(overwrite int) {
	const last = 1 << 14
	s.t.Cleanup(func() {
		s.t.Helper()
		if overwrite < last && len(remaining(s.tracked)) > 0 {
			s.endTracked(4 * overwrite)
			return
		}
		s.reportTracked(s.awaitCollection(s.tracked))
		s.close()
	})
	for range overwrite {
		s.t.Cleanup(func() {})
	}
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

// reportTracked fails the test for what is alive, unless only the test itself
// holds it. What is known is written before explain is asked: the runtime can
// die while it dumps the heap.
func (s *scope) reportTracked(alive []*tracked) {
	s.t.Helper()
	if len(alive) == 0 {
		return
	}
	paths, err := s.explainTracked(alive)
	outer := tests.around(s.t, s)
	for i, o := range alive {
		switch {
		case err == nil && s.holds(paths[i]):
			s.t.Logf("leakcheck: %s still holds the %s tracked at %s: not a leak\n%s", s.name, o.typ, o.at, paths[i])
			outer.inherit(o)
		case err != nil && outer != nil:
			outer.inherit(o) // perhaps it is the outer test's: a row of its table
		default:
			f := s.describe(o)
			if err == nil {
				f.add("kept by", strings.Split(paths[i].String(), "\n")...)
			} else {
				f.add("kept by", "unknown: "+strings.TrimPrefix(err.Error(), "leakcheck: "))
			}
			f.report(s.t)
		}
	}
}

// explainTracked asks who keeps the objects. What is planted needs no dump.
func (s *scope) explainTracked(alive []*tracked) ([]Path, error) {
	if planted(s.t) {
		return nil, errPlanted
	}
	addrs := make([]uintptr, len(alive))
	for i, o := range alive {
		text := s.describe(o).String()
		s.t.Log(text)
		fmt.Fprintln(os.Stderr, text)
		addrs[i] = o.address()
	}
	paths, err := explain(s.t, addrs)
	if err == nil && len(paths) != len(alive) {
		err = errPaths
	}
	return paths, err
}

var (
	errPlanted = errors.New("leakcheck: no heap is dumped for a planted leak")
	errPaths   = errors.New("leakcheck: the heap dump does not show the object")
)

// holds reports whether the path begins in the test itself: its frame, that of
// a test around it, or package testing's list of its Cleanups.
func (s *scope) holds(p Path) bool {
	if len(p.Hops) == 0 || p.Hops[0].Kind != "goroutine" {
		return false
	}
	function := p.Hops[0].Name
	return strings.HasPrefix(function, "testing.") || function != "" && inFunction(s.symbol, function)
}

// inherit makes a test judge an object that a test within it could not.
func (s *scope) inherit(o *tracked) {
	if s == nil {
		return
	}
	tests.Lock()
	defer tests.Unlock()
	s.tracked = append(s.tracked, o)
}

func (s *scope) describe(o *tracked) *failure {
	f := &failure{title: fmt.Sprintf("a %s outlives %s: it cannot be collected", o.typ, s.name), file: o.at.file, line: o.at.line}
	f.add("tracked at", o.at.String())
	f.add("remedy", "remove it from what keeps it: a map, a list, a package variable, a goroutine that has not ended,", "or a Cleanup registered before leakcheck's first call in this test")
	return f
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
