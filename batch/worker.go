package batch

import (
	"context"
	"fmt"
	"time"
)

// work is a worker: it takes batches until there is none. It takes mu itself,
// as everything does that a worker calls.
func (e *engine[K, T, R]) work() {
	var b *batch[K, T, R]
	defer func() {
		if b != nil { // the handler called runtime.Goexit, and this goroutine with it
			e.endCall(b)
			e.settle(b, 0, len(b.items), &verdict[R]{err: errGoexit, final: true})
			e.leave(b)
		}
	}()
	for b = e.take(nil); b != nil; b = e.take(b) {
		e.deliver(b, 0, len(b.items), e.opt.Attempts)
	}
}

// take puts the batch done away, if any, and returns the next one. Without one
// the worker is gone.
func (e *engine[K, T, R]) take(done *batch[K, T, R]) *batch[K, T, R] {
	for {
		var expired []T
		e.mu.Lock()
		if done != nil {
			e.putAway(done)
			done = nil
		}
		b := e.nextReady(&expired)
		over := b == nil && e.ready.n == 0
		if over {
			e.workers--
			e.freed()
		}
		r := e.reportExpired(expired)
		e.mu.Unlock()
		e.tell(r)
		if b != nil || over {
			return b
		}
	}
}

// leave ends a worker whose goroutine ends under it; another takes over.
func (e *engine[K, T, R]) leave(b *batch[K, T, R]) {
	e.mu.Lock()
	e.putAway(b)
	e.workers--
	e.spawn()
	e.freed()
	e.mu.Unlock()
}

// putAway frees the key and the place in flight of a batch whose handler has
// returned for good.
func (e *engine[K, T, R]) putAway(b *batch[K, T, R]) {
	l := b.lane
	l.busy = false
	e.inflight.remove(&b.inFlight)
	e.recycle(b)
	e.refresh(l)
}

// nextReady moves the first ready batch into flight, when Pace allows. It
// returns nil if there is none, or if all of it has expired. mu is held.
func (e *engine[K, T, R]) nextReady(expired *[]T) *batch[K, T, R] {
	if e.ready.n > 0 {
		e.pace()
	}
	if e.ready.n == 0 { // or no longer: withdrawn, or given back
		return nil
	}
	l := e.ready.head.of
	b := l.queue.head.of
	if e.expire(b, e.now(), expired) == 0 {
		e.freed()
		return nil
	}
	e.dequeue(b)
	e.inflight.push(&b.inFlight, b)
	l.busy = e.keyed
	b.whole = b.live == len(b.items)
	e.refresh(l)
	e.freed()
	return b
}

// pace waits until another call may start. mu is held, and free while it waits.
func (e *engine[K, T, R]) pace() {
	if e.opt.Pace == 0 {
		return
	}
	now := e.now()
	start := max(now, e.next)
	e.next = start + int64(e.opt.Pace)
	if start > now {
		e.mu.Unlock()
		e.sleep(time.Duration(start - now))
		e.mu.Lock()
	}
}

func (e *engine[K, T, R]) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.base.Done():
	}
}

// call runs the handler once with items, which are [lo, hi) of b, unless Close gave the items back.
func (e *engine[K, T, R]) call(b *batch[K, T, R], items []T, lo, hi int) (v verdict[R], ok bool) {
	turn, ok := e.beginCall(b)
	if !ok {
		return v, false
	}
	ctx, cancel := context.WithTimeout(e.base, e.opt.Timeout)
	defer cancel()
	if e.tickets {
		t := time.AfterFunc(e.opt.patience(), func() { e.overran(b, turn, lo, hi) })
		defer t.Stop()
	}
	n := len(items)
	results, err := e.guarded(ctx, b.lane.key, items)
	if e.endCall(b) {
		return verdict[R]{err: ErrTimeout, final: true}, true
	}
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return e.read(n, results, err), true
}

// guarded turns a panic of the handler into an error.
func (e *engine[K, T, R]) guarded(ctx context.Context, key K, items []T) (results []Result[R], err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return e.handle(ctx, key, items)
}

func (e *engine[K, T, R]) beginCall(b *batch[K, T, R]) (turn uint64, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b.abandoned {
		return 0, false
	}
	b.turn++
	b.calling, b.told = true, false
	b.overdue = e.now() + int64(e.opt.patience())
	e.stats.Calls++
	e.stats.InFlight++
	return b.turn, true
}

// endCall reports whether the callers were told already that it took too long.
func (e *engine[K, T, R]) endCall(b *batch[K, T, R]) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b.calling {
		b.calling = false
		e.stats.InFlight--
	}
	return b.told
}

// overran gives the callers of a call with the items [lo, hi) that ran past its
// time their error. The items stay in the budget and the call in its place until it returns.
func (e *engine[K, T, R]) overran(b *batch[K, T, R], turn uint64, lo, hi int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b.turn == turn && b.calling && !b.abandoned {
		b.told = true
		b.resolve(lo, hi, ErrTimeout)
	}
}
