package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

var (
	// ErrClosed is returned for an item that comes, or still waits to be admitted, after Close; and
	// for one that Close gave back.
	ErrClosed = errors.New("batch: closed")

	// ErrFull is returned when there is no room and the caller does not wait: with TryAdd, with
	// Reject, past MaxWaiters, or from inside the handler or the Observer, which would wait for
	// itself. The item was not admitted.
	ErrFull = errors.New("batch: full, the item was not admitted")

	// ErrTooLarge is returned at once for an item larger than MaxBytes or PendingBytes: it would
	// never fit.
	ErrTooLarge = errors.New("batch: item too large")

	// ErrTimeout says that a call of the handler did not succeed within its Timeout. Whether its
	// items took effect is unknown: send them again only if that does no harm.
	ErrTimeout = errors.New("batch: the handler ran past its Timeout, the outcome is unknown")

	// ErrGivenUp says that an item was refused only together with others, as Options.Split knows, and
	// that the batcher gave up before it tried the item without them. The item took no effect, and
	// nothing is known against it: it is safe to add again.
	ErrGivenUp = errors.New("batch: given up")
)

var (
	errGivenUp     = fmt.Errorf("%w: the item was refused only together with other items of its batch, and not tried without them; it is safe to add again", ErrGivenUp)
	errWaiters     = fmt.Errorf("%w: MaxWaiters callers wait already", ErrFull)
	errKeyFull     = fmt.Errorf("%w: its key has used up its share (PendingPerKey)", ErrFull)
	errHandlerFull = fmt.Errorf("%w: the handler cannot wait for itself", ErrFull)
	errObserver    = fmt.Errorf("%w: the Observer cannot wait for room; it may add as many items as it was told have failed", ErrFull)
	errHeldFull    = fmt.Errorf("%w: as many keys as PendingItems are on hold; call Resume for some", ErrFull)
	errExpired     = fmt.Errorf("batch: older than MaxAge, never handed over: %w", context.DeadlineExceeded)
	errReturned    = fmt.Errorf("%w before the item was handed over", ErrClosed)
	errAbandoned   = fmt.Errorf("%w while the item was in the handler's hands, the outcome is unknown", ErrClosed)
	errInside      = errors.New("batch: called from inside the handler or the Observer, which cannot wait for itself: call it from elsewhere, or go on without waiting")
	errHeld        = errors.New("batch: keys are on hold after a failure, and their items wait: call Resume for each, or Close")
	errPanic       = errors.New("batch: the handler panicked")
	errGoexit      = errors.New("batch: the handler ended its goroutine (runtime.Goexit, or FailNow in a test)")
	errNotEqual    = errors.New("batch: the key is not equal to itself (NaN), so it could never be found again: use another key")
	errUnsaid      = errors.New("batch: failed, and the handler did not say why")
)

// A Failure is an error for a handler to return, or to be the Err of a [Result], when there is more to
// say than why. The zero of a field says nothing.
type Failure struct {
	// Err is why.
	Err error

	// Items are the items that failed, by their index in the slice as it was passed, and why; nil
	// stands for Err. All others were delivered. A nil map says that every item failed, an empty one
	// that none did. With an index out of range the whole batch fails. In a Result it means nothing.
	Items map[int]error

	// RetryAfter is how long the downstream wants to be left alone, as HTTP's Retry-After or gRPC's
	// RetryInfo say. An item that is tried again waits for that long, or for Options.Backoff if that is
	// longer. With PauseAll no call starts before, of any batch, for a day at most. RetryAfter does not say that an item is
	// tried again: Options.Attempts and Retry do.
	RetryAfter time.Duration
	PauseAll   bool
}

// Error returns the reason, and how many items it is about.
func (f *Failure) Error() string {
	switch {
	case f == nil:
		return "batch: nothing failed"
	case f.Items == nil:
		return f.why().Error()
	case len(f.Items) == 0:
		return "batch: nothing failed"
	}
	first := slices.Min(slices.Collect(maps.Keys(f.Items)))
	return fmt.Sprintf("%s failed, the first at index %d: %v", count(len(f.Items), "item"), first, f.of(first))
}

// Unwrap returns Err and the errors of the items.
func (f *Failure) Unwrap() (errs []error) {
	if f == nil {
		return nil
	}
	if f.Err != nil {
		errs = append(errs, f.Err)
	}
	for _, err := range f.Items {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (f *Failure) why() error {
	if f.Err == nil {
		return errUnsaid
	}
	return f.Err
}

// of returns the error of the item at index i.
func (f *Failure) of(i int) error {
	if err := f.Items[i]; err != nil {
		return err
	}
	return f.why()
}

// unknown reports whether err leaves open whether its items took effect.
func unknown(err error) bool {
	for _, e := range []error{ErrTimeout, errPanic, errGoexit, context.Canceled, context.DeadlineExceeded,
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, wsaConnReset, wsaConnAborted} {
		if errors.Is(err, e) {
			return true
		}
	}
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// What Windows says instead of ECONNRESET and ECONNABORTED.
const (
	wsaConnReset   = syscall.Errno(10054)
	wsaConnAborted = syscall.Errno(10053)
)

func panicked(p any) error {
	if err, ok := p.(error); ok {
		return fmt.Errorf("%w: %w\n\n%s", errPanic, err, debug.Stack())
	}
	return fmt.Errorf("%w: %v\n\n%s", errPanic, p, debug.Stack())
}

// count is a number with its noun.
func count[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// A lossError says that items were not delivered, to somebody who was not told of each.
type lossError struct {
	since           string
	failed, expired int64
	last            error
}

func (l *lossError) Error() string {
	what := count(l.failed, "item") + " failed"
	if l.expired > 0 {
		what += fmt.Sprintf(" and %s expired before the handler was free", count(l.expired, "item"))
	}
	return fmt.Sprintf("batch: %s %s; the last error: %v", what, l.since, l.last)
}

// Unwrap returns the error of the last of them.
func (l *lossError) Unwrap() error { return l.last }

// A DrainError is what Close returns when items have no outcome: its context ended first, or keys are
// on hold. Nothing disappears: every item without an outcome is in one of its lists, and in one only.
// A Close beside or after it is not given the items again.
//
// T is the type of the items, and for a [Keyed] an [Entry] of key and item.
type DrainError[T any] struct {
	// Undelivered were never handed to the handler, oldest first. They are safe to add again.
	Undelivered []T
	// InDoubt were: they are with a handler that has not returned, or failed and waited for another
	// attempt. They may have taken effect. The values are copies; what they point to is still in the
	// handler's hands.
	InDoubt []T
	// Stuck is how many calls of the handler had not returned.
	Stuck int

	cause error
}

// An Entry is an item with its key, in the order of admission for each key.
type Entry[K comparable, T any] struct {
	Key  K
	Item T
}

func (d *DrainError[T]) Error() string {
	if errors.Is(d.cause, errHeld) {
		return fmt.Sprintf("batch: Close found keys on hold: %s not sent (see DrainError.Undelivered); call Resume before Close to send them",
			count(len(d.Undelivered), "item"))
	}
	return fmt.Sprintf("batch: Close timed out: %s not sent, %d possibly sent (see DrainError.Undelivered and .InDoubt), %s still running: %v",
		count(len(d.Undelivered), "item"), len(d.InDoubt), count(d.Stuck, "handler call"), d.cause)
}

// Unwrap returns the error of the context that ended, or that keys are on hold.
func (d *DrainError[T]) Unwrap() error { return d.cause }
