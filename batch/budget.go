package batch

import (
	"context"
	"fmt"
)

// A waiter is a caller blocked until its item is admitted.
type waiter[K comparable, T, R any] struct {
	lane  *lane[K, T, R]
	item  T
	size  int
	asks  bool // it is a Do
	at    spot[K, T, R]
	err   error
	ready chan struct{} // receives one value once at or err is set
	node  node[*waiter[K, T, R]]
}

// A manner says how an item is to be admitted.
type manner struct {
	wait bool // for room, if Options say so
	asks bool // its caller waits for the result
}

// add admits v. It waits for room if how and Options say so.
func (e *engine[K, T, R]) add(ctx context.Context, key K, v T, how manner) (spot[K, T, R], error) {
	if err := e.usable(ctx, key); err != nil {
		return spot[K, T, R]{}, err
	}
	size := 0
	if e.opt.SizeOf != nil {
		if size = e.opt.SizeOf(v); uint(size) > uint(e.largest) {
			return spot[K, T, R]{}, e.misfit(size)
		}
	}
	if !how.asks {
		if at, ok := e.addQuick(v, size); ok {
			return at, nil
		}
	}
	return e.addSlow(ctx, key, v, size, how)
}

// addQuick admits v if quick has a place for it.
func (e *engine[K, T, R]) addQuick(v T, size int) (at spot[K, T, R], ok bool) {
	q := &e.quick
	for p := q.places.Load(); p>>32 > 0 && uint32(size) < uint32(p); p = q.places.Load() {
		if !q.places.CompareAndSwap(p, p-1<<32-uint64(size)) {
			continue
		}
		n := len(q.items) - int(p>>32)
		q.items[n] = v
		if q.notes != nil {
			q.notes[n] = note{q.batch.stamp, int32(size), 0}
		}
		at = spot[K, T, R]{q.batch, q.batch.group, n}
		q.filled.Add(1)
		return at, true
	}
	return at, false
}

// addSlow is add for an item of this size that is not admitted quickly.
func (e *engine[K, T, R]) addSlow(ctx context.Context, key K, v T, size int, how manner) (spot[K, T, R], error) {
	e.lock()
	l := e.laneLocked(key)
	if !e.closed && e.budget.queue.n == 0 && e.fitsLocked(size) && e.openToLocked(l, size) {
		b := e.admitLocked(l, v, size)
		if how.asks {
			e.askLocked(b)
		}
		at := b.last()
		e.quickenLocked(b)
		e.unlock()
		return at, nil
	}
	at, w, err := e.enterLocked(ctx, l, v, size, how)
	e.forgetLocked(l)
	e.unlock()
	if w == nil {
		return at, err
	}
	return e.await(ctx, w)
}

// usable returns why nothing can be admitted with this context and key, or nil.
func (e *engine[K, T, R]) usable(ctx context.Context, key K) error {
	e.mustUse(ctx)
	if e.keyed && key != key {
		return errNotEqual
	}
	return ctx.Err()
}

// misfit returns what is wrong with an item of this size.
func (e *engine[K, T, R]) misfit(size int) error {
	if size < 0 {
		return fmt.Errorf("batch: SizeOf returned %d: want 0 or more", size)
	}
	return fmt.Errorf("%w: %d bytes, at most %d (the smaller of MaxBytes and PendingBytes)", ErrTooLarge, size, e.largest)
}

// fitsLocked reports whether the budget has room for an item of this size.
func (e *engine[K, T, R]) fitsLocked(size int) bool {
	return e.stats.Pending+int64(e.budget.reserved) < int64(e.opt.PendingItems) &&
		e.stats.PendingBytes+int64(e.budget.reservedBytes)+int64(size) <= int64(e.opt.PendingBytes)
}

// shareLocked reports whether the share of l has room for an item of this size. An empty lane
// admits any item: otherwise one larger than the share would never be admitted.
func (e *engine[K, T, R]) shareLocked(l *lane[K, T, R], size int) bool {
	n := l.items + l.claims + l.reserved
	return n == 0 || n < e.budget.keyItems && l.bytes+l.claimedBytes+l.reservedForBytes+size <= e.budget.keyBytes
}

// openToLocked reports whether l admits an item of this size at once.
func (e *engine[K, T, R]) openToLocked(l *lane[K, T, R], size int) bool {
	return !e.keyed || l.blocked.n == 0 && e.shareLocked(l, size) && !e.tooManyHeldLocked()
}

// tooManyHeldLocked bounds the number of keys on hold, each of which has a lane in memory.
func (e *engine[K, T, R]) tooManyHeldLocked() bool { return e.lanes.held >= e.opt.PendingItems }

