package pool

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Slices lends plain slices of one length, for code that asks for Get() []byte and Put([]byte), as
// [net/http/httputil.BufferPool] does, or that takes a []byte to work in, as [io.CopyBuffer] does.
// Create it with [Bytes.Slices]. It is safe for concurrent use.
//
// A slice has no generation, so a pool of slices promises less than a [Buffer] does. Put of a slice
// that is not lent at the moment is refused: it does nothing, Stats.RefusedPuts counts it, and at
// [LevelCheck] Outstanding names the places. But if the memory was lent again meanwhile, a second
// Put ends the later lease; then the later owner's Put is the one that is refused. At LevelCheck
// the Finding about it names both.
type Slices struct {
	pool  *Bytes
	n     int
	class int // -1: Get takes the slow path
}

// Slices returns a lender of slices of n bytes. It panics if n is less than 1.
func (p *Bytes) Slices(n int) *Slices {
	p.checkMade("Slices")
	if n < 1 {
		panic(fmt.Sprintf("pool: Slices(%d): the length must be at least 1", n))
	}
	class := -1
	if n <= maxSmall && p.guard == nil {
		class = classOf(n)
	}
	return &Slices{p, n, class}
}

// Get lends a slice. Its contents are arbitrary, as with [Bytes.Get]. A slice that is never put is
// left to the collector; the pool does not hold it.
func (s *Slices) Get() []byte {
	h := s.idle()
	if h == nil {
		h = s.pool.getSlow(s.n).h
	}
	t := h.tag
	if t == nil {
		t = s.pool.lent.tag(h)
	}
	data := h.data[:s.n:s.n]
	h.data = nil // the table holds the block, and must not hold the memory
	if h.record != nil {
		h.record.secret.Store(nil)
		t.entry.Store(h.record.entry.Load())
	}
	if t.lends++; t.lends%fine == 0 {
		h.step(t.lends)
	}
	t.block = unsafe.Pointer(h)
	t.lent = 1 // ordered before Put as the memory is
	return data
}

// idle returns an idle block, or nil.
func (s *Slices) idle() *block {
	if s.class < 0 {
		return nil
	}
	h, ok := s.pool.free.current.Load()[s.class].Get().(*block)
	if ok {
		h.n = s.n
	}
	return h
}

// Put takes back a slice that Get returned, or a shorter slice of the same beginning.
func (s *Slices) Put(b []byte) {
	if cap(b) == 0 {
		s.pool.refuse(nil)
		return
	}
	first := unsafe.SliceData(b)
	t := s.pool.lent.find(uintptr(unsafe.Pointer(first)))
	if t == nil {
		s.pool.refuse(nil)
		return
	}
	if atomic.SwapUint32(&t.lent, 0) == 0 {
		s.pool.refuse(t.entry.Load())
		return
	}
	h := (*block)(t.block)
	t.block = nil
	h.data = unsafe.Slice(first, t.size)
	if s.pool.secret {
		data := h.data
		h.record.secret.Store(&data)
	}
	h.putBack()
}

// Pointers lends pointers to slices, for code that asks for Get(int) *[]byte and Put(*[]byte), as
// gRPC's mem.BufferPool does; package grpcpool, a module beside this one, adapts it. Create it with
// [Bytes.Pointers]. It is safe for concurrent use.
//
// Put refuses the same calls as in [Slices]. At [LevelCheck] each lease has a pointer of its own,
// so a second Put is never confused with the Put of a later owner.
type Pointers struct{ pool *Bytes }

// Pointers returns a lender of pointers to slices.
func (p *Bytes) Pointers() *Pointers {
	p.checkMade("Pointers")
	return &Pointers{p}
}

// Get lends a slice of n bytes with all the capacity of its size class. The caller may change the
// slice behind the pointer: the pool takes back the memory that it lent. It panics if n is
// negative.
func (q *Pointers) Get(n int) *[]byte {
	h := q.pool.Get(n).h
	if !h.listed {
		q.pool.lent.list(h)
	}
	h.high = len(h.data)
	h.lent = h.gen.Load()
	h.slice = h.data[:n]
	return &h.slice
}

// Put takes back a pointer that Get returned. The slice behind it is nil afterwards.
func (q *Pointers) Put(b *[]byte) {
	if b == nil || q.pool.lent.find(uintptr(unsafe.Pointer(b))) == nil {
		q.pool.refuse(nil)
		return
	}
	// The table has the address, so that b is the field of a block: the conversion is sound.
	h := (*block)(unsafe.Add(unsafe.Pointer(b), -int(unsafe.Offsetof(block{}.slice))))
	lease := Buffer{h, h.lent}
	if !h.gen.CompareAndSwap(lease.gen, lease.gen+1) {
		q.pool.refuse(h.logged())
		return
	}
	h.slice = nil
	h.tally(lease.gen)
	h.putBack()
}

