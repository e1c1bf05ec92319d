package batch

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"
)

// A verdict is the result of one call of the handler, for its items.
type verdict[R any] struct {
	results []Result[R]   // one for each item, or nil
	err     error         // of every item
	items   map[int]error // of the items that failed, by their index in the call, if err is nil
	partial bool          // a result has an error
	final   bool          // nothing is tried again
	settled bool          // the items have their outcomes already
	after   time.Duration // the least delay that the handler asked for, for these items
	pause   time.Duration // the same for all batches
}

// of returns the result of the item at index i of the call.
func (v *verdict[R]) of(i int) Result[R] {
	switch err, failed := v.items[i]; {
	case v.err != nil:
		return Result[R]{Err: v.err}
	case failed:
		return Result[R]{Err: err}
	case v.results != nil:
		return v.results[i]
	}
	return Result[R]{}
}

// good reports whether all items were delivered.
func (v *verdict[R]) good() bool { return v.err == nil && v.items == nil && !v.partial }

// delay notes what err asks for, if it is a Failure.
func (v *verdict[R]) delay(err error) {
	var f *Failure
	if !errors.As(err, &f) || f == nil {
		return
	}
	v.after = max(v.after, f.RetryAfter)
	if f.PauseAll {
		v.pause = max(v.pause, f.RetryAfter)
	}
}

// readError makes a verdict of the error that a handler returned for n items. late says that it
// returned after its Timeout.
func readError[R any](n int, results []Result[R], err error, late bool) (v verdict[R]) {
	v.delay(err)
	var f *Failure
	if !errors.As(err, &f) {
		v.err = orTimeout(err, late)
		return v
	}
	if f != nil && f.Items == nil {
		v.err = orTimeout(err, late)
		return v
	}
	if len(results) != n && len(results) != 0 {
		err = fmt.Errorf("batch: the handler returned %d results for %d items, so the whole batch failed: return one for each, in their order, or none: %w", len(results), n, err)
		return verdict[R]{err: err, final: true}
	}
	v.items = make(map[int]error)
	if len(results) == n {
		v.results = timedOut(results, late)
	}
	if f == nil {
		return v
	}
	for i := range f.Items {
		if i < 0 || i >= n {
			bad := fmt.Errorf("batch: Failure.Items has the index %d in a batch of %d, so the whole batch failed: use the indexes of the slice that the handler was given: %w", i, n, err)
			return verdict[R]{err: bad, final: true}
		}
		e := f.of(i)
		v.delay(e)
		v.items[i] = orTimeout(e, late)
	}
	return v
}

