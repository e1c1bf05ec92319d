package batch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An engine is the one state machine behind [Batcher], [Caller] and [Keyed]. Items are admitted
// into a budget, gathered in the batches of lanes, and handed over by workers.
//
// One mutex guards its parts, but for what quick says. Methods with the suffix Locked are called
// with mu held. All others are called without it; the methods that need it lock it, with lock.
type engine[K comparable, T, R any] struct {
	opt     Options[T]
	handle  func(context.Context, K, []T) ([]Result[R], error)
	keyed   bool // a lane for each key, with one call at a time
	tickets bool // callers wait for the result of each item
	largest int  // bytes that an item may have
	plain   bool // items have no size, and there is one lane
	retries int  // hand-overs of an item after which an error is not tried again
	most    int  // hand-overs of an item, splitting included

	self   *identity       // marks the contexts of the handlers
	root   context.Context // of the handlers
	base   context.Context // of what waits; done once Close gives up
	cancel context.CancelFunc
	epoch  time.Time // a stamp is the nanoseconds since then

	mu      sync.Mutex
	quick   quick[K, T, R]
	stats   Stats // Pending and PendingBytes are what the budget has given out
	budget  budget[K, T, R]
	lanes   lanes[K, T, R]
	flight  flight[K, T, R]
	reports reports[K, T, R]
	alarm   alarm
	idle    chan struct{} // made by a waiter; closed when nothing is left to do
	flushes int           // callers in Flush
	closed  bool
	gaveUp  bool // Close gave items back

	waiterPool sync.Pool
}

// Quick is the open batch of the only lane while callers add items to it without mu: a caller takes
// a place, fills it, and counts it as filled.
//
// Invariant: while places is not 0, batch is not due, nobody waits, nothing is closed, and neither
// the batch nor the budget is full once every place is taken by an item with less than the room
// that is left. Whoever locks mu for anything else closes quick first: it sets places to 0, and
// waits until the places that were taken are filled. A caller reads the other fields only between
// taking a place and counting it, and they are written only while quick is closed.
type quick[K comparable, T, R any] struct {
	places atomic.Uint64 // left, in the high 32 bits; the room in bytes in the low ones
	filled atomic.Int64  // of the places that were taken

	batch *batch[K, T, R]
	items []T    // of batch; longer by the places
	notes []note // the same, if items have sizes
	first uint64 // places when quick was opened
}

// A budget bounds what is admitted and has no outcome.
//
// Invariants: stats.Pending plus reserved is at most PendingItems, and the same in bytes. A caller
// waits in queue only while the item at its head does not fit, and in the blocked list of a lane
// only while that lane's share is used up. waiting counts both.
type budget[K comparable, T, R any] struct {
	queue         list[*waiter[K, T, R]] // blocked callers, first come first served
	waiting       int
	reserved      int // items that an Observer was told have failed, until it returns
	reservedBytes int
	keyItems      int // the share of one key; 0 without keys
	keyBytes      int
	keyWaiters    int
}

// Lanes hold the batches that no worker has taken.
//
// Invariants: a batch in queued is in the queue of its lane, and in lingers unless it is due. A
// lane is in ready if, and only if, its first batch is due, no worker has its key, and it is not
// held. A keyed lane is in byKey while it has anything that must be remembered.
type lanes[K comparable, T, R any] struct {
	byKey   map[K]*lane[K, T, R]
	only    *lane[K, T, R]        // the lane when not keyed
	queued  list[*batch[K, T, R]] // oldest first
	lingers list[*batch[K, T, R]] // the queued batches that wait for more items, oldest first
	ready   list[*lane[K, T, R]]  // first ready, first served
	spare   []*batch[K, T, R]     // cleared, to be used again
	size    int                   // of the last batch that was used up
	seq     uint64                // of the newest batch
	held    int                   // lanes on hold
}

// A flight is what workers do.
//
// Invariants: at most InFlight workers. Each has at most one batch, which is in list from when the
// worker takes it until its last call has returned. If a lane is ready there is a worker.
type flight[K comparable, T, R any] struct {
	list     list[*batch[K, T, R]]
	workers  int   // started and not yet gone
	starting int   // of the workers, those that unlock starts
	next     int64 // no call starts before this time, by Pace
	paused   int64 // nor before this time, because a handler asked for it
}

