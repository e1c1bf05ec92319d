package pool

import (
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// decayEvery is how often idle blocks are checked. Memory that is needed less often than ten times
// a second can be allocated again at no noticeable cost.
const decayEvery = 100 * time.Millisecond

// drainMost is how many blocks of a class are dropped in one interval.
const drainMost = 1 << 16

// A freeList has the idle blocks of a pool. At the end of each interval it drops the blocks that
// nobody needed in it. A sync.Pool alone would retain them until the second collection, and without
// traffic there is no collection.
//
// Blocks of the small classes are in two sync.Pools a class. One is current: blocks come back to
// it. Get takes from the current one, and then from the other. At the end of an interval what is
// left in the other is dropped, and the two change places. So a block is dropped after one to two
// intervals in which nobody needed it. Only the private block of another processor (one per class)
// is left to the collector.
//
// Blocks of the large classes are in queues that are bounded in bytes.
//
// At level Check all classes are in the queues, nothing decays, and the queues are first in, first
// out, so that a late write has the longest time to be seen. Over the limit the oldest blocks are
// dropped, but never the newest. Each block is looked at before it goes.
type freeList struct {
	current atomic.Pointer[shelves] // where Get looks first
	open    atomic.Pointer[shelves] // where blocks come back to: current, or nil if the decay may have stopped
	small   [2]shelves
	classes int // classes below this are kept
	check   bool
	log     *leaseLog

	mu      sync.Mutex
	limit   int // of idle
	idle    int // bytes in the queues
	dropped uint64
	garbage int // bytes dropped in this interval
	seq     uint64
	large   []queue // by class; the last is of blocks that no class holds, at level Check
	armed   time.Time
	still   int // consecutive intervals without anything to drop
}

// A shelf is a sync.Pool of blocks, and one cache line.
type shelf struct {
	sync.Pool
	_ [24]byte
}

// shelves are one of each small class.
type shelves [smallClasses]shelf

// other returns the shelves that are not current.
func (f *freeList) other() *shelves {
	if f.current.Load() == &f.small[0] {
		return &f.small[1]
	}
	return &f.small[0]
}

// A queue has the idle blocks of a class, and the smallest length that it had in this interval:
// that many blocks were not needed.
type queue struct {
	first, last *block
	length, low int
}

// init is called once. The classes are numbered from 0.
func (f *freeList) init(limit, classes int, log *leaseLog) {
	f.limit, f.classes, f.log, f.check = limit, classes, log, log.at(LevelCheck)
	f.large = make([]queue, classes+1)
	f.current.Store(&f.small[0])
}

// shared says whether blocks of the class are in sync.Pools.
func (f *freeList) shared(class int) bool {
	return class < smallClasses && class < f.classes && !f.check
}

// take returns an idle block of the class, or nil.
func (f *freeList) take(class int) *block {
	if f.shared(class) {
		h, ok := f.current.Load()[class].Get().(*block)
		if !ok {
			h, _ = f.other()[class].Get().(*block)
		}
		return h
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pop(class)
}

// pop removes the first block of a queue. It runs with mu held.
func (f *freeList) pop(class int) *block {
	q := &f.large[class]
	h := q.first
	if h == nil {
		return nil
	}
	if q.first, h.next = h.next, nil; q.first == nil {
		q.last = nil
	}
	q.length--
	q.low = min(q.low, q.length)
	f.idle -= len(h.data)
	return h
}

// push adds a block to its queue: as the first, or at level Check as the last. It runs with mu
// held.
func (f *freeList) push(h *block) {
	q := &f.large[h.class]
	f.seq++
	h.seq = f.seq
	switch {
	case q.first == nil:
		q.first, q.last = h, h
	case f.check:
		q.last.next, q.last = h, h
	default:
		h.next, q.first = q.first, h
	}
	q.length++
	f.idle += len(h.data)
}

// put takes a block that nobody has leased.
func (f *freeList) put(h *block) {
	class := int(h.class)
	if f.shared(class) {
		f.shelve(h)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.check && (class >= f.classes || f.idle+len(h.data) > f.limit) {
		f.drop(h)
		return
	}
	f.push(h)
	if f.check {
		f.evict()
	}
	f.arm()
}

func (f *freeList) shelve(h *block) {
	if f.open.Load() == nil {
		f.wake()
	}
	h.back = h.pool.back
	f.current.Load()[h.class].Put(h)
}

// wake starts the decay if it does not run.
func (f *freeList) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open.Store(f.current.Load())
	f.still = 0
	f.arm()
}

// evict drops the oldest blocks until the others are within the limit. It runs with mu held.
func (f *freeList) evict() {
	for f.idle > f.limit {
		oldest, blocks := -1, 0
		for class := range f.large {
			q := &f.large[class]
			blocks += q.length
			if q.first != nil && (oldest < 0 || q.first.seq < f.large[oldest].first.seq) {
				oldest = class
			}
		}
		if blocks < 2 {
			return
		}
		f.drop(f.pop(oldest))
	}
}

// drop leaves a block to the collector. It runs with mu held.
func (f *freeList) drop(h *block) {
	f.dropped++
	f.garbage += len(h.data)
	f.log.inspect(h)
	h.drop()
	f.arm()
}

// arm makes decay run after an interval. There is a timer only while something may be idle, and it
// does not hold the list. A timer of a synctest bubble may never fire: one that is overdue, or from
// another clock, is not relied on. It runs with mu held.
func (f *freeList) arm() {
	now := time.Now()
	if f.check || within(2*decayEvery, f.armed, now) {
		return
	}
	f.armed = now
	w := weak.Make(f)
	time.AfterFunc(decayEvery, func() {
		if f := w.Value(); f != nil {
			f.decay()
		}
	})
}

// within reports whether now is at most d after then, and not before it: the clock of a synctest
// bubble is years behind.
func within(d time.Duration, then, now time.Time) bool {
	since := now.Sub(then)
	return since >= 0 && since < d
}

// decay drops what was not needed since it ran last.
func (f *freeList) decay() {
	drained := f.drain(f.other())
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range drained {
		f.drop(h)
	}
	f.current.Store(f.other())
	for class := range f.large {
		q := &f.large[class]
		for range q.low {
			f.drop(f.pop(class))
		}
		q.low = q.length
	}
	collect.dropped(f.garbage)
	f.garbage, f.armed = 0, time.Time{}
	if f.still++; len(drained) > 0 {
		f.still = 0
	}
	// A block that comes back after sleep wakes the list. One that came back before is in one of
	// the two sync.Pools, and both are drained once more before the decay stops.
	f.open.Store(nil)
	if f.still == 0 {
		f.open.Store(f.current.Load())
	}
	if f.still < 3 || f.idle > 0 {
		f.arm()
	}
}

// drain takes the idle blocks out of one of the two sync.Pools of each class.
func (f *freeList) drain(from *shelves) (all []*block) {
	for class := range min(smallClasses, f.classes) {
		for range drainMost { // others may put blocks back meanwhile
			h, ok := from[class].Get().(*block)
			if !ok {
				break
			}
			all = append(all, h)
		}
	}
	return all
}

// trim drops all.
func (f *freeList) trim() {
	drained := append(f.drain(&f.small[0]), f.drain(&f.small[1])...)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range drained {
		f.drop(h)
	}
	for class := range f.large {
		for f.large[class].first != nil {
			f.drop(f.pop(class))
		}
	}
}

// inspect looks at all idle memory at level Check.
func (f *freeList) inspect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for class := range f.large {
		for h := f.large[class].first; h != nil; h = h.next {
			f.log.inspect(h)
		}
	}
}

func (f *freeList) stats(s *Stats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Idle, s.Dropped = f.idle, f.dropped
}
