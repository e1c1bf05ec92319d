package batch

import (
	"context"
	"fmt"
	"sync"
)

// A Result is what a handler returns for one item.
type Result[R any] struct {
	Value R
	Err   error
}

// A Caller is a [Batcher] whose handler answers: every caller gets the result
// of its own item. Create it with [NewResult].
type Caller[T, R any] struct {
	e *engine[struct{}, T, R]
}

// NewResult is [New] for a handler that returns a result for each item, in
// their order. A result with an error fails its item. An error of the handler
// fails the batch and its results do not count; with [Failed] those named fail
// and the others have their results, if there is one for each item. Too few or
// too many results fail the batch: whose they are cannot be told.
//
// Callers are told [ErrTimeout] when the handler has not returned a tenth past
// its Timeout, whatever it returns after that.
func NewResult[T, R any](opt Options[T], handler func(ctx context.Context, items []T) ([]Result[R], error)) (*Caller[T, R], error) {
	e, err := newEngine(opt, func(ctx context.Context, _ struct{}, items []T) ([]Result[R], error) {
		return handler(ctx, items)
	})
	if err != nil {
		return nil, err
	}
	e.tickets = true
	return &Caller[T, R]{e}, nil
}

// Do admits v as [Batcher.Add] does, and waits for its result. When ctx ends, an
// item that is not yet in the handler's hands is withdrawn; otherwise Do stops
// waiting and its result is dropped. The error says which, and wraps that of
// ctx.
func (c *Caller[T, R]) Do(ctx context.Context, v T) (R, error) {
	at, err := c.e.add(ctx, struct{}{}, v, true)
	if err != nil {
		var zero R
		return zero, err
	}
	r, err := at.group.wait(ctx, at.index, true)
	if err == nil {
		return r.Value, r.Err
	}
	if c.e.withdraw(at) {
		return r.Value, fmt.Errorf("batch: withdrawn before it was handed over: %w", err)
	}
	return r.Value, fmt.Errorf("batch: stopped waiting for an item in the handler's hands: %w", err)
}

// Submit admits v as [Batcher.Add] does, and returns a ticket for its result.
func (c *Caller[T, R]) Submit(ctx context.Context, v T) (Ticket[R], error) {
	at, err := c.e.add(ctx, struct{}{}, v, true)
	return Ticket[R]{at.group, at.index}, err
}

// Flush is [Batcher.Flush].
func (c *Caller[T, R]) Flush(ctx context.Context) error { return c.e.flush(ctx) }

// Close is [Batcher.Close]. Callers whose items it gives back are told with an
// error that wraps ErrClosed.
func (c *Caller[T, R]) Close(ctx context.Context) error {
	r, err := c.e.close(ctx)
	if r != nil {
		return r.err()
	}
	return err
}

// Stats returns the counts of this instant.
func (c *Caller[T, R]) Stats() Stats { return c.e.snapshot() }

// A Ticket is good for the result of one submitted item, any number of times.
// It is a value of two words. While it is kept, it keeps the results of the
// items submitted in the same batch (MaxItems at most; those of Do are gone once
// read), not the items, and not the Caller.
type Ticket[R any] struct {
	group *group[R]
	index int
}

// Wait blocks until the item has an outcome and returns it, or the error of ctx.
// That ends only the waiting: the item goes on, and Wait may be called again.
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
	mu     sync.Mutex
	slots  []slot[R]
	change chan struct{} // made by who waits; closed when results came
}

type slot[R any] struct {
	Result[R]
	known bool
}

// wait returns the result at i, or the error of ctx. What is taken is cleared.
func (g *group[R]) wait(ctx context.Context, i int, take bool) (Result[R], error) {
	g.mu.Lock()
	for {
		if i < len(g.slots) && g.slots[i].known {
			r := g.slots[i].Result
			if take {
				g.slots[i].Result = Result[R]{}
			}
			g.mu.Unlock()
			return r, nil
		}
		if g.change == nil {
			g.change = make(chan struct{})
		}
		change := g.change
		g.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return Result[R]{}, ctx.Err()
		}
		g.mu.Lock()
	}
}

// begin locks g for results of a batch of n.
func (g *group[R]) begin(n int) {
	g.mu.Lock()
	if len(g.slots) < n {
		g.slots = append(g.slots, make([]slot[R], n-len(g.slots))...)
	}
}

// set gives the item at i its result, unless it has one.
func (g *group[R]) set(i int, r Result[R]) {
	if s := &g.slots[i]; !s.known {
		s.Result, s.known = r, true
	}
}

// end lets those see the results who wait.
func (g *group[R]) end() {
	if g.change != nil {
		close(g.change)
		g.change = nil
	}
	g.mu.Unlock()
}

// resolve gives those of the items [lo, hi) of b that have no outcome the same
// error. The mu of the engine is held.
func (b *batch[K, T, R]) resolve(lo, hi int, err error) {
	b.group.begin(len(b.notes))
	for i := lo; i < hi; i++ {
		if b.notes[i].size != gone {
			b.group.set(i, Result[R]{Err: err})
		}
	}
	b.group.end()
}
