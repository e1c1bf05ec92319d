package mapper

import (
	"context"
	"math"
	"reflect"
	"strings"
	"unsafe"
)

// This is the executor that uses reflection only. It runs if the build tag leaksafe_safe is set, it
// runs Patch, and the kernels are tested against it. The two executors share only the plan.

// reflect maps *src to *dst.
func (p *plan) reflect(ctx context.Context, dst, src reflect.Value) error {
	var st state
	st.start(p, ctx)
	return p.root.reflect(dst.Elem(), src.Elem(), &st).error()
}

// reflectList does the same for each element of a slice.
func (p *plan) reflectList(dst, src reflect.Value) error {
	var st state
	st.start(p, context.Background())
	st.many = true
	for i := range src.Len() {
		if f := p.root.reflect(dst.Index(i), src.Index(i), &st); f != nil {
			return f.at(i).error()
		}
	}
	return nil
}

// reflect maps src to dst, which are addressable.
func (n *node) reflect(dst, src reflect.Value, st *state) *failure {
	if n.recursive {
		if f := st.enter(n); f != nil {
			return f
		}
		defer st.leave(n)
	}
	switch n.op {
	case opCopy:
		dst.Set(src.Convert(n.dst))
	case opNumber:
		return n.reflectNumber(dst, src)
	case opDetach:
		return n.reflectText(dst, src.String(), st)
	case opText, opFunc, opAfter:
		if err := n.fn.value(st.ctx, dst, src); err != nil {
			return n.fail(err)
		}
	case opBytes:
		return n.reflectBytes(dst, src, st)
	case opOptional:
		return n.reflectOptional(dst, src, st)
	case opSlice, opArray:
		return n.reflectList(dst, src, st)
	case opMap:
		return n.reflectMap(dst, src, st)
	case opStruct:
		return n.reflectStruct(dst, src, st)
	case opFromInterface:
		return n.reflectDynamic(dst, src, st)
	case opToInterface:
		held := reflect.New(n.src).Elem()
		if f := n.elem.reflect(held, src, st); f != nil {
			return f
		}
		dst.Set(held)
	}
	return nil
}

func (n *node) reflectNumber(dst, src reflect.Value) *failure {
	ok := false
	switch {
	case dst.CanComplex():
		dst.SetComplex(src.Complex())
		s, d := src.Complex(), dst.Complex()
		ok = sameFloat(real(s), real(d)) && sameFloat(imag(s), imag(d))
	case dst.CanFloat():
		dst.Set(src.Convert(n.dst))
		ok = exactFloat(dst.Float(), src)
	case src.CanFloat():
		ok = setFromFloat(dst, src.Float())
	case dst.CanInt() && src.CanInt():
		ok = !dst.OverflowInt(src.Int())
		dst.SetInt(src.Int())
	case dst.CanInt():
		ok = src.Uint() <= math.MaxInt64 && !dst.OverflowInt(int64(src.Uint()))
		dst.SetInt(int64(src.Uint()))
	case src.CanInt():
		ok = src.Int() >= 0 && !dst.OverflowUint(uint64(src.Int()))
		dst.SetUint(uint64(src.Int()))
	default:
		ok = !dst.OverflowUint(src.Uint())
		dst.SetUint(src.Uint())
	}
	if !ok {
		return n.fail(errRange)
	}
	return nil
}

// exactFloat reports whether f is the number in src.
func exactFloat(f float64, src reflect.Value) bool {
	switch {
	case src.CanFloat():
		return sameFloat(f, src.Float())
	case src.CanInt():
		return f >= math.MinInt64 && f < -math.MinInt64 && int64(f) == src.Int()
	default:
		return f < 2*-math.MinInt64 && uint64(f) == src.Uint()
	}
}

