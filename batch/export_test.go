package batch

import (
	"context"
	"fmt"
	"reflect"
)

// Audit recomputes the engine's counters from its lists, and returns the first difference.
func (b *Batcher[T]) Audit() error   { return b.e.audit() }
func (c *Caller[T, R]) Audit() error { return c.e.audit() }
func (k *Keyed[K, T]) Audit() error  { return k.e.audit() }

// AtRest is Audit for an engine that has nothing left: no worker, no timer, no item in any array.
func (b *Batcher[T]) AtRest() error   { return b.e.atRest() }
func (c *Caller[T, R]) AtRest() error { return c.e.atRest() }
func (k *Keyed[K, T]) AtRest() error  { return k.e.atRest() }

func (e *engine[K, T, R]) audit() error {
	e.mu.Lock()
	err := e.auditQuickLocked()
	e.mu.Unlock()
	if err != nil {
		return err
	}
	e.lock()
	defer e.mu.Unlock()
	s := e.stats
	if sum := s.Delivered + s.Failed + s.Expired + s.Withdrawn + s.Returned + s.Pending; s.Admitted != sum {
		return fmt.Errorf("identity: %+v", s)
	}
	var items, bytes int
	for n := e.lanes.queued.head; n != nil; n = n.next {
		n.of.noteLocked()
		if err := n.of.audit(); err != nil {
			return err
		}
		if n.of.live == 0 {
			return fmt.Errorf("an empty batch is queued")
		}
		items += n.of.live
		bytes += n.of.bytes
	}
	for n := e.flight.list.head; n != nil; n = n.next {
		if !n.of.abandoned {
			items += n.of.live
			bytes += n.of.bytes
		}
	}
	if int64(items) != s.Pending || int64(bytes) != s.PendingBytes {
		return fmt.Errorf("budget: %d items, %d bytes in batches; %+v", items, bytes, s)
	}
	if err := e.auditBudget(); err != nil {
		return err
	}
	if err := e.auditKeys(); err != nil {
		return err
	}
	q := &e.lanes
	switch {
	case e.flight.workers > e.opt.InFlight || s.InFlight > int64(e.flight.workers):
		return fmt.Errorf("%d workers, %d calls", e.flight.workers, s.InFlight)
	case q.ready.n > 0 && e.flight.workers == 0:
		return fmt.Errorf("%d lanes are ready and no worker comes", q.ready.n)
	case q.lingers.head != nil && (e.alarm.at == 0 || e.alarm.at > q.lingers.head.of.until):
		return fmt.Errorf("batches linger and no timer is set for the first")
	case q.queued.n > 0 && e.alarm.at == 0:
		return fmt.Errorf("items wait and no timer is set for their age")
	}
	for n := q.lingers.head; n != nil; n = n.next {
		if n.of.bytes >= e.opt.MaxBytes || n.of.asked && e.flight.list.n == 0 {
			return fmt.Errorf("a batch lingers that is full, or asked for while nothing is in flight")
		}
	}
	return nil
}

// auditQuickLocked checks what is true while items are admitted without a look at anything else.
func (e *engine[K, T, R]) auditQuickLocked() error {
	q := &e.quick
	places := q.places.Load()
	if places == 0 {
		return nil
	}
	b, pending, bytes := e.lanes.only.open, int(e.stats.Pending), int(e.stats.PendingBytes)
	n, room := int(q.first>>32), int(uint32(q.first))
	if e.closed || e.budget.waiting > 0 || b == nil || b != q.batch || b.due || &q.items[0] != &b.items[0] ||
		len(q.items) != len(b.items)+n || len(q.items) >= e.opt.MaxItems || pending+n+e.budget.reserved >= e.opt.PendingItems || q.filled.Load() > int64(n) ||
		uint32(places) < 1 || e.opt.SizeOf != nil && (b.bytes+room > e.opt.MaxBytes || bytes+room+e.budget.reservedBytes > e.opt.PendingBytes || len(b.notes) != len(b.items)) {
		return fmt.Errorf("up to %d items and %d bytes are admitted quickly: %+v", n, room, e.stats)
	}
	return nil
}

func (e *engine[K, T, R]) auditBudget() error {
	s, q := e.stats, &e.budget
	var rooms, roomBytes int
	for n := e.reports.list.head; n != nil; n = n.next {
		for _, m := range n.of.rooms {
			rooms += m.items
			roomBytes += m.bytes
		}
	}
	switch head := q.queue.head; {
	case rooms != q.reserved || roomBytes != q.reservedBytes:
		return fmt.Errorf("%d items, %d bytes reserved by reports, counted %d, %d", rooms, roomBytes, q.reserved, q.reservedBytes)
	case s.Pending+int64(q.reserved) > int64(e.opt.PendingItems) || s.PendingBytes+int64(q.reservedBytes) > int64(e.opt.PendingBytes):
		return fmt.Errorf("over budget: %+v, %d items, %d bytes reserved", s, q.reserved, q.reservedBytes)
	case q.waiting > e.opt.MaxWaiters:
		return fmt.Errorf("%d waiters", q.waiting)
	case head != nil && e.fitsLocked(head.of.size):
		return fmt.Errorf("a caller waits although there is room: %+v", s)
	case head != nil && e.lanes.lingers.n > 0:
		return fmt.Errorf("batches linger although a caller waits")
	case e.lanes.lingers.n > 0 && (s.Pending == int64(e.opt.PendingItems) || s.PendingBytes == int64(e.opt.PendingBytes) && s.PendingBytes > 0):
		return fmt.Errorf("batches linger although the budget is full")
	}
	return nil
}

