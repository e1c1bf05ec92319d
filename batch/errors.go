package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrClosed is returned for an item that is added after Close, that still waits to be admitted
	// when Close is called, or that Close gave back.
	ErrClosed = errors.New("batch: closed")

	// ErrFull is returned when there is no room and the caller does not wait: with TryAdd, with
	// Reject, when MaxWaiters callers wait already, or from the handler or a function of Options
	// that would wait for itself. The item was not admitted.
	ErrFull = errors.New("batch: full, the item was not admitted")

	// ErrTooLarge is returned at once for an item larger than MaxBytes or PendingBytes, which would
	// never fit.
	ErrTooLarge = errors.New("batch: item too large")

	// ErrTimeout says that a call of the handler did not succeed within its Timeout. Whether its
	// items took effect is unknown: send them again only if that does no harm.
	ErrTimeout = errors.New("batch: the handler ran past its Timeout, the outcome is unknown")

	// ErrGivenUp says that an item was refused only together with other items (see Options.Split),
	// and that the batcher gave up before it tried the item without them. The item took no effect
	// and may be valid: it is safe to add again.
	ErrGivenUp = errors.New("batch: given up")
)

var (
	errGivenUp     = fmt.Errorf("%w: the item was refused only together with other items of its batch, and not tried without them; it is safe to add again", ErrGivenUp)
	errWaiters     = fmt.Errorf("%w: MaxWaiters callers wait already", ErrFull)
	errKeyFull     = fmt.Errorf("%w: its key has used up its share (PendingPerKey)", ErrFull)
	errHandlerFull = fmt.Errorf("%w: the handler, Retry, Split and the log handler cannot wait for themselves", ErrFull)
	errObserver    = fmt.Errorf("%w: the Observer cannot wait for room; it may add as many items as it was told have failed", ErrFull)
	errHeldFull    = fmt.Errorf("%w: as many keys as PendingItems are on hold; call Resume for some", ErrFull)
	errExpired     = fmt.Errorf("batch: older than MaxAge, never handed over: %w", context.DeadlineExceeded)
	errReturned    = fmt.Errorf("%w before the item was handed over", ErrClosed)
	errAbandoned   = fmt.Errorf("%w while the item was in the handler's hands, the outcome is unknown", ErrClosed)
	errInside      = errors.New("batch: called from inside the handler, the Observer, Retry, Split or the log handler, which cannot wait for itself: call it from elsewhere, or go on without waiting")
	errHeld        = errors.New("batch: keys are on hold after a failure, and their items wait: call Resume for each, or Close")
	errPanic       = errors.New("batch: the handler panicked")
	errGoexit      = errors.New("batch: the handler ended its goroutine (runtime.Goexit, or FailNow in a test)")
	errNotEqual    = errors.New("batch: the key is not equal to itself (NaN), so it could never be found again: use another key")
	errUnsaid      = errors.New("batch: failed, and the handler did not say why")
)

// A Failure is an error with details. A handler returns it, or sets it as the Err of a [Result]. A
// zero field says nothing.
type Failure struct {
	// Err is the reason.
	Err error

	// Items has the items that failed, by their index in the slice that the handler was given, each
	// with its error; a nil error means Err. All other items were delivered. A nil map means that
	// every item failed, an empty map that none did. An index out of range fails the whole batch.
	// In a Result, Items is ignored.
	Items map[int]error

	// RetryAfter is how long the downstream wants no calls, as HTTP's Retry-After or gRPC's
	// RetryInfo say. An item that is tried again waits for RetryAfter or Options.Backoff, whichever
	// is longer. With PauseAll no batch is handed over until then, for a day at most. Whether an
	// item is tried again is decided by Options.Attempts and Retry, not by RetryAfter.
	RetryAfter time.Duration
	PauseAll   bool
}

// Error returns the reason, and how many items failed.
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

// unknown reports whether err leaves open whether its items took effect. An error whose methods
// panic, such as a nil pointer in an interface, leaves everything open.
func unknown(err error) (yes bool) {
	defer func() {
		if recover() != nil {
			yes = true
		}
	}()
	for _, e := range []error{ErrTimeout, errPanic, errGoexit, context.Canceled, context.DeadlineExceeded,
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, wsaConnReset, wsaConnAborted} {
		if errors.Is(err, e) {
			return true
		}
	}
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout() || strings.Contains(err.Error(), closedConn)
}

// closedConn is the text of net.ErrClosed, which package net promises to keep. To import net is not
// worth it.
const closedConn = "use of closed network connection"

// The codes that Windows uses instead of ECONNRESET and ECONNABORTED.
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

// A lossError counts items that were not delivered, for a caller that was not told of each.
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

// Unwrap returns the error of the last of these items.
func (l *lossError) Unwrap() error { return l.last }

// A DrainError is what Close returns when items have no outcome, because its context ended first or
// keys are on hold. Every item without an outcome is in exactly one of its two lists. A concurrent
// or later Close does not get the same items again.
//
// T is the type of the items, and for a [Keyed] an [Entry] of key and item.
type DrainError[T any] struct {
	// Undelivered were never handed to the handler, oldest first. They are safe to add again.
	Undelivered []T
	// InDoubt were handed to the handler: either it has not returned, or they failed and waited for
	// another attempt. They may have taken effect. The values are copies, but the handler may still
	// use what they point to.
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
