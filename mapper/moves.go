package mapper

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"unsafe"
)

// A move assigns one piece of memory: from an offset to an offset. Offsets of 32 bits are a tenth
// faster, and maxOffset keeps within them.
type move struct{ dst, src uint32 }

const maxOffset = math.MaxUint32

func moveOf(dst, src uintptr) move { return move{uint32(dst), uint32(src)} }

// Moves are assignments, grouped by the type that they assign, so that each group is a loop without
// branches. Bytes hold no pointers; a run of neighbouring bytes on both sides is one piece.
type moves struct {
	strings, times           []move
	pointers, interfaces     []move
	bytes1, bytes2, bytes4   []move
	bytes8, bytes16, bytes32 []move
	long                     []stretch
	bytes                    []stretch // until pack sorts them by size

	// What a list of such values is moved as at once, if it has no gaps: values of this size
	// without pointers, or strings.
	whole     uintptr
	allString bool
}

// A stretch is a move of n bytes.
type stretch struct{ dst, src, n uintptr }

// A link makes a few moves for one value, without a loop. A chain of links makes all moves. A slot
// that has fewer moves than places makes its last move again, which is harmless.
type link struct {
	has            slots
	strings, words [4]move
	times, bytes16 move
	bytes32        move
	bytes4, bytes1 move
	rest           *moves // what has no slot
	next           core
}

// slots says which slots of a link are in use.
type slots uint32

const (
	hasStrings slots = 1 << iota
	hasWords
	hasTimes
	hasBytes1
	hasBytes4
	hasBytes16
	hasBytes32
	hasMore

	hasRare = hasBytes4 | hasBytes16 | hasBytes32
)

// chain distributes the moves to links.
func (m *moves) chain() *link {
	rest := *m
	first := &link{}
	for l := first; ; l = l.next.flat {
		l.fill(&rest)
		if !rest.haveSlots() {
			if rest.any() {
				l.rest, l.has = &rest, l.has|hasMore
			}
			return first
		}
		l.next.flat, l.has = &link{}, l.has|hasMore
	}
}

// fill takes moves out of m.
func (l *link) fill(m *moves) {
	l.take(hasStrings, l.strings[:], &m.strings)
	l.take(hasWords, l.words[:], &m.bytes8)
	l.takeOne(hasTimes, &l.times, &m.times)
	l.takeOne(hasBytes1, &l.bytes1, &m.bytes1)
	l.takeOne(hasBytes4, &l.bytes4, &m.bytes4)
	l.takeOne(hasBytes16, &l.bytes16, &m.bytes16)
	l.takeOne(hasBytes32, &l.bytes32, &m.bytes32)
}

func (l *link) take(slot slots, places []move, list *[]move) {
	n := copy(places, *list)
	if n == 0 {
		return
	}
	l.has |= slot
	*list = (*list)[n:]
	for i := n; i < len(places); i++ {
		places[i] = places[n-1]
	}
}

func (l *link) takeOne(slot slots, place *move, list *[]move) {
	places := [1]move{}
	l.take(slot, places[:], list)
	*place = places[0]
}

// haveSlots reports whether some of the moves belong to slots.
func (m *moves) haveSlots() bool {
	return len(m.strings)+len(m.bytes8)+len(m.times)+len(m.bytes1)+len(m.bytes4)+len(m.bytes16)+len(m.bytes32) > 0
}

func (m *moves) any() bool {
	return m.haveSlots() || len(m.pointers)+len(m.interfaces)+len(m.bytes2)+len(m.long) > 0
}

// The types that the moves assign. The compiler moves these structs as memory: a string is one move
// of 16 bytes, not two of 8. They have their pointers where a string and a time.Time have them.
type (
	stringBits struct {
		data unsafe.Pointer
		len  [unsafe.Sizeof(uintptr(0))]byte
	}
	timeBits struct {
		wallExt [16]byte
		loc     unsafe.Pointer
	}
	block32 struct{ bytes [32]byte } // arrays of this size would be moved by a call of memmove
)

