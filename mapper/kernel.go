package mapper

import (
	"reflect"
	"strings"
	"unsafe"
)

// This is the executor that works on memory. Its rules:
//
//   - A pointer is loaded and stored as a pointer, a string as a string, so
//     that the garbage collector sees every write. Bytes are moved as bytes
//     only where the type holds no pointer.
//   - Memory that will hold pointers is allocated with its exact type.
//   - No address of the caller's memory outlives a call or reaches a user's
//     function: the caller's values may be on its stack (see hide).

// A kernel is what the executor needs to know about a node, worked out once.
type kernel struct {
	moves moves     // of a struct: the fields that are plain assignments
	once  *straight // of a struct: the same for one value
	rest  []field   // of a struct: the other fields
	flat  bool      // the moves are all there is to do

	size, step         uintptr // of a list: the sizes of a source and a destination element
	fromValid, toValid uintptr // of an sql.Null: where its Valid lies
}

// newKernel works out a node's kernel, once all nodes are built.
func newKernel(n *node) kernel {
	var k kernel
	switch n.op {
	case opCopy:
		k.moves.add(0, 0, n.src)
		k.moves.pack()
		k.flat = true
	case opStruct:
		k.split(n)
		k.moves.pack()
		k.once = k.moves.straight()
		k.flat = len(k.rest) == 0
	case opSlice, opArray:
		k.size, k.step = n.src.Elem().Size(), n.dst.Elem().Size()
	case opOptional:
		k.fromValid, k.toValid = n.from.valid(n.src), n.to.valid(n.dst)
	}
	return k
}

// split tells plain assignments from the other fields.
func (k *kernel) split(n *node) {
	small := n.src.Size() <= maxOffset && n.dst.Size() <= maxOffset
	for _, f := range n.fields {
		if small && f.node.op == opCopy && len(f.src.hops) == 0 && len(f.dst.hops) == 0 {
			k.moves.add(f.dst.off, f.src.off, f.node.src)
			continue
		}
		k.rest = append(k.rest, f)
	}
}

// valid is the offset of Valid in an sql.Null.
func (f form) valid(t reflect.Type) uintptr {
	if f != null {
		return 0
	}
	return t.Field(1).Offset
}

// flat returns the moves of a plan for structs that consists of them, or nil.
func (p *plan) flat() *straight {
	if p.root.kernel.flat {
		return p.root.kernel.once
	}
	return nil
}

func (p *plan) run(dst, src unsafe.Pointer) error {
	if f := p.root.run(dst, src, p.cfg.MaxDepth); f != nil {
		return f.error()
	}
	return nil
}

// run maps the value at src to the one at dst.
func (n *node) run(dst, src unsafe.Pointer, depth int) *failure {
	if n.recursive {
		if depth--; depth < 0 {
			return n.fail(errDepth)
		}
	}
	switch n.op {
	case opCopy:
		n.kernel.moves.run(dst, src)
	case opStruct:
		return n.runStruct(dst, src, depth)
	case opNumber:
		if !n.num(dst, src) {
			return n.fail(errRange)
		}
	case opDetach:
		*(*string)(dst) = strings.Clone(*(*string)(src))
	case opFunc:
		if err := n.fn.raw(dst, src); err != nil {
			return n.fail(err)
		}
	case opOptional:
		return n.runOptional(dst, src, depth)
	case opSlice:
		return n.runSlice(dst, src, depth)
	case opArray:
		return n.runArray(dst, src, depth)
	case opBytes:
		n.runBytes(dst, src)
	default:
		return n.runSlow(dst, src, depth)
	}
	return nil
}

func (n *node) runStruct(dst, src unsafe.Pointer, depth int) *failure {
	k := &n.kernel
	k.once.run(dst, src)
	for i := range k.rest {
		if f := k.rest[i].run(dst, src, depth); f != nil {
			return f.in(k.rest[i].dst.name)
		}
	}
	return nil
}

func (f *field) run(dst, src unsafe.Pointer, depth int) *failure {
	if f.byRef {
		ref := reflect.New(f.node.src.Elem())
		ref.Elem().Set(reflect.NewAt(f.node.src.Elem(), src).Elem())
		p := ref.UnsafePointer()
		return f.node.run(f.dst.write(dst), hide(unsafe.Pointer(&p)), depth)
	}
	from := f.src.read(src)
	if from == nil {
		if at := f.dst.read(dst); at != nil {
			reflect.NewAt(f.node.dst, at).Elem().SetZero()
		}
		return nil
	}
	return f.node.run(f.dst.write(dst), from, depth)
}

func (n *node) runOptional(dst, src unsafe.Pointer, depth int) *failure {
	switch n.from {
	case pointer:
		src = *(*unsafe.Pointer)(src)
	case null:
		if !*(*bool)(unsafe.Add(src, n.kernel.fromValid)) {
			src = nil
		}
	}
	switch {
	case src == nil:
		reflect.NewAt(n.dst, dst).Elem().SetZero()
		return nil
	case n.to == pointer:
		fresh := reflect.New(n.elem.dst).UnsafePointer()
		*(*unsafe.Pointer)(dst) = fresh
		dst = fresh
	case n.to == null:
		*(*bool)(unsafe.Add(dst, n.kernel.toValid)) = true
	}
	return n.elem.run(dst, src, depth)
}

