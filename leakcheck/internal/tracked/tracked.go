// Package tracked watches objects that should be collected, without keeping them.
package tracked

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

// An Object is watched, and not kept.
type Object struct {
	Type      string         // as fmt prints it: "*cache.Store"
	At        source.Frame   // where the test asked to watch it
	Address   func() uintptr // 0 once it is collected
	test      string
	collected func() bool
}

// New watches *p for a test.
func New[T any](p *T, test string, at source.Frame) *Object {
	w := weak.Make(p)
	return &Object{
		test:      test,
		Type:      fmt.Sprintf("%T", p),
		At:        at,
		collected: func() bool { return w.Value() == nil },
		Address:   func() uintptr { return uintptr(unsafe.Pointer(w.Value())) },
	}
}

// Refuse says why *p cannot be tracked; it is empty where it can.
func Refuse[T any](p *T) string {
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

// Remaining are the objects that a collection leaves.
func Remaining(all []*Object) []*Object {
	runtime.GC()
	var alive []*Object
	for _, o := range all {
		if !o.collected() {
			alive = append(alive, o)
		}
	}
	return alive
}

// Await returns the objects that are alive when the grace ends. In a synctest bubble, where waiting
// would move its clock, a few collections must do.
func Await(all []*Object, grace time.Duration, inBubble bool) (alive []*Object) {
	end := time.Now().Add(grace)
	pause := time.Millisecond
	for attempt := 1; ; attempt++ {
		alive = Remaining(all)
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

// A Group is objects of one type, tracked at one place.
type Group []*Object

func Groups(all []*Object) (groups []Group) {
	type place struct {
		at  source.Frame
		typ string
	}
	for _, group := range failure.Group(all, func(o *Object) place { return place{o.At, o.Type} }) {
		groups = append(groups, group)
	}
	return groups
}

// Failure says that the objects can still be reached. built is true for what a function built and
// returned, and false for what a test used.
func (g Group) Failure(built bool) *failure.Failure {
	at := g[0].At
	what, are := g[0].Type, "is"
	if len(g) > 1 {
		what, are = fmt.Sprintf("%d %s", len(g), what), "are"
	}
	f := &failure.Failure{File: at.File, Line: at.Line}
	if built {
		f.Title = fmt.Sprintf("memory leak: build returned, but its %s %s still reachable", what, are)
		f.Add("built at", at.String())
		return f
	}
	tests := failure.Tally(g, func(o *Object) string { return o.test })
	f.Title = fmt.Sprintf("memory leak: %s ended, but %s %s still reachable", tests, what, are)
	f.Add("tracked at", at.String())
	return f
}

// Key names the group for a baseline file.
func (g Group) Key() string { return g[0].Type + " tracked in " + g[0].At.Func }

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
