package batch

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// spawnLocked has a worker started if there is a batch for it and a call left.
func (e *engine[K, T, R]) spawnLocked() {
	if e.lanes.ready.n > 0 && e.flight.workers < e.opt.InFlight {
		e.flight.workers++
		e.flight.starting++
	}
}

// work is a worker: it takes batches until there is none.
func (e *engine[K, T, R]) work() {
	var b *batch[K, T, R]
	defer func() {
		if b != nil { // the handler called runtime.Goexit, which ends this goroutine
			v := verdict[R]{err: errGoexit, final: true}
			e.endCall(b, &v)
			e.settle(b, 0, len(b.items), &v)
			e.leave(b)
		}
	}()
	for b = e.take(nil); b != nil; b = e.take(b) {
		if e.try(b, 0, len(b.items)) == refused {
			e.isolate(b, 0, len(b.items))
		}
	}
}

// take puts the batch done away, if any, and returns the next one. Without one the worker is gone.
func (e *engine[K, T, R]) take(done *batch[K, T, R]) *batch[K, T, R] {
	if done != nil {
		clear(done.items) // not with mu held, since that holds up those who add
	}
	for {
		var lost expired[K, T, R]
		e.lock()
		if done != nil {
			e.putAwayLocked(done)
			done = nil
		}
		b := e.nextReadyLocked(&lost)
		over := b == nil && e.lanes.ready.n == 0
		if over {
			e.flight.workers--
			e.freedLocked()
		}
		r := e.reportExpiredLocked(&lost)
		e.unlock()
		e.tell(r)
		if b != nil || over {
			return b
		}
	}
}

// leave ends a worker whose goroutine the handler has ended. Another worker takes over.
func (e *engine[K, T, R]) leave(b *batch[K, T, R]) {
	clear(b.items)
	e.lock()
	defer e.unlock()
	e.putAwayLocked(b)
	e.flight.workers--
	e.spawnLocked()
	e.freedLocked()
}

// putAwayLocked frees the key and the place in flight of a batch whose last call has returned.
func (e *engine[K, T, R]) putAwayLocked(b *batch[K, T, R]) {
	l := b.lane
	l.busy = false
	e.flight.list.remove(&b.inFlight)
	e.recycleLocked(b)
	e.refreshLocked(l)
	e.commitLocked()
}

// nextReadyLocked moves the first ready batch into flight, when Pace allows. It returns nil if
// there is none, or if all of it has expired. It releases mu while it waits for Pace.
func (e *engine[K, T, R]) nextReadyLocked(lost *expired[K, T, R]) *batch[K, T, R] {
	if e.lanes.ready.n > 0 {
		e.paceLocked()
	}
	if e.lanes.ready.n == 0 { // or no longer: withdrawn, or given back
		return nil
	}
	l := e.lanes.ready.head.of
	b := l.queue.head.of
	if e.expireLocked(b, e.now(), lost) == 0 || l.held { // held because an item has just expired
		e.freedLocked()
		return nil
	}
	e.dequeueLocked(b)
	e.flight.list.push(&b.inFlight, b)
	l.busy = e.keyed
	b.whole = b.live == len(b.items)
	if e.most > 1 {
		b.noteLocked()
	}
	e.refreshLocked(l)
	e.freedLocked()
	return b
}

// paceLocked waits until another call may start. It releases mu while it waits.
func (e *engine[K, T, R]) paceLocked() {
	if e.opt.Pace == 0 && e.flight.paused == 0 {
		return
	}
	for e.base.Err() == nil {
		now := e.now()
		start := max(now, e.flight.next, e.flight.paused)
		if start == now {
			e.flight.next = now + int64(e.opt.Pace)
			return
		}
		e.unlock()
		e.sleep(time.Duration(start - now))
		e.lock()
	}
}

// longestPause is the longest time for which a handler can pause all calls.
const longestPause = 24 * time.Hour

// pauseLocked lets no call start for d.
func (e *engine[K, T, R]) pauseLocked(d time.Duration) {
	e.flight.paused = max(e.flight.paused, e.now()+int64(min(d, longestPause)))
}

// sleep waits for d, or until Close gives up.
func (e *engine[K, T, R]) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.base.Done():
	}
}

