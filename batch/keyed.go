package batch

import "context"

// A Keyed is a [Batcher] with a batch for each key. Of one key there is one call
// at a time, and its items are handed over in the order of their admission, also
// while some of them are tried again. Keys take turns. A key is forgotten with
// its last item, so there are never more keys than PendingItems.
type Keyed[K comparable, T any] struct {
	e *engine[K, T, struct{}]
}

// NewKeyed is [New] for a handler that takes the items of one key at a time.
func NewKeyed[K comparable, T any](opt Options[T], handler func(ctx context.Context, key K, items []T) error) (*Keyed[K, T], error) {
	e, err := newEngine(opt, func(ctx context.Context, key K, items []T) ([]Result[struct{}], error) {
		return nil, handler(ctx, key, items)
	})
	if err != nil {
		return nil, err
	}
	e.keyed = true
	e.lanes = make(map[K]*lane[K, T, struct{}])
	return &Keyed[K, T]{e}, nil
}

// Add is [Batcher.Add] under a key. A key that is not equal to itself (NaN) is
// an error.
func (k *Keyed[K, T]) Add(ctx context.Context, key K, v T) error {
	_, err := k.e.add(ctx, key, v, true)
	return err
}

// TryAdd is Add without waiting: ErrFull when there is no room.
func (k *Keyed[K, T]) TryAdd(key K, v T) error {
	_, err := k.e.add(context.Background(), key, v, false)
	return err
}

// AddAll is [Batcher.AddAll] under one key.
func (k *Keyed[K, T]) AddAll(ctx context.Context, key K, vs []T) (n int, err error) {
	return k.e.addAll(ctx, key, vs)
}

// Flush is [Batcher.Flush], for all keys.
func (k *Keyed[K, T]) Flush(ctx context.Context) error { return k.e.flush(ctx) }

// Close is [Batcher.Close], for all keys; its error is a *[KeyedDrainError].
func (k *Keyed[K, T]) Close(ctx context.Context) error {
	r, err := k.e.close(ctx)
	if r != nil {
		return &KeyedDrainError[K, T]{byKey(r.undelivered), byKey(r.inDoubt), r.stuck, r.err()}
	}
	return err
}

// Stats returns the counts of this instant.
func (k *Keyed[K, T]) Stats() Stats { return k.e.snapshot() }
