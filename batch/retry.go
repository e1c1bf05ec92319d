package batch

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"
)

// A verdict is what one call of the handler made of its items.
type verdict[R any] struct {
	results []Result[R] // one an item, or nil
	err     error       // of every item, or of the failed ones
	failed  []bool      // by item; nil when err is of every item
	final   bool        // nothing is tried again
	again   []bool      // by item: worth another attempt; filled by judge
}

func (v *verdict[R]) whole() bool { return v.err != nil && v.failed == nil }

// of returns the result of the item at index i of the call.
func (v *verdict[R]) of(i int) Result[R] {
	switch {
	case v.err != nil && (v.failed == nil || v.failed[i]):
		return Result[R]{Err: v.err}
	case v.results != nil:
		return v.results[i]
	}
	return Result[R]{}
}

// deliver calls the handler with the items [lo, hi) of b until all of them
// have an outcome: so many times with what is left of them, then with halves.
func (e *engine[K, T, R]) deliver(b *batch[K, T, R], lo, hi, attempts int) {
	var delay time.Duration
	for attempt := 1; ; attempt++ {
		items := b.rest(lo, hi)
		if len(items) == 0 {
			return
		}
		if e.hopeless(b) {
			e.settle(b, lo, hi, &verdict[R]{err: b.lastErr, final: true})
			return
		}
		if b.tried {
			e.wait(delay)
		}
		b.tried = true
		v, ok := e.call(b, items, lo, hi)
		if !ok {
			return
		}
		e.judge(&v, len(items))
		delay = e.backoff(attempt)
		last := attempt >= attempts || e.tooOld(b, delay)
		if v.whole() && !v.final && len(items) > 1 && (last || !v.again[0]) {
			if v.again[0] { // the whole had its attempts
				attempts = 1
			}
			mid := b.middle(lo, hi, len(items)/2)
			b.fruitless++
			b.lastErr = v.err
			e.deliver(b, lo, mid, attempts)
			e.deliver(b, mid, hi, attempts)
			return
		}
		v.final = v.final || last
		if e.settle(b, lo, hi, &v) == 0 {
			return
		}
	}
}

// rest returns those of the items [lo, hi) that have no outcome, in a slice of
// its own.
func (b *batch[K, T, R]) rest(lo, hi int) []T {
	if b.whole {
		return append(make([]T, 0, hi-lo), b.items[lo:hi]...)
	}
	items := make([]T, 0, hi-lo)
	for i := lo; i < hi; i++ {
		if b.notes[i].size != gone {
			items = append(items, b.items[i])
		}
	}
	return items
}

// middle returns the index behind the first n of those.
func (b *batch[K, T, R]) middle(lo, hi, n int) int {
	for i := lo; i < hi; i++ {
		if n == 0 {
			return i
		}
		if b.notes[i].size != gone {
			n--
		}
	}
	return hi
}

// hopeless says that a batch that failed is not worth another call: it is too
// old, or so many calls in a row delivered nothing that it is not one item that
// spoils it.
func (e *engine[K, T, R]) hopeless(b *batch[K, T, R]) bool {
	return b.lastErr != nil && (b.fruitless > 2*bits.Len(uint(len(b.items)))+e.opt.Attempts || e.tooOld(b, 0))
}

// tooOld says whether the oldest item will be past MaxAge after d.
func (e *engine[K, T, R]) tooOld(b *batch[K, T, R], d time.Duration) bool {
	return b.notes[0].stamp+int64(e.opt.MaxAge) <= e.now()+int64(d)
}

// backoff is how long to wait after the attempt of that number: doubled each
// time, and somewhere between half of that and all of it.
func (e *engine[K, T, R]) backoff(attempt int) time.Duration {
	d := e.opt.Backoff
	for i := 1; i < attempt && d < time.Minute; i++ {
		d = min(2*d, time.Minute)
	}
	return d/2 + rand.N(d/2+1)
}

// wait holds the batch back before another attempt.
func (e *engine[K, T, R]) wait(d time.Duration) {
	e.sleep(d)
	e.mu.Lock()
	e.stats.Retries++
	e.pace()
	e.mu.Unlock()
}

// read makes a verdict of what the handler returned for n items.
func (e *engine[K, T, R]) read(n int, results []Result[R], err error) verdict[R] {
	if err == nil && e.tickets && len(results) != n {
		err = fmt.Errorf("batch: the handler returned %d results for %d items: want one for each, in their order", len(results), n)
		return verdict[R]{err: err, final: true}
	}
	if err == nil {
		return verdict[R]{results: results}
	}
	var subset *failedError
	if !errors.As(err, &subset) {
		return verdict[R]{err: err}
	}
	failed, bad := subset.marks(n)
	if bad != nil {
		return verdict[R]{err: bad, final: true}
	}
	if len(results) != n {
		results = nil
	}
	return verdict[R]{results: results, err: err, failed: failed}
}

// judge asks Retry about each error of v, with mu free.
func (e *engine[K, T, R]) judge(v *verdict[R], n int) {
	if v.final || e.opt.Attempts == 1 {
		v.final = true
		return
	}
	v.again = make([]bool, n)
	shared := v.err != nil && e.worth(v.err)
	for i := range v.again {
		if v.err != nil && (v.failed == nil || v.failed[i]) {
			v.again[i] = shared
		} else if err := v.of(i).Err; err != nil {
			v.again[i] = e.worth(err)
		}
	}
}

func (e *engine[K, T, R]) worth(err error) bool { return e.opt.Retry == nil || e.opt.Retry(err) }

// settle gives the items [lo, hi) of b their outcome, and returns how many
// have none yet because they are worth another attempt.
func (e *engine[K, T, R]) settle(b *batch[K, T, R], lo, hi int, v *verdict[R]) (left int) {
	e.mu.Lock()
	if b.abandoned {
		e.mu.Unlock()
		return 0
	}
	var said []outcome[T]
	delivered := e.stats.Delivered
	if v.err == nil && v.results == nil && lo == 0 && hi == len(b.items) && e.opt.Observer == nil {
		e.stats.Delivered += int64(b.live) // all of it, and nobody to be told
		e.free(b, b.live, b.bytes)
	} else {
		said, left = e.settleEach(b, lo, hi, v)
	}
	b.fruitless++
	if e.stats.Delivered > delivered {
		b.fruitless = 0
	}
	e.freed()
	r := e.report(said)
	e.mu.Unlock()
	e.tell(r)
	return left
}

// settleEach is settle item by item, with mu held. It returns what the Observer
// is to be told.
func (e *engine[K, T, R]) settleEach(b *batch[K, T, R], lo, hi int, v *verdict[R]) (said []outcome[T], left int) {
	if e.tickets {
		b.group.begin(len(b.items))
		defer b.group.end()
	}
	i := -1
	for k := lo; k < hi; k++ {
		if b.notes[k].size == gone {
			continue
		}
		i++
		r := v.of(i)
		switch {
		case r.Err == nil:
			e.stats.Delivered++
		case v.final || !v.again[i]:
			e.stats.Failed++
			b.lastErr = r.Err
		default:
			left++
			b.lastErr = r.Err
			continue
		}
		if e.tickets {
			b.group.set(k, r)
		}
		if e.opt.Observer != nil {
			said = addTo(said, b.items[k], r.Err, v.err != nil)
		}
		e.free(b, 1, b.notes[k].size)
		b.end(k)
		b.whole = false
	}
	return said, left
}
