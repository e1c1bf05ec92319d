package batch

import (
	"context"
	"fmt"
	"reflect"
)

// Audit recomputes from the structure what the engine keeps in counters, and
// returns the first thing that does not fit.
func (b *Batcher[T]) Audit() error   { return b.e.audit() }
func (c *Caller[T, R]) Audit() error { return c.e.audit() }
func (k *Keyed[K, T]) Audit() error  { return k.e.audit() }

// AtRest is Audit for an engine that has nothing left: no worker, no timer, no
// item in any array.
func (b *Batcher[T]) AtRest() error   { return b.e.atRest() }
func (c *Caller[T, R]) AtRest() error { return c.e.atRest() }
func (k *Keyed[K, T]) AtRest() error  { return k.e.atRest() }

func (e *engine[K, T, R]) audit() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	if sum := s.Delivered + s.Failed + s.Expired + s.Withdrawn + s.Returned + s.Pending; s.Admitted != sum {
		return fmt.Errorf("identity: %+v", s)
	}
	var items, bytes int
	for n := e.queued.head; n != nil; n = n.next {
		if err := n.of.audit(); err != nil {
			return err
		}
		if n.of.live == 0 {
			return fmt.Errorf("an empty batch is queued")
		}
		items += n.of.live
		bytes += n.of.bytes
	}
	for n := e.inflight.head; n != nil; n = n.next {
		if !n.of.abandoned {
			items += n.of.live
			bytes += n.of.bytes
		}
	}
	switch head := e.waiters.head; {
	case int64(items) != s.Pending || int64(bytes) != s.PendingBytes:
		return fmt.Errorf("budget: %d items, %d bytes in batches; %+v", items, bytes, s)
	case s.Pending > int64(e.opt.PendingItems) || s.PendingBytes > int64(e.opt.PendingBytes):
		return fmt.Errorf("over budget: %+v", s)
	case e.waiters.n > e.opt.MaxWaiters:
		return fmt.Errorf("%d waiters", e.waiters.n)
	case e.workers > e.opt.InFlight || s.InFlight > int64(e.workers):
		return fmt.Errorf("%d workers, %d calls", e.workers, s.InFlight)
	case e.ready.n > 0 && e.workers == 0:
		return fmt.Errorf("%d lanes are ready and no worker comes", e.ready.n)
	case head != nil && e.fits(head.of.size):
		return fmt.Errorf("a caller waits although there is room: %+v", s)
	case head != nil && e.lingers.n > 0:
		return fmt.Errorf("batches linger although a caller waits")
	case e.lingers.head != nil && (e.armed == 0 || e.armed > e.lingers.head.of.until):
		return fmt.Errorf("batches linger and no timer is set for the first")
	case e.queued.n > 0 && e.armed == 0:
		return fmt.Errorf("items wait and no timer is set for their age")
	}
	return nil
}

func (b *batch[K, T, R]) audit() error {
	live, bytes := 0, 0
	for _, n := range b.notes {
		if n.size != gone {
			live++
			bytes += n.size
		}
	}
	l := b.lane
	switch first := l.queue.head; {
	case live != b.live || bytes != b.bytes:
		return fmt.Errorf("batch: %d items, %d bytes, counted %d, %d", live, bytes, b.live, b.bytes)
	case b.inLane.on != &l.queue:
		return fmt.Errorf("a queued batch is not in its lane")
	case first.of.due && !l.busy && l.ready.on == nil:
		return fmt.Errorf("a lane has a due batch and is not ready")
	}
	return nil
}

func (e *engine[K, T, R]) atRest() error {
	if err := e.audit(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stats.Pending != 0 || e.workers != 0 || e.armed != 0 || e.queued.n+e.inflight.n+e.lingers.n+e.ready.n+e.waiters.n+e.reports.n != 0 {
		return fmt.Errorf("not at rest: %+v, %d workers, timer %d, lists %d %d %d %d %d", e.stats, e.workers, e.armed,
			e.queued.n, e.inflight.n, e.lingers.n, e.ready.n, e.waiters.n)
	}
	if len(e.lanes) != 0 || len(e.spare) > 2 {
		return fmt.Errorf("kept: %d lanes, %d arrays", len(e.lanes), len(e.spare))
	}
	for _, b := range e.spare {
		for _, v := range b.items[:cap(b.items)] {
			if !reflect.ValueOf(&v).Elem().IsZero() {
				return fmt.Errorf("an array was kept uncleared")
			}
		}
	}
	return nil
}

// Admit is the first half of Do; withdraw is what it does when its context ends.
func (c *Caller[T, R]) Admit(v T) (withdraw func() bool, err error) {
	at, err := c.e.add(context.Background(), struct{}{}, v, true)
	return func() bool { return c.e.withdraw(at) }, err
}
