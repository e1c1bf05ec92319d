package batch

import "context"

// A Batcher collects items and hands them to its handler in batches. Create it with [New], end it with
// Close. Its methods may be called by any number of goroutines. An idle Batcher has no goroutine and
// no timer.
type Batcher[T any] struct {
	e *engine[struct{}, T, struct{}]
}

// New returns a Batcher that calls handler with one batch at a time, or with InFlight batches at once.
// It fails if opt contradicts itself, and panics if handler is nil.
//
// The slice is the handler's: it is new in every call, never used again, and may be changed and kept.
// A nil error says that all items were delivered, an error that none was; a [Failure] says which were
// not, and when to try again. A panic fails the batch with the stack and stops nothing else. Failures
// go to [Options].Observer.
//
// The context is the batch's: it ends at Timeout, and when Close gives up, and is not that of any
// caller. A handler that adds to its own Batcher passes it on, so that it is told ErrFull rather than
// wait for itself.
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

// Add admits v, and returns as soon as it has. When the budget is full it waits or fails, as Reject
// says. After nil, v has exactly one outcome: delivered, failed or expired, as the Observer is told,
// or given back by Close.
//
// It returns ErrTooLarge, ErrFull, ErrClosed, or the error of ctx; v was not admitted then.
func (b *Batcher[T]) Add(ctx context.Context, v T) error {
	_, err := b.e.add(ctx, struct{}{}, v, manner{wait: true})
	return err
}

// TryAdd is Add without waiting: ErrFull when there is no room.
func (b *Batcher[T]) TryAdd(v T) error {
	_, err := b.e.add(context.Background(), struct{}{}, v, manner{})
	return err
}

// AddAll adds vs in order and returns how many it did. Others may add between them. The error, if n is
// less than len(vs), is that of vs[n].
func (b *Batcher[T]) AddAll(ctx context.Context, vs []T) (n int, err error) {
	return b.e.addAll(ctx, struct{}{}, vs)
}

// Flush hands over what lingers and waits until everything that was admitted before the call has an
// outcome, whichever, and the Observer has been told.
//
// It returns nil if nothing failed or expired since the last Flush returned; otherwise an error that
// counts those items and wraps the error of the last one. It returns the error of ctx if that ends
// first, ErrClosed if Close gave items back meanwhile, and ErrFull if MaxWaiters callers are in Flush
// already. From inside the handler, with its context, and from the Observer it does not wait and
// returns an error.
func (b *Batcher[T]) Flush(ctx context.Context) error { return b.e.flush(ctx) }

// Close admits nothing more, turns blocked callers away with ErrClosed, and waits until every item has
// an outcome and every goroutine is gone. It may be called again, and by several at once; each waits
// until its own ctx ends.
//
// If ctx ends first, Close ends the contexts of the calls in flight and returns at once with a
// *[DrainError] that holds every item without an outcome; it may hold none, while an Observer is still
// being told. A handler that heeds its context is gone
// soon after; one that does not keeps its goroutine, and is counted as Stuck by this Close and later
// ones.
//
// Without an Observer, Close returns an error that counts the items that failed or expired since New,
// if there are any, and wraps the error of the last one.
//
// From inside the handler, with its context, and from the Observer, Close does not wait for itself: it
// admits nothing more and returns an error. With another context it waits.
func (b *Batcher[T]) Close(ctx context.Context) error { return drained(b.e.close(ctx)) }

// Stats returns the counts of this instant.
func (b *Batcher[T]) Stats() Stats { return b.e.snapshot() }
