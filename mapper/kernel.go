package mapper

import (
	"context"
	"math"
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

// A kernel is what the executor needs to know about a node, computed once.
type kernel struct {
	moves moves   // of a struct: the fields that are plain assignments
	once  core    // the same for one value
	rest  []field // of a struct: the other fields
	flat  bool    // the moves are the whole plan

	size, step uintptr // of a list: the sizes of a source and a destination element
	array      int     // of a list whose source is an array: its length; otherwise -1
	content    content // of the arrays of a list whose destination is a slice

	extent uintptr // the bytes of a part that several paths lead to; of a slice or text, of one element

	pointer any // a nil pointer to the destination's type: see at
}

// A content says what a new array holds, as the collector sees it. All but mixed ones are made with
// a type of this package, which takes half of the time that reflection takes.
type content byte

const (
	mixed    content = iota
	texts            // strings
	pointers         // elements that are one pointer
	numbered         // no pointers
)

func contentOf(t reflect.Type) content {
	switch {
	case t.Kind() == reflect.String:
		return texts
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Map:
		return pointers
	case bytesOnly(t) && t.Size() > 0:
		return numbered
	}
	return mixed
}

// newKernel computes a node's kernel, after all nodes are built.
func newKernel(n *node) kernel {
	k := kernel{pointer: reflect.Zero(reflect.PointerTo(n.dst)).Interface()}
	switch n.op {
	case opCopy:
		k.moves.add(0, 0, n.src)
		k.moves.pack()
		k.once.flat = k.moves.chain()
		k.flat = true
	case opStruct:
		k.split(n)
		k.moves.pack()
		k.once.flat = k.moves.chain()
		k.flat = len(k.rest) == 0
	case opSlice, opArray:
		k.size, k.step = n.src.Elem().Size(), n.dst.Elem().Size()
		k.array = -1
		if n.src.Kind() == reflect.Array {
			k.array = n.src.Len()
		}
		k.content = contentOf(n.dst.Elem())
	}
	k.extent = n.extent()
	return k
}

func (n *node) extent() uintptr {
	switch {
	case n.op == opDetach, n.op == opBytes:
		return 1
	case n.op == opMap:
		return 0
	case n.op == opSlice && n.src.Kind() == reflect.Slice:
		return n.src.Elem().Size()
	case n.op == opOptional && n.from.form == pointer:
		return n.from.typ.Size()
	}
	return n.src.Size()
}

// split separates plain assignments from the other fields.
func (k *kernel) split(n *node) {
	small := n.src.Size() <= maxOffset && n.dst.Size() <= maxOffset
	for _, f := range n.fields {
		f.direct = len(f.src.hops) == 0 && len(f.dst.hops) == 0 && !f.byRef
		if small && f.node.op == opCopy && len(f.src.hops) == 0 && len(f.dst.hops) == 0 {
			k.moves.add(f.dst.off, f.src.off, f.node.src)
			continue
		}
		k.rest = append(k.rest, f)
	}
}

// run maps *src to *dst. No pointer to either leaves the call.
func (p *plan) run(ctx context.Context, dst, src unsafe.Pointer) error {
	var st state
	st.start(p, ctx)
	f := p.root.run(dst, src, &st)
	if st.copies != nil {
		st.release()
	}
	if f == nil {
		return nil
	}
	return f.error()
}

// runList does the same for each of length values.
func (p *plan) runList(dst, src unsafe.Pointer, length int) error {
	var st state
	st.start(p, context.Background())
	st.many = true
	size, step := p.root.src.Size(), p.root.dst.Size()
	for i := range uintptr(length) {
		if f := p.root.run(unsafe.Add(dst, i*step), unsafe.Add(src, i*size), &st); f != nil {
			st.release()
			return f.at(int(i)).error()
		}
	}
	st.release()
	return nil
}

// run maps the value at src to the one at dst.
func (n *node) run(dst, src unsafe.Pointer, st *state) (f *failure) {
	if n.recursive {
		if f := st.enter(n); f != nil {
			return f
		}
	}
	switch n.op {
	case opCopy:
		_ = into(unsafe.Pointer(&n.kernel.once), nil, dst, src)
	case opStruct:
		f = n.runStruct(dst, src, st)
	case opNumber:
		if !n.num(dst, src) {
			f = n.fail(errRange)
		}
	case opDetach:
		f = n.detach((*string)(dst), *(*string)(src), st)
	case opFunc, opAfter:
		if err := n.fn.raw(st.ctx, dst, src); err != nil {
			f = n.fail(err)
		}
	case opOptional:
		f = n.runOptional(dst, src, st)
	case opSlice:
		f = n.runSlice(dst, src, st)
	case opArray:
		f = n.runArray(dst, src, st)
	case opBytes:
		f = n.runBytes(dst, src, st)
	default:
		f = n.runSlow(dst, src, st)
	}
	if n.recursive {
		st.leave(n)
	}
	return f
}

func (n *node) runStruct(dst, src unsafe.Pointer, st *state) *failure {
	k := &n.kernel
	_ = into(unsafe.Pointer(&k.once), nil, dst, src)
	for i := range k.rest {
		rest := &k.rest[i]
		var f *failure
		if rest.direct {
			f = rest.node.run(unsafe.Add(dst, rest.dst.off), unsafe.Add(src, rest.src.off), st)
		} else {
			f = rest.run(dst, src, st)
		}
		if f != nil {
			return f.in(rest.dst.name)
		}
	}
	return nil
}

func (f *field) run(dst, src unsafe.Pointer, st *state) *failure {
	from := f.src.read(src)
	if from == nil {
		f.clear(dst)
		return nil
	}
	if f.byRef {
		ref := reflect.New(f.node.src.Elem())
		ref.Elem().Set(reflect.NewAt(f.node.src.Elem(), from).Elem())
		p := ref.UnsafePointer()
		from = hide(unsafe.Pointer(&p))
	}
	return f.node.run(f.dst.write(dst), from, st)
}

// clear sets the destination to zero, for a source behind a nil pointer.
func (f *field) clear(dst unsafe.Pointer) {
	if at := f.dst.read(dst); at != nil && f.node.op != opAfter {
		f.node.at(at).SetZero()
	}
}

func (n *node) runOptional(dst, src unsafe.Pointer, st *state) *failure {
	switch n.from.form {
	case pointer:
		src = *(*unsafe.Pointer)(src)
	case null:
		if !*(*bool)(unsafe.Add(src, n.from.validAt)) {
			return n.runInvalid(dst, src, st)
		}
		if n.from.rest != nil && n.from.usesRest(reflect.NewAt(n.src, src).Elem()) {
			return n.fail(errRest)
		}
		src = unsafe.Add(src, n.from.valueAt)
	}
	if src == nil {
		if n.to.form == pointer {
			*(*unsafe.Pointer)(dst) = nil
		} else {
			n.at(dst).SetZero()
		}
		return nil
	}
	switch n.to.form {
	case pointer:
		return n.runPointer(dst, src, st)
	case null:
		if n.to.rest != nil {
			n.at(dst).SetZero()
		}
		*(*bool)(unsafe.Add(dst, n.to.validAt)) = true
		dst = unsafe.Add(dst, n.to.valueAt)
	}
	return n.elem.run(dst, src, st)
}

// runInvalid maps a null that is absent.
func (n *node) runInvalid(dst, src unsafe.Pointer, st *state) *failure {
	if !n.keeps {
		n.at(dst).SetZero()
		return nil
	}
	*(*bool)(unsafe.Add(dst, n.to.validAt)) = false
	return n.elem.run(unsafe.Add(dst, n.to.valueAt), unsafe.Add(src, n.from.valueAt), st)
}

// runPointer makes the object for the pointer at dst. If two source pointers point to one object,
// it makes one object for both.
func (n *node) runPointer(dst, src unsafe.Pointer, st *state) *failure {
	if n.from.form != pointer || !n.shares(st) {
		fresh := reflect.New(n.elem.dst).UnsafePointer()
		*(*unsafe.Pointer)(dst) = fresh
		return n.elem.run(fresh, src, st)
	}
	o := origin{at: src, node: n}
	to, f := st.meet(o)
	if f != nil {
		return f
	}
	if to == nil {
		to = reflect.New(n.elem.dst).UnsafePointer()
		if f := n.elem.run(to, src, st); f != nil {
			return f
		}
		st.finish(o, to)
	}
	*(*unsafe.Pointer)(dst) = to
	return nil
}

// detach copies the bytes of a string. A long one that was copied already is not copied again.
func (n *node) detach(dst *string, s string, st *state) *failure {
	if len(s) < longText || !n.shares(st) {
		*dst = strings.Clone(s)
		return nil
	}
	o := origin{unsafe.Pointer(unsafe.StringData(s)), n, len(s)}
	to, f := st.meet(o)
	if f != nil {
		return f
	}
	if to == nil {
		to = unsafe.Pointer(unsafe.StringData(strings.Clone(s)))
		st.finish(o, to)
	}
	*dst = unsafe.String((*byte)(to), len(s))
	return nil
}

const longText = 128 // copying a shorter text takes less time than looking it up

// A slice is a slice of any type in memory.
type slice struct {
	data     unsafe.Pointer
	len, cap int
}

var nothing [0]uintptr // what empty slices point to

func (n *node) runSlice(dst, src unsafe.Pointer, st *state) *failure {
	data, length, shares := src, n.kernel.array, false
	if length < 0 {
		s := *(*slice)(src)
		data, length, shares = s.data, s.len, n.shares(st)
	}
	to := (*slice)(dst)
	*to = slice{}
	if length == 0 {
		if data != nil {
			to.data = unsafe.Pointer(&nothing)
		}
		return nil
	}
	if shares {
		return n.runShared(to, data, length, st)
	}
	n.grow(to, length)
	return n.elements(to.data, data, length, st)
}

// at returns the value of the destination's type at p. reflect.NewAt does the same, but it looks up
// the type of the pointer in a table. An interface has a pointer in its second word.
func (n *node) at(p unsafe.Pointer) reflect.Value {
	v := n.kernel.pointer
	(*[2]unsafe.Pointer)(unsafe.Pointer(&v))[1] = p
	return reflect.ValueOf(v).Elem()
}

// grow gives a nil slice an array of this length.
func (n *node) grow(to *slice, length int) {
	k := &n.kernel
	switch {
	case k.content == texts:
		*(*[]string)(unsafe.Pointer(to)) = make([]string, length)
	case k.content == pointers:
		*(*[]unsafe.Pointer)(unsafe.Pointer(to)) = make([]unsafe.Pointer, length)
	case k.content == numbered && uintptr(length) <= math.MaxInt/k.step: // a list of empty structs can be longer
		bytes := make([]byte, uintptr(length)*k.step)
		*to = slice{unsafe.Pointer(unsafe.SliceData(bytes)), length, length}
	default:
		v := n.at(unsafe.Pointer(to))
		v.Grow(length)
		v.SetLen(length)
	}
}

// runShared maps the array of a slice once. The results have no capacity beyond their length, so
// that append to one does not write into the other.
func (n *node) runShared(to *slice, data unsafe.Pointer, length int, st *state) *failure {
	o := origin{data, n, length}
	made, f := st.meet(o)
	if f != nil {
		return f
	}
	if made == nil {
		n.grow(to, length)
		if f := n.elements(to.data, data, length, st); f != nil {
			return f
		}
		made = to.data
		st.finish(o, made)
	}
	*to = slice{made, length, length}
	return nil
}

func (n *node) runArray(dst, src unsafe.Pointer, st *state) *failure {
	if n.src.Kind() == reflect.Slice {
		s := *(*slice)(src)
		if s.len != n.dst.Len() {
			return n.fail(errLength)
		}
		src = s.data
	}
	return n.elements(dst, src, n.dst.Len(), st)
}

// elements maps n.elem over length elements.
func (n *node) elements(dst, src unsafe.Pointer, length int, st *state) *failure {
	size, step := n.kernel.size, n.kernel.step
	if n.elem.kernel.flat {
		n.elem.kernel.moves.runAll(dst, src, step, size, uintptr(length))
		return nil
	}
	for i := range length {
		if f := n.elem.run(unsafe.Add(dst, uintptr(i)*step), unsafe.Add(src, uintptr(i)*size), st); f != nil {
			return f.at(i)
		}
	}
	return nil
}

func (n *node) runBytes(dst, src unsafe.Pointer, st *state) *failure {
	if n.dst.Kind() == reflect.String {
		b := *(*[]byte)(src)
		return n.detach((*string)(dst), unsafe.String(unsafe.SliceData(b), len(b)), st)
	}
	s := *(*string)(src)
	if f := n.weighText(s, st); f != nil {
		return f
	}
	*(*[]byte)(dst) = []byte(s)
	return nil
}

// runSlow is for nodes that need reflection anyway. They work on copies of the caller's memory,
// because the functions that they call may retain it.
func (n *node) runSlow(dst, src unsafe.Pointer, st *state) *failure {
	from := reflect.NewAt(n.src, src).Elem()
	to := n.at(dst)
	switch n.op {
	case opText:
		return n.runText(to, from)
	case opMap:
		return n.runMap(to, reflect.ValueOf(from.Interface()), st)
	case opFromInterface:
		return n.runDynamic(to, from, *(*[2]unsafe.Pointer)(src), st)
	default:
		return n.runHeld(to, src, st)
	}
}

func (n *node) runText(to, from reflect.Value) *failure {
	fresh := reflect.New(n.src)
	fresh.Elem().Set(from)
	if err := n.fn.value(context.Background(), to, fresh.Elem()); err != nil {
		return n.fail(err)
	}
	return nil
}

// runMap makes a map once, however many paths lead to it.
func (n *node) runMap(to, from reflect.Value, st *state) *failure {
	if from.IsNil() {
		to.SetZero()
		return nil
	}
	shares := n.shares(st)
	o := origin{at: from.UnsafePointer(), node: n}
	if shares {
		made, f := st.meet(o)
		if f != nil {
			return f
		}
		if made != nil {
			*(*unsafe.Pointer)(to.Addr().UnsafePointer()) = made
			return nil
		}
	}
	made := reflect.MakeMapWithSize(n.dst, from.Len())
	if f := n.entries(made, from, st); f != nil {
		return f
	}
	if shares {
		st.finish(o, made.UnsafePointer())
	}
	to.Set(made)
	return nil
}

// entries uses one variable each for all keys and values on both sides.
func (n *node) entries(made, from reflect.Value, st *state) *failure {
	srcKey, srcElem := reflect.New(n.key.src), reflect.New(n.elem.src)
	dstKey, dstElem := reflect.New(n.key.dst), reflect.New(n.elem.dst)
	for it := from.MapRange(); it.Next(); {
		srcKey.Elem().SetIterKey(it)
		srcElem.Elem().SetIterValue(it)
		dstKey.Elem().SetZero()
		dstElem.Elem().SetZero()
		f := n.key.run(dstKey.UnsafePointer(), srcKey.UnsafePointer(), st)
		if f == nil {
			f = n.elem.run(dstElem.UnsafePointer(), srcElem.UnsafePointer(), st)
		}
		if f != nil {
			return f.atKey()
		}
		if f := n.insert(made, dstKey.Elem(), dstElem.Elem()); f != nil {
			return f
		}
	}
	return nil
}

// runDynamic maps the value in an interface. words are the interface in memory: the second word is
// a pointer to the value, unless the value is a pointer itself.
func (n *node) runDynamic(to, from reflect.Value, words [2]unsafe.Pointer, st *state) *failure {
	if from.IsNil() {
		to.SetZero()
		return nil
	}
	inner, f := n.dynamic(from.Elem().Type())
	if f != nil {
		return f
	}
	if !inner.sharedInBox() {
		return n.runHolding(to, from.Elem(), inner, st)
	}
	o := origin{at: words[1], node: inner}
	made, f := st.meet(o)
	if f != nil {
		return f
	}
	if made == nil {
		var held any // not a variable of the destination's type: others may share it
		if f := n.runHolding(reflect.ValueOf(&held).Elem(), from.Elem(), inner, st); f != nil {
			return f
		}
		made = unsafe.Pointer(&held)
		st.finish(o, made)
	}
	to.Set(reflect.ValueOf(*(*any)(made)))
	return nil
}

// sharedInBox reports whether two interfaces can share a value of this type that is worth looking
// up: it is expensive to copy, and it is not a pointer, because a pointer is looked up when it is
// mapped.
func (n *node) sharedInBox() bool {
	return (n.src.Kind() == reflect.Struct || n.src.Kind() == reflect.Array) && !isWord(n.src) && (refers(n.src) || n.src.Size() > longText)
}

// isWord reports whether an interface holds a value of this type in its second word: a pointer, or
// a type that consists of one pointer.
func isWord(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		return t.NumField() == 1 && isWord(t.Field(0).Type)
	case reflect.Array:
		return t.Len() == 1 && isWord(t.Elem())
	}
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Chan || t.Kind() == reflect.Func || t.Kind() == reflect.UnsafePointer
}

func (n *node) runHolding(to, held reflect.Value, inner *node, st *state) *failure {
	if f := st.enter(inner); f != nil {
		return f
	}
	from, fresh := reflect.New(inner.src), reflect.New(inner.dst)
	from.Elem().Set(held)
	if f := inner.run(fresh.UnsafePointer(), from.UnsafePointer(), st); f != nil {
		return f
	}
	to.Set(fresh.Elem())
	st.leave(inner)
	return nil
}

func (n *node) runHeld(to reflect.Value, src unsafe.Pointer, st *state) *failure {
	fresh := reflect.New(n.src)
	if f := n.elem.run(fresh.UnsafePointer(), src, st); f != nil {
		return f
	}
	to.Set(fresh.Elem())
	return nil
}

// hide keeps the compiler from moving what p points to to the heap. It is safe because of the
// executor's third rule. The runtime has the same function. Nothing may be called between the two
// conversions: a call may move the stack, and x would not follow. So the checks of -race for unsafe
// pointers must not come between.
//
//go:nocheckptr
func hide(p unsafe.Pointer) unsafe.Pointer {
	x := uintptr(p)
	return *(*unsafe.Pointer)(unsafe.Pointer(&x))
}