// logged returns the entry of the block's lease, or nil.
func (h *block) logged() *entry {
	if h.record == nil {
		return nil
	}
	return h.record.entry.Load()
}

// A table knows what was lent by its address. It holds no memory: an address is removed when the
// collector has taken what was there. Reading takes no lock.
type table struct {
	slots atomic.Pointer[[]slot] // a power of two
	mu    sync.Mutex
	used  int // slots with a key, removed ones included
	live  int
}

// A slot's tag is set before its key, and neither changes later, except that the key becomes
// removed.
type slot struct {
	key atomic.Uintptr
	tag *tag
}

const (
	removed       = 1 // no address
	smallestTable = 64
)

// A tag is what the table knows of an address.
type tag struct {
	key   uintptr
	size  int                   // of the memory
	lends uint64                // how often Slices lent it
	block unsafe.Pointer        // of the block, while Slices lends the memory
	lent  uint32                // 1 while Slices lends the memory; the Put that makes it 0 has the block
	entry atomic.Pointer[entry] // the last lease, if it was logged
}

// tag adds the memory of a block to the table.
func (t *table) tag(h *block) *tag {
	first := unsafe.SliceData(h.data)
	h.tag = &tag{key: uintptr(unsafe.Pointer(first)), size: len(h.data)}
	t.enter(h.tag)
	runtime.AddCleanup(first, t.remove, h.tag)
	return h.tag
}

// list adds the address that Pointers lends to the table.
func (t *table) list(h *block) {
	listed := &tag{key: uintptr(unsafe.Pointer(&h.slice))}
	h.listed = true
	t.enter(listed)
	runtime.AddCleanup(h, t.remove, listed)
}

// slotOf returns where to begin to look for a key among n slots, a power of two.
func slotOf(key uintptr, n int) int { return int(uint64(key)*0x9E3779B97F4A7C15>>32) & (n - 1) }

// find returns the tag of an address, or nil.
func (t *table) find(key uintptr) *tag {
	all := t.slots.Load()
	if all == nil {
		return nil
	}
	slots := *all
	for i := slotOf(key, len(slots)); ; i = (i + 1) & (len(slots) - 1) {
		switch slots[i].key.Load() {
		case key:
			return slots[i].tag
		case 0:
			return nil
		}
	}
}

func (t *table) enter(g *tag) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if all := t.slots.Load(); all == nil || 2*(t.used+1) > len(*all) {
		t.rebuild()
	}
	// An address may be in use again before the cleanup of what was there has run.
	t.clear(t.slot(g.key))
	insert(*t.slots.Load(), g)
	t.used++
	t.live++
}

// slot returns the slot of the key, or a free one. It runs with mu held.
func (t *table) slot(key uintptr) *slot {
	slots := *t.slots.Load()
	for i := slotOf(key, len(slots)); ; i = (i + 1) & (len(slots) - 1) {
		if k := slots[i].key.Load(); k == key || k == 0 {
			return &slots[i]
		}
	}
}

func insert(slots []slot, g *tag) {
	i := slotOf(g.key, len(slots))
	for slots[i].key.Load() != 0 {
		i = (i + 1) & (len(slots) - 1)
	}
	slots[i].tag = g
	slots[i].key.Store(g.key)
}

// rebuild drops removed slots, and makes the table larger if needed. It runs with mu held.
func (t *table) rebuild() {
	n := smallestTable
	for n < 4*(t.live+1) {
		n *= 2
	}
	slots := make([]slot, n)
	if old := t.slots.Load(); old != nil {
		for i := range *old {
			if (*old)[i].key.Load() > removed {
				insert(slots, (*old)[i].tag)
			}
		}
	}
	t.used = t.live
	t.slots.Store(&slots)
}

// remove removes a tag after the collector has taken what was there.
func (t *table) remove(g *tag) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.slot(g.key); s.tag == g {
		t.clear(s)
	}
	t.shrink()
}

// shrink makes the table smaller if it is nearly empty, as after a burst. Removed slots keep their
// tags. It runs with mu held.
func (t *table) shrink() {
	slots, tags := len(*t.slots.Load()), t.used-t.live
	if slots == smallestTable || t.live > slots/16 {
		return
	}
	t.rebuild()
	collect.dropped(slots*int(unsafe.Sizeof(slot{})) + tags*int(unsafe.Sizeof(tag{})))
}

// clear empties a slot, if it is in use. It runs with mu held.
func (t *table) clear(s *slot) {
	if s.tag == nil {
		return
	}
	s.key.Store(removed)
	atomic.StoreUint32(&s.tag.lent, 0)
	atomic.StorePointer(&s.tag.block, nil) // a slot keeps its tag, and the tag must not retain a lost lease
	t.live--
}

// refuse counts a Put that does nothing.
func (p *Bytes) refuse(e *entry) {
	p.refused.Add(1)
	p.guard.log().refused(e)
}