// add adds the assignment of a t.
func (m *moves) add(dst, src uintptr, t reflect.Type) {
	switch t.Kind() {
	case reflect.String:
		m.strings = append(m.strings, moveOf(dst, src))
	case reflect.Pointer, reflect.Map, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		m.pointers = append(m.pointers, moveOf(dst, src))
	case reflect.Interface:
		m.interfaces = append(m.interfaces, moveOf(dst, src))
	case reflect.Slice:
		word := unsafe.Sizeof(dst)
		m.pointers = append(m.pointers, moveOf(dst, src))
		m.bytes = append(m.bytes, stretch{dst + word, src + word, 2 * word})
	case reflect.Struct:
		if sameLayout(t, timeType) {
			m.times = append(m.times, moveOf(dst, src))
			return
		}
		for i := range t.NumField() {
			f := t.Field(i)
			m.add(dst+f.Offset, src+f.Offset, f.Type)
		}
	case reflect.Array:
		m.addArray(dst, src, t)
	default:
		m.bytes = append(m.bytes, stretch{dst, src, t.Size()})
	}
}

func (m *moves) addArray(dst, src uintptr, t reflect.Type) {
	if bytesOnly(t) {
		m.bytes = append(m.bytes, stretch{dst, src, t.Size()})
		return
	}
	for i := range uintptr(t.Len()) {
		at := i * t.Elem().Size()
		m.add(dst+at, src+at, t.Elem())
	}
}

