package goruntime

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/leaksafe/leaksafe/leakcheck/internal/process"
)

const (
	pageSize = 1 << pageShift
	// Objects up to this size have their pointer bits at the end of their span. Larger ones have
	// their type in their first word, and those with a span of their own in the span's struct.
	bitsInSpan = 512
	// From this size on a span holds its mark bits itself, where the collector is the one called
	// Green Tea.
	marksInSpan = 16
	maxAddress  = 1 << 48
	maxSpans    = 1 << 28
	spanInUse   = 1
)

// A span is a run of pages with objects of one size.
type span struct {
	base, npages uint64
	elem         uint64 // size of an object
	largeType    uint64
	specials     uint64
	nelems       uint16
	free         uint16 // objects below this number are in use, whatever the bits say
	class        uint8
	state        sweepState
	bits         []byte // which objects are in use
	marks        []byte // which the collector has found, where it has not swept the span
}

func (s *span) end() uint64      { return s.base + s.npages*pageSize }
func (s *span) noPointers() bool { return s.class&1 != 0 }
func (s *span) large() bool      { return s.class>>1 == 0 }

// A sweepState says which bits of a span count.
type sweepState uint8

const (
	swept    sweepState = iota
	unswept             // marks
	sweeping            // either: the process was stopped half-way
)

// Survey reads which spans and goroutines there are. It returns what to copy to read the rest in
// peace: all memory of the heap that can refer to something, or all, stacks, and package variables.
// threads are the threads of the stopped process.
func (r *Runtime) Survey(threads []process.Thread, contents bool) ([]process.Range, error) {
	if err := r.readSpans(); err != nil {
		return nil, err
	}
	r.byThread = r.machines(threads)
	var out []process.Range
	for i := range r.spans {
		switch s := &r.spans[i]; {
		case contents || !s.noPointers():
			out = append(out, process.Range{Start: s.base, End: s.end()})
		case s.state != swept:
			out = append(out, process.Range{Start: s.base, End: s.base + pageSize}) // for its marks
		}
	}
	for i := range r.modules {
		m := &r.modules[i]
		out = append(out, process.Range{Start: m.dataSegment.Addr, End: m.dataSegment.End}, process.Range{Start: m.bssSegment.Addr, End: m.bssSegment.End})
	}
	stacks, err := r.readGoroutines()
	return append(out, stacks...), err
}

// Estimate is how many bytes Survey is going to ask for. The process may be running.
func (r *Runtime) Estimate(now process.Memory, contents bool) uint64 {
	probe := *r
	probe.reading = reading{mem: now}
	ranges, err := probe.Survey(nil, contents)
	if err != nil {
		return 0
	}
	return process.Total(ranges)
}

func (r *Runtime) readSpans() error {
	heap := r.variable("runtime.mheap_")
	all := r.slice(r.at(heap, "runtime.mheap.allspans"))
	r.sweep = r.u32(r.at(heap, "runtime.mheap.sweepgen"))
	if all.len > maxSpans {
		r.fail("%d spans", all.len)
	}
	r.spans = make([]span, 0, min(all.len, 1<<20))
	fields := r.x.spanFields()
	for i := uint64(0); i < all.len && r.err == nil; i++ {
		r.readSpan(r.u64(all.at+8*i), &fields)
	}
	if err := r.take(); err != nil {
		return fmt.Errorf("read the heap's spans: %w", err)
	}
	if len(r.spans) == 0 {
		return errors.New("the heap has no spans: this version is not known")
	}
	return nil
}

// index makes spans findable by address.
func (r *Runtime) index() error {
	slices.SortFunc(r.spans, func(a, b span) int { return cmp.Compare(a.base, b.base) })
	for i := 1; i < len(r.spans); i++ {
		if r.spans[i].base < r.spans[i-1].end() {
			return fmt.Errorf("the heap's spans at %#x and %#x overlap: this version is not known", r.spans[i-1].base, r.spans[i].base)
		}
	}
	r.lo, r.hi = r.spans[0].base, r.spans[len(r.spans)-1].end()
	return r.pages.fill(r.spans)
}

// spanFields are where the fields of a span are.
type spanFields struct {
	size                                                                    int
	startAddr, npages, nelems, free, allocBits, gcmarkBits, sweepgen, class uint64
	state, elemsize, specials, largeType                                    uint64
}

// spanFields returns offsets that lie in the struct, with a word to spare.
func (x *Exe) spanFields() spanFields {
	size := x.size["runtime.mspan"]
	at := func(f string) uint64 { return min(x.offset["runtime.mspan."+f], max(size, 8)-8) }
	return spanFields{int(max(size, 8)), at("startAddr"), at("npages"), at("nelems"), at("freeIndexForScan"), at("allocBits"), at("gcmarkBits"), at("sweepgen"),
		at("spanclass"), at("state"), at("elemsize"), at("specials"), at("largeType")}
}

