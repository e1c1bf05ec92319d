package dumpwrite

import (
	"iter"

	"github.com/leaksafe/leaksafe/leakcheck/internal/goruntime"
)

// What stays of memory that is redacted, word by word:
//   - pointers, by the masks of the collector, but not to constants: which small number or text of
//     the program somewhere is, is a secret too;
//   - a word before a pointer that is the address of a type or a table of methods: the type of an
//     interface's value;
//   - one or two words after a pointer that are not larger than what follows the pointer in its
//     object: the length and capacity of a slice, the length of a string, the size of a map's
//     directory. A small number that happens to stand after a pointer to something larger stays
//     too;
//   - the first word of an object that is the address of a function (a closure), or 1 (sync.Map
//     marks its entries so).
//
// Everything else is zero.

// words writes memory of which only some words stay, given in order.
type words struct {
	d    *writer
	b    []byte
	done uint64 // bytes written
}

// keep writes a word that stays.
func (w *words) keep(off uint64) {
	if off < w.done || off+8 > uint64(len(w.b)) {
		return
	}
	w.d.zeros(off - w.done)
	w.d.word(wordAt(w.b, off))
	w.done = off + 8
}

func (w *words) end() { w.d.zeros(uint64(len(w.b)) - w.done) }

// pointers keeps pointers and what belongs to them.
func (w *words) pointers(at iter.Seq[uint64]) {
	n := uint64(len(w.b))
	last, any := uint64(0), false
	for off := range at {
		if off+8 > n {
			continue
		}
		if any {
			w.lengths(last, off)
		}
		if off >= 8 && w.done+8 <= off && w.d.r.IsType(wordAt(w.b, off-8)) {
			w.keep(off - 8)
		}
		if !w.d.r.IsConstant(wordAt(w.b, off)) {
			w.keep(off)
		}
		last, any = off, true
	}
	if any {
		w.lengths(last, n)
	}
}

// lengths keeps a length and a capacity after the pointer at off, before end.
func (w *words) lengths(off, end uint64) {
	var rest uint64
	least := uint64(1)
	for next := off + 8; next <= off+16 && next+8 <= end && next+8 <= uint64(len(w.b)); next += 8 {
		v := wordAt(w.b, next)
		if v < least {
			return
		}
		if rest == 0 {
			rest = w.d.r.Rest(wordAt(w.b, off))
		}
		if v > rest {
			return
		}
		w.keep(next)
		least = v
	}
}

func (d *writer) redactObject(o *goruntime.Object) {
	w := words{d: d, b: o.Contents}
	if first := wordAt(w.b, 0); o.Type != 0 || first == 1 || d.r.IsFunction(first) {
		w.keep(0)
	}
	w.pointers(o.Pointers())
	w.end()
}

func (d *writer) redactSegment(s *goruntime.Segment, b []byte) {
	w := words{d: d, b: b}
	w.pointers(func(yield func(uint64) bool) {
		for off := uint64(0); off+8 <= uint64(len(b)); off += 8 {
			if s.Pointer(off) && !yield(off) {
				return
			}
		}
	})
	w.end()
}

// redactFrame keeps every word that leads into the heap or the stack, since the map of a frame
// lacks variables whose address was taken.
func (d *writer) redactFrame(f *goruntime.Frame) {
	w := words{d: d, b: f.Contents}
	w.pointers(func(yield func(uint64) bool) {
		for off := uint64(0); off+8 <= uint64(len(w.b)); off += 8 {
			v := wordAt(w.b, off)
			if (d.r.InHeap(v) || v >= f.SP && v-f.SP < 1<<20) && !yield(off) {
				return
			}
		}
	})
	w.end()
}
