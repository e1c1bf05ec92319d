package batch

import (
	"context"
	"fmt"
	"time"
)

// What a call of Add does when the budget is full.
const (
	// Block waits, first come first served, until there is room, ctx ends or
	// the batcher is closed. It is the zero value.
	Block = false
	// Reject fails at once with [ErrFull].
	Reject = true
)

// Immediately as Linger hands an item over as soon as a handler call is free.
// Items that come while none is free still share a batch.
const Immediately time.Duration = -1

// The largest bounds that still are some: whoever writes math.MaxInt wants
// none, and that is what this package refuses.
const (
	most    = 1 << 30
	longest = 365 * 24 * time.Hour
)

// Options bound a batcher in every dimension. The zero of each is a safe
// default; none can be switched off.
type Options[T any] struct {
	// A batch is full at MaxItems items (default 500), or when the next item
	// would take it past MaxBytes (default 4 MiB) as SizeOf counts them.
	// Without SizeOf items have no size, and a bound in bytes is an error.
	// SizeOf runs in the caller of Add.
	MaxItems int
	MaxBytes int
	SizeOf   func(T) int

	// Linger is how long the first item of a batch waits for company (default
	// 100 ms). A batch does not linger when the budget is full, during Flush
	// and after Close: nothing else could join it.
	Linger time.Duration

	// PendingItems and PendingBytes are the budget: how much may be admitted
	// and without an outcome, waiting or in a handler's hands. The default is
	// two full batches for each call in flight.
	PendingItems int
	PendingBytes int

	// OnFull says what Add does without room in the budget: Block (default) or
	// Reject. At most MaxWaiters callers (default 1000) block; the next gets
	// ErrFull.
	OnFull     bool
	MaxWaiters int

	// InFlight is how many calls of the handler run at once (default 1, which
	// keeps the order of items). A call that outlives its Timeout counts until
	// it returns.
	InFlight int

	// Timeout is the deadline of the context of one call (default 30 s).
	Timeout time.Duration

	// MaxAge is how old an item may get before it is handed over or tried
	// again (default 5 min). An item that was never handed over then expires
	// with an error that wraps context.DeadlineExceeded. Age counts from
	// admission, to within Linger.
	MaxAge time.Duration

	// Pace is the least time between the starts of two calls (default 0), so
	// that at most MaxItems go out per Pace. Retries are paced as well.
	Pace time.Duration

	// Attempts is how often an item that failed is tried in all (default 1:
	// never again). Ask for more only where the handler is idempotent. Only
	// what failed is tried again, after Backoff (default 100 ms; doubled each
	// time up to a minute, with jitter), only after its handler has returned,
	// and within MaxAge. The batch keeps its place in flight meanwhile.
	//
	// A batch that still fails as a whole is split in halves until the item
	// that spoils it stands alone; that ends early when nothing gets through.
	Attempts int
	Backoff  time.Duration

	// Retry says whether an error is worth another attempt; nil is yes to all.
	// A batch that fails as a whole with an error that is not worth one is
	// split at once. Retry must not panic.
	Retry func(error) bool

	// Observer, if any, is told the outcome of every item that came to one:
	// delivered (err is nil), failed or expired. One call carries items that
	// share an outcome; the slice is its own. Calls come from several
	// goroutines. It must not panic, nor call Flush or Close, and should be
	// quick: its batch's place in flight stays taken. Items that Close gives back and items withdrawn are
	// in the hands of a caller already and are not observed.
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
		return fmt.Errorf("batch: Options.%s is %v: want more than 0, or 0 for the default", b.name, *b.value)
	case *b.value > b.most:
		return fmt.Errorf("batch: Options.%s is %v, which bounds nothing: want at most %v", b.name, *b.value, b.most)
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
func (o Options[T]) defaulted() (Options[T], error) {
	if o.SizeOf == nil && (o.MaxBytes != 0 || o.PendingBytes != 0) {
		return o, fmt.Errorf("batch: Options.MaxBytes and PendingBytes need SizeOf: set it to say how many bytes an item takes")
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
	err = setAll(
		bound[int]{"PendingItems", &o.PendingItems, min(2*o.MaxItems, most/o.InFlight) * o.InFlight, most},
		bound[int]{"PendingBytes", &o.PendingBytes, min(2*o.MaxBytes, most/o.InFlight) * o.InFlight, most},
	)
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

// patience is when a call counts as stuck, and its callers are told: a tenth
// of the Timeout later, so that a handler that heeds its context is believed.
func (o *Options[T]) patience() time.Duration { return o.Timeout + o.Timeout/10 }

// An insideKey marks the contexts a batcher gives its handler with the batcher
// itself, so that a handler that would wait for itself is told so.
type insideKey struct{}

func inside(ctx context.Context, batcher any) bool { return ctx.Value(insideKey{}) == batcher }
