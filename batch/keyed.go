package batch

import "context"

// A Keyed is a [Batcher] with a batch for each key. Each key has one call at a time, and its items
// are handed over in the order of their admission, also while some of them are tried again. Keys
// take turns, and no key takes the budget of the others: see [Options].PendingPerKey. A key is
// forgotten with its last item, unless it is on hold, so there are at most twice as many keys as
// PendingItems.
type Keyed[K comparable, T any] struct {
	e *engine[K, T, struct{}]
}

// NewKeyed is [New] for a handler that takes the items of one key at a time. For results by key see
// [NewKeyedCaller].
func NewKeyed[K comparable, T any](opt Options[T], handler func(ctx context.Context, key K, items []T) error) (*Keyed[K, T], error) {
	mustHandle(handler == nil, "NewKeyed")
	e, err := newEngine(opt, true, func(ctx context.Context, key K, items []T) ([]Result[struct{}], error) {
		return nil, handler(ctx, key, items)
	})
	if err != nil {
		return nil, err
	}
	return &Keyed[K, T]{e}, nil
}

// Add is [Batcher.Add] under a key. It also waits, or fails, when the key has used up its share of
// the budget. A key that is not equal to itself (NaN) is an error.
func (k *Keyed[K, T]) Add(ctx context.Context, key K, v T) error {
	_, err := k.e.add(ctx, key, v, manner{wait: true})
	return err
}

// TryAdd is Add without waiting: ErrFull when there is no room.
func (k *Keyed[K, T]) TryAdd(key K, v T) error {
	_, err := k.e.add(context.Background(), key, v, manner{})
	return err
}

// AddAll is [Batcher.AddAll] under one key.
func (k *Keyed[K, T]) AddAll(ctx context.Context, key K, vs []T) (n int, err error) {
	return k.e.addAll(ctx, key, vs)
}

// Resume ends the hold of a key (see [Options].HoldKeys), and reports whether the key was on hold.
func (k *Keyed[K, T]) Resume(key K) bool { return k.e.resume(key) }

// Flush is [Batcher.Flush], for all keys. It does not wait for keys on hold: if they have items
// from before the call, it returns an error.
func (k *Keyed[K, T]) Flush(ctx context.Context) error { return k.e.flush(ctx) }

// Close is [Batcher.Close], for all keys. The items of a key on hold are given back as Undelivered
// once all other items have an outcome. Its error is then a *[DrainError] of Entry[K, T].
func (k *Keyed[K, T]) Close(ctx context.Context) error {
	r, err := k.e.close(ctx)
	if r != nil {
		return &DrainError[Entry[K, T]]{r.undelivered, r.inDoubt, r.stuck, r.cause}
	}
	return err
}

// Stats returns the counts of this instant.
func (k *Keyed[K, T]) Stats() Stats { return k.e.snapshot() }
