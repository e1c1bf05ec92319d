package batch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// A Result is what a handler returns for one item.
type Result[R any] struct {
	Value R
	Err   error
}

// A Caller is a [Batcher] whose handler answers: every caller gets the result of its own item.
// Create it with [NewCaller] or [NewKeyedCaller].
type Caller[T, R any] struct {
	e   *engine[any, T, R]
	key func(T) any // nil without keys
}

// NewCaller is [New] for a handler that returns a result for each item, in their order. A result
// with an error fails its item. If the handler returns an error, the whole batch fails and the
// results are ignored. If it returns a [Failure] with Items, the named items fail and the others
// get their results, or zero values if there are no results at all. Too few or too many results
// fail the batch, because they cannot be matched with items. The slice of results is copied, so the
// handler may use it again.
//
// If the handler has not returned after 1.1 times its Timeout, callers get [ErrTimeout], and what
// it returns later is ignored.
func NewCaller[T, R any](opt Options[T], handler func(ctx context.Context, items []T) ([]Result[R], error)) (*Caller[T, R], error) {
	mustHandle(handler == nil, "NewCaller")
	return newCaller(opt, nil, func(ctx context.Context, _ any, items []T) ([]Result[R], error) {
		return handler(ctx, items)
	})
}

// NewKeyedCaller is [NewCaller] with a batch for each key, as in a [Keyed]. The function key says
// which key an item has; it runs in the caller of Do, and must not panic.
func NewKeyedCaller[K comparable, T, R any](opt Options[T], key func(T) K, handler func(ctx context.Context, key K, items []T) ([]Result[R], error)) (*Caller[T, R], error) {
	mustHandle(handler == nil, "NewKeyedCaller")
	if key == nil {
		panic("batch: the key function of NewKeyedCaller is nil: pass the function that returns the key of an item")
	}
	if opt.HoldKeys {
		return nil, errHoldNeedsKeys
	}
	return newCaller(opt, func(v T) any { return key(v) }, func(ctx context.Context, key any, items []T) ([]Result[R], error) {
		k, _ := key.(K) // a nil interface is a key too
		return handler(ctx, k, items)
	})
}

func newCaller[T, R any](opt Options[T], key func(T) any, handle func(context.Context, any, []T) ([]Result[R], error)) (*Caller[T, R], error) {
	e, err := newEngine(opt, key != nil, handle)
	if err != nil {
		return nil, err
	}
	e.tickets = true
	return &Caller[T, R]{e, key}, nil
}

// add admits v. With asks its caller waits for the result.
func (c *Caller[T, R]) add(ctx context.Context, v T, asks bool) (spot[any, T, R], error) {
	var key any
	if c.key != nil {
		key = c.key(v)
	}
	return c.e.add(ctx, key, v, manner{true, asks})
}

// Do admits v as [Batcher.Add] does, and waits for its result. While no call is in flight v does
// not linger: it is handed over at once, together with the other items that wait.
//
// If ctx ends before the item was handed over, the item is withdrawn. If ctx ends later, Do stops
// waiting and the result is dropped. The error says which of the two happened, and wraps the error
// of ctx. Called from the handler (with its context), or from the Observer, Retry or Split, Do
// returns an error at once.
func (c *Caller[T, R]) Do(ctx context.Context, v T) (R, error) {
	var zero R
	c.e.mustUse(ctx)
	if inside(ctx, c.e.self) || c.e.self.calls() {
		return zero, errInside
	}
	at, err := c.add(ctx, v, true)
	if err != nil {
		return zero, err
	}
	r := c.result(ctx, at)
	return r.Value, r.Err
}

// result waits for the result of the item at a spot.
func (c *Caller[T, R]) result(ctx context.Context, at spot[any, T, R]) Result[R] {
	r, err := at.group.wait(ctx, at.index, true)
	switch {
	case err == nil:
		return r
	case c.e.withdraw(at):
		return Result[R]{Err: fmt.Errorf("batch: withdrawn before it was handed over: %w", err)}
	}
	return Result[R]{Err: fmt.Errorf("batch: stopped waiting for an item in the handler's hands: %w", err)}
}

// DoAll is Do for many items: it admits vs in order, and returns a result for each, in their order,
// when it has all of them. If an item is not admitted, its result holds the reason, and no later
// item is admitted either.
func (c *Caller[T, R]) DoAll(ctx context.Context, vs []T) []Result[R] {
	results := make([]Result[R], len(vs))
	spots, err := c.addAll(ctx, vs)
	for i := len(spots); i < len(vs); i++ {
		results[i].Err = err
	}
	for i, at := range spots {
		results[i] = c.result(ctx, at)
	}
	return results
}

// addAll admits vs for DoAll until one is not admitted.
func (c *Caller[T, R]) addAll(ctx context.Context, vs []T) (spots []spot[any, T, R], err error) {
	c.e.mustUse(ctx)
	if inside(ctx, c.e.self) || c.e.self.calls() {
		return nil, errInside
	}
	spots = make([]spot[any, T, R], 0, len(vs))
	for _, v := range vs {
		at, err := c.add(ctx, v, false)
		if err != nil {
			c.e.ask(spots)
			return spots, err
		}
		spots = append(spots, at)
	}
	c.e.ask(spots)
	return spots, nil
}

