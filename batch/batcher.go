package batch

import "context"

// A Batcher collects items and hands them to its handler in batches. Create it with [New], end it
// with Close. Its methods may be called by any number of goroutines. An idle Batcher has no
// goroutine, and no timer unless a failure is still to be logged (see [Options].Observer).
type Batcher[T any] struct {
	e *engine[struct{}, T, struct{}]
}

// New returns a Batcher that calls handler with one batch at a time, or with InFlight batches at
// once. It fails if opt contradicts itself, and panics if handler is nil.
//
// The slice belongs to the handler: it is new in every call and never reused, so the handler may
// change and retain it. A nil error means that all items were delivered. Any other error means that
// none was, except a [Failure], which says which items failed and when to try again. A panic, also
// in a method of the error, fails the batch, with the stack in the error, and stops nothing else.
// Failures are reported to [Options].Observer.
//
// The context belongs to the batch, not to a caller: it ends at Timeout, and when Close gives up. A
// handler that adds to its own Batcher must pass this context to Add. Add then returns ErrFull
// instead of waiting for the handler itself.
func New[T any](opt Options[T], handler func(ctx context.Context, items []T) error) (*Batcher[T], error) {
	mustHandle(handler == nil, "New")
	e, err := newEngine(opt, false, func(ctx context.Context, _ struct{}, items []T) ([]Result[struct{}], error) {
		return nil, handler(ctx, items)
	})
	if err != nil {
		return nil, err
	}
	return &Batcher[T]{e}, nil
}

// Add admits v and returns; it does not wait for delivery. When the budget is full it waits or,
// with Reject, fails. If it returns nil, v gets exactly one outcome: delivered, failed or expired,
// which the Observer is told, or given back by Close.
//
// If it returns ErrTooLarge, ErrFull, ErrClosed or the error of ctx, v was not admitted.
func (b *Batcher[T]) Add(ctx context.Context, v T) error {
	_, err := b.e.add(ctx, struct{}{}, v, manner{wait: true})
	return err
}

// TryAdd is Add without waiting: ErrFull when there is no room.
func (b *Batcher[T]) TryAdd(v T) error {
	_, err := b.e.add(context.Background(), struct{}{}, v, manner{})
	return err
}

// AddAll adds vs in order and returns how many it added. Other callers may add items in between. If
// n is less than len(vs), the error says why vs[n] was not added.
func (b *Batcher[T]) AddAll(ctx context.Context, vs []T) (n int, err error) {
	return b.e.addAll(ctx, struct{}{}, vs)
}

// Flush hands over lingering batches at once. It waits until every item that was admitted before
// the call has an outcome, of any kind, and the Observer has been told.
//
// It returns nil if nothing failed or expired since the last Flush returned; otherwise an error
// that counts those items and wraps the error of the last one. It returns the error of ctx if ctx
// ends first, ErrClosed if Close gave items back meanwhile, and ErrFull if MaxWaiters callers are
// in Flush already. Called from the handler (with its context), or from the Observer, Retry or
// Split, it does not wait and returns an error.
func (b *Batcher[T]) Flush(ctx context.Context) error { return b.e.flush(ctx) }

// Close admits no more items, makes blocked callers return ErrClosed, and waits until every item
// has an outcome and every goroutine has ended. It may be called more than once and concurrently;
// each call waits until its own ctx ends.
//
// If ctx ends first, Close ends the contexts of the calls in flight and returns at once with a
// *[DrainError] that holds every item without an outcome. The list is empty if Close only waited
// for an Observer. A handler that obeys its context returns soon after. One that does not keeps its
// goroutine, and this Close and later ones count it as Stuck.
//
// Without an Observer, Close returns an error that counts the items that failed or expired since
// New, if there are any, and wraps the error of the last one.
//
// Called from the handler (with its context), or from the Observer, Retry or Split, Close does not
// wait, because it would wait for its caller: it admits no more items and returns an error. In the
// handler with another context it does wait, and so blocks until ctx ends.
func (b *Batcher[T]) Close(ctx context.Context) error { return drained(b.e.close(ctx)) }

// Stats returns the counts of this instant.
func (b *Batcher[T]) Stats() Stats { return b.e.snapshot() }
