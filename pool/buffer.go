package pool

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// A header owns memory, for one lease after another. Its generation tells the
// leases apart: it moves on when a lease ends, and every handle of that lease
// is stale from then on, also when the header has a new lease.
type header struct {
	gen    atomic.Uint64
	n      int        // the lease's length
	home   *sync.Pool // Release's short cut; nil: something is left to do
	data   []byte     // all of the memory
	high   int        // the largest n that was given up by Set or Clear
	class  int
	pool   *Bytes
	record *record // non-nil exactly if pool.watch is
	next   *header // leased: smaller memory, outgrown. idle: the free list
	writer *Writer
	spare  []Writer // not yet handed out, and never twice
	probe  [1]byte  // room for readOnce
}

// A Buffer is a lease on a byte buffer of a [Bytes], and is copied freely: all
// copies are the same lease, and one call of Release on any of them ends it for
// all. Release may be called at any time from any goroutine; the other methods
// are for one goroutine at a time, as with a slice.
//
// After the lease has ended every method but Release and String panics. A slice
// from Bytes or Slice is the lease's own until then, also when the buffer has
// grown meanwhile; keeping it longer is an error that only level [Check] and the
// race detector can see. The zero Buffer is a lease that has ended.
type Buffer struct {
	h   *header
	gen uint64
}

// Release ends the lease and gives the memory back. It returns true for exactly
// one call among all copies of the Buffer, and false, with no effect, for any
// later one: deferring it beside an early Release is safe.
func (b Buffer) Release() bool {
	h := b.h
	if h == nil || !h.gen.CompareAndSwap(b.gen, b.gen+1) {
		return false
	}
	if h.home == nil || b.gen&countMask == countMask {
		h.release()
		return true
	}
	h.home.Put(h)
	return true
}

// release is the rest of Release, after this caller has ended the lease.
func (h *header) release() {
	h.count()
	h.free()
	if w := h.pool.watch; w != nil {
		h = w.end(h)
	}
	h.pool.put(h)
}

// count adds the leases of a header that were not counted yet. A watch counts
// them itself.
func (h *header) count() {
	if h.pool.watch == nil && h.gen.Load()&countMask == 0 {
		h.pool.counts[h.class].leases.Add(int64(countEvery))
	}
}

// own returns the header of a lease that has not ended.
func (b Buffer) own(method string) *header {
	if h := b.h; h != nil && h.gen.Load() == b.gen {
		return h
	}
	panic(misuse{b, method})
}

// end ends the lease for a method that takes it over.
func (b Buffer) end(method string) *header {
	if h := b.h; h != nil && h.gen.CompareAndSwap(b.gen, b.gen+1) {
		return h
	}
	panic(misuse{b, method})
}

// Bytes returns the buffer's bytes. It may be written to, up to its length;
// its capacity ends there too, so that append makes memory of its own.
func (b Buffer) Bytes() []byte {
	h := b.own("Bytes")
	return h.data[:h.n:h.n]
}

// Slice returns the bytes from i to j, as Bytes()[i:j] with no capacity beyond.
func (b Buffer) Slice(i, j int) []byte { return b.Bytes()[i:j:j] }

// Set makes a copy of src the buffer's contents, and grows it as needed.
func (b Buffer) Set(src []byte) {
	h := b.own("Set")
	h.truncate(0)
	h.reserve(len(src))
	h.n = copy(h.data, src)
}

// Update copies src over the bytes from at on. It panics if they do not all fit
// into the buffer's length; nothing is written then.
func (b Buffer) Update(src []byte, at int) {
	copy(b.Bytes()[at:at+len(src)], src)
}

// Clear makes the length 0 and keeps the memory.
func (b Buffer) Clear() { b.own("Clear").truncate(0) }

// Clone returns a copy of the bytes that belongs to the caller. The lease goes on.
func (b Buffer) Clone() []byte { return append([]byte{}, b.Bytes()...) }

// Detach ends the lease and returns its bytes without copying them: the memory
// has left the pool and belongs to the caller. A short slice of a large buffer
// holds all of it; take Clone and Release then.
func (b Buffer) Detach() []byte {
	h := b.end("Detach")
	data := h.data[:h.n:h.n]
	h.detach()
	return data
}

func (h *header) detach() {
	h.count()
	h.free()
	if w := h.pool.watch; w != nil {
		w.close(h.record, "detached")
	}
	h.drop()
}

// String describes the buffer; the bytes are not printed.
func (b Buffer) String() string {
	if h := b.h; h != nil && h.gen.Load() == b.gen {
		return fmt.Sprintf("pool.Buffer(%d bytes)", h.n)
	}
	return "pool.Buffer(released)"
}

// GoString is String, for %#v.
func (b Buffer) GoString() string { return b.String() }

// truncate shortens the contents and remembers how far they went.
func (h *header) truncate(n int) {
	h.high = max(h.high, h.n)
	h.n = n
}

// reserve makes room for n bytes in all.
func (h *header) reserve(n int) {
	if n > len(h.data) {
		h.grow(n, nil)
	}
}

// grow moves the contents to memory of at least n bytes and puts more, which may
// be of the contents, after them. The smaller memory stays with the lease until
// its end: slices of it are still the lease's own.
func (h *header) grow(n int, more []byte) {
	p := h.pool
	bigger := p.memory(max(n, 2*len(h.data)))
	if p.watch != nil {
		p.watch.grow(h, bigger)
	}
	copy(bigger.data, h.data[:h.n])
	copy(bigger.data[h.n:], more)
	bigger.high, h.high = max(h.high, h.n), 0
	bigger.data, h.data = h.data, bigger.data
	bigger.class, h.class = h.class, bigger.class
	bigger.next, h.next = h.next, bigger
	h.home = nil
	if p.watch != nil && p.watch.secret {
		clear(bigger.data[:bigger.high])
	}
}

// free gives back the memory that the lease has outgrown.
func (h *header) free() {
	for old := h.next; old != nil; {
		next := old.next
		old.n = 0
		if w := h.pool.watch; w != nil {
			w.rest(old, h.record.lease.Load())
		}
		h.pool.put(old)
		old = next
	}
	h.next = nil
}

// drop leaves the header to the collector.
func (h *header) drop() {
	h.data, h.next = nil, nil
	if h.pool.watch == nil {
		h.pool.counts[h.class].leases.Add(int64(h.gen.Load() & countMask))
	}
}
