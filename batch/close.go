package batch

import "context"

// flush waits until everything admitted before has an outcome, and the Observer has been told.
func (e *engine[K, T, R]) flush(ctx context.Context) error {
	e.mustUse(ctx)
	if e.self.calls() {
		return errInside
	}
	e.lock()
	defer e.unlock()
	if e.flushes >= e.opt.MaxWaiters {
		e.stats.Rejected++
		return errWaiters
	}
	e.flushes++
	defer func() { e.flushes-- }()
	e.unlingerLocked()
	last, gaveUp, before := e.lanes.seq, e.gaveUp, e.reports.failed
	for b := e.beforeLocked(last); b != nil; b = e.beforeLocked(last) {
		if inside(ctx, e.self) {
			return errInside
		}
		if b.done == nil {
			b.done = make(chan struct{})
		}
		if err := e.waitForLocked(ctx, b.done); err != nil {
			return err
		}
	}
	told := e.reports.seq
	for n := e.reports.list.head; n != nil && n.of.seq <= told; n = e.reports.list.head {
		if inside(ctx, e.self) {
			return errInside
		}
		if n.of.done == nil {
			n.of.done = make(chan struct{})
		}
		if err := e.waitForLocked(ctx, n.of.done); err != nil {
			return err
		}
	}
	if e.gaveUp && !gaveUp {
		return ErrClosed
	}
	return e.flushedLocked(last, before)
}

// flushedLocked returns an error if items failed or expired since before was counted.
func (e *engine[K, T, R]) flushedLocked(last uint64, before lost) error {
	now := lost{e.stats.Failed, e.stats.Expired}
	e.reports.failed = now
	if now != before {
		return &lossError{"since the last Flush", now.failed - before.failed, now.expired - before.expired, e.reports.last}
	}
	for n := e.lanes.queued.head; n != nil && n.of.seq <= last; n = n.next {
		if n.of.lane.held {
			return errHeld
		}
	}
	return nil
}

// beforeLocked returns a batch up to last that has items without an outcome, and whose key is not
// on hold.
func (e *engine[K, T, R]) beforeLocked(last uint64) *batch[K, T, R] {
	for n := e.flight.list.head; n != nil; n = n.next {
		if n.of.seq <= last && n.of.live > 0 {
			return n.of
		}
	}
	for n := e.lanes.queued.head; n != nil && n.of.seq <= last; n = n.next {
		if !n.of.lane.held {
			return n.of
		}
	}
	return nil
}

// waitForLocked releases mu until ch is closed or ctx ends.
func (e *engine[K, T, R]) waitForLocked(ctx context.Context, ch chan struct{}) error {
	e.unlock()
	defer e.lock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close admits no more and waits for the last worker. When ctx ends first, or only items of keys on
// hold are left, it takes what has no outcome.
func (e *engine[K, T, R]) close(ctx context.Context) (*remains[K, T], error) {
	e.mustUse(ctx)
	called := e.self.calls()
	e.lock()
	defer e.unlock()
	e.closed = true
	e.refuseLocked(ErrClosed)
	e.unlingerLocked()
	for !e.quietLocked() || e.logRestLocked() {
		if called || inside(ctx, e.self) {
			return nil, errInside
		}
		if e.idle == nil {
			e.idle = make(chan struct{})
		}
		if err := e.waitForLocked(ctx, e.idle); err != nil {
			if r := e.giveBackLocked(err); r != nil {
				return r, nil
			}
			if e.idle != nil { // a worker is leaving, and runs no code of the user
				_ = e.waitForLocked(context.Background(), e.idle)
			}
		}
	}
	if e.stats.Pending > 0 {
		return e.giveBackLocked(errHeld), nil
	}
	e.cancel()
	if lost := e.stats.Failed + e.stats.Expired; lost > 0 && e.opt.Observer == nil && !e.tickets {
		return nil, &lossError{"since the batcher was made, and Options.Observer is not set to be told of each", e.stats.Failed, e.stats.Expired, e.reports.last}
	}
	return nil, nil
}

// logRestLocked has logged what no line has told of yet, and reports whether there is any. A log
// handler that hangs must not hold up Close, so it gets a goroutine.
func (e *engine[K, T, R]) logRestLocked() bool {
	if e.unloggedLocked() == 0 {
		return false
	}
	e.reports.line = 0 // a line is due
	r := e.reportLocked(nil, nil)
	go func() {
		r.by = goroutine()
		e.tell(r)
	}()
	return true
}

// lost counts items.
type lost struct{ failed, expired int64 }

// remains are the items that a Close gives back.
type remains[K comparable, T any] struct {
	undelivered, inDoubt []Entry[K, T]
	stuck                int
	cause                error
}

// giveBackLocked takes every item without an outcome, and ends the contexts of the calls that still
// run. It returns nil if no item was left and no Observer is still being told.
func (e *engine[K, T, R]) giveBackLocked(cause error) *remains[K, T] {
	if e.stats.Pending == 0 && e.stats.InFlight == 0 && e.reports.list.n == 0 {
		return nil
	}
	e.gaveUp = true
	e.cancel()
	r := &remains[K, T]{stuck: int(e.stats.InFlight), cause: cause}
	for n := e.flight.list.head; n != nil; n = n.next {
		b := n.of
		if b.live > 0 {
			if b.begun {
				r.inDoubt = e.takeBackLocked(r.inDoubt, b, errAbandoned)
			} else {
				r.undelivered = e.takeBackLocked(r.undelivered, b, errReturned)
			}
			b.abandoned = true
		}
		if b.calling {
			b.cancel()
		}
	}
	for n := e.lanes.queued.head; n != nil; n = e.lanes.queued.head {
		b := n.of
		r.undelivered = e.takeBackLocked(r.undelivered, b, errReturned)
		l := b.lane
		e.dequeueLocked(b)
		clear(b.items)
		e.recycleLocked(b)
		e.refreshLocked(l)
	}
	e.freedLocked()
	return r
}

// takeBackLocked adds the items of b that have no outcome to items. It leaves the array alone: a
// worker may be reading it.
func (e *engine[K, T, R]) takeBackLocked(items []Entry[K, T], b *batch[K, T, R], err error) []Entry[K, T] {
	b.noteLocked()
	for i, n := range b.notes {
		if n.size != gone {
			items = append(items, Entry[K, T]{b.lane.key, b.items[i]})
		}
	}
	if e.tickets {
		b.resolveLocked(0, len(b.items), err)
	}
	e.stats.Returned += int64(b.live)
	e.freeLocked(b, b.live, b.bytes)
	return items
}

// drained turns the remains into the DrainError of a batcher without keys.
func drained[K comparable, T any](r *remains[K, T], err error) error {
	if r == nil {
		return err
	}
	values := func(entries []Entry[K, T]) []T {
		vs := make([]T, 0, len(entries))
		for _, x := range entries {
			vs = append(vs, x.Item)
		}
		return vs
	}
	return &DrainError[T]{values(r.undelivered), values(r.inDoubt), r.stuck, r.cause}
}
