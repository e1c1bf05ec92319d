package batch

import "context"

// flush waits until everything admitted before has an outcome, and the Observer
// has been told. It takes mu itself.
func (e *engine[K, T, R]) flush(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flushes >= e.opt.MaxWaiters {
		e.stats.Rejected++
		return errWaiters
	}
	e.flushes++
	defer func() { e.flushes-- }()
	e.unlinger()
	last, gaveUp := e.seq, e.gaveUp
	for b := e.before(last); b != nil; b = e.before(last) {
		if inside(ctx, e) {
			return errInside
		}
		if b.done == nil {
			b.done = make(chan struct{})
		}
		if err := e.waitFor(ctx, b.done); err != nil {
			return err
		}
	}
	told := e.reported
	for n := e.reports.head; n != nil && n.of.seq <= told; n = e.reports.head {
		if n.of.done == nil {
			n.of.done = make(chan struct{})
		}
		if err := e.waitFor(ctx, n.of.done); err != nil {
			return err
		}
	}
	if e.gaveUp && !gaveUp {
		return ErrClosed
	}
	return nil
}

// before returns a batch up to last that has items without an outcome.
func (e *engine[K, T, R]) before(last uint64) *batch[K, T, R] {
	for n := e.inflight.head; n != nil; n = n.next {
		if n.of.seq <= last && n.of.live > 0 {
			return n.of
		}
	}
	if n := e.queued.head; n != nil && n.of.seq <= last {
		return n.of
	}
	return nil
}

// waitFor lets mu go until ch is closed or ctx ends.
func (e *engine[K, T, R]) waitFor(ctx context.Context, ch chan struct{}) error {
	e.mu.Unlock()
	defer e.mu.Lock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close admits no more and waits for the last worker. When ctx ends first, it
// takes what has no outcome. It takes mu itself.
func (e *engine[K, T, R]) close(ctx context.Context) (*remains[K, T], error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.refuse(ErrClosed)
	e.unlinger()
	for e.stats.Pending > 0 || e.workers+e.reports.n > 0 {
		if inside(ctx, e) {
			return nil, errInside
		}
		if e.idle == nil {
			e.idle = make(chan struct{})
		}
		if err := e.waitFor(ctx, e.idle); err != nil {
			return e.giveBack(err), nil
		}
	}
	e.cancel()
	return nil, nil
}

// remains is what a Close takes along whose context ended.
type remains[K comparable, T any] struct {
	undelivered, inDoubt []kept[K, T]
	stuck                int
	cause                error
}

type kept[K comparable, T any] struct {
	key  K
	item T
}

// giveBack takes every item without an outcome, and ends the contexts of the
// calls that still run. It is nil if there was nothing left after all.
func (e *engine[K, T, R]) giveBack(cause error) *remains[K, T] {
	if e.stats.Pending == 0 && e.stats.InFlight == 0 {
		return nil
	}
	e.gaveUp = true
	e.cancel()
	r := &remains[K, T]{stuck: int(e.stats.InFlight), cause: cause}
	for n := e.queued.head; n != nil; n = e.queued.head {
		b := n.of
		r.undelivered = e.takeBack(r.undelivered, b, errReturned)
		l := b.lane
		e.dequeue(b)
		e.recycle(b)
		e.refresh(l)
	}
	for n := e.inflight.head; n != nil; n = n.next {
		if n.of.live > 0 {
			r.inDoubt = e.takeBack(r.inDoubt, n.of, errAbandoned)
			n.of.abandoned = true
		}
	}
	e.freed()
	return r
}

// takeBack adds the items of b that have no outcome to items. It leaves the
// array alone: a worker may be reading it.
func (e *engine[K, T, R]) takeBack(items []kept[K, T], b *batch[K, T, R], err error) []kept[K, T] {
	for i, n := range b.notes {
		if n.size != gone {
			items = append(items, kept[K, T]{b.lane.key, b.items[i]})
		}
	}
	if e.tickets {
		b.resolve(0, len(b.items), err)
	}
	e.stats.Returned += int64(b.live)
	e.free(b, b.live, b.bytes)
	return items
}

func values[K comparable, T any](items []kept[K, T]) []T {
	vs := make([]T, 0, len(items))
	for _, k := range items {
		vs = append(vs, k.item)
	}
	return vs
}

func byKey[K comparable, T any](items []kept[K, T]) map[K][]T {
	m := make(map[K][]T)
	for _, k := range items {
		m[k.key] = append(m[k.key], k.item)
	}
	return m
}

func (r *remains[K, T]) err() *DrainError[T] {
	return &DrainError[T]{values(r.undelivered), values(r.inDoubt), r.stuck, r.cause}
}
