package pool

import (
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
)

// A watch is what a pool does beyond generations. Nothing of it is on the path
// of the zero Options.
type watch struct {
	ledger *ledger
	budget *budget
	zero   bool
	secret bool
}

func newWatch(o Options) *watch {
	level := o.Level.orEnv()
	if level == Off && o.MaxInUse == 0 && !o.ZeroOnRelease && !o.Secret {
		return nil
	}
	return &watch{
		ledger: newLedger(level),
		budget: &budget{limit: o.MaxInUse},
		zero:   o.ZeroOnRelease || o.Secret,
		secret: o.Secret,
	}
}

func (w *watch) at(level Level) bool { return w != nil && w.ledger.level == level }

// A record is what a watch knows about a header. It does not refer to the
// header, so that the collector can find the header lost.
type record struct {
	held   atomic.Int64           // bytes; 0: not leased
	lease  atomic.Pointer[lease]  // nil unless traced
	secret atomic.Pointer[[]byte] // the header's memory, to be cleared if lost
	poison *lease                 // the traced lease that left the memory poisoned
}

// made gives a new header its record, and sees to it that a lost lease is found.
func (w *watch) made(h *header) {
	h.record = &record{}
	if w.secret {
		data := h.data // not &h.data: that would hold the header
		h.record.secret.Store(&data)
	}
	runtime.AddCleanup(h, w.lost, h.record)
}

// lost runs when a header was collected. If it was leased, it is so for ever.
func (w *watch) lost(r *record) {
	n := r.held.Swap(0)
	if n == 0 {
		return
	}
	w.ledger.lose(r.lease.Load())
	if data := r.secret.Load(); data != nil {
		clear(*data)
	}
	w.budget.refund(int(n))
}

// begin begins a lease whose bytes are counted already.
func (w *watch) begin(h *header) {
	n := len(h.data)
	h.record.held.Store(int64(n))
	if l := w.ledger.begin(h.gen.Load(), n); l != nil {
		h.record.lease.Store(l)
	}
}

// grow counts that h's memory is exchanged for the memory of bigger and kept.
func (w *watch) grow(h, bigger *header) {
	n := len(bigger.data)
	w.budget.grow(n)
	h.record.held.Add(int64(n))
	if w.secret {
		old := h.record.secret.Swap(bigger.record.secret.Load())
		bigger.record.secret.Store(old)
	}
}

// end ends a lease. It returns the header that has the memory now: one that was
// traced is never leased again, and so stays able to tell where it was.
func (w *watch) end(h *header) *header {
	l := w.close(h.record, "released")
	w.rest(h, l)
	if l == nil {
		return h
	}
	fresh := &header{pool: h.pool, class: h.class, data: h.data}
	w.made(fresh)
	fresh.record.poison = l
	h.data = nil
	return fresh
}

// close ends the account of a lease, and returns the lease if it was traced.
func (w *watch) close(r *record, how string) *lease {
	w.budget.give(int(r.held.Swap(0)))
	l := r.lease.Load()
	w.ledger.end(l, how)
	return l
}

// rest prepares memory for being idle.
func (w *watch) rest(h *header, l *lease) {
	switch {
	case l != nil:
		poison(h.data)
		h.record.poison = l
	case w.zero:
		clear(h.data[:max(h.n, h.high)])
	}
	h.high = 0
}

// wake prepares idle memory for a lease.
func (w *watch) wake(h *header) {
	l := h.record.poison
	if l == nil {
		return
	}
	h.record.poison = nil
	if at := firstUnpoisoned(h.data); at >= 0 {
		panic(fmt.Sprintf("pool: written at byte %d after the lease had ended%v\n\tKeep no slice of a Buffer past its Release", at, l))
	}
	if w.zero {
		clear(h.data)
	}
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

func (w *watch) stats(s *Stats) {
	if w != nil {
		w.budget.stats(s)
	}
}

// stale says why the lease may not be used any more.
func (b Buffer) stale(method string) string {
	if b.h == nil {
		return fmt.Sprintf("pool: Buffer.%s of the zero Buffer: lease one with Get", method)
	}
	var l *lease
	if b.h.record != nil {
		l = b.h.record.lease.Load()
	}
	return l.stale("Buffer."+method, b.gen)
}