func (r *Runtime) readSpan(addr uint64, f *spanFields) {
	b, err := r.mem.View(addr, f.size, nil)
	if err != nil {
		r.err = err
		return
	}
	if b[f.state] != spanInUse {
		return
	}
	word := func(at uint64) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	short := func(at uint64) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
	s := span{base: word(f.startAddr), npages: word(f.npages), elem: word(f.elemsize), largeType: word(f.largeType), specials: word(f.specials),
		nelems: short(f.nelems), free: short(f.free), class: b[f.class]}
	alloc, mark := word(f.allocBits), word(f.gcmarkBits)
	switch gen := binary.LittleEndian.Uint32(b[f.sweepgen:]); gen {
	case r.sweep - 2, r.sweep + 1:
		s.state = unswept
	case r.sweep - 1:
		s.state = sweeping
	}
	if !s.plausible() {
		r.fail("the span at %#x has %d pages at %#x with %d objects of %d bytes: this version is not known", addr, s.npages, s.base, s.nelems, s.elem)
		return
	}
	n := (uint64(s.nelems) + 7) / 8
	if s.bits = r.bytes(alloc, n, pageSize); s.state != swept {
		s.marks = r.bytes(mark, n, pageSize)
	}
	r.spans = append(r.spans, s)
}

// plausible holds for every span that the runtime makes. A slot of a span may be shorter than a
// page.
func (s *span) plausible() bool {
	return s.base%pageSize == 0 && s.base > 0 && s.base < maxAddress && s.npages > 0 && s.npages < maxAddress/pageSize && s.elem > 0 && s.elem%8 == 0 &&
		s.elem <= s.npages*pageSize && uint64(s.nelems)*s.elem <= s.npages*pageSize && (!s.large() || s.nelems == 1)
}

// settle works out which objects of a span that was not swept are in use: those that the collector
// has marked. When it sweeps the span, the marks become its bits.
func (r *Runtime) settle(s *span) {
	if s.state == swept {
		return
	}
	marks := s.marks
	if inline := r.x.size["runtime.spanInlineMarkBits"]; inline > 0 && s.elem >= marksInSpan && s.elem <= bitsInSpan {
		more := r.bytes(s.base+pageSize-inline+r.x.offset["runtime.spanInlineMarkBits.marks"], uint64(len(marks)), pageSize)
		for i := range more {
			marks[i] |= more[i]
		}
	}
	if s.state == unswept || anyBit(marks) {
		s.bits, s.free = marks, 0
	}
	s.state, s.marks = swept, nil
}

// Settle works out which objects are in use. It is called once, when what Survey returned has been
// copied.
func (r *Runtime) Settle() error {
	if err := r.index(); err != nil {
		return err
	}
	for i := range r.spans {
		r.settle(&r.spans[i])
	}
	// An object that waits for its finalizer is in use again, though the collector found it dead.
	for i := range r.specials {
		x := &r.specials[i]
		s := r.spanOf(x.object)
		if k := (x.object - s.base) / s.elem; x.kind == specialFinalizer && !s.used(k) && k < uint64(s.nelems) {
			s.bits[k/8] |= 1 << (k % 8)
			x.dead = true
		}
	}
	if err := r.take(); err != nil {
		return fmt.Errorf("read the marks of the collector: %w", err)
	}
	return nil
}

// used tells whether object i of a span is in use.
func (s *span) used(i uint64) bool {
	return i < uint64(s.nelems) && (i < uint64(s.free) || bit(s.bits, i))
}

// Pages are looked up in pieces of this size.
const (
	pageShift  = 13
	arenaShift = 26
	arenaPages = arenaShift - pageShift
)

// pages finds the span of an address.
type pages map[uint64]*[1 << arenaPages]int32 // by arena: 1 + the number of the span

func (p *pages) fill(spans []span) error {
	*p = pages{}
	var total uint64
	for i := range spans {
		total += spans[i].npages
		for page := range spans[i].npages {
			at := spans[i].base/pageSize + page
			arena := (*p)[at>>arenaPages]
			if arena == nil {
				if len(*p) > 1024+int(total/64) {
					return errors.New("the heap's spans are spread too wide: this version is not known")
				}
				arena = new([1 << arenaPages]int32)
				(*p)[at>>arenaPages] = arena
			}
			arena[at%(1<<arenaPages)] = int32(i) + 1
		}
	}
	return nil
}

// spanOf is the span that holds an address, or nil.
func (r *Runtime) spanOf(addr uint64) *span {
	if addr < r.lo || addr >= r.hi {
		return nil
	}
	arena := r.pages[addr>>arenaShift]
	if arena == nil {
		return nil
	}
	i := arena[addr>>pageShift%(1<<arenaPages)]
	if i == 0 {
		return nil
	}
	return &r.spans[i-1]
}

// Rest is how many bytes an object has from an address in it to its end; 0 where there is none.
func (r *Runtime) Rest(addr uint64) uint64 {
	s := r.spanOf(addr)
	if s == nil {
		return 0
	}
	i := (addr - s.base) / s.elem
	if !s.used(i) {
		return 0
	}
	return s.base + (i+1)*s.elem - addr
}

// InHeap tells whether an address is in the heap.
func (r *Runtime) InHeap(addr uint64) bool { return r.spanOf(addr) != nil }

// Bounds are the first address of the heap and the first after it.
func (r *Runtime) Bounds() (lo, hi uint64) { return r.lo, r.hi }