func (e *engine[K, T, R]) auditKeys() error {
	held, waiting := 0, 0
	for key, l := range e.lanes.byKey {
		if l.held {
			held++
		}
		waiting += l.waiting
		items, bytes := 0, 0
		count := func(b *batch[K, T, R]) {
			if b.lane == l && !b.abandoned {
				items += b.live
				bytes += b.bytes
			}
		}
		for n := l.queue.head; n != nil; n = n.next {
			count(n.of)
		}
		for n := e.flight.list.head; n != nil; n = n.next {
			count(n.of)
		}
		switch {
		case items != l.items || bytes != l.bytes:
			return fmt.Errorf("key %v: %d items, %d bytes, counted %d, %d", key, items, bytes, l.items, l.bytes)
		case l.items > e.budget.keyItems:
			return fmt.Errorf("key %v has %d items, more than its share of %d", key, l.items, e.budget.keyItems)
		case l.blocked.head != nil && e.shareLocked(l, l.blocked.head.of.size):
			return fmt.Errorf("key %v: a caller waits for the share although there is room", key)
		case l.waiting != l.blocked.n+l.claims:
			return fmt.Errorf("key %v: %d waiting, %d blocked, %d claims", key, l.waiting, l.blocked.n, l.claims)
		case l.open != nil && !l.open.due && (l.blocked.n > 0 || !e.shareLocked(l, 0)):
			return fmt.Errorf("key %v lingers although nothing can join it", key)
		case l.items == 0 && !l.busy && !l.held && l.waiting == 0 && l.reserved == 0:
			return fmt.Errorf("key %v is remembered for nothing", key)
		}
	}
	if held != e.lanes.held || e.keyed && waiting != e.budget.waiting {
		return fmt.Errorf("%d keys on hold, counted %d; %d callers wait, counted %d", held, e.lanes.held, waiting, e.budget.waiting)
	}
	return nil
}

func (b *batch[K, T, R]) audit() error {
	live, bytes := 0, 0
	for _, n := range b.notes {
		if n.size != gone {
			live++
			bytes += int(n.size)
		}
	}
	l := b.lane
	switch first := l.queue.head; {
	case live != b.live || bytes != b.bytes:
		return fmt.Errorf("batch: %d items, %d bytes, counted %d, %d", live, bytes, b.live, b.bytes)
	case b.inLane.on != &l.queue:
		return fmt.Errorf("a queued batch is not in its lane")
	case (first.of.due && !l.busy && !l.held) != (l.ready.on != nil):
		return fmt.Errorf("a lane is ready: %v; due %v, busy %v, held %v", l.ready.on != nil, first.of.due, l.busy, l.held)
	}
	return nil
}

func (e *engine[K, T, R]) atRest() error {
	if err := e.audit(); err != nil {
		return err
	}
	e.lock()
	defer e.mu.Unlock()
	q := &e.lanes
	if e.stats.Pending != 0 || e.flight.workers != 0 || e.alarm.at != 0 || q.queued.n+e.flight.list.n+q.lingers.n+q.ready.n+e.budget.waiting+e.reports.list.n != 0 {
		return fmt.Errorf("not at rest: %+v, %d workers, timer %d, lists %d %d %d %d %d", e.stats, e.flight.workers, e.alarm.at,
			q.queued.n, e.flight.list.n, q.lingers.n, q.ready.n, e.budget.waiting)
	}
	if len(q.byKey) != q.held || len(q.spare) > 2 {
		return fmt.Errorf("kept: %d lanes, %d on hold, %d arrays", len(q.byKey), q.held, len(q.spare))
	}
	for _, b := range q.spare {
		if b.watch != nil && b.watch.Stop() {
			return fmt.Errorf("the timer of a call runs")
		}
		for _, v := range b.items[:cap(b.items)] {
			if !reflect.ValueOf(&v).Elem().IsZero() {
				return fmt.Errorf("an array was kept uncleared")
			}
		}
	}
	return nil
}

// CloseBeforeTheCall closes b when its only worker has taken vs, and has not called the handler yet.
func (b *Batcher[T]) CloseBeforeTheCall(ctx context.Context, vs ...T) error {
	e := b.e
	e.lock()
	e.flight.workers = 1 // the caller is the worker
	e.unlock()
	if _, err := b.AddAll(ctx, vs); err != nil {
		return err
	}
	e.lock()
	e.unlingerLocked()
	e.unlock()
	taken := e.take(nil)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	err := b.Close(ended)
	for ; taken != nil; taken = e.take(taken) {
		e.try(taken, 0, len(taken.items))
	}
	return err
}

// FireLate does what the timers of earlier calls do if they fire late, during the calls in flight.
func (c *Caller[T, R]) FireLate() {
	c.e.lock()
	var bs []*batch[any, T, R]
	for n := c.e.flight.list.head; n != nil; n = n.next {
		bs = append(bs, n.of)
	}
	c.e.mu.Unlock()
	for _, b := range bs {
		c.e.overran(b)
	}
}

// Admit is the first half of Do; withdraw is what it does when its context ends.
func (c *Caller[T, R]) Admit(v T) (withdraw func() bool, err error) {
	at, err := c.add(context.Background(), v, false)
	return func() bool { return c.e.withdraw(at) }, err
}