// bytesOnly reports whether a t holds no pointers.
func bytesOnly(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() == 0 || bytesOnly(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !bytesOnly(t.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return isBasic(t.Kind()) && t.Kind() != reflect.String
}

// pack joins neighbouring bytes and sorts them by size.
func (m *moves) pack() {
	slices.SortFunc(m.bytes, func(a, b stretch) int { return cmp.Compare(a.dst, b.dst) })
	var joined []stretch
	for _, b := range m.bytes {
		if n := len(joined); n > 0 && joined[n-1].precedes(b) {
			joined[n-1].n += b.n
			continue
		}
		joined = append(joined, b)
	}
	if len(joined) == 1 && joined[0].dst == 0 && joined[0].src == 0 {
		m.whole = joined[0].n
	}
	for _, b := range joined {
		m.split(b)
	}
	m.bytes = nil
	m.allString = len(m.strings) == 1 && m.strings[0] == move{}
}

func (s stretch) precedes(next stretch) bool {
	return s.dst+s.n == next.dst && s.src+s.n == next.src
}

// maxPieces is how many bytes are moved as pieces of fixed size.
const maxPieces = 128

func (m *moves) split(s stretch) {
	if s.n > maxPieces {
		m.long = append(m.long, s)
		return
	}
	for _, class := range []struct {
		size uintptr
		list *[]move
	}{{32, &m.bytes32}, {16, &m.bytes16}, {8, &m.bytes8}, {4, &m.bytes4}, {2, &m.bytes2}, {1, &m.bytes1}} {
		for ; s.n >= class.size; s.n -= class.size {
			*class.list = append(*class.list, moveOf(s.dst, s.src))
			s.dst += class.size
			s.src += class.size
		}
	}
}

func (s stretch) run(dst, src unsafe.Pointer) {
	copy(unsafe.Slice((*byte)(unsafe.Add(dst, s.dst)), s.n), unsafe.Slice((*byte)(unsafe.Add(src, s.src)), s.n))
}

// block is how many elements are moved at a time. They are then still in the nearest cache of the
// processor when the next group moves its part of them.
const block = 32

// runAll makes all moves for n elements: step and size are the distances from one to the next.
func (m *moves) runAll(dst, src unsafe.Pointer, step, size, n uintptr) {
	if step == size && m.moveList(dst, src, size, n) {
		return
	}
	for i := uintptr(0); i < n; i += block {
		m.runBlock(unsafe.Add(dst, i*step), unsafe.Add(src, i*size), step, size, min(block, n-i))
	}
}

// moveList moves a list as one, if its elements are nothing but bytes or strings.
func (m *moves) moveList(dst, src unsafe.Pointer, size, n uintptr) bool {
	switch {
	case m.whole == size && size > 0:
		copy(unsafe.Slice((*byte)(dst), n*size), unsafe.Slice((*byte)(src), n*size))
	case m.allString && size == unsafe.Sizeof(""):
		copy(unsafe.Slice((*string)(dst), n), unsafe.Slice((*string)(src), n))
	default:
		return false
	}
	return true
}

func (m *moves) runBlock(dst, src unsafe.Pointer, step, size, n uintptr) {
	if len(m.strings) > 0 { // not stringBits: while the collector marks, each such move is a call
		allStrings(m.strings, dst, src, step, size, n)
	}
	if len(m.bytes8) > 0 {
		all[[8]byte](m.bytes8, dst, src, step, size, n)
	}
	if len(m.times) > 0 {
		all[timeBits](m.times, dst, src, step, size, n)
	}
	if len(m.bytes1) > 0 {
		all[[1]byte](m.bytes1, dst, src, step, size, n)
	}
	if len(m.bytes16)+len(m.bytes32)+len(m.bytes4)+len(m.bytes2)+len(m.pointers)+len(m.interfaces)+len(m.long) > 0 {
		m.runRare(dst, src, step, size, n)
	}
}

func (m *moves) runRare(dst, src unsafe.Pointer, step, size, n uintptr) {
	all[[16]byte](m.bytes16, dst, src, step, size, n)
	all[block32](m.bytes32, dst, src, step, size, n)
	all[[4]byte](m.bytes4, dst, src, step, size, n)
	all[[2]byte](m.bytes2, dst, src, step, size, n)
	all[unsafe.Pointer](m.pointers, dst, src, step, size, n)
	all[any](m.interfaces, dst, src, step, size, n)
	for _, s := range m.long {
		for i := range n {
			s.run(unsafe.Add(dst, i*step), unsafe.Add(src, i*size))
		}
	}
}

// all makes moves of one type for n elements, two at a time. The loops are functions of their own,
// and their addresses are computed first: otherwise the compiler runs out of registers.
func all[T any](list []move, dst, src unsafe.Pointer, step, size, n uintptr) {
	for ; len(list) > 1; list = list[2:] {
		two[T](list[0], list[1], dst, src, step, size, n)
	}
	if len(list) == 1 {
		one[T](list[0], dst, src, step, size, n)
	}
}

//go:noinline
func one[T any](m move, dst, src unsafe.Pointer, step, size, n uintptr) {
	to, from := unsafe.Add(dst, uintptr(m.dst)), unsafe.Add(src, uintptr(m.src))
	d, s := uintptr(0), uintptr(0)
	for range n {
		*(*T)(unsafe.Add(to, d)) = *(*T)(unsafe.Add(from, s))
		d += step
		s += size
	}
}

//go:noinline
func two[T any](a, b move, dst, src unsafe.Pointer, step, size, n uintptr) {
	toA, fromA := unsafe.Add(dst, uintptr(a.dst)), unsafe.Add(src, uintptr(a.src))
	toB, fromB := unsafe.Add(dst, uintptr(b.dst)), unsafe.Add(src, uintptr(b.src))
	d, s := uintptr(0), uintptr(0)
	for range n {
		*(*T)(unsafe.Add(toA, d)) = *(*T)(unsafe.Add(fromA, s))
		*(*T)(unsafe.Add(toB, d)) = *(*T)(unsafe.Add(fromB, s))
		d += step
		s += size
	}
}

// allStrings is all for strings. It loads two before it stores the first, so that the compiled code
// looks only once whether the collector wants to know of stores.
func allStrings(list []move, dst, src unsafe.Pointer, step, size, n uintptr) {
	for ; len(list) > 1; list = list[2:] {
		twoStrings(list[0], list[1], dst, src, step, size, n)
	}
	if len(list) == 1 {
		one[string](list[0], dst, src, step, size, n)
	}
}

//go:noinline
func twoStrings(a, b move, dst, src unsafe.Pointer, step, size, n uintptr) {
	toA, fromA := unsafe.Add(dst, uintptr(a.dst)), unsafe.Add(src, uintptr(a.src))
	toB, fromB := unsafe.Add(dst, uintptr(b.dst)), unsafe.Add(src, uintptr(b.src))
	d, s := uintptr(0), uintptr(0)
	for range n {
		x, y := *(*string)(unsafe.Add(fromA, s)), *(*string)(unsafe.Add(fromB, s))
		*(*string)(unsafe.Add(toA, d)) = x
		*(*string)(unsafe.Add(toB, d)) = y
		d += step
		s += size
	}
}