func sameFloat(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func setFromFloat(dst reflect.Value, f float64) bool {
	if f != math.Trunc(f) {
		return false // also NaN
	}
	if dst.CanInt() {
		if f < math.MinInt64 || f >= -math.MinInt64 {
			return false
		}
		dst.SetInt(int64(f))
		return !dst.OverflowInt(int64(f))
	}
	if f < 0 || f >= 2*-math.MinInt64 {
		return false
	}
	dst.SetUint(uint64(f))
	return !dst.OverflowUint(uint64(f))
}

// reflectText copies the bytes of a text. A long one that was copied already is not copied again.
func (n *node) reflectText(dst reflect.Value, s string, st *state) *failure {
	made := &shared{}
	if len(s) >= longText && n.shares(st) {
		var f *failure
		if made, f = st.meetValue(origin{unsafe.Pointer(unsafe.StringData(s)), n, len(s)}); f != nil {
			return f
		}
	}
	if !made.done {
		made.finish(reflect.ValueOf(strings.Clone(s)))
	}
	dst.SetString(made.value.String())
	return nil
}

func (n *node) reflectBytes(dst, src reflect.Value, st *state) *failure {
	switch {
	case n.dst.Kind() == reflect.String:
		b := src.Bytes()
		return n.reflectText(dst, unsafe.String(unsafe.SliceData(b), len(b)), st)
	case src.Len() == 0:
		dst.Set(reflect.MakeSlice(n.dst, 0, 0))
	default:
		if f := n.weighText(src.String(), st); f != nil {
			return f
		}
		dst.SetBytes([]byte(src.String()))
	}
	return nil
}

func (n *node) reflectOptional(dst, src reflect.Value, st *state) *failure {
	inner, ok := n.from.inside(src)
	switch {
	case !ok && n.keeps:
		dst.FieldByIndex(n.to.valid).SetBool(false)
		return n.elem.reflect(dst.FieldByIndex(n.to.value), inner, st)
	case !ok:
		dst.SetZero()
		return nil
	case n.from.usesRest(src):
		return n.fail(errRest)
	}
	if n.to.form == pointer {
		return n.reflectPointer(dst, inner, st)
	}
	if n.to.rest != nil {
		dst.SetZero()
	}
	if n.to.form == null {
		dst.FieldByIndex(n.to.valid).SetBool(true)
		dst = dst.FieldByIndex(n.to.value)
	}
	return n.elem.reflect(dst, inner, st)
}

func (n *node) reflectPointer(dst, inner reflect.Value, st *state) *failure {
	made := &shared{}
	if n.from.form == pointer && n.shares(st) {
		var f *failure
		if made, f = st.meetValue(origin{at: inner.Addr().UnsafePointer(), node: n}); f != nil {
			return f
		}
	}
	if !made.done {
		fresh := reflect.New(n.elem.dst)
		if f := n.elem.reflect(fresh.Elem(), inner, st); f != nil {
			return f
		}
		made.finish(fresh.Convert(n.dst))
	}
	dst.Set(made.value.Convert(n.dst))
	return nil
}

func (n *node) reflectList(dst, src reflect.Value, st *state) *failure {
	if n.op == opSlice {
		return n.reflectSlice(dst, src, st)
	}
	if src.Len() != dst.Len() {
		return n.fail(errLength)
	}
	return n.reflectElements(dst, src, st)
}

func (n *node) reflectSlice(dst, src reflect.Value, st *state) *failure {
	if src.Kind() == reflect.Slice && src.IsNil() {
		dst.SetZero()
		return nil
	}
	made := &shared{}
	if src.Kind() == reflect.Slice && src.Len() > 0 && n.shares(st) {
		var f *failure
		if made, f = st.meetValue(origin{src.UnsafePointer(), n, src.Len()}); f != nil {
			return f
		}
	}
	if !made.done {
		fresh := reflect.MakeSlice(n.dst, src.Len(), src.Len())
		if f := n.reflectElements(fresh, src, st); f != nil {
			return f
		}
		made.finish(fresh)
	}
	dst.Set(made.value.Convert(n.dst))
	return nil
}

func (n *node) reflectElements(dst, src reflect.Value, st *state) *failure {
	for i := range src.Len() {
		if f := n.elem.reflect(dst.Index(i), src.Index(i), st); f != nil {
			return f.at(i)
		}
	}
	return nil
}

func (n *node) reflectMap(dst, src reflect.Value, st *state) *failure {
	if src.IsNil() {
		dst.SetZero()
		return nil
	}
	made := &shared{}
	if n.shares(st) {
		var f *failure
		if made, f = st.meetValue(origin{at: src.UnsafePointer(), node: n}); f != nil {
			return f
		}
	}
	if !made.done {
		fresh := reflect.MakeMapWithSize(n.dst, src.Len())
		if f := n.reflectEntries(fresh, src, st); f != nil {
			return f
		}
		made.finish(fresh)
	}
	dst.Set(made.value.Convert(n.dst))
	return nil
}

func (n *node) reflectEntries(made, src reflect.Value, st *state) *failure {
	for it := src.MapRange(); it.Next(); {
		// New and addressable, because the code that maps them may retain their address.
		srcKey, srcElem := reflect.New(n.src.Key()).Elem(), reflect.New(n.src.Elem()).Elem()
		srcKey.SetIterKey(it)
		srcElem.SetIterValue(it)
		key, elem := reflect.New(n.dst.Key()).Elem(), reflect.New(n.dst.Elem()).Elem()
		if f := n.key.reflect(key, srcKey, st); f != nil {
			return f.atKey()
		}
		if f := n.elem.reflect(elem, srcElem, st); f != nil {
			return f.atKey()
		}
		if f := n.insert(made, key, elem); f != nil {
			return f
		}
	}
	return nil
}

// insert adds an entry. It fails if the key is there already, because data would be lost.
func (n *node) insert(m, key, elem reflect.Value) *failure {
	if !key.Comparable() {
		return n.fail(errHash)
	}
	before := m.Len()
	m.SetMapIndex(key, elem)
	if m.Len() == before {
		return n.fail(errKeys)
	}
	return nil
}

func (n *node) reflectStruct(dst, src reflect.Value, st *state) *failure {
	for i := range n.fields {
		if f := n.fields[i].reflect(dst, src, st); f != nil {
			return f.in(n.fields[i].dst.name)
		}
	}
	return nil
}

func (f *field) reflect(dst, src reflect.Value, st *state) *failure {
	part, ok := f.src.readValue(src)
	if !ok {
		if at, there := f.dst.readValue(dst); there && f.node.op != opAfter {
			at.SetZero()
		}
		return nil
	}
	if f.byRef {
		part = reference(part)
	}
	return f.node.reflect(f.dst.writeValue(dst), part, st)
}

// reference returns a variable that holds a pointer to a copy of src.
func reference(src reflect.Value) reflect.Value {
	fresh := reflect.New(src.Type())
	fresh.Elem().Set(src)
	ref := reflect.New(fresh.Type()).Elem()
	ref.Set(fresh)
	return ref
}

// reflectDynamic maps the value in an interface.
func (n *node) reflectDynamic(dst, src reflect.Value, st *state) *failure {
	if src.IsNil() {
		dst.SetZero()
		return nil
	}
	inner, f := n.dynamic(src.Elem().Type())
	if f != nil {
		return f
	}
	made := &shared{}
	if inner.sharedInBox() {
		box := (*[2]unsafe.Pointer)(src.Addr().UnsafePointer())[1]
		if made, f = st.meetValue(origin{at: box, node: inner}); f != nil {
			return f
		}
	}
	if !made.done {
		fresh, f := n.reflectHolding(src.Elem(), inner, st)
		if f != nil {
			return f
		}
		made.finish(fresh)
	}
	dst.Set(made.value)
	return nil
}

func (n *node) reflectHolding(src reflect.Value, inner *node, st *state) (reflect.Value, *failure) {
	if f := st.enter(inner); f != nil {
		return src, f
	}
	defer st.leave(inner)
	held, fresh := reflect.New(inner.src).Elem(), reflect.New(inner.dst).Elem()
	held.Set(src)
	if f := inner.reflect(fresh, held, st); f != nil {
		return src, f
	}
	return reflect.ValueOf(fresh.Interface()), nil // in an interface that others may share
}

// dynamic returns the node for a type met in an interface. Its plan is built at run time and kept
// in a cache of this Mapper, which has a bound.
func (n *node) dynamic(held reflect.Type) (*node, *failure) {
	f := &failure{src: held, dst: n.dst}
	dst := n.dst
	if dst.Kind() == reflect.Interface {
		dst = held
	}
	switch {
	case isError(held):
		f.err = errIdentity
	case !dst.AssignableTo(n.dst):
		f.err = errMethods
	default:
		var p *plan
		if p, f.err = n.cfg.dynamic.plan(pair{held, dst}); f.err == nil {
			return p.root, nil
		}
	}
	return nil, f
}
