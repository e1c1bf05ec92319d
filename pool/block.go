package pool

import (
	"math"
	"math/bits"
	"sync/atomic"
)

// Size classes. Up to 64 KiB they are the powers of two from 256 B: the class of a length is one
// instruction. Above, each doubling has four classes, so that a block is less than a quarter larger
// than what was asked for.
const (
	smallestLog  = 8 // 256 B
	smallClasses = 9 // 256 B to 64 KiB
	maxSmallLog  = smallestLog + smallClasses - 1
	maxSmall     = 1 << maxSmallLog
	steps        = 4                 // classes in each doubling above maxSmall
	biggest      = math.MaxInt/2 + 1 // no class is larger
)

// classOf returns the smallest class that holds n bytes. n is at most biggest.
func classOf(n int) int {
	if n <= maxSmall {
		return int(smallClassOf[(n+1<<smallestLog-1)>>smallestLog])
	}
	log := bits.Len(uint(n-1)) - 1 // 1<<log < n <= 2<<log
	step := (n - 1 - 1<<log) >> (log - 2)
	return smallClasses + steps*(log-maxSmallLog) + step
}

// smallClassOf has the class of each number of units of the smallest size. It is faster than
// bits.Len, which is slow on AMD.
var smallClassOf = func() (all [maxSmall>>smallestLog + 1]uint8) {
	for n := range all {
		all[n] = uint8(bits.Len(uint(max(n, 1) - 1)))
	}
	return all
}()

// classSize returns how many bytes a block of the class has.
func classSize(class int) int {
	if class < smallClasses {
		return 1 << (smallestLog + class)
	}
	above := class - smallClasses
	log := maxSmallLog + above/steps
	return 1<<log + (above%steps+1)<<(log-2)
}

// Leases of a block are counted in steps, because the count is shared by all processors: the first
// many in steps of fine, later ones in steps of coarse.
const (
	fine   = 16
	coarse = 128
	many   = 1024
)

// A block is memory and the state of its lease. Its generation tells the leases apart: it moves on
// when a lease ends. Every handle of that lease is stale from then on, also when the block has a
// new lease.
//
// The fields that every lease uses come first: they are one cache line, since blocks have 192
// bytes.
type block struct {
	gen    atomic.Uint64
	n      int    // the lease's length
	data   []byte // all of the memory
	pool   *Bytes
	high   int // how many bytes of data were handed out to be written to, beside the first n
	class  uint8
	back   way          // how it goes back when the lease ends
	listed bool         // Pointers knows the address of slice
	probe  [1]byte      // room for readOnce
	refs   atomic.Int32 // leases that share the memory, once it was retained; 0 before

	record *record // non-nil exactly if pool.guard is
	tag    *tag    // non-nil once Slices has lent the memory
	slice  []byte  // what Pointers lends
	lent   uint64  // the generation that Pointers lent
	writer *Writer
	spare  []Writer // not handed out yet; a Writer is never used for two leases
	seq    uint64   // when it was put into the free list
	next   *block   // leased: outgrown memory of the same lease. idle: the next in the free list
	owner  *block   // non-nil in a block that Retain made: the block that has the memory
	_      [24]byte
}

// A way says what has to be done with a block when its lease ends.
type way uint8

const (
	longWay   way = iota // all that release does
	shortWay             // clear it and count it back if the options say so, and put it on a shelf
	directWay            // put it on a shelf
)

// putBack gives the block back after the caller has ended its lease.
func (h *block) putBack() {
	s := h.pool.free.open.Load()
	if s == nil || h.back == longWay {
		h.release()
		return
	}
	if h.pool.zero {
		h.clear()
	}
	if h.pool.guard != nil {
		h.pool.guard.closed(h)
	}
	s[h.class].Put(h)
}

// release gives the block back after the caller has ended its lease. It is the slow path.
func (h *block) release() {
	h.pool.guard.ended(h, "released")
	switch {
	case h.owner != nil:
		h.pool.guard.give(0, 1)
		h.leave()
	case h.refs.Load() != 0:
		h.pool.guard.give(0, 1)
		h.unref()
	default:
		h.recycle(1)
	}
}

// unref ends one of the leases that share the memory. After the last it recycles the memory.
func (h *block) unref() {
	if h.refs.Add(-1) == 0 {
		h.recycle(0)
	}
}

// recycle gives the memory back, and counts the end of this many leases.
func (h *block) recycle(leases int64) {
	h.freeOutgrown()
	h = h.pool.guard.retire(h, leases)
	h.wipe()
	h.pool.free.put(h)
}

