package mapper

import "reflect"

// Patch maps into *dst only what is set in *src: a nil pointer, an invalid
// sql.Null and any other zero value are not set, and leave their part of dst
// alone. What a non-nil pointer or a valid sql.Null holds is set even if it is
// zero. Structs are patched field by field, also through pointers; everything
// else is replaced as a whole, so an empty slice that is not nil clears. After
// an *Error some fields may have been written. Patch uses reflection.
func (m *Mapper[S, D]) Patch(dst *D, src *S) error {
	if m == nil || m.plan == nil || dst == nil || src == nil {
		return m.misused()
	}
	p := m.plan
	return p.root.patch(reflect.ValueOf(dst).Elem(), reflect.ValueOf(src).Elem(), p.cfg.MaxDepth).error()
}

func (n *node) patch(dst, src reflect.Value, depth int) *failure {
	if n.recursive {
		if depth--; depth < 0 {
			return n.fail(errDepth)
		}
	}
	switch n.op {
	case opStruct:
		for i := range n.fields {
			if f := n.fields[i].patch(dst, src, depth); f != nil {
				return f.in(n.fields[i].dst.name)
			}
		}
		return nil
	case opOptional:
		return n.patchOptional(dst, src, depth)
	}
	if src.IsZero() {
		return nil
	}
	return n.reflect(dst, src, depth)
}

func (f *field) patch(dst, src reflect.Value, depth int) *failure {
	if f.set {
		return f.patchSet(dst, src, depth)
	}
	part, ok := f.src.readValue(src)
	if !ok || part.IsZero() {
		return nil
	}
	return f.node.patch(f.dst.writeValue(dst), part, depth)
}

// patchSet computes the value first: zero is not set.
func (f *field) patchSet(dst, src reflect.Value, depth int) *failure {
	if f.byRef {
		src = reference(src)
	}
	fresh := reflect.New(f.node.dst).Elem()
	if failed := f.node.reflect(fresh, src, depth); failed != nil || fresh.IsZero() {
		return failed
	}
	f.dst.writeValue(dst).Set(fresh)
	return nil
}

// patchOptional patches a struct that is there and replaces all else.
func (n *node) patchOptional(dst, src reflect.Value, depth int) *failure {
	inner, ok := n.from.value(src)
	switch {
	case !ok || n.from == plain && src.IsZero():
		return nil
	case n.elem.op != opStruct:
		return n.reflect(dst, src, depth)
	case n.to == pointer && dst.IsNil():
		dst.Set(reflect.New(n.elem.dst))
	case n.to == null:
		dst.Field(1).SetBool(true)
	}
	if n.to != plain {
		dst, _ = n.to.value(dst)
	}
	return n.elem.patch(dst, inner, depth)
}
