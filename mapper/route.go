package mapper

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// A route is the path from a struct to a part of it, perhaps through pointers. It is stored twice:
// as steps for reflection, and as offsets for kernels.
type route struct {
	steps []step
	key   string // of the steps; equal keys are equal routes
	name  string // as in an Error's Path
	typ   reflect.Type

	hops []hop   // the pointers to follow first
	off  uintptr // then this offset
}

// A hop is a pointer in a route: its offset, and the type that it points to.
type hop struct {
	off  uintptr
	elem reflect.Type
}

type stepKind byte

const (
	stepField stepKind = iota
	stepElement
	stepDeref
)

type step struct {
	kind  stepKind
	index int
}

func (r route) then(s step, key string) route {
	r.steps = append(slices.Clip(r.steps), s)
	r.key += "/" + key
	return r
}

// field continues r to field i of the struct it leads to. A pointer before it is followed.
func (r route) field(i int) route {
	if r.typ.Kind() == reflect.Pointer {
		r = r.deref()
	}
	f := r.typ.Field(i)
	r = r.then(step{stepField, i}, strconv.Itoa(i))
	if r.name != "" {
		r.name += "."
	}
	r.name += f.Name
	r.off += f.Offset
	r.typ = f.Type
	return r
}

func (r route) element(i int) route {
	r = r.then(step{stepElement, i}, "["+strconv.Itoa(i))
	r.name += "[" + strconv.Itoa(i) + "]"
	r.typ = r.typ.Elem()
	r.off += uintptr(i) * r.typ.Size()
	return r
}

func (r route) deref() route {
	r = r.then(step{kind: stepDeref}, "*")
	r.typ = r.typ.Elem()
	r.hops = append(slices.Clip(r.hops), hop{r.off, r.typ})
	r.off = 0
	return r
}

// join continues r by the steps of inner.
func (r route) join(inner route) route {
	for _, s := range inner.steps {
		switch s.kind {
		case stepField:
			r = r.field(s.index)
		case stepElement:
			r = r.element(s.index)
		default:
			r = r.deref()
		}
	}
	return r
}

// covers reports whether other leads to what r leads to, or to a part of it.
func (r route) covers(other route) bool { return strings.HasPrefix(other.key+"/", r.key+"/") }

// read returns the address of the part, or nil if a pointer in the route is nil.
func (r *route) read(p unsafe.Pointer) unsafe.Pointer {
	for _, h := range r.hops {
		if p = *(*unsafe.Pointer)(unsafe.Add(p, h.off)); p == nil {
			return nil
		}
	}
	return unsafe.Add(p, r.off)
}

// write is like read, but allocates an object for each nil pointer in the route.
func (r *route) write(p unsafe.Pointer) unsafe.Pointer {
	for _, h := range r.hops {
		at := (*unsafe.Pointer)(unsafe.Add(p, h.off))
		if *at == nil {
			*at = reflect.New(h.elem).UnsafePointer()
		}
		p = *at
	}
	return unsafe.Add(p, r.off)
}

// readValue and writeValue do the same with reflection.
func (r *route) readValue(v reflect.Value) (part reflect.Value, ok bool) {
	for _, s := range r.steps {
		if s.kind == stepDeref && v.IsNil() {
			return reflect.Value{}, false
		}
		v = s.follow(v)
	}
	return v, true
}

func (r *route) writeValue(v reflect.Value) reflect.Value {
	for _, s := range r.steps {
		if s.kind == stepDeref && v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = s.follow(v)
	}
	return v
}

func (s step) follow(v reflect.Value) reflect.Value {
	switch s.kind {
	case stepField:
		return expose(v.Field(s.index))
	case stepElement:
		return v.Index(s.index)
	default:
		return v.Elem()
	}
}

// expose makes an unexported field readable and settable. Only routes that a selector chose, or
// that lead to a field of the same type, lead to one.
func expose(v reflect.Value) reflect.Value {
	if v.CanInterface() {
		return v
	}
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
}