func orTimeout(err error, late bool) error {
	if late {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}

// A fate is what became of a part of a batch.
type fate int

const (
	settled fate = iota // its items have their outcomes
	refused             // the call failed because one of its items is bad; none has an outcome
	spoiled             // the same for a single item, which failed
)

// try hands over the items [lo, hi) of b that have no outcome. Items that failed with an error
// worth another attempt are handed over again.
func (e *engine[K, T, R]) try(b *batch[K, T, R], lo, hi int) fate {
	for attempt := 1; ; attempt++ {
		n := b.left(lo, hi)
		if n == 0 || b.over {
			return settled
		}
		if b.tried {
			e.wait(b.delay)
		}
		var v verdict[R]
		if !e.call(b, lo, hi, n, &v) {
			b.over = true
			return settled
		}
		if v.settled {
			return settled
		}
		b.tried = true
		b.delay = e.heed(&v, attempt)
		if e.bad(&v) {
			if n > 1 {
				return refused
			}
			v.final = true
			e.settle(b, lo, hi, &v)
			return spoiled
		}
		v.final = v.final || e.most == 1 || e.tooOld(b, b.delay)
		if e.settle(b, lo, hi, &v) == 0 {
			return settled
		}
	}
}

// heed starts the pause that a call asked for. It returns how long to wait before the next call
// with items of the batch.
func (e *engine[K, T, R]) heed(v *verdict[R], attempt int) time.Duration {
	if v.pause > 0 {
		e.lock()
		e.pauseLocked(v.pause)
		e.unlock()
	}
	return max(e.backoff(attempt), v.after)
}

// bad reports whether a call failed because one of its items is bad.
func (e *engine[K, T, R]) bad(v *verdict[R]) bool {
	if v.err == nil || v.final || e.opt.Split == nil || !e.known(v.err) {
		return false
	}
	defer e.self.leave(e.self.enter(goroutine()))
	return e.opt.Split(v.err)
}

// again reports whether an item that failed is worth another attempt.
func (e *engine[K, T, R]) again(err error) bool {
	return e.known(err) && (e.opt.Retry == nil || e.opt.Retry(err))
}

// known reports whether another attempt is safe: err says that the items took no effect, or they
// are idempotent.
func (e *engine[K, T, R]) known(err error) bool { return e.opt.Idempotent || !unknown(err) }

// isolate finds the bad items of [lo, hi), which was refused as a whole, and delivers the others.
// It goes from left to right, which preserves the order of the items.
//
// With L = log2(n), rounded up, for n items: finding the first bad item takes at most L+1 calls.
// Then up to L items are tried alone, until one is delivered: that is the end of a run of bad
// items. What follows is tried as a whole. So a run of k <= L bad items takes at most L+k+2 calls,
// and every item has the outcome of its own call. After L items in a row, parts of 2, 4, 8, … items
// are tried, and given up when they are refused: 3L+2 calls, however long the run is.
func (e *engine[K, T, R]) isolate(b *batch[K, T, R], lo, hi int) {
	for lo < hi {
		next, found := e.first(b, lo, hi)
		if found {
			next = e.pass(b, next, hi)
		}
		if e.part(b, next, hi) != refused {
			return
		}
		lo = next
	}
}

// first finds the first bad item of the refused part [lo, hi), by bisection. It returns the index
// behind it.
func (e *engine[K, T, R]) first(b *batch[K, T, R], lo, hi int) (next int, found bool) {
	for {
		n := b.left(lo, hi)
		if n <= 1 {
			return hi, e.part(b, lo, hi) == spoiled
		}
		mid := b.after(lo, hi, n/2)
		switch e.part(b, lo, mid) {
		case refused:
			hi = mid
		case spoiled:
			return mid, true
		case settled:
			lo = mid
		}
	}
}

// pass finds the end of a run of bad items that may go on at lo. It returns the index behind the
// items that have an outcome by then.
func (e *engine[K, T, R]) pass(b *batch[K, T, R], lo, hi int) (next int) {
	alone := log2(len(b.items))
	for i := 0; lo < hi; i++ {
		mid := b.after(lo, hi, 1<<max(0, i-alone+1))
		fate := e.part(b, lo, mid)
		if fate == refused {
			e.giveUp(b, lo, mid, false)
		}
		lo = mid
		if fate == settled {
			break
		}
	}
	return lo
}

// part tries a part of a batch that was refused. It gives up items that were handed over too often
// or are too old.
func (e *engine[K, T, R]) part(b *batch[K, T, R], lo, hi int) fate {
	e.giveUp(b, lo, hi, !e.tooOld(b, b.delay))
	return e.try(b, lo, hi)
}

// giveUp ends the items [lo, hi) of b that were never tried without the others. With used, it ends
// only items that have no attempt left.
func (e *engine[K, T, R]) giveUp(b *batch[K, T, R], lo, hi int, used bool) {
	v := verdict[R]{err: errGivenUp, final: true}
	from := lo
	for i := lo; i < hi; i++ {
		if used && int(b.notes[i].tries) < e.most {
			if from < i {
				e.settle(b, from, i, &v)
			}
			from = i + 1
		}
	}
	if from < hi {
		e.settle(b, from, hi, &v)
	}
}

// log2 is the logarithm of n, rounded up.
func log2(n int) int { return bits.Len(uint(n - 1)) }

// rest returns the n items of [lo, hi) that have no outcome, in a new slice.
func (b *batch[K, T, R]) rest(lo, hi, n int) []T {
	items := make([]T, 0, n)
	if b.whole {
		return append(items, b.items[lo:hi]...)
	}
	for i := lo; i < hi; i++ {
		if b.notes[i].size != gone {
			items = append(items, b.items[i])
		}
	}
	return items
}

// count counts a hand-over of the items [lo, hi).
func (b *batch[K, T, R]) count(lo, hi int) {
	for i := lo; i < hi; i++ {
		b.notes[i].tries++
	}
}

// left returns how many of the items [lo, hi) have no outcome.
func (b *batch[K, T, R]) left(lo, hi int) (n int) {
	if b.whole {
		return hi - lo
	}
	for i := lo; i < hi; i++ {
		if b.notes[i].size != gone {
			n++
		}
	}
	return n
}

// after returns the index behind the first n of the items [lo, hi) that have no outcome, or hi.
func (b *batch[K, T, R]) after(lo, hi, n int) int {
	for i := lo; i < hi; i++ {
		if b.notes[i].size != gone {
			n--
		}
		if n == 0 {
			return i + 1
		}
	}
	return hi
}

// tooOld reports whether the oldest item will be past MaxAge after d.
func (e *engine[K, T, R]) tooOld(b *batch[K, T, R], d time.Duration) bool {
	return b.notes[0].stamp+int64(e.opt.MaxAge)-e.now() <= int64(d)
}

// backoff returns how long to wait after this attempt: the delay doubles each time, and jitter
// picks a value between half of it and all of it.
func (e *engine[K, T, R]) backoff(attempt int) time.Duration {
	d := e.opt.Backoff
	for i := 1; i < attempt && d < time.Minute; i++ {
		d = min(2*d, time.Minute)
	}
	return d/2 + rand.N(d/2+1)
}

// wait holds the batch back before another call with its items.
func (e *engine[K, T, R]) wait(d time.Duration) {
	e.sleep(d)
	e.lock()
	defer e.unlock()
	e.stats.Retries++
	e.paceLocked()
}

// settle gives the items [lo, hi) of b their outcome, and returns how many have none yet because
// they are worth another attempt.
func (e *engine[K, T, R]) settle(b *batch[K, T, R], lo, hi int, v *verdict[R]) (left int) {
	again := e.judge(b, lo, hi, v)
	e.lock()
	if b.abandoned {
		e.unlock()
		return 0
	}
	said, rooms, left := e.settleEachLocked(b, lo, hi, v, again)
	r := e.reportLocked(said, rooms)
	e.freedLocked()
	e.unlock()
	e.tell(r)
	return left
}

// deliverLocked gives every item of b its outcome, if all were delivered and nobody observes it.
func (e *engine[K, T, R]) deliverLocked(b *batch[K, T, R], v *verdict[R]) {
	if e.tickets {
		b.group.setAll(v.results)
	}
	e.stats.Delivered += int64(b.live)
	e.freeLocked(b, b.live, b.bytes)
}

// judge asks Retry about the errors of v, with mu free. It returns the indexes of b to be tried
// again.
func (e *engine[K, T, R]) judge(b *batch[K, T, R], lo, hi int, v *verdict[R]) map[int]bool {
	if v.final || e.retries == 1 || v.good() {
		return nil
	}
	if e.opt.Retry != nil {
		defer e.self.leave(e.self.enter(goroutine()))
	}
	var again map[int]bool
	shared := v.err != nil && e.again(v.err)
	i := -1
	for k := lo; k < hi; k++ {
		if b.notes[k].size == gone {
			continue
		}
		i++
		err := v.of(i).Err
		if err == nil || int(b.notes[k].tries) >= e.retries || v.err != nil && !shared || v.err == nil && !e.again(err) {
			continue
		}
		if again == nil {
			again = make(map[int]bool)
		}
		again[k] = true
	}
	return again
}

// settleEachLocked is settle with mu held. It returns the outcomes to tell the Observer.
func (e *engine[K, T, R]) settleEachLocked(b *batch[K, T, R], lo, hi int, v *verdict[R], again map[int]bool) (said []outcome[T], rooms []room[K, T, R], left int) {
	b.noteLocked()
	if e.tickets {
		b.group.begin(len(b.items))
		defer b.group.end()
	}
	i, failed := -1, false
	for k := lo; k < hi; k++ {
		size := int(b.notes[k].size)
		if size == gone {
			continue
		}
		i++
		r := v.of(i)
		switch {
		case r.Err == nil:
			e.stats.Delivered++
		case again[k]:
			left++
			continue
		default:
			failed = true
			e.stats.Failed++
			e.reports.last = r.Err
			e.reserveLocked(b.lane, &rooms, size)
		}
		if e.tickets {
			b.group.set(k, r)
		}
		if e.opt.Observer != nil {
			said = addTo(said, b.items[k], r.Err, v.err != nil)
		}
		e.freeLocked(b, 1, size)
		b.end(k)
		b.whole = false
	}
	if failed {
		e.holdLocked(b.lane)
	}
	return said, rooms, left
}
