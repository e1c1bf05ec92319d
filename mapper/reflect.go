package mapper

import (
	"math"
	"reflect"
	"strings"
)

// This is the executor that uses reflection only. It runs where the build tag
// leaksafe_safe is set, it runs Patch, and it is the oracle that the kernels
// are tested against. The two share the plan and nothing else.

// reflect maps what src points to to what dst points to.
func (p *plan) reflect(dst, src reflect.Value) error {
	return p.root.reflect(dst.Elem(), src.Elem(), p.cfg.MaxDepth).error()
}

// reflect maps src to dst, which are addressable.
func (n *node) reflect(dst, src reflect.Value, depth int) *failure {
	if n.recursive || n.op == opFromInterface {
		if depth--; depth < 0 {
			return n.fail(errDepth)
		}
	}
	switch n.op {
	case opCopy:
		dst.Set(src.Convert(n.dst))
	case opNumber:
		return n.reflectNumber(dst, src)
	case opDetach:
		dst.SetString(strings.Clone(src.String()))
	case opText, opFunc:
		if err := n.fn.value(dst, src); err != nil {
			return n.fail(err)
		}
	case opBytes:
		n.reflectBytes(dst, src)
	case opOptional:
		return n.reflectOptional(dst, src, depth)
	case opSlice, opArray:
		return n.reflectList(dst, src, depth)
	case opMap:
		return n.reflectMap(dst, src, depth)
	case opStruct:
		return n.reflectStruct(dst, src, depth)
	case opFromInterface:
		return n.reflectDynamic(dst, src, depth)
	case opToInterface:
		held := reflect.New(n.src).Elem()
		if f := n.elem.reflect(held, src, depth); f != nil {
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

func (n *node) reflectBytes(dst, src reflect.Value) {
	switch {
	case n.dst.Kind() == reflect.String:
		dst.SetString(string(src.Bytes()))
	case src.Len() == 0:
		dst.Set(reflect.MakeSlice(n.dst, 0, 0))
	default:
		dst.SetBytes([]byte(src.String()))
	}
}

func (n *node) reflectOptional(dst, src reflect.Value, depth int) *failure {
	inner, ok := n.from.value(src)
	if !ok {
		dst.SetZero()
		return nil
	}
	switch n.to {
	case pointer:
		fresh := reflect.New(n.elem.dst)
		dst.Set(fresh)
		dst = fresh.Elem()
	case null:
		dst.Field(1).SetBool(true)
		dst = dst.Field(0)
	}
	return n.elem.reflect(dst, inner, depth)
}

// value returns what is inside an optional, if it is present.
func (f form) value(v reflect.Value) (inner reflect.Value, ok bool) {
	switch f {
	case pointer:
		return v.Elem(), !v.IsNil()
	case null:
		return v.Field(0), v.Field(1).Bool()
	}
	return v, true
}

func (n *node) reflectList(dst, src reflect.Value, depth int) *failure {
	if n.op == opSlice {
		if src.Kind() == reflect.Slice && src.IsNil() {
			dst.SetZero()
			return nil
		}
		dst.Set(reflect.MakeSlice(n.dst, src.Len(), src.Len()))
	}
	if src.Len() != dst.Len() {
		return n.fail(errLength)
	}
	for i := range src.Len() {
		if f := n.elem.reflect(dst.Index(i), src.Index(i), depth); f != nil {
			return f.at(i)
		}
	}
	return nil
}

func (n *node) reflectMap(dst, src reflect.Value, depth int) *failure {
	if src.IsNil() {
		dst.SetZero()
		return nil
	}
	made := reflect.MakeMapWithSize(n.dst, src.Len())
	dst.Set(made)
	for it := src.MapRange(); it.Next(); {
		// Fresh and addressable: what maps them may keep their address.
		srcKey, srcElem := reflect.New(n.src.Key()).Elem(), reflect.New(n.src.Elem()).Elem()
		srcKey.SetIterKey(it)
		srcElem.SetIterValue(it)
		key, elem := reflect.New(n.dst.Key()).Elem(), reflect.New(n.dst.Elem()).Elem()
		if f := n.key.reflect(key, srcKey, depth); f != nil {
			return f.atKey()
		}
		if f := n.elem.reflect(elem, srcElem, depth); f != nil {
			return f.atKey()
		}
		if f := n.insert(made, key, elem); f != nil {
			return f
		}
	}
	return nil
}

// insert adds an entry. Each entry must be a new one, or data would be lost.
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

func (n *node) reflectStruct(dst, src reflect.Value, depth int) *failure {
	for i := range n.fields {
		if f := n.fields[i].reflect(dst, src, depth); f != nil {
			return f.in(n.fields[i].dst.name)
		}
	}
	return nil
}

func (f *field) reflect(dst, src reflect.Value, depth int) *failure {
	part, ok := src, true
	if f.byRef {
		part = reference(src)
	} else {
		part, ok = f.src.readValue(src)
	}
	if !ok {
		if at, there := f.dst.readValue(dst); there {
			at.SetZero()
		}
		return nil
	}
	return f.node.reflect(f.dst.writeValue(dst), part, depth)
}

// reference returns a variable that holds a pointer to a copy of src.
func reference(src reflect.Value) reflect.Value {
	fresh := reflect.New(src.Type())
	fresh.Elem().Set(src)
	ref := reflect.New(fresh.Type()).Elem()
	ref.Set(fresh)
	return ref
}

// reflectDynamic maps what an interface holds.
func (n *node) reflectDynamic(dst, src reflect.Value, depth int) *failure {
	if src.IsNil() {
		dst.SetZero()
		return nil
	}
	inner, f := n.dynamic(src.Elem().Type())
	if f != nil {
		return f
	}
	held := reflect.New(inner.src).Elem()
	held.Set(src.Elem())
	fresh := reflect.New(inner.dst).Elem()
	if f := inner.reflect(fresh, held, depth); f != nil {
		return f
	}
	dst.Set(fresh)
	return nil
}

// dynamic returns the node for a type met in an interface. Its plan is built
// at run time and kept in a cache of this Mapper, which has a bound.
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
