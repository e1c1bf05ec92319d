package batch

import (
	"context"
	"fmt"
)

// A waiter is a caller blocked until its item is admitted.
type waiter[K comparable, T, R any] struct {
	key   K
	item  T
	size  int
	at    spot[K, T, R]
	err   error
	ready chan struct{} // receives one value once at or err is set
	node  node[*waiter[K, T, R]]
}

// add admits v, or waits for that if wait is set and Options say so. It takes
// mu itself.
func (e *engine[K, T, R]) add(ctx context.Context, key K, v T, wait bool) (spot[K, T, R], error) {
	err := e.check(ctx, key)
	if err != nil {
		return spot[K, T, R]{}, err
	}
	size := 0
	if e.opt.SizeOf != nil {
		if size = e.opt.SizeOf(v); uint(size) > uint(e.largest) {
			return spot[K, T, R]{}, e.misfit(size)
		}
	}
	e.mu.Lock()
	if !e.closed && e.waiters.n == 0 && e.fits(size) {
		at := e.admit(key, v, size).last()
		e.mu.Unlock()
		return at, nil
	}
	w, err := e.enter(ctx, key, v, size, wait)
	e.mu.Unlock()
	if err != nil {
		return spot[K, T, R]{}, err
	}
	return e.await(ctx, w)
}

// check is what can be said without mu.
func (e *engine[K, T, R]) check(ctx context.Context, key K) error {
	if key != key {
		return errNotEqual
	}
	return ctx.Err()
}

// misfit is what is wrong with an item of that size.
func (e *engine[K, T, R]) misfit(size int) error {
	if size < 0 {
		return fmt.Errorf("batch: SizeOf returned %d: want 0 or more", size)
	}
	return fmt.Errorf("%w: %d bytes, at most %d (MaxBytes, PendingBytes)", ErrTooLarge, size, e.largest)
}

// enter queues a caller for whose item there is no room.
func (e *engine[K, T, R]) enter(ctx context.Context, key K, v T, size int, wait bool) (*waiter[K, T, R], error) {
	if e.closed {
		return nil, ErrClosed
	}
	e.unlinger()
	switch {
	case !wait || e.opt.OnFull || inside(ctx, e): // OnFull is Reject
		e.stats.Rejected++
		return nil, ErrFull
	case e.waiters.n >= e.opt.MaxWaiters:
		e.stats.Rejected++
		return nil, errWaiters
	}
	w, _ := e.waiterPool.Get().(*waiter[K, T, R])
	if w == nil {
		w = &waiter[K, T, R]{ready: make(chan struct{}, 1)}
	}
	w.key, w.item, w.size = key, v, size
	e.waiters.push(&w.node, w)
	return w, nil
}

// await blocks until w is granted, refused, or given up. It takes mu itself.
func (e *engine[K, T, R]) await(ctx context.Context, w *waiter[K, T, R]) (spot[K, T, R], error) {
	select {
	case <-w.ready:
	case <-ctx.Done():
		if e.giveUp(w) {
			w.err = ctx.Err()
		} else {
			<-w.ready // granted or refused meanwhile, and that stands
		}
	}
	at, err := w.at, w.err
	*w = waiter[K, T, R]{ready: w.ready}
	e.waiterPool.Put(w)
	return at, err
}

// giveUp takes w out of the queue, if it is still there. Those behind it may
// fit where it did not. It takes mu itself.
func (e *engine[K, T, R]) giveUp(w *waiter[K, T, R]) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.node.on == nil {
		return false
	}
	e.waiters.remove(&w.node)
	e.grant()
	return true
}

// grant admits the items of blocked callers, in their order, as far as there
// is room: nobody overtakes the first.
func (e *engine[K, T, R]) grant() {
	for h := e.waiters.head; h != nil && e.fits(h.of.size); h = e.waiters.head {
		w := h.of
		e.waiters.remove(h)
		w.at = e.admit(w.key, w.item, w.size).last()
		w.ready <- struct{}{}
	}
	if e.waiters.n > 0 {
		e.unlinger()
	}
}

// refuse turns every blocked caller away.
func (e *engine[K, T, R]) refuse(err error) {
	for h := e.waiters.head; h != nil; h = e.waiters.head {
		w := h.of
		e.waiters.remove(h)
		w.err = err
		w.ready <- struct{}{}
	}
}

// stride is how many items are admitted under one hold of mu.
const stride = 64

// addAll admits vs in order and returns how many it did. It takes mu itself.
func (e *engine[K, T, R]) addAll(ctx context.Context, key K, vs []T) (n int, err error) {
	for n < len(vs) {
		part := vs[n:min(n+stride, len(vs))]
		m, err := e.addSome(ctx, key, part)
		n += m
		if err != nil {
			return n, err
		}
		if m < len(part) {
			if _, err := e.add(ctx, key, part[m], true); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// addSome admits as many of vs, at most stride, as it can without waiting. It
// takes mu itself.
func (e *engine[K, T, R]) addSome(ctx context.Context, key K, vs []T) (n int, err error) {
	if err := e.check(ctx, key); err != nil {
		return 0, err
	}
	var sizes [stride]int
	if e.opt.SizeOf != nil {
		for i, v := range vs {
			if sizes[i] = e.opt.SizeOf(v); uint(sizes[i]) > uint(e.largest) {
				vs = vs[:i] // add says so, when it is its turn
				break
			}
		}
	}
	e.mu.Lock()
	for n < len(vs) && !e.closed && e.waiters.n == 0 && e.fits(sizes[n]) {
		b := e.admit(key, vs[n], sizes[n])
		n++
		if b == b.lane.open {
			n += e.admitMore(b, vs[n:], sizes[n:])
		}
	}
	e.mu.Unlock()
	return n, nil
}

// withdraw takes an item back whose batch no worker has taken. It takes mu
// itself.
func (e *engine[K, T, R]) withdraw(at spot[K, T, R]) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := at.batch
	if b.group != at.group || b.inQueued.on == nil || b.notes[at.index].size == gone {
		return false
	}
	e.stats.Withdrawn++
	e.drop(b, at.index)
	e.freed()
	return true
}
