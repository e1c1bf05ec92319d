package mapper

import (
	"fmt"
	"reflect"
	"runtime"
	"unsafe"
)

// A selector is a user's function that chooses a field of a type by its address.
type selector struct {
	owner reflect.Type
	call  func(owner any) (unsafe.Pointer, reflect.Type) // nil when the function was nil
}

func selectorOf[T, F any](f func(*T) *F) selector {
	s := selector{owner: reflect.TypeFor[T]()}
	if f != nil {
		s.call = func(owner any) (unsafe.Pointer, reflect.Type) {
			return unsafe.Pointer(f(owner.(*T))), reflect.TypeFor[F]()
		}
	}
	return s
}

// pickerOf is selectorOf for functions that return a pointer of any type, or an any that holds one.
func pickerOf[T, P any](f func(*T) P) selector {
	s := selector{owner: reflect.TypeFor[T]()}
	if f != nil {
		s.call = func(owner any) (unsafe.Pointer, reflect.Type) {
			v := reflect.ValueOf(f(owner.(*T)))
			if v.Kind() != reflect.Pointer {
				return nil, nil
			}
			return v.UnsafePointer(), v.Type().Elem()
		}
	}
	return s
}

// A sample is a value of a type with its pointers allocated, on which selectors run.
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

const notAField reason = "its function must return the address of a field, as in &d.Name"

// find runs a selector and returns the route to the field it chose.
func (s *sample) find(sel selector) (r route, err error) {
	if sel.call == nil {
		return r, reason("its function is nil")
	}
	p, field, err := sel.run(s.root.Interface())
	if err != nil {
		return r, err
	}
	if field.Size() == 0 {
		return r, reason("its function chose a field of size zero, which has no place of its own")
	}
	defer runtime.KeepAlive(s)
	for _, o := range s.objects {
		base, at := uintptr(o.at.UnsafePointer()), uintptr(p)
		if at >= base && at-base < o.route.typ.Size() {
			return o.route.find(at-base, field)
		}
	}
	return r, notAField + "; it returned a pointer to something else"
}

func (sel selector) run(owner any) (p unsafe.Pointer, field reflect.Type, err error) {
	defer func() {
		if recover() != nil {
			err = notAField + "; it panicked. It runs on a value whose slices and maps are empty: for the elements of a list, give functions of the element's own type"
		}
	}()
	if p, field = sel.call(owner); p == nil {
		return nil, nil, notAField + "; it returned nil"
	}
	return p, field, nil
}

// find continues r to the part of type want at the offset off.
func (r route) find(off uintptr, want reflect.Type) (route, error) {
	for r.typ != want || off != 0 {
		next, ok := r.towards(off)
		if !ok {
			return r, reason(fmt.Sprintf("its function chose no field of type %s", want))
		}
		off -= next.off - r.off
		r = next
	}
	if len(r.steps) == 0 {
		return r, notAField + "; it returned the address of the whole value"
	}
	return r, nil
}

// towards continues r by the field that contains off.
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
