package leakcheck

import (
	"fmt"
	"reflect"
	"runtime"
	"time"
	"unsafe"
	"weak"

	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

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

// awaitCollection returns the objects that are alive when the grace ends. In a synctest bubble, where waiting
// would move its clock, a few collections must do.
func awaitCollection(all []*tracked, grace time.Duration, inBubble bool) (alive []*tracked) {
	end := time.Now().Add(grace)
	pause := time.Millisecond
	for attempt := 1; ; attempt++ {
		alive = remaining(all)
		switch {
		case len(alive) == 0:
			return nil
		case inBubble:
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
