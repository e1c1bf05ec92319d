package goruntime

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
)

// An Object is one object of the heap that is in use.
type Object struct {
	Addr, Size uint64
	Contents   []byte // nil for an object without pointers whose contents were not asked for; valid until the next object
	Type       uint64 // of the type whose repetition the object is, in its first word; 0 where there is none

	small uint64 // its pointer words
	mask  *mask  // or the pointers of one element, which repeat
	start uint64 // of the first element
}

// Pointers are the offsets of the words that may hold pointers, in order.
func (o *Object) Pointers() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for m := o.small; m != 0; m &= m - 1 {
			if !yield(uint64(bits.TrailingZeros64(m)) * 8) {
				return
			}
		}
		if o.mask == nil {
			return
		}
		for at := o.start; at < o.Size; at += o.mask.size {
			for _, w := range o.mask.words {
				off := at + uint64(w)*8
				if off+8 > o.Size || !yield(off) {
					return
				}
			}
		}
	}
}

// Objects calls visit for every object of the heap, by address. Without contents those without
// pointers are not read.
func (r *Runtime) Objects(contents bool, visit func(*Object) error) error {
	var scratch []byte
	for i := range r.spans {
		s := &r.spans[i]
		var memory []byte
		if contents || !s.noPointers() {
			n := int(s.npages * pageSize)
			if cap(scratch) < n {
				scratch = nil // before there is another
			}
			b, err := r.mem.View(s.base, n, scratch)
			if err != nil {
				return fmt.Errorf("read the span at %#x: %w", s.base, err)
			}
			memory = b
			if len(b) <= 1<<20 {
				scratch = b
			}
		}
		if err := r.objects(s, memory, contents, visit); err != nil {
			return err
		}
		if err := r.take(); err != nil {
			return fmt.Errorf("read the objects at %#x: %w", s.base, err)
		}
	}
	return nil
}

func (r *Runtime) objects(s *span, memory []byte, contents bool, visit func(*Object) error) error {
	bitmap := r.bitmap(s, memory)
	for i := range uint64(s.nelems) {
		if !s.used(i) {
			continue
		}
		o := Object{Addr: s.base + i*s.elem, Size: s.elem}
		if memory != nil {
			o.Contents = memory[i*s.elem : (i+1)*s.elem]
		}
		r.layOut(&o, s, bitmap)
		if err := visit(&o); err != nil {
			return err
		}
	}
	return nil
}

// layOut finds out where an object has pointers. bitmap is that of its span.
func (r *Runtime) layOut(o *Object, s *span, bitmap []byte) {
	switch {
	case s.noPointers():
	case bitmap != nil:
		o.small = extract(bitmap, (o.Addr-s.base)/8, s.elem/8)
	case s.large():
		o.mask = r.mask(s.largeType, s.elem)
	default:
		o.Type, o.start = binary.LittleEndian.Uint64(o.Contents), 8
		o.mask = r.mask(o.Type, s.elem)
	}
}

// bitmap is the part of a span that says which words of its objects are pointers, or nil.
func (r *Runtime) bitmap(s *span, memory []byte) []byte {
	if s.noPointers() || s.elem > bitsInSpan {
		return nil
	}
	n := uint64(len(memory))
	start := n - n/64
	if s.elem >= marksInSpan {
		start -= min(start, r.x.size["runtime.spanInlineMarkBits"])
	}
	return memory[start : start+n/64]
}

// extract returns n bits, at most 64.
func extract(bitmap []byte, from, n uint64) uint64 {
	at, shift := from/64*8, from%64
	out := word(bitmap, at) >> shift
	if shift+n > 64 {
		out |= word(bitmap, at+8) << (64 - shift)
	}
	return out & (1<<n - 1)
}

func word(b []byte, at uint64) uint64 {
	if at+8 > uint64(len(b)) {
		return 0
	}
	return binary.LittleEndian.Uint64(b[at:])
}
