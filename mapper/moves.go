package mapper

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"time"
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
}

// A stretch is a move of n bytes.
type stretch struct{ dst, src, n uintptr }

// straight is moves for one value, optimised for speed: the most common groups are in arrays, so
// that their loops have few loads and no bounds checks. Moves that do not fit are in rest.
type straight struct {
	nStrings, nTimes, nBytes1, nBytes8, nBytes16 uint8

	strings, bytes8        [8][2]move
	times, bytes1, bytes16 [8]move
	rest                   *moves // nil if everything fits
}

func (m *moves) straight() *straight {
	var s straight
	rest := *m
	rest.strings = takePairs(s.strings[:7], &s.nStrings, m.strings)
	rest.times = take(s.times[:7], &s.nTimes, m.times)
	rest.bytes8 = takePairs(s.bytes8[:7], &s.nBytes8, m.bytes8)
	rest.bytes1 = take(s.bytes1[:7], &s.nBytes1, m.bytes1)
	rest.bytes16 = take(s.bytes16[:7], &s.nBytes16, m.bytes16)
	if rest.any() {
		s.rest = &rest
	}
	return &s
}

// take copies as many of list as fit to into, and returns the others.
func take(into []move, n *uint8, list []move) []move {
	*n = uint8(copy(into, list))
	return list[*n:]
}

// takePairs takes two at a time. A last one is taken twice, which is harmless.
func takePairs(into [][2]move, n *uint8, list []move) []move {
	for ; len(list) > 0 && int(*n) < len(into); *n++ {
		into[*n] = [2]move{list[0], list[min(1, len(list)-1)]}
		list = list[min(2, len(list)):]
	}
	return list
}

func (m *moves) any() bool {
	return len(m.strings)+len(m.times)+len(m.pointers)+len(m.interfaces)+len(m.bytes1)+len(m.bytes2)+
		len(m.bytes4)+len(m.bytes8)+len(m.bytes16)+len(m.bytes32)+len(m.long) > 0
}

func (s *straight) run(dst, src unsafe.Pointer) {
	for i := range s.strings[:s.nStrings&7] {
		one[string](&s.strings[i][0], dst, src)
		one[string](&s.strings[i][1], dst, src)
	}
	for i := range s.bytes8[:s.nBytes8&7] {
		one[[8]byte](&s.bytes8[i][0], dst, src)
		one[[8]byte](&s.bytes8[i][1], dst, src)
	}
	for i := range s.bytes1[:s.nBytes1&7] {
		one[[1]byte](&s.bytes1[i], dst, src)
	}
	for i := range s.times[:s.nTimes&7] {
		one[time.Time](&s.times[i], dst, src)
	}
	for i := range s.bytes16[:s.nBytes16&7] {
		one[[16]byte](&s.bytes16[i], dst, src)
	}
	if s.rest != nil {
		s.rest.run(dst, src)
	}
}

func one[T any](m *move, dst, src unsafe.Pointer) {
	*(*T)(unsafe.Add(dst, uintptr(m.dst))) = *(*T)(unsafe.Add(src, uintptr(m.src)))
}

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
	for _, b := range joined {
		m.split(b)
	}
	m.bytes = nil
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

// run makes all moves once.
func (m *moves) run(dst, src unsafe.Pointer) {
	each[string](m.strings, dst, src)
	each[time.Time](m.times, dst, src)
	each[unsafe.Pointer](m.pointers, dst, src)
	each[any](m.interfaces, dst, src)
	each[[1]byte](m.bytes1, dst, src)
	each[[2]byte](m.bytes2, dst, src)
	each[[4]byte](m.bytes4, dst, src)
	each[[8]byte](m.bytes8, dst, src)
	each[[16]byte](m.bytes16, dst, src)
	each[[32]byte](m.bytes32, dst, src)
	for _, s := range m.long {
		s.run(dst, src)
	}
}

func each[T any](list []move, dst, src unsafe.Pointer) {
	for i := range list {
		one[T](&list[i], dst, src)
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
	for i := uintptr(0); i < n; i += block {
		m.runBlock(unsafe.Add(dst, i*step), unsafe.Add(src, i*size), step, size, min(block, n-i))
	}
}

func (m *moves) runBlock(dst, src unsafe.Pointer, step, size, n uintptr) {
	all[string](m.strings, dst, src, step, size, n)
	all[time.Time](m.times, dst, src, step, size, n)
	all[[8]byte](m.bytes8, dst, src, step, size, n)
	all[[16]byte](m.bytes16, dst, src, step, size, n)
	all[[32]byte](m.bytes32, dst, src, step, size, n)
	all[[1]byte](m.bytes1, dst, src, step, size, n)
	all[[2]byte](m.bytes2, dst, src, step, size, n)
	all[[4]byte](m.bytes4, dst, src, step, size, n)
	all[unsafe.Pointer](m.pointers, dst, src, step, size, n)
	all[any](m.interfaces, dst, src, step, size, n)
	for _, s := range m.long {
		for i := range n {
			s.run(unsafe.Add(dst, i*step), unsafe.Add(src, i*size))
		}
	}
}

func all[T any](list []move, dst, src unsafe.Pointer, step, size, n uintptr) {
	for _, m := range list {
		d, s := uintptr(m.dst), uintptr(m.src)
		for range n {
			*(*T)(unsafe.Add(dst, d)) = *(*T)(unsafe.Add(src, s))
			d += step
			s += size
		}
	}
}