// Submit admits v as [Batcher.Add] does, and returns a ticket for its result.
func (c *Caller[T, R]) Submit(ctx context.Context, v T) (Ticket[R], error) {
	at, err := c.add(ctx, v, false)
	return Ticket[R]{at.group, at.index}, err
}

// Flush is [Batcher.Flush].
func (c *Caller[T, R]) Flush(ctx context.Context) error { return c.e.flush(ctx) }

// Close is [Batcher.Close]. The callers of items that it gives back get an error that wraps
// ErrClosed. It returns no error for items that failed, because each caller was told.
func (c *Caller[T, R]) Close(ctx context.Context) error { return drained(c.e.close(ctx)) }

// Stats returns the counts of this instant.
func (c *Caller[T, R]) Stats() Stats { return c.e.snapshot() }

// A Ticket gives access to the result of one submitted item, any number of times. It is a value of
// two words. While it is reachable it retains the results of its batch (MaxItems at most, without
// those that a Do has read). It retains neither items nor the Caller.
type Ticket[R any] struct {
	group *group[R]
	index int
}

// Wait blocks until the item has an outcome and returns it. If ctx ends first it returns the error
// of ctx; the item is not affected, and Wait may be called again. Called from the handler (with its
// context), or from the Observer, Retry or Split, Wait returns an error at once if the item has no
// outcome yet.
func (t Ticket[R]) Wait(ctx context.Context) (R, error) {
	if t.group == nil {
		panic("batch: Wait on the zero Ticket: use the one that Submit returns without an error")
	}
	r, err := t.group.wait(ctx, t.index, false)
	if err != nil {
		return r.Value, err
	}
	return r.Value, r.Err
}

// A group holds the results of one batch for the callers that wait for them.
type group[R any] struct {
	of      *identity
	whole   atomic.Bool // all results arrived at once, without an error
	values  []R         // these results, once whole is set: they are read without mu
	mu      sync.Mutex
	results []Result[R]   // unless whole
	known   []bool        // the results that arrived
	change  chan struct{} // made by a waiter; closed when results arrive
}

// wait returns the result at i, or the error of ctx. With take it clears the result that it
// returns.
func (g *group[R]) wait(ctx context.Context, i int, take bool) (Result[R], error) {
	if g.whole.Load() { // apart from the rest, whose locks and channels this path need not pay for
		return Result[R]{Value: g.value(i, take)}, nil
	}
	return g.waitLong(ctx, i, take)
}

func (g *group[R]) waitLong(ctx context.Context, i int, take bool) (Result[R], error) {
	for ended := error(nil); ; {
		g.mu.Lock()
		if g.whole.Load() {
			g.mu.Unlock()
			return Result[R]{Value: g.value(i, take)}, nil
		}
		if i < len(g.known) && g.known[i] {
			r := g.results[i]
			if take {
				g.results[i] = Result[R]{}
			}
			g.mu.Unlock()
			return r, nil
		}
		if ended != nil { // and the result has not arrived at the same time
			g.mu.Unlock()
			return Result[R]{}, ended
		}
		if g.change == nil {
			g.change = make(chan struct{})
		}
		change := g.change
		g.mu.Unlock()
		if inside(ctx, g.of) || g.of.calls() {
			return Result[R]{}, errInside
		}
		select {
		case <-change:
		case <-ctx.Done():
			ended = ctx.Err()
		}
	}
}

// value returns the value at i, once all have arrived.
func (g *group[R]) value(i int, take bool) R {
	v := g.values[i]
	if take {
		var zero R
		g.values[i] = zero
	}
	return v
}

// setAll gives every item its result. None may have one, and no result has an error.
func (g *group[R]) setAll(results []Result[R]) {
	values := make([]R, len(results)) // a copy: the handler may use its slice again
	for i := range results {
		values[i] = results[i].Value
	}
	g.mu.Lock()
	g.values = values
	g.whole.Store(true)
	g.end()
}

// begin locks g, to set results of a batch of n items.
func (g *group[R]) begin(n int) {
	g.mu.Lock()
	if n -= len(g.known); n > 0 {
		g.results = append(g.results, make([]Result[R], n)...)
		g.known = append(g.known, make([]bool, n)...)
	}
}

// set gives the item at i its result, unless it has one.
func (g *group[R]) set(i int, r Result[R]) {
	if !g.known[i] {
		g.results[i], g.known[i] = r, true
	}
}

// end unlocks g and wakes the waiters.
func (g *group[R]) end() {
	if g.change != nil {
		close(g.change)
		g.change = nil
	}
	g.mu.Unlock()
}

// resolveLocked gives err to every item of [lo, hi) of b that has no outcome.
func (b *batch[K, T, R]) resolveLocked(lo, hi int, err error) {
	b.noteLocked()
	b.group.begin(len(b.items))
	for i := lo; i < hi; i++ {
		if b.notes[i].size != gone {
			b.group.set(i, Result[R]{Err: err})
		}
	}
	b.group.end()
}
