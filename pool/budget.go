package pool

import (
	"container/list"
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// How long a waiter waits before it runs the collector itself, to find lost leases. When every
// goroutine waits, nothing allocates, so the collector would not run.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = time.Second
)

// A budget counts bytes in use, and makes acquire wait while the limit is reached.
// golang.org/x/sync/semaphore cannot take more than its limit, which Get and growth do, and cannot
// take bytes back from a cleanup, which must not wake a goroutine of a synctest bubble.
type budget struct {
	limit  int64        // bytes; 0: none
	state  atomic.Int64 // units in use, and from bit leaseBit on the leases
	lost   atomic.Uint64
	queued atomic.Int32 // number of waiters; checked by give

	mu      sync.Mutex
	waiting list.List // of *waiter
	flowing bool      // bytes came back since a waiter looked
	looked  time.Time
}

type waiter struct {
	n     int64
	ready chan struct{}
}

// Bytes and leases are in one word, so that one atomic operation counts both. Bytes are counted in
// units of the smallest class: 256 TiB fit, and 16 million leases before Stats shows too few.
const (
	unit     = 1 << smallestLog
	leaseBit = 40
)

func stateOf(bytes, leases int64) int64 { return roundUp(bytes)/unit + leases<<leaseBit }

// roundUp rounds bytes up to units. What a lease holds is the sum of rounded sizes: a sum that is
// rounded only when it is given back is smaller than what was counted.
func roundUp(bytes int64) int64 { return (bytes + unit - 1) / unit * unit }

// used returns the bytes in use.
func used(state int64) int64 { return state & (1<<leaseBit - 1) * unit }

// count counts bytes and leases without waiting.
func (b *budget) count(bytes, leases int64) { b.state.Add(stateOf(bytes, leases)) }

// try counts a lease of n bytes if there is room.
func (b *budget) try(n int64) bool {
	for {
		before := b.state.Load()
		if used(before)+n > b.limit {
			return false
		}
		if b.state.CompareAndSwap(before, before+stateOf(n, 1)) {
			return true
		}
	}
}

// give counts bytes and leases back.
func (b *budget) give(bytes, leases int64) {
	b.state.Add(-stateOf(bytes, leases))
	if b.queued.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flowing = true
	b.admit()
}

// refund counts back what a collected block held. It wakes no waiter, because it runs in a cleanup;
// look does that.
func (b *budget) refund(bytes, leases int64) {
	b.state.Add(-stateOf(bytes, leases))
	b.lost.Add(uint64(leases))
}

// admit serves the waiters from the first on. It runs with mu held.
func (b *budget) admit() {
	for e := b.waiting.Front(); e != nil; e = b.waiting.Front() {
		w := e.Value.(*waiter)
		if !b.try(w.n) {
			return
		}
		b.remove(e)
		close(w.ready)
	}
}

func (b *budget) remove(e *list.Element) {
	b.waiting.Remove(e)
	b.queued.Add(-1)
}

// acquire counts a lease of n bytes once there is room for it.
func (b *budget) acquire(ctx context.Context, n int) error {
	if b.limit == 0 {
		b.count(int64(n), 1)
		return nil
	}
	if int64(n) > b.limit {
		return fmt.Errorf("pool: GetContext: the buffer takes %d bytes (its size class), which is more than Options.MaxInUse, %d", n, b.limit)
	}
	if b.queued.Load() == 0 && b.try(int64(n)) {
		return nil
	}
	return b.wait(ctx, b.enqueue(int64(n)))
}

// enqueue returns the caller's place in the queue, which may have been served already.
func (b *budget) enqueue(n int64) *list.Element {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.waiting.PushBack(&waiter{n, make(chan struct{})})
	b.queued.Add(1)
	b.admit()
	return e
}

func (b *budget) wait(ctx context.Context, e *list.Element) error {
	w := e.Value.(*waiter)
	for look := firstLook; ; look = min(2*look, lastLook) {
		timer := time.NewTimer(look)
		select {
		case <-w.ready:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return b.leave(ctx, e)
		case <-timer.C:
			b.look()
		}
	}
}

// leave gives up the place in the queue, or the room that was granted meanwhile.
func (b *budget) leave(ctx context.Context, e *list.Element) error {
	w := e.Value.(*waiter)
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready:
		b.state.Add(-stateOf(w.n, 1))
	default:
		b.remove(e)
	}
	err := fmt.Errorf("pool: GetContext: waited for %d bytes while %d of MaxInUse, %d, were in use: %w", w.n, used(b.state.Load()), b.limit, ctx.Err())
	b.admit()
	return err
}

// look serves the waiters, and runs the collector if nothing has come back since one of them
// looked: at most once in lastLook for all of them.
func (b *budget) look() {
	if b.stalled() {
		runtime.GC()
	}
}

func (b *budget) stalled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admit()
	flowing := b.flowing
	b.flowing = false
	now := time.Now()
	if flowing || b.waiting.Len() == 0 || within(lastLook, b.looked, now) {
		return false
	}
	b.looked = now
	return true
}

func (b *budget) stats(s *Stats) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admit()
	state := b.state.Load()
	s.InUse, s.InUseLeases = int(used(state)), int(state>>leaseBit)
	s.Lost, s.Waiting = b.lost.Load(), b.waiting.Len()
}