// enterLocked admits the item if there is room, and otherwise queues its caller. The waiter is nil
// if the item was admitted or there is an error.
func (e *engine[K, T, R]) enterLocked(ctx context.Context, l *lane[K, T, R], v T, size int, how manner) (spot[K, T, R], *waiter[K, T, R], error) {
	if e.closed {
		return spot[K, T, R]{}, nil, ErrClosed
	}
	r := e.observingLocked()
	if r != nil && e.takeRoomLocked(r, l, size) {
		at := e.admitLocked(l, v, size).last()
		if e.budget.queue.n > 0 {
			e.unlingerLocked()
		}
		return at, nil, nil
	}
	limited := e.keyed && !e.openToLocked(l, size)
	if !limited {
		e.unlingerLocked()
	} else if l.open != nil {
		e.makeDueLocked(l.open)
	}
	if err := e.refusalLocked(ctx, l, how, r, limited); err != nil {
		e.stats.Rejected++
		return spot[K, T, R]{}, nil, err
	}
	w, _ := e.waiterPool.Get().(*waiter[K, T, R])
	if w == nil {
		w = &waiter[K, T, R]{ready: make(chan struct{}, 1)}
	}
	w.lane, w.item, w.size, w.asks = l, v, size, how.asks
	e.budget.waiting++
	l.waiting++
	if limited {
		l.blocked.push(&w.node, w)
	} else {
		e.claimLocked(w)
	}
	return spot[K, T, R]{}, w, nil
}

// refusalLocked returns why a caller may not wait, or nil if it may.
func (e *engine[K, T, R]) refusalLocked(ctx context.Context, l *lane[K, T, R], how manner, r *report[K, T, R], limited bool) error {
	switch {
	case e.keyed && e.tooManyHeldLocked():
		return errHeldFull
	case r != nil && len(r.said) > 0:
		return errObserver
	case inside(ctx, e.self) || e.self.calls():
		return errHandlerFull
	case !how.wait || e.opt.Reject:
		if limited {
			return errKeyFull
		}
		return ErrFull
	case e.budget.waiting >= e.opt.MaxWaiters || limited && l.waiting >= e.budget.keyWaiters:
		return errWaiters
	}
	return nil
}

// claimLocked puts w in the budget's queue. From now on its item counts towards the share of its
// key.
func (e *engine[K, T, R]) claimLocked(w *waiter[K, T, R]) {
	w.lane.claims++
	w.lane.claimedBytes += w.size
	e.budget.queue.push(&w.node, w)
}

// removeLocked takes w out of the queue it is in.
func (e *engine[K, T, R]) removeLocked(w *waiter[K, T, R]) {
	if w.node.on == &e.budget.queue {
		w.lane.claims--
		w.lane.claimedBytes -= w.size
	}
	w.node.on.remove(&w.node)
	w.lane.waiting--
	e.budget.waiting--
}

// await blocks until w is granted, refused, or its ctx ends.
func (e *engine[K, T, R]) await(ctx context.Context, w *waiter[K, T, R]) (spot[K, T, R], error) {
	select {
	case <-w.ready:
	case <-ctx.Done():
		if e.quit(w) {
			w.err = ctx.Err()
		} else {
			<-w.ready // it was granted or refused meanwhile, which is final
		}
	}
	at, err := w.at, w.err
	*w = waiter[K, T, R]{ready: w.ready}
	e.waiterPool.Put(w)
	return at, err
}

// quit takes w out of the queue, if it is still there. The waiters behind it may now fit.
func (e *engine[K, T, R]) quit(w *waiter[K, T, R]) bool {
	e.lock()
	defer e.unlock()
	if w.node.on == nil {
		return false
	}
	e.removeLocked(w)
	if e.keyed {
		e.unblockLocked(w.lane)
		e.forgetLocked(w.lane)
	}
	e.grantLocked()
	return true
}

// grantLocked admits the items of blocked callers, in order, while there is room. It stops at the
// first that does not fit, so nobody overtakes it.
func (e *engine[K, T, R]) grantLocked() {
	q := &e.budget.queue
	for h := q.head; h != nil && e.fitsLocked(h.of.size); h = q.head {
		w := h.of
		e.removeLocked(w)
		b := e.admitLocked(w.lane, w.item, w.size)
		if w.asks {
			e.askLocked(b)
		}
		w.at = b.last()
		w.ready <- struct{}{}
	}
	if q.n > 0 {
		e.unlingerLocked()
	}
}

// unblockLocked lets callers that wait for the share of l wait for the budget, while the share has
// room.
func (e *engine[K, T, R]) unblockLocked(l *lane[K, T, R]) {
	for h := l.blocked.head; h != nil && e.shareLocked(l, h.of.size); h = l.blocked.head {
		w := h.of
		l.blocked.remove(h)
		e.claimLocked(w)
	}
}

