package batch

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Immediately as Linger hands an item over as soon as a handler call is free. Items that come while
// none is free still share a batch.
const Immediately time.Duration = -1

// The largest bounds that are accepted. A value such as math.MaxInt means no bound, which this
// package refuses.
const (
	most    = 1 << 30
	longest = 365 * 24 * time.Hour
)

// Options bound a batcher in every dimension. The zero value of each option means a safe default,
// and no bound can be turned off.
type Options[T any] struct {
	// A batch is full at MaxItems items (default 500), or at MaxBytes (default 4 MiB) as SizeOf
	// counts them: an item that would take it past MaxBytes opens another. Without SizeOf items
	// have no size, and a bound in bytes is an error. SizeOf runs in the caller of Add.
	MaxItems int
	MaxBytes int
	SizeOf   func(T) int

	// Linger is how long the first item of a batch waits for others (default 100 ms). A batch does
	// not linger when nothing else could join it: when the budget is full, during Flush and after
	// Close. And a batch that a Do waits for does not linger while no call is in flight.
	Linger time.Duration

	// PendingItems and PendingBytes are the budget: they bound the items that are admitted and have
	// no outcome, whether they wait or are in a handler call. The default is two full batches for
	// each call in flight, and with keys at least four.
	PendingItems int
	PendingBytes int

	// PendingPerKey is how many items of the budget one key may hold. The same share applies to the
	// bytes and to MaxWaiters. The default is the budget divided by InFlight, or by two if InFlight
	// is 1. So a key whose calls hang leaves room for other keys. It needs a batcher with keys.
	PendingPerKey int

	// With Reject, Add returns ErrFull when there is no room. Without it, callers wait for room,
	// first come first served. At most MaxWaiters callers wait (default 1000); the next gets
	// ErrFull.
	Reject     bool
	MaxWaiters int

	// InFlight is how many calls of the handler run at once (default 1, which keeps the order of
	// items). A call that outlives its Timeout counts until it returns.
	InFlight int

	// Timeout is the deadline of the context of one call (default 30 s).
	Timeout time.Duration

	// MaxAge is how old an item may get before it is handed over or tried again (default 5 min). An
	// item that was never handed over then expires with an error that wraps
	// context.DeadlineExceeded. Age counts from admission, to within Linger.
	MaxAge time.Duration

	// Pace is the least time between the starts of two calls (default 0), so that at most MaxItems
	// go out per Pace. Retries are paced as well.
	Pace time.Duration

	// Attempts bounds how often an item is handed over, for any reason (default 1: no retry). Only
	// the items that failed are handed over again, and only if Retry accepts their error. The next
	// attempt starts after Backoff (default 100 ms; doubled each time up to a minute, with jitter),
	// after the handler has returned, and within MaxAge. Meanwhile the batch still counts as in
	// flight.
	Attempts int
	Backoff  time.Duration

	// Retry reports whether an error is worth another attempt; nil means that every error is. It is
	// not called for an error that leaves open whether the item took effect: such an item is not
	// tried again unless Idempotent is set. These errors are ErrTimeout, a panic, and errors that
	// wrap an error of a context, io.EOF, io.ErrUnexpectedEOF, a broken connection, or an error
	// whose method Timeout returns true. If your downstream has other errors of this kind, Retry
	// must return false for them. Retry must not panic, and nothing in it or in Split waits for the
	// batcher: Do, Wait, Flush, Close, and Add without room return an error at once.
	Retry      func(error) bool
	Idempotent bool

	// Split reports whether the error of a whole batch means that one of its items is bad and none
	// took effect; nil means that no error does. Such a batch is split in halves until the bad
	// items are found, each part after Backoff. The other items are delivered, in order. A bad item
	// fails with the error of its own call. An item that was refused only together with others when
	// the batcher stops fails with ErrGivenUp.
	//
	// Let L be log2 of the batch's size, rounded up. After the batch was refused, a run of k bad
	// items, k <= L, takes at most L+k+2 calls, and nothing is given up. So a run takes at most 2L
	// calls if k <= L-2, and 2L+2 if k = L: of 500 items, 18 for 7 bad ones, and 20 for 9. A longer
	// run takes at most 3L+2 calls, and at most as many good items are given up as it has bad ones.
	// No method that keeps the order and gives nothing up takes fewer calls for both k = 1 and
	// k = 2. Each call counts as an attempt of its items. Without Attempts an item has 4L+4 of them
	// for splitting (of a full batch), and none for other errors.
	//
	// Split is asked before Retry, not about errors with an unknown outcome, and must not panic.
	Split func(error) bool

	// With HoldKeys, a key is on hold after one of its items failed or expired: no other item of
	// the key is handed over until Resume. The items wait, for MaxAge at most. Without HoldKeys the
	// key continues with its next item. HoldKeys needs NewKeyed.
	HoldKeys bool

	// Observer, if set, is called with every item that was delivered (err is nil), failed or
	// expired. One call carries items that share an outcome; the Observer owns the slice. Calls
	// come from several goroutines, also concurrently. The Observer must not panic. It should be
	// quick, because its batch counts as in flight until it returns. It may add the failed items
	// again: there is room for them, also under another key if the share of that key has room.
	// Nothing else in it waits: Do, Wait, Flush, Close, and Add without room return an error at
	// once. Items that Close gives back and items that are withdrawn are not observed, because a
	// caller has them.
	//
	// Without an Observer, a Batcher and a Keyed log to slog.Default what was not delivered: the
	// first time at once, then at most one line in 10 s, with the number of items. Nothing is left
	// out: the last line comes when its 10 s are over, or from Close, which also returns an error.
	// A log handler may add to the batcher; nothing in it waits, as in Retry.
	Observer func(items []T, err error)
}

