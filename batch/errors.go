package batch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

var (
	// ErrClosed is returned for an item that comes, or still waits to be
	// admitted, after Close; and for one that Close gave back.
	ErrClosed = errors.New("batch: closed")

	// ErrFull is returned when the budget is full and the caller does not
	// wait: with TryAdd, under Reject, past MaxWaiters, or from inside the
	// handler, which would wait for itself. The item was not admitted.
	ErrFull = errors.New("batch: full")

	// ErrTooLarge is returned at once for an item larger than MaxBytes or
	// PendingBytes: it would never fit.
	ErrTooLarge = errors.New("batch: item too large")

	// ErrTimeout says that a call of the handler did not succeed within its
	// Timeout. Whether its items took effect is unknown: retry only what is
	// idempotent.
	ErrTimeout = errors.New("batch: the handler ran past its timeout, the outcome is unknown")
)

var (
	errWaiters   = fmt.Errorf("%w, and MaxWaiters callers wait already", ErrFull)
	errExpired   = fmt.Errorf("batch: older than MaxAge, never handed over: %w", context.DeadlineExceeded)
	errReturned  = fmt.Errorf("%w before the item was handed over", ErrClosed)
	errAbandoned = fmt.Errorf("%w while the item was in the handler's hands, the outcome is unknown", ErrClosed)
	errInside    = errors.New("batch: called from inside the handler, which cannot wait for itself: go on without waiting")
	errGoexit    = errors.New("batch: the handler ended its goroutine (runtime.Goexit, or FailNow in a test)")
	errNotEqual  = errors.New("batch: the key is not equal to itself (NaN): it could never be found again")
)

// Failed returns an error for a handler to return that says which of its items
// failed, by their index in the slice as it was passed, and why. The others
// are delivered. Without indexes it is nil: nothing failed. An index out of
// range makes it useless, and the whole batch fails.
func Failed(indexes []int, err error) error {
	if len(indexes) == 0 {
		return nil
	}
	if err == nil {
		err = errors.New("batch: failed, and the handler did not say why")
	}
	return &failedError{indexes, err}
}

type failedError struct {
	indexes []int
	err     error
}

func (f *failedError) Error() string {
	return fmt.Sprintf("%d items failed: %v", len(f.indexes), f.err)
}
func (f *failedError) Unwrap() error { return f.err }

// marks says for each of n items whether it is among f's.
func (f *failedError) marks(n int) ([]bool, error) {
	marks := make([]bool, n)
	for _, i := range f.indexes {
		if i < 0 || i >= n {
			return nil, fmt.Errorf("batch: Failed names index %d of a batch of %d, so the whole batch failed: %w", i, n, f.err)
		}
		marks[i] = true
	}
	return marks, nil
}

func panicked(p any) error {
	if err, ok := p.(error); ok {
		return fmt.Errorf("batch: the handler panicked: %w\n\n%s", err, debug.Stack())
	}
	return fmt.Errorf("batch: the handler panicked: %v\n\n%s", p, debug.Stack())
}

// A DrainError is what Close returns when its context ended first. Nothing
// disappears: every item that had no outcome by then is in one of its lists,
// and in one only. A Close beside or after it is not given the items again.
type DrainError[T any] struct {
	// Undelivered were never handed to the handler, oldest first.
	Undelivered []T
	// InDoubt were: they are with a handler that has not returned, or failed
	// and waited for another attempt. They may have taken effect. The values
	// are copies; what they point to is still in the handler's hands.
	InDoubt []T
	// Stuck is how many calls of the handler had not returned.
	Stuck int

	cause error
}

func (d *DrainError[T]) Error() string {
	return drainText(len(d.Undelivered), len(d.InDoubt), d.Stuck, d.cause)
}

// Unwrap returns the error of the context that ended.
func (d *DrainError[T]) Unwrap() error { return d.cause }

// A KeyedDrainError is the [DrainError] of a [Keyed], with its items by key, in
// their order. It unwraps to a *DrainError[T] with all of them.
type KeyedDrainError[K comparable, T any] struct {
	Undelivered map[K][]T
	InDoubt     map[K][]T
	Stuck       int

	flat *DrainError[T]
}

func (d *KeyedDrainError[K, T]) Error() string { return d.flat.Error() }

// Unwrap returns the *DrainError[T] without the keys.
func (d *KeyedDrainError[K, T]) Unwrap() error { return d.flat }

func drainText(undelivered, inDoubt, stuck int, cause error) string {
	return fmt.Sprintf("batch: Close did not finish: items never handed over: %d, in doubt: %d, handler calls still running: %d; save the items in this error, or give Close more time: %v",
		undelivered, inDoubt, stuck, cause)
}
