package pool

import (
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
)

// A guard is what a pool does beyond generations: it logs leases, counts bytes in use, poisons idle
// memory and finds lost leases. A pool that needs none of that has no guard: the methods of a nil
// guard do nothing.
type guard struct {
	leases *leaseLog // nil at level Off
	budget budget
	secret bool
}

func newGuard(o Options, log *leaseLog) *guard {
	if log == nil && o.MaxInUse == 0 && !o.Secret {
		return nil
	}
	g := &guard{leases: log, secret: o.Secret}
	g.budget.limit = int64(o.MaxInUse)
	return g
}

func (g *guard) log() *leaseLog {
	if g == nil {
		return nil
	}
	return g.leases
}

// A record is what a guard knows of a block. It does not refer to the block, so that the collector
// can find the block lost.
type record struct {
	bytes  int64                  // what the lease holds, in whole units; only its owner writes it
	open   bool                   // the lease has not ended; only its owner writes it
	entry  atomic.Pointer[entry]  // nil unless the lease is logged
	secret atomic.Pointer[[]byte] // the block's memory, to be cleared if the block is lost
	poison *entry                 // the logged lease that left the memory poisoned
}

// made gives a new block its record, and registers the cleanup that finds a lost lease.
func (g *guard) made(h *block) {
	if g == nil {
		return
	}
	h.record = &record{}
	if g.secret {
		data := h.data // not &h.data: that would hold the block
		h.record.secret.Store(&data)
	}
	runtime.AddCleanup(h, g.lost, h.record)
}

// lost runs after a block was collected. If the block was leased, its lease is lost: it can no
// longer be released.
func (g *guard) lost(r *record) {
	if data := r.secret.Load(); data != nil {
		clear(*data)
	}
	if !r.open {
		g.budget.refund(r.bytes, 0)
		return
	}
	g.leases.lose(r.entry.Load())
	g.budget.refund(r.bytes, 1)
}

// begin begins a lease whose bytes are counted already.
func (g *guard) begin(h *block) {
	if g == nil {
		return
	}
	h.record.bytes, h.record.open = roundUp(int64(len(h.data))), true
	if e := g.leases.begin(h.gen.Load(), len(h.data), "acquired"); e != nil {
		h.record.entry.Store(e)
	}
}

// shared begins a lease that Retain made.
func (g *guard) shared(h *block) {
	if g == nil {
		return
	}
	h.record = &record{}
	runtime.AddCleanup(h, g.lost, h.record)
	g.budget.count(0, 1)
	h.record.open = true
	if e := g.leases.begin(h.gen.Load(), 0, "retained"); e != nil {
		h.record.entry.Store(e)
	}
}

// grow counts that h exchanges its memory for the memory of bigger, and holds both.
func (g *guard) grow(h, bigger *block) {
	if g == nil {
		return
	}
	n := roundUp(int64(len(bigger.data)))
	g.budget.count(n, 0)
	h.record.bytes += n
	if g.secret {
		old := h.record.secret.Swap(bigger.record.secret.Load())
		bigger.record.secret.Store(old)
	}
}

// ended records the end of a lease. It counts nothing back yet, because other leases may share the
// memory.
func (g *guard) ended(h *block, how string) {
	if g == nil {
		return
	}
	h.record.open = false
	g.leases.end(h.record.entry.Load(), how)
}

// closed counts back what the lease of a block held that goes onto a shelf.
func (g *guard) closed(h *block) {
	h.record.open = false
	g.giveBack(h, 1)
}

// give counts bytes and leases back.
func (g *guard) give(bytes, leases int64) {
	if g != nil {
		g.budget.give(bytes, leases)
	}
}

// moved notes that the handles of a lease have ended, and the lease goes on in a Body.
func (g *guard) moved(h *block) {
	if g != nil {
		g.leases.moved(h.record.entry.Load(), "moved into Body")
	}
}

// retire prepares the memory of a block for being idle. It returns the block that has the memory
// from now on. A block that was logged is never leased again, so that its stale handles can still
// name the places of their lease.
func (g *guard) retire(h *block, leases int64) *block {
	if g == nil {
		return h
	}
	g.giveBack(h, leases)
	if h.record.entry.Load() == nil {
		return h
	}
	fresh := &block{pool: h.pool, class: h.class, data: h.data, n: h.n, high: h.high, tag: h.tag}
	g.made(fresh)
	g.poison(fresh, h.record)
	h.data = nil
	h.record.secret.Store(nil)
	runtime.KeepAlive(h) // or lost could clear the memory after it has moved on
	return fresh
}

// detach ends the account of a lease whose memory leaves the pool.
func (g *guard) detach(h *block) {
	if g == nil {
		return
	}
	g.giveBack(h, 1)
	h.record.secret.Store(nil)
	runtime.KeepAlive(h) // as in retire
}

// giveBack counts back what a block held.
func (g *guard) giveBack(h *block, leases int64) {
	n := h.record.bytes
	h.record.bytes = 0
	g.budget.give(n, leases)
}

// poison fills memory that the logged lease of r leaves.
func (g *guard) poison(h *block, r *record) {
	if g == nil {
		return
	}
	if e := r.entry.Load(); e != nil {
		poison(h.data)
		h.record.poison = e
	}
}

// poisoned says whether the memory is poisoned.
func (h *block) poisoned() bool { return h.record != nil && h.record.poison != nil }

// wake prepares idle memory for a lease. It returns a Finding if the memory was written to.
func (g *guard) wake(h *block) *Finding {
	if g == nil || !h.poisoned() {
		return nil
	}
	late := g.leases.inspect(h)
	h.record.poison = nil
	if h.pool.zero {
		clear(h.data)
	}
	return late
}

const poisonByte = 0xDB

func poison(data []byte) {
	for i := range data {
		data[i] = poisonByte
	}
}

// firstUnpoisoned returns where data was written to, or -1.
func firstUnpoisoned(data []byte) int {
	var want [512]byte
	poison(want[:])
	for at := 0; at < len(data); at += len(want) {
		chunk := data[at:min(at+len(want), len(data))]
		if bytes.Equal(chunk, want[:len(chunk)]) {
			continue
		}
		for i, c := range chunk {
			if c != poisonByte {
				return at + i
			}
		}
	}
	return -1
}

func (g *guard) stats(s *Stats) {
	if g == nil {
		return
	}
	if g.leases != nil {
		s.Gets = g.leases.seen.Load()
	}
	g.budget.stats(s)
}

// stale returns the text that says why the lease may not be used any more.
func (b Buffer) stale(method string) string {
	if b.h == nil {
		return fmt.Sprintf("pool: Buffer.%s called on the zero Buffer: get one from Bytes.Get", method)
	}
	var e *entry
	if b.h.record != nil {
		e = b.h.record.entry.Load()
	}
	return e.stale("Buffer."+method, b.gen)
}