// refuseLocked makes every blocked caller return err.
func (e *engine[K, T, R]) refuseLocked(err error) {
	refuse := func(q *list[*waiter[K, T, R]]) {
		for h := q.head; h != nil; h = q.head {
			w := h.of
			e.removeLocked(w)
			w.err = err
			w.ready <- struct{}{}
		}
	}
	refuse(&e.budget.queue)
	for _, l := range e.lanes.byKey {
		refuse(&l.blocked)
		e.forgetLocked(l)
	}
}

// A room is what a report has reserved in the budget and in the share of a lane, so that its
// Observer can add again what failed.
type room[K comparable, T, R any] struct {
	lane         *lane[K, T, R]
	items, bytes int
}

// reserveLocked reserves the room of an item of l that is about to be freed.
func (e *engine[K, T, R]) reserveLocked(l *lane[K, T, R], rooms *[]room[K, T, R], size int) {
	if e.opt.Observer == nil {
		return
	}
	n := len(*rooms)
	if n == 0 || (*rooms)[n-1].lane != l {
		*rooms = append(*rooms, room[K, T, R]{lane: l})
		n++
	}
	(*rooms)[n-1].items++
	(*rooms)[n-1].bytes += size
	e.changeRoomLocked(l, 1, size)
}

func (e *engine[K, T, R]) changeRoomLocked(l *lane[K, T, R], items, bytes int) {
	e.budget.reserved += items
	e.budget.reservedBytes += bytes
	l.reserved += items
	l.reservedForBytes += bytes
}

// takeRoomLocked gives room that r has reserved to an item of l, which may have another key. An
// item of the same key that is not larger than what is reserved always fits: the sums stay as they
// are.
func (e *engine[K, T, R]) takeRoomLocked(r *report[K, T, R], l *lane[K, T, R], size int) bool {
	for _, same := range []bool{true, false} {
		for i := range r.rooms {
			m := &r.rooms[i]
			if m.items == 0 || (m.lane == l) != same {
				continue
			}
			bytes := min(size, m.bytes)
			e.changeRoomLocked(m.lane, -1, -bytes)
			if e.fitsLocked(size) && (!e.keyed || e.shareLocked(l, size)) {
				m.items--
				m.bytes -= bytes
				return true
			}
			e.changeRoomLocked(m.lane, 1, bytes)
		}
	}
	return false
}

// returnRoomLocked ends what r has reserved.
func (e *engine[K, T, R]) returnRoomLocked(r *report[K, T, R]) {
	for _, m := range r.rooms {
		e.changeRoomLocked(m.lane, -m.items, -m.bytes)
		if e.keyed {
			e.unblockLocked(m.lane)
			e.forgetLocked(m.lane)
		}
	}
	r.rooms = nil
}

// stride is how many items are admitted under one hold of mu.
const stride = 64

// addAll admits vs in order and returns how many it did.
func (e *engine[K, T, R]) addAll(ctx context.Context, key K, vs []T) (n int, err error) {
	for n < len(vs) {
		part := vs[n:min(n+stride, len(vs))]
		m, err := e.addSome(ctx, key, part)
		n += m
		if err != nil {
			return n, err
		}
		if m < len(part) {
			if _, err := e.add(ctx, key, part[m], manner{wait: true}); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// addSome admits items of vs while it need not wait, at most stride of them.
func (e *engine[K, T, R]) addSome(ctx context.Context, key K, vs []T) (n int, err error) {
	if err := e.usable(ctx, key); err != nil {
		return 0, err
	}
	var sizes [stride]int
	if e.opt.SizeOf != nil {
		for i, v := range vs {
			if sizes[i] = e.opt.SizeOf(v); uint(sizes[i]) > uint(e.largest) {
				vs = vs[:i] // the error of vs[i] is returned by add, in its turn
				break
			}
		}
	}
	e.lock()
	l := e.laneLocked(key)
	for n < len(vs) && !e.closed && e.budget.queue.n == 0 && e.fitsLocked(sizes[n]) && e.openToLocked(l, sizes[n]) {
		b := e.admitLocked(l, vs[n], sizes[n])
		n++
		if b == l.open {
			n += e.admitMoreLocked(b, vs[n:], sizes[n:])
		}
	}
	e.forgetLocked(l)
	e.unlock()
	return n, nil
}

// withdraw takes back an item whose batch no worker has taken yet.
func (e *engine[K, T, R]) withdraw(at spot[K, T, R]) bool {
	e.lock()
	defer e.unlock()
	b := at.batch
	if b.group != at.group || b.inQueued.on == nil {
		return false
	}
	b.noteLocked()
	if b.notes[at.index].size == gone {
		return false
	}
	e.stats.Withdrawn++
	e.dropLocked(b, at.index)
	e.freedLocked()
	return true
}