// A lane gathers the items of one key.
type lane[K comparable, T, R any] struct {
	key   K
	open  *batch[K, T, R]       // the last of queue while it takes items
	queue list[*batch[K, T, R]] // oldest first
	busy  bool                  // a worker handles its key
	held  bool                  // an item failed, and nobody resumed the key
	ready node[*lane[K, T, R]]

	// What the lane uses of its share, when keyed.
	items, bytes               int // admitted, without an outcome
	claims, claimedBytes       int // of callers in the budget's queue
	reserved, reservedForBytes int // for an Observer
	waiting                    int
	blocked                    list[*waiter[K, T, R]] // callers that wait for the share
}

// A batch is what one worker takes at once. Its array is never handed out, so it is used again once
// cleared.
type batch[K comparable, T, R any] struct {
	lane  *lane[K, T, R]
	items []T
	notes []note // of the items; the last ones may be missing, or all of them: see noteLocked
	live  int    // items without an outcome
	bytes int    // of the live ones
	seq   uint64
	stamp int64 // of the next item
	due   bool  // to be taken as soon as a worker is free
	asked bool  // a Do waits for one of its items
	until int64 // when it has lingered for long enough
	group *group[R]
	done  chan struct{} // made by a waiter; closed when live is 0, or its lane is held

	// While in flight. Only the worker uses whole, tried, delay and over.
	whole     bool // no item has an outcome on its own
	begun     bool // a call has begun: its items were handed over
	calling   bool
	from, to  int                // the items of the call
	watch     *time.Timer        // of the call, if callers wait for results; used again with the array
	cancel    context.CancelFunc // ends the context of the call
	overdue   int64              // when the call counts as stuck
	told      bool               // its callers were told ErrTimeout
	abandoned bool               // Close gave its items back
	tried     bool               // handed over at least once
	delay     time.Duration
	over      bool // the worker has seen that it is abandoned

	inQueued, inLingers, inFlight, inLane node[*batch[K, T, R]]
}

// A note is the bookkeeping of one item. Its size is cleared once the item has an outcome of its
// own.
type note struct {
	stamp int64 // of its admission
	size  int32
	tries int32 // hand-overs, counted if it may have several
}

const gone = -1

// A spot is where an item was admitted. The batch may be in use for other items by now; it still
// holds this item if its group is the same.
type spot[K comparable, T, R any] struct {
	batch *batch[K, T, R]
	group *group[R]
	index int
}

// last is the spot of the item just admitted.
func (b *batch[K, T, R]) last() spot[K, T, R] { return spot[K, T, R]{b, b.group, len(b.items) - 1} }

// An identity tells one engine from another without holding it in memory.
type identity struct {
	mu      sync.Mutex
	foreign []uint64 // the goroutines of the engine that run the Observer, Retry, Split, or the log
}

// enter notes that a goroutine of the engine calls a function of the user, until leave. It returns
// goroutine.
func (id *identity) enter(goroutine uint64) uint64 {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.foreign = append(id.foreign, goroutine)
	return goroutine
}

func (id *identity) leave(goroutine uint64) {
	id.mu.Lock()
	defer id.mu.Unlock()
	i := slices.Index(id.foreign, goroutine)
	id.foreign = slices.Delete(id.foreign, i, i+1)
}

// calls reports whether the caller runs in a goroutine of the engine, other than in the handler. So
// it must not wait for the engine.
func (id *identity) calls() bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	return len(id.foreign) > 0 && slices.Contains(id.foreign, goroutine())
}

type insideKey struct{}

// inside reports whether ctx belongs to a handler call of the engine id.
func inside(ctx context.Context, id *identity) bool { return ctx.Value(insideKey{}) == id }