// A slice is a slice of any type in memory.
type slice struct {
	data     unsafe.Pointer
	len, cap int
}

var nothing [0]uintptr // what empty slices point to

func (n *node) runSlice(dst, src unsafe.Pointer, depth int) *failure {
	data, length := src, 0
	if n.src.Kind() == reflect.Array {
		length = n.src.Len()
	} else {
		s := *(*slice)(src)
		data, length = s.data, s.len
	}
	to := (*slice)(dst)
	*to = slice{}
	if length == 0 {
		if data != nil {
			to.data = unsafe.Pointer(&nothing)
		}
		return nil
	}
	v := reflect.NewAt(n.dst, dst).Elem()
	v.Grow(length)
	v.SetLen(length)
	return n.elements(to.data, data, length, depth)
}

func (n *node) runArray(dst, src unsafe.Pointer, depth int) *failure {
	if n.src.Kind() == reflect.Slice {
		s := *(*slice)(src)
		if s.len != n.dst.Len() {
			return n.fail(errLength)
		}
		src = s.data
	}
	return n.elements(dst, src, n.dst.Len(), depth)
}

// elements maps n.elem over length elements.
func (n *node) elements(dst, src unsafe.Pointer, length, depth int) *failure {
	size, step := n.kernel.size, n.kernel.step
	if n.elem.kernel.flat {
		n.elem.kernel.moves.runAll(dst, src, step, size, uintptr(length))
		return nil
	}
	for i := range length {
		if f := n.elem.run(unsafe.Add(dst, uintptr(i)*step), unsafe.Add(src, uintptr(i)*size), depth); f != nil {
			return f.at(i)
		}
	}
	return nil
}

func (n *node) runBytes(dst, src unsafe.Pointer) {
	if n.dst.Kind() == reflect.String {
		*(*string)(dst) = string(*(*[]byte)(src))
		return
	}
	*(*[]byte)(dst) = []byte(*(*string)(src))
}

// runSlow is for the kinds of node that need reflection anyway: they work on
// copies and not on the caller's memory, because what they call may keep it.
func (n *node) runSlow(dst, src unsafe.Pointer, depth int) *failure {
	from := reflect.NewAt(n.src, src).Elem()
	to := reflect.NewAt(n.dst, dst).Elem()
	switch n.op {
	case opText:
		return n.runText(to, from)
	case opMap:
		return n.runMap(to, reflect.ValueOf(from.Interface()), depth)
	case opFromInterface:
		return n.runDynamic(to, from, depth)
	default:
		return n.runHeld(to, src, depth)
	}
}

func (n *node) runText(to, from reflect.Value) *failure {
	fresh := reflect.New(n.src)
	fresh.Elem().Set(from)
	if err := n.fn.value(to, fresh.Elem()); err != nil {
		return n.fail(err)
	}
	return nil
}

// runMap uses one variable each for all keys and values on both sides.
func (n *node) runMap(to, from reflect.Value, depth int) *failure {
	if from.IsNil() {
		to.SetZero()
		return nil
	}
	made := reflect.MakeMapWithSize(n.dst, from.Len())
	srcKey, srcElem := reflect.New(n.key.src), reflect.New(n.elem.src)
	dstKey, dstElem := reflect.New(n.key.dst), reflect.New(n.elem.dst)
	for it := from.MapRange(); it.Next(); {
		srcKey.Elem().SetIterKey(it)
		srcElem.Elem().SetIterValue(it)
		dstKey.Elem().SetZero()
		dstElem.Elem().SetZero()
		f := n.key.run(dstKey.UnsafePointer(), srcKey.UnsafePointer(), depth)
		if f == nil {
			f = n.elem.run(dstElem.UnsafePointer(), srcElem.UnsafePointer(), depth)
		}
		if f != nil {
			return f.atKey()
		}
		if f := n.insert(made, dstKey.Elem(), dstElem.Elem()); f != nil {
			return f
		}
	}
	to.Set(made)
	return nil
}

func (n *node) runDynamic(to, from reflect.Value, depth int) *failure {
	if depth--; depth < 0 {
		return n.fail(errDepth)
	}
	if from.IsNil() {
		to.SetZero()
		return nil
	}
	inner, f := n.dynamic(from.Elem().Type())
	if f != nil {
		return f
	}
	held, fresh := reflect.New(inner.src), reflect.New(inner.dst)
	held.Elem().Set(from.Elem())
	if f := inner.run(fresh.UnsafePointer(), held.UnsafePointer(), depth); f != nil {
		return f
	}
	to.Set(fresh.Elem())
	return nil
}

func (n *node) runHeld(to reflect.Value, src unsafe.Pointer, depth int) *failure {
	fresh := reflect.New(n.src)
	if f := n.elem.run(fresh.UnsafePointer(), src, depth); f != nil {
		return f
	}
	to.Set(fresh.Elem())
	return nil
}

// hide keeps the compiler from moving what p points to to the heap. It is safe
// because of the executor's third rule. The runtime has the same function.
func hide(p unsafe.Pointer) unsafe.Pointer {
	x := uintptr(p)
	return *(*unsafe.Pointer)(unsafe.Pointer(&x))
}
