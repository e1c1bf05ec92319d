package mapper

import (
	"fmt"
	"reflect"
	"runtime"
	"unsafe"
)

// A selector is a user's func(*T) *F that chooses a field of T.
type selector struct {
	owner, field reflect.Type
	call         func(owner any) unsafe.Pointer // nil when the function was nil
}

func selectorOf[T, F any](f func(*T) *F) selector {
	s := selector{owner: reflect.TypeFor[T](), field: reflect.TypeFor[F]()}
	if f != nil {
		s.call = func(owner any) unsafe.Pointer { return unsafe.Pointer(f(owner.(*T))) }
	}
	return s
}

// A sample is a value of a type with its pointers allocated, on which
// selectors run.
type sample struct {
	root    reflect.Value // a pointer
	objects []object
}

// An object is one allocation of a sample and the route to it.
type object struct {
	at    reflect.Value // a pointer
	route route
}

// The bounds of a sample: recursive types would make it infinite.
const (
	maxObjects  = 256
	maxHops     = 6
	maxElements = 16
)

func newSample(t reflect.Type) *sample {
	s := &sample{root: reflect.New(t)}
	s.objects = []object{{s.root, route{typ: t}}}
	for i := 0; i < len(s.objects); i++ {
		if o := s.objects[i]; len(o.route.hops) < maxHops {
			s.fill(o.at.Elem(), o.route)
		}
	}
	return s
}

// fill allocates the pointers inside v, which r leads to.
func (s *sample) fill(v reflect.Value, r route) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			s.fill(expose(v.Field(i)), r.field(i))
		}
	case reflect.Array:
		for i := range min(v.Len(), maxElements) {
			s.fill(v.Index(i), r.element(i))
		}
	case reflect.Pointer:
		if len(s.objects) < maxObjects && v.Type().Elem().Size() > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			s.objects = append(s.objects, object{v, r.deref()})
		}
	}
}

// find runs a selector and returns the route to the field it chose.
func (s *sample) find(sel selector) (r route, err error) {
	root := s.root.Type().Elem()
	switch {
	case sel.owner != root:
		return r, reason(fmt.Sprintf("the selector is for %s and this Mapper's type is %s", sel.owner, root))
	case sel.call == nil:
		return r, reason("the selector is nil")
	case sel.field.Size() == 0:
		return r, reason("the selector chose a field of size zero, which has no place of its own")
	}
	p, err := sel.run(s.root.Interface())
	if err != nil {
		return r, err
	}
	defer runtime.KeepAlive(s)
	for _, o := range s.objects {
		base, at := uintptr(o.at.UnsafePointer()), uintptr(p)
		if at >= base && at-base < o.route.typ.Size() {
			return o.route.find(at-base, sel.field)
		}
	}
	return r, reason("the selector returned a pointer to something else: return the address of a field, as in &d.Name")
}

func (sel selector) run(owner any) (p unsafe.Pointer, err error) {
	defer func() {
		if recover() != nil {
			err = reason("the selector panicked: it may only return the address of a field, as in &d.Name")
		}
	}()
	if p = sel.call(owner); p == nil {
		return nil, reason("the selector returned nil: return the address of a field, as in &d.Name")
	}
	return p, nil
}

// find continues r to the part of type want that lies at off.
func (r route) find(off uintptr, want reflect.Type) (route, error) {
	for r.typ != want || off != 0 {
		next, ok := r.towards(off)
		if !ok {
			return r, reason(fmt.Sprintf("the selector chose no field of type %s", want))
		}
		off -= next.off - r.off
		r = next
	}
	if len(r.steps) == 0 {
		return r, reason("the selector chose the whole value: return the address of a field")
	}
	return r, nil
}

// towards takes the one step that leads nearer to off.
func (r route) towards(off uintptr) (route, bool) {
	switch r.typ.Kind() {
	case reflect.Struct:
		for i := range r.typ.NumField() {
			f := r.typ.Field(i)
			if off >= f.Offset && off-f.Offset < f.Type.Size() {
				return r.field(i), true
			}
		}
	case reflect.Array:
		if size := r.typ.Elem().Size(); size > 0 {
			return r.element(int(off / size)), true
		}
	}
	return r, false
}