// A bound is one option with its default; zero takes the default.
type bound[N int | time.Duration] struct {
	name  string
	value *N
	zero  N
	most  N
}

func (b bound[N]) set() error {
	if *b.value == 0 {
		*b.value = b.zero
	}
	switch {
	case *b.value < 0:
		return fmt.Errorf("batch: Options.%s is %v: set more than 0, or 0 for the default", b.name, *b.value)
	case *b.value > b.most:
		return fmt.Errorf("batch: Options.%s is %v, which bounds nothing: set at most %v", b.name, *b.value, b.most)
	}
	return nil
}

func setAll[N int | time.Duration](bounds ...bound[N]) error {
	for _, b := range bounds {
		if err := b.set(); err != nil {
			return err
		}
	}
	return nil
}

// defaulted returns o with every zero replaced, or what is wrong with it.
func (o Options[T]) defaulted(keyed bool) (Options[T], error) {
	if err := o.contradiction(keyed); err != nil {
		return o, err
	}
	err := setAll(
		bound[int]{"MaxItems", &o.MaxItems, 500, 1 << 20},
		bound[int]{"MaxBytes", &o.MaxBytes, 4 << 20, most},
		bound[int]{"MaxWaiters", &o.MaxWaiters, 1000, most},
		bound[int]{"InFlight", &o.InFlight, 1, 1 << 16},
		bound[int]{"Attempts", &o.Attempts, 1, 1 << 10},
	)
	if err != nil {
		return o, err
	}
	places := o.InFlight
	if keyed {
		places = max(2, places)
	}
	err = setAll(
		bound[int]{"PendingItems", &o.PendingItems, min(2*o.MaxItems, most/places) * places, most},
		bound[int]{"PendingBytes", &o.PendingBytes, min(2*o.MaxBytes, most/places) * places, most},
	)
	if err == nil {
		share := (o.PendingItems + places - 1) / places
		err = setAll(bound[int]{"PendingPerKey", &o.PendingPerKey, share, o.PendingItems})
	}
	if err != nil {
		return o, err
	}
	if o.Linger == Immediately {
		o.Linger = 0
	} else if err := setAll(bound[time.Duration]{"Linger", &o.Linger, 100 * time.Millisecond, longest}); err != nil {
		return o, err
	}
	err = setAll(
		bound[time.Duration]{"Timeout", &o.Timeout, 30 * time.Second, longest},
		bound[time.Duration]{"MaxAge", &o.MaxAge, 5*time.Minute + 2*o.Linger, 3 * longest},
		bound[time.Duration]{"Pace", &o.Pace, 0, longest},
		bound[time.Duration]{"Backoff", &o.Backoff, 100 * time.Millisecond, longest},
	)
	if err == nil && o.MaxAge <= o.Linger {
		err = fmt.Errorf("batch: Options.MaxAge %v is within Linger %v, so every item would expire: raise it", o.MaxAge, o.Linger)
	}
	return o, err
}

// contradiction says which options do not go together.
func (o Options[T]) contradiction(keyed bool) error {
	switch {
	case o.SizeOf == nil && (o.MaxBytes != 0 || o.PendingBytes != 0):
		return errors.New("batch: Options.MaxBytes and PendingBytes need SizeOf: set it to say how many bytes an item takes")
	case !keyed && o.PendingPerKey != 0:
		return errors.New("batch: Options.PendingPerKey needs keys: use NewKeyed or NewKeyedCaller, or leave it out")
	case !keyed && o.HoldKeys:
		return errHoldNeedsKeys
	case o.Attempts == 1 && o.Split != nil:
		return errors.New("batch: Options.Split with Attempts 1 could never split: leave Attempts out, or raise it")
	}
	return nil
}

var errHoldNeedsKeys = errors.New("batch: Options.HoldKeys needs NewKeyed, which has Resume: use that, or leave it out")

// patience is how long a call may run before it counts as stuck and its callers are told: 1.1 times
// Timeout, so that a handler that obeys its context can still return its results.
func (o *Options[T]) patience() time.Duration { return o.Timeout + o.Timeout/10 }

// mustHandle panics if the handler of a constructor is nil.
func mustHandle(isNil bool, constructor string) {
	if isNil {
		panic("batch: the handler of " + constructor + " is nil: pass the function that delivers a batch")
	}
}

// mustUse panics with words where a nil pointer would.
func (e *engine[K, T, R]) mustUse(ctx context.Context) {
	if e == nil {
		panic("batch: a zero Batcher, Keyed or Caller: create it with New, NewKeyed, NewCaller or NewKeyedCaller")
	}
	if ctx == nil {
		panic("batch: the context is nil: use context.Background()")
	}
}