// call runs the handler once with the n items of [lo, hi) of b without an outcome. If Close gave
// the items back, it makes no call and reports false.
//
// A goroutine starts with 2 KB of stack, and to double it takes longer than all else that is done
// for a lone Do. So the frames from work to here are small.
func (e *engine[K, T, R]) call(b *batch[K, T, R], lo, hi, n int, v *verdict[R]) (ok bool) {
	ctx, cancel := context.WithDeadline(e.root, time.Now().Add(e.opt.Timeout))
	defer cancel()
	if !e.beginCall(b, lo, hi, cancel) {
		return false
	}
	e.run(ctx, b, lo, hi, n, v)
	return true
}

// run is call once the call counts as in flight.
func (e *engine[K, T, R]) run(ctx context.Context, b *batch[K, T, R], lo, hi, n int, v *verdict[R]) {
	e.guarded(ctx, b.lane.key, b.rest(lo, hi, n), v)
	if e.endCall(b, v) {
		*v = verdict[R]{err: ErrTimeout, final: true, after: v.after, pause: v.pause}
	}
}

// guarded turns a panic of the handler, or of a method of its error, into an error.
func (e *engine[K, T, R]) guarded(ctx context.Context, key K, items []T, v *verdict[R]) {
	n := len(items) // the slice is the handler's from now on
	defer func() {
		if p := recover(); p != nil {
			*v = verdict[R]{err: orTimeout(panicked(p), ctx.Err() == context.DeadlineExceeded)}
		}
	}()
	results, err := e.handle(ctx, key, items)
	e.read(v, n, results, err, ctx.Err() == context.DeadlineExceeded)
}

func (e *engine[K, T, R]) beginCall(b *batch[K, T, R], lo, hi int, cancel context.CancelFunc) (ok bool) {
	e.lock()
	defer e.unlock()
	if b.abandoned {
		return false
	}
	if e.most > 1 {
		b.count(lo, hi)
	}
	b.begun, b.calling, b.told, b.from, b.to, b.cancel = true, true, false, lo, hi, cancel
	b.overdue = e.now() + int64(e.opt.patience())
	e.stats.Calls++
	e.stats.InFlight++
	switch {
	case !e.tickets:
	case b.watch == nil:
		b.watch = time.AfterFunc(e.opt.patience(), func() { e.overran(b) })
	default:
		b.watch.Reset(e.opt.patience())
	}
	return true
}

// endCall ends a call, and settles its items if v says that all of the batch was delivered. It
// reports whether the callers were told already that the call took too long.
func (e *engine[K, T, R]) endCall(b *batch[K, T, R], v *verdict[R]) (told bool) {
	e.lock()
	defer e.unlock()
	if b.calling {
		b.calling, b.cancel = false, nil
		e.stats.InFlight--
		if e.tickets {
			b.watch.Stop()
		}
	}
	if !b.told && !b.abandoned && b.whole && b.to-b.from == len(b.items) && v.good() && e.opt.Observer == nil {
		e.deliverLocked(b, v)
		e.freedLocked()
		v.settled = true
	}
	return b.told
}

// overran tells ErrTimeout to the callers whose items are in the call of b, if it has run past its
// time: the timer may have fired for an earlier call. The items stay in the budget, and the call
// counts as in flight, until it returns.
func (e *engine[K, T, R]) overran(b *batch[K, T, R]) {
	e.lock()
	defer e.unlock()
	if b.calling && !b.abandoned && b.overdue <= e.now() {
		b.told = true
		b.resolveLocked(b.from, b.to, ErrTimeout)
	}
}

// read makes a verdict of what the handler returned for n items.
func (e *engine[K, T, R]) read(v *verdict[R], n int, results []Result[R], err error, late bool) {
	switch {
	case err != nil:
		*v = readError(n, results, err, late)
	case e.tickets && len(results) != n:
		err = fmt.Errorf("batch: the handler returned %d results for %d items: return one for each, in their order", len(results), n)
		*v = verdict[R]{err: err, final: true}
	default:
		*v = verdict[R]{results: timedOut(results, late)}
	}
	for i := range v.results {
		if err := v.results[i].Err; err != nil {
			v.partial = true
			v.delay(err)
		}
	}
}

// timedOut returns results. If late, every error in them says so.
func timedOut[R any](results []Result[R], late bool) []Result[R] {
	if !late {
		return results
	}
	results = slices.Clone(results)
	for i, r := range results {
		if r.Err != nil {
			results[i].Err = orTimeout(r.Err, true)
		}
	}
	return results
}