func newEngine[K comparable, T, R any](opt Options[T], keyed bool, handle func(context.Context, K, []T) ([]Result[R], error)) (*engine[K, T, R], error) {
	attempts := opt.Attempts
	opt, err := opt.defaulted(keyed)
	if err != nil {
		return nil, err
	}
	e := &engine[K, T, R]{opt: opt, handle: handle, keyed: keyed, self: new(identity), epoch: time.Now(),
		largest: min(opt.MaxBytes, opt.PendingBytes), plain: opt.SizeOf == nil && !keyed, retries: opt.Attempts, most: opt.Attempts}
	if attempts == 0 && opt.Split != nil {
		e.most = 4 * (1 + log2(opt.MaxItems))
	}
	e.root = context.WithValue(context.Background(), insideKey{}, e.self)
	e.base, e.cancel = context.WithCancel(context.Background())
	if !keyed {
		e.lanes.only = &lane[K, T, R]{}
		return e, nil
	}
	e.lanes.byKey = make(map[K]*lane[K, T, R])
	e.budget.keyItems = opt.PendingPerKey
	e.budget.keyBytes = int(max(1, int64(opt.PendingBytes)*int64(opt.PendingPerKey)/int64(opt.PendingItems)))
	e.budget.keyWaiters = int(max(1, int64(opt.MaxWaiters)*int64(opt.PendingPerKey)/int64(opt.PendingItems)))
	return e, nil
}

// now is a stamp: positive, and never 0.
func (e *engine[K, T, R]) now() int64 { return int64(time.Since(e.epoch)) + 1 }

// freedLocked passes room in the budget on to the callers that wait for it, and tidies up when
// nothing is left to do.
func (e *engine[K, T, R]) freedLocked() {
	e.grantLocked()
	if e.idle != nil && e.quietLocked() {
		close(e.idle)
		e.idle = nil
	}
	if e.stats.Pending > 0 {
		return
	}
	if e.unloggedLocked() == 0 {
		e.alarm.stopLocked()
	}
	if len(e.lanes.spare) > 2 { // two are enough: one fills while the other is sent
		clear(e.lanes.spare[2:])
		e.lanes.spare = e.lanes.spare[:2]
	}
}

// quietLocked reports whether nothing runs, and nothing will run unless a key on hold is resumed.
func (e *engine[K, T, R]) quietLocked() bool {
	if e.flight.workers+e.reports.list.n > 0 {
		return false
	}
	return e.stats.Pending == 0 || e.lanes.held > 0 && e.lanes.ready.n+e.lanes.lingers.n == 0
}

// An alarm is one timer, armed lazily.
type alarm struct {
	timer *time.Timer
	at    int64 // when it fires; 0 is never
}

// armLocked makes the timer fire at the time at, or earlier.
func (e *engine[K, T, R]) armLocked(now, at int64) {
	if e.alarm.at != 0 && e.alarm.at <= at {
		return
	}
	e.alarm.at = at
	d := time.Duration(at - now)
	if e.alarm.timer == nil {
		e.alarm.timer = time.AfterFunc(d, e.tick)
	} else {
		e.alarm.timer.Reset(d)
	}
}

func (a *alarm) stopLocked() {
	if a.at != 0 {
		a.timer.Stop()
		a.at = 0
	}
}

// tick runs when the timer fires. It hands over batches that have lingered long enough, drops items
// that are too old, and logs what is due. It may find nothing to do, because the batch has left
// meanwhile.
func (e *engine[K, T, R]) tick() {
	var lost expired[K, T, R]
	e.lock()
	now := e.now()
	e.alarm.at = 0
	for h := e.lanes.lingers.head; h != nil && h.of.until <= now; h = e.lanes.lingers.head {
		e.makeDueLocked(h.of)
	}
	for h := e.lanes.queued.head; h != nil; h = e.lanes.queued.head {
		if oldest := e.expireLocked(h.of, now, &lost); oldest != 0 {
			e.armLocked(now, oldest+int64(e.opt.MaxAge))
			break
		}
	}
	if h := e.lanes.lingers.head; h != nil {
		e.armLocked(now, h.of.until)
	}
	r := e.reportExpiredLocked(&lost)
	e.freedLocked()
	e.unlock()
	e.tell(r)
}
