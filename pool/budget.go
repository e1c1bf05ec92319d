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

// How long a waiter waits before it looks for lost leases itself: when every
// goroutine waits nothing allocates, and the collector would not run.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = time.Second
)

// A budget counts bytes in use and makes acquire wait while limit is reached.
// golang.org/x/sync/semaphore has no way to take without waiting what exceeds
// the limit, which Get and growth do, nor to learn of refunds.
type budget struct {
	limit   int // 0: none
	mu      sync.Mutex
	used    int
	leases  int
	gets    uint64
	waiting list.List // of *waiter
	lost    uint64
	flowing bool // bytes came back since a waiter looked
	looked  time.Time

	// What the collector found. It only leaves a note here, and the next who
	// holds mu takes it in: a cleanup must not wake a goroutine of a synctest
	// bubble.
	refunded atomic.Int64
	refunds  atomic.Int64
}

type waiter struct {
	n     int
	ready chan struct{}
}

// take counts a lease of n bytes without waiting.
func (b *budget) take(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count(n)
}

// count counts a lease. It runs with mu held.
func (b *budget) count(n int) {
	b.used += n
	b.leases++
	b.gets++
}

// grow counts n bytes more for a lease.
func (b *budget) grow(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += n
}

// uncount takes back a lease that was granted and never begun.
func (b *budget) uncount(n int) {
	b.used -= n
	b.leases--
	b.gets--
}

// undo is uncount for who does not hold mu.
func (b *budget) undo(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uncount(n)
	b.admit()
}

// give ends a lease of n bytes.
func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.leases--
	b.flowing = true
	b.admit()
}

// refund ends a lease that was lost.
func (b *budget) refund(n int) {
	b.refunded.Add(int64(n))
	b.refunds.Add(1)
}

// settle takes in refunds. It runs with mu held.
func (b *budget) settle() {
	if b.refunds.Load() == 0 {
		return
	}
	n, bytes := int(b.refunds.Swap(0)), int(b.refunded.Swap(0))
	b.used -= bytes
	b.leases -= n
	b.lost += uint64(n)
	b.flowing = true
}

// admit serves the waiters from the first on. It runs with mu held.
func (b *budget) admit() {
	b.settle()
	for e := b.waiting.Front(); e != nil; e = b.waiting.Front() {
		w := e.Value.(*waiter)
		if b.used+w.n > b.limit {
			return
		}
		b.count(w.n)
		b.waiting.Remove(e)
		close(w.ready)
	}
}

// acquire counts a lease of n bytes once there is room for it.
func (b *budget) acquire(ctx context.Context, n int) error {
	if b.limit > 0 && n > b.limit {
		return fmt.Errorf("pool: GetContext: a buffer of %d bytes (its size class) exceeds Options.MaxInUse, %d, by itself", n, b.limit)
	}
	e := b.enqueue(n)
	if e == nil {
		return nil
	}
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

// enqueue counts n bytes and returns nil if there is room and nobody waits, and
// the caller's place in the queue otherwise.
func (b *budget) enqueue(n int) *list.Element {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admit()
	if b.limit == 0 || b.waiting.Len() == 0 && b.used+n <= b.limit {
		b.count(n)
		return nil
	}
	return b.waiting.PushBack(&waiter{n, make(chan struct{})})
}

// leave gives up the place in the queue, or what was granted meanwhile.
func (b *budget) leave(ctx context.Context, e *list.Element) error {
	w := e.Value.(*waiter)
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready:
		b.uncount(w.n)
	default:
		b.waiting.Remove(e)
	}
	err := fmt.Errorf("pool: GetContext: waited for %d bytes, %d of MaxInUse %d in use: %w", w.n, b.used, b.limit, ctx.Err())
	b.admit()
	return err
}

// look serves the waiters, and runs the collector if nothing has come back since
// one of them looked: at most once in lastLook for all of them.
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
	s.Gets, s.InUse, s.InUseLeases, s.Lost, s.Waiting = b.gets, b.used, b.leases, b.lost, b.waiting.Len()
}
