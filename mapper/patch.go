package mapper

import (
	"context"
	"reflect"
	"unsafe"
)

// Patch maps into *dst only the parts of *src that are set. A nil pointer, an invalid sql.Null and
// any other zero value are not set, and leave their part of dst unchanged. The value of a non-nil
// pointer or a valid sql.Null is set even if it is zero. Structs are patched field by field, also
// through pointers. Everything else is replaced as a whole, also a null of the same type on both
// sides, so a slice that is empty but not nil empties the slice in dst. One struct of src patches
// one struct of dst once, however many paths lead to the two. After an *Error some fields may have
// been written. Patch uses reflection.
func (m *Mapper[S, D]) Patch(dst *D, src *S) error {
	if m == nil || m.plan == nil || dst == nil || src == nil {
		leak(unsafe.Pointer(src))
		leak(unsafe.Pointer(dst))
		return m.misused()
	}
	var st state
	st.start(m.plan, context.Background())
	return m.plan.root.patch(reflect.ValueOf(dst).Elem(), reflect.ValueOf(src).Elem(), &st).error()
}

func (n *node) patch(dst, src reflect.Value, st *state) *failure {
	if n.recursive {
		if f := st.enter(n); f != nil {
			return f
		}
		defer st.leave(n)
	}
	switch {
	case n.op == opOptional:
		return n.patchOptional(dst, src, st)
	case n.from.form == null: // copied whole
		if _, ok := n.from.inside(src); !ok {
			return nil
		}
	case n.op == opStruct:
		for i := range n.fields {
			if f := n.fields[i].patch(dst, src, st); f != nil {
				return f.in(n.fields[i].dst.name)
			}
		}
		return nil
	}
	if src.IsZero() {
		return nil
	}
	return n.reflect(dst, src, st)
}

func (f *field) patch(dst, src reflect.Value, st *state) *failure {
	part, ok := f.src.readValue(src)
	switch {
	case !ok:
		return nil
	case f.node.op == opAfter:
		return f.node.reflect(f.dst.writeValue(dst), part, st)
	case f.set:
		return f.patchSet(dst, part, st)
	case part.IsZero():
		return nil
	}
	return f.node.patch(f.dst.writeValue(dst), part, st)
}

// patchSet computes the value first: zero is not set.
func (f *field) patchSet(dst, src reflect.Value, st *state) *failure {
	if f.byRef {
		src = reference(src)
	}
	fresh := reflect.New(f.node.dst).Elem()
	if failed := f.node.reflect(fresh, src, st); failed != nil || fresh.IsZero() {
		return failed
	}
	f.dst.writeValue(dst).Set(fresh)
	return nil
}

// patchOptional patches a struct that is there and replaces all else.
func (n *node) patchOptional(dst, src reflect.Value, st *state) *failure {
	inner, ok := n.from.inside(src)
	switch {
	case !ok || n.from.form == plain && src.IsZero():
		return nil
	case n.elem.op != opStruct || n.from.usesRest(src):
		return n.reflect(dst, src, st)
	case n.from.form == pointer && n.to.form == pointer && n.shares(st):
		return n.patchShared(dst, src, st)
	case n.to.form == pointer && dst.IsNil():
		dst.Set(reflect.New(n.elem.dst))
	case n.to.form == null:
		dst.FieldByIndex(n.to.valid).SetBool(true)
	}
	if n.to.form != plain {
		dst, _ = n.to.inside(dst)
	}
	return n.elem.patch(dst, inner, st)
}

// A patching is a struct of the source, and the struct that it patches: nil if a new one is made.
type patching struct {
	src, dst unsafe.Pointer
	node     *node
}

// patchShared patches what a pointer leads to. It patches one struct with another once, however
// many paths lead to the two.
func (n *node) patchShared(dst, src reflect.Value, st *state) *failure {
	k := patching{src.UnsafePointer(), dst.UnsafePointer(), n}
	switch s := st.patched[k]; {
	case s == nil:
	case !s.done:
		return n.fail(errCyclic)
	case !st.trees || k.dst != nil:
		dst.Set(s.value)
		return nil
	default:
		if f := st.repeat(&origin{node: n}); f != nil {
			return f
		}
	}
	if dst.IsNil() {
		dst.Set(reflect.New(n.elem.dst))
	}
	if st.patched == nil {
		st.patched = map[patching]*shared{}
	}
	s := &shared{}
	st.patched[k] = s
	if f := n.elem.patch(dst.Elem(), src.Elem(), st); f != nil {
		return f
	}
	s.finish(dst.Elem().Addr())
	return nil
}
