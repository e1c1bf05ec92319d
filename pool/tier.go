package pool

import (
	"sync"
	"time"
	"weak"
)

// decayEvery is how often idle buffers are looked at. Memory that is needed
// less often than ten times a second costs nothing to allocate anew.
const decayEvery = 100 * time.Millisecond

// A tier is a free list of what sync.Pool would keep too long: it is bounded in
// bytes, and in each interval lets go of the buffers that nobody needed in it.
type tier struct {
	mu      sync.Mutex
	limit   int
	idle    int // bytes
	dropped uint64
	free    []stack // by class
	armed   time.Time
}

// A stack of idle buffers, and the lowest height it had in this interval: so
// many were never needed.
type stack struct {
	top         *header
	height, low int
}

func newTier(limit, classes int) *tier {
	return &tier{limit: limit, free: make([]stack, classes)}
}

// take returns an idle buffer of the class, or nil.
func (t *tier) take(class int) *header {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pop(class)
}

func (t *tier) pop(class int) *header {
	s := &t.free[class]
	h := s.top
	if h == nil {
		return nil
	}
	s.top, h.next = h.next, nil
	s.height--
	s.low = min(s.low, s.height)
	t.idle -= len(h.data)
	return h
}

// put keeps the buffer if it is of a class and there is room for it.
func (t *tier) put(h *header) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.class >= len(t.free) || t.idle+len(h.data) > t.limit {
		t.drop(h)
		return
	}
	s := &t.free[h.class]
	s.top, h.next = h, s.top
	s.height++
	t.idle += len(h.data)
	t.arm()
}

func (t *tier) drop(h *header) {
	t.dropped++
	h.drop()
}

// arm sees to it that decay runs after an interval. There is a timer only while
// something is idle, and it does not hold the tier. A timer of a synctest
// bubble may never fire: one that is overdue, or from another clock, is not
// relied on.
func (t *tier) arm() {
	now := time.Now()
	if within(2*decayEvery, t.armed, now) {
		return
	}
	t.armed = now
	w := weak.Make(t)
	time.AfterFunc(decayEvery, func() {
		if t := w.Value(); t != nil {
			t.decay()
		}
	})
}

// within says whether now is no more than d after then, and not before it: the
// clock of a synctest bubble is years behind.
func within(d time.Duration, then, now time.Time) bool {
	since := now.Sub(then)
	return since >= 0 && since < d
}

// decay drops what was not needed since it ran last.
func (t *tier) decay() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for class := range t.free {
		s := &t.free[class]
		for range s.low {
			t.drop(t.pop(class))
		}
		s.low = s.height
	}
	t.armed = time.Time{}
	if t.idle > 0 {
		t.arm()
	}
}

// trim drops all.
func (t *tier) trim() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for class := range t.free {
		for t.free[class].top != nil {
			t.drop(t.pop(class))
		}
	}
}

func (t *tier) stats(s *Stats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Idle, s.Dropped = t.idle, t.dropped
}