// wipe clears what the lease handed out to be written to, if an option asks for it.
func (h *block) wipe() {
	if h.pool.zero && !h.poisoned() {
		h.clear()
	}
	h.high = 0
}

// clear clears what the lease handed out to be written to.
func (h *block) clear() {
	clear(h.data[:max(h.n, h.high)])
	if h.high > 0 {
		h.high = 0
	}
}

// share returns a new lease on the same memory.
func (h *block) share() *block {
	o := h
	if h.owner != nil {
		o = h.owner
	}
	if o.refs.CompareAndSwap(0, 2) {
		o.back = longWay
	} else {
		o.refs.Add(1)
	}
	s, _ := h.pool.shares.Get().(*block)
	if s == nil || h.pool.guard != nil {
		s = &block{pool: h.pool, class: h.class}
	}
	s.owner, s.data, s.n = o, h.data, h.n
	h.pool.guard.shared(s)
	return s
}

// leave ends a lease that Retain made.
func (h *block) leave() {
	o := h.owner
	h.owner, h.data = nil, nil
	if h.pool.guard == nil {
		h.pool.shares.Put(h)
	}
	o.unref()
}

// own returns the block of a lease that has not ended.
func (b Buffer) own(method string) *block {
	if h := b.h; h != nil && h.gen.Load() == b.gen {
		return h
	}
	panic(misuse{b, method})
}

// writable returns the block of a lease whose contents may change.
func (b Buffer) writable(method string) *block {
	h := b.own(method)
	if h.refs.Load() != 0 || h.owner != nil {
		panic("pool: Buffer." + method + " called on a Buffer that was retained: its contents are shared; write before Retain, or to a Clone")
	}
	return h
}

// end ends the lease for a method that takes over its memory.
func (b Buffer) end(method string) *block {
	if h := b.h; h != nil && h.gen.CompareAndSwap(b.gen, b.gen+1) {
		return h
	}
	panic(misuse{b, method})
}

// truncate changes the length, and remembers how far the contents went.
func (h *block) truncate(n int) {
	h.high = max(h.high, h.n)
	h.n = n
}

// room returns the memory behind the contents, which the caller hands out to be written to.
func (h *block) room() []byte {
	h.high = len(h.data)
	return h.data[h.n:]
}

// reserve makes room for n bytes in all.
func (h *block) reserve(n int) {
	if n > len(h.data) {
		h.grow(n, nil)
	}
}

// grow moves the contents to memory of at least n bytes, and of twice the size. It puts more, which
// may be part of the contents, after them.
func (h *block) grow(n int, more []byte) { h.move(max(n, 2*len(h.data)), more) }

// move moves the contents to memory of n bytes, and puts more after them. The smaller memory stays
// with the lease until the lease ends: slices of it are still the lease's own.
func (h *block) move(n int, more []byte) {
	p := h.pool
	bigger := p.memory(n)
	p.guard.grow(h, bigger)
	copy(bigger.data, h.data[:h.n])
	copy(bigger.data[h.n:], more)
	bigger.high, h.high = max(h.high, h.n), 0
	bigger.data, h.data = h.data, bigger.data
	bigger.class, h.class = h.class, bigger.class
	bigger.tag, h.tag = h.tag, bigger.tag
	bigger.next, h.next = h.next, bigger
	h.back = longWay
	if p.secret {
		clear(bigger.data[:bigger.high])
	}
}

// freeOutgrown gives back the memory that the lease has outgrown.
func (h *block) freeOutgrown() {
	for old := h.next; old != nil; {
		next := old.next
		old.n, old.next = 0, nil
		h.pool.guard.poison(old, h.record)
		old.wipe()
		h.pool.free.put(old)
		old = next
	}
	h.next = nil
}

// tally counts the leases of the block before gen, at the end of a step.
func (h *block) tally(gen uint64) {
	if gen%fine == fine-1 {
		h.step(gen + 1)
	}
}

//go:noinline
func (h *block) step(leases uint64) { // apart from tally, so that tally is inlined
	if leases <= many {
		h.counted(fine)
	} else if leases%coarse == 0 {
		h.counted(coarse)
	}
}

// rest returns how many of the block's leases are not counted yet.
func rest(leases uint64) int64 {
	if leases < many {
		return int64(leases % fine)
	}
	return int64(leases % coarse)
}

// counted counts leases, unless the lease log does.
func (h *block) counted(n int64) {
	if h.pool.guard.log() == nil {
		h.pool.counts[h.class].leases.Add(n)
	}
}

// drop gives the block up to the garbage collector.
func (h *block) drop() {
	h.data, h.next = nil, nil
	h.counted(rest(h.gen.Load()))
}
