package batch

import (
	"context"
	"sync"
	"time"
)

// An engine is the one state machine behind [Batcher], [Caller] and [Keyed]:
// admission into a budget, batches gathered per lane, workers that take them.
// Every method whose comment does not say otherwise needs mu held.
type engine[K comparable, T, R any] struct {
	opt     Options[T]
	handle  func(context.Context, K, []T) ([]Result[R], error)
	keyed   bool // a lane per key, one batch of it at a time
	tickets bool // callers wait for the result of each item
	largest int  // bytes that an item may have

	base   context.Context // of the handlers; done once Close gives up
	cancel context.CancelFunc
	epoch  time.Time // stamps are nanoseconds since

	mu       sync.Mutex
	stats    Stats // its Pending and PendingBytes are what the budget has given out
	lanes    map[K]*lane[K, T, R]
	only     *lane[K, T, R]         // the lane when not keyed
	queued   list[*batch[K, T, R]]  // not yet taken by a worker, oldest first
	lingers  list[*batch[K, T, R]]  // those of them that wait for company
	inflight list[*batch[K, T, R]]  // taken, until the handler has returned for good
	ready    list[*lane[K, T, R]]   // lanes that have a batch to take
	waiters  list[*waiter[K, T, R]] // blocked callers, first come first served
	reports  list[*report[T]]       // on their way to the Observer, oldest first
	reported uint64                 // the newest of them
	spare    []*batch[K, T, R]      // cleared, to be used again
	size     int                    // of the last batch that was used up
	seq      uint64                 // of the newest batch
	workers  int                    // started and not yet gone
	next     int64                  // when Pace allows another call
	timer    *time.Timer            // one, armed lazily
	armed    int64                  // when it fires; 0 is never
	idle     chan struct{}          // made by who waits for the last worker
	flushes  int                    // callers in Flush
	closed   bool
	gaveUp   bool // Close gave items back

	waiterPool sync.Pool
}

// A lane gathers the items of one key.
type lane[K comparable, T, R any] struct {
	key   K
	open  *batch[K, T, R]       // the last of queue while it takes items
	queue list[*batch[K, T, R]] // oldest first
	busy  bool                  // a worker has its key
	ready node[*lane[K, T, R]]
}

// A batch is what one worker takes at once. Its array is never handed out, so
// it is used again once cleared.
type batch[K comparable, T, R any] struct {
	lane  *lane[K, T, R]
	items []T
	notes []note // of the items
	live  int    // items without an outcome
	bytes int    // of the live ones
	seq   uint64
	stamp int64 // of the next item
	due   bool  // to be taken as soon as a worker is free
	until int64 // or from here on
	group *group[R]
	done  chan struct{} // made by who waits; closed when live is 0

	// While in flight. Only the worker writes whole, tried, fruitless and lastErr.
	whole     bool   // no item has an outcome on its own
	turn      uint64 // of the call, over the life of the array
	calling   bool
	overdue   int64 // when the call counts as stuck
	told      bool  // its callers were told ErrTimeout
	abandoned bool  // Close gave its items back
	tried     bool
	fruitless int   // calls in a row that delivered nothing
	lastErr   error // of an item that failed

	inQueued, inLingers, inFlight, inLane node[*batch[K, T, R]]
}

// A note says what there is to know of an item. Its size is gone once it has an
// outcome on its own, and not with all of its batch.
type note struct {
	size  int
	stamp int64 // of its admission
}

const gone = -1

// A spot is where an item was admitted. The batch may have moved on to other
// items since; it holds this one as long as the group is the same.
type spot[K comparable, T, R any] struct {
	batch *batch[K, T, R]
	group *group[R]
	index int
}

// last is the spot of the item just admitted.
func (b *batch[K, T, R]) last() spot[K, T, R] { return spot[K, T, R]{b, b.group, len(b.items) - 1} }

func newEngine[K comparable, T, R any](opt Options[T], handle func(context.Context, K, []T) ([]Result[R], error)) (*engine[K, T, R], error) {
	opt, err := opt.defaulted()
	if err != nil {
		return nil, err
	}
	e := &engine[K, T, R]{opt: opt, handle: handle, epoch: time.Now(), largest: min(opt.MaxBytes, opt.PendingBytes)}
	ctx, cancel := context.WithCancel(context.Background())
	e.base, e.cancel = context.WithValue(ctx, insideKey{}, e), cancel
	e.only = &lane[K, T, R]{}
	return e, nil
}

// now is a stamp: positive, and never 0.
func (e *engine[K, T, R]) now() int64 { return int64(time.Since(e.epoch)) + 1 }

func (e *engine[K, T, R]) fits(size int) bool {
	return e.stats.Pending < int64(e.opt.PendingItems) && e.stats.PendingBytes+int64(size) <= int64(e.opt.PendingBytes)
}

// admit takes v into the budget and into the open batch of its lane, as the last
// of its items.
func (e *engine[K, T, R]) admit(key K, v T, size int) *batch[K, T, R] {
	l := e.lane(key)
	b := l.open
	if b == nil || b.due || b.bytes+size > e.opt.MaxBytes {
		b = e.place(l, size)
	}
	b.items = append(b.items, v)
	b.notes = append(b.notes, note{size, b.stamp})
	if e.count(b, 1, size) {
		e.full(b)
	}
	return b
}

// place returns the open batch of l with room for size and the stamp of now, which may be a new one.
func (e *engine[K, T, R]) place(l *lane[K, T, R], size int) *batch[K, T, R] {
	if l.open != nil && l.open.bytes+size > e.opt.MaxBytes {
		e.seal(l.open)
	}
	if l.open == nil {
		return e.open(l, e.now())
	}
	l.open.stamp = e.now() // it may have been waiting for a worker for long
	return l.open
}

// admitMore admits of vs what also fits into the batch that was just admitted
// to, and returns how many.
func (e *engine[K, T, R]) admitMore(b *batch[K, T, R], vs []T, sizes []int) (n int) {
	n = min(len(vs), e.opt.MaxItems-len(b.items), e.opt.PendingItems-int(e.stats.Pending))
	bytes, room := 0, min(e.opt.MaxBytes-b.bytes, e.opt.PendingBytes-int(e.stats.PendingBytes))
	for i, size := range sizes[:n] {
		if bytes+size > room {
			n = i
			break
		}
		bytes += size
		b.notes = append(b.notes, note{size, b.stamp})
	}
	b.items = append(b.items, vs[:n]...)
	if e.count(b, n, bytes) {
		e.full(b)
	}
	return n
}

// count accounts for n items just admitted to b. It tells whether there is no room for more in b or the budget.
func (e *engine[K, T, R]) count(b *batch[K, T, R], n, bytes int) (full bool) {
	b.live += n
	e.stats.Admitted += int64(n)
	e.stats.Pending += int64(n)
	if bytes > 0 {
		b.bytes += bytes
		e.stats.PendingBytes += int64(bytes)
	}
	return len(b.items) == e.opt.MaxItems || e.stats.Pending == int64(e.opt.PendingItems)
}

// full hands over b, or every batch, since there is no room for more.
func (e *engine[K, T, R]) full(b *batch[K, T, R]) {
	if len(b.items) == e.opt.MaxItems {
		e.seal(b)
	}
	if e.stats.Pending == int64(e.opt.PendingItems) {
		e.unlinger()
	}
}

func (e *engine[K, T, R]) lane(key K) *lane[K, T, R] {
	if !e.keyed {
		return e.only
	}
	l := e.lanes[key]
	if l == nil {
		l = &lane[K, T, R]{key: key}
		e.lanes[key] = l
	}
	return l
}

// open starts a batch in l at the time now.
func (e *engine[K, T, R]) open(l *lane[K, T, R], now int64) *batch[K, T, R] {
	b := e.fresh()
	e.seq++
	b.lane, b.seq, b.stamp, b.until = l, e.seq, now, now+int64(e.opt.Linger)
	if e.tickets {
		b.group = &group[R]{}
	}
	l.open = b
	l.queue.push(&b.inLane, b)
	e.queued.push(&b.inQueued, b)
	if e.opt.Linger == 0 {
		e.makeDue(b)
		e.arm(now, now+int64(e.opt.MaxAge))
	} else {
		e.lingers.push(&b.inLingers, b)
		e.arm(now, b.until)
	}
	return b
}

func (e *engine[K, T, R]) fresh() *batch[K, T, R] {
	n := len(e.spare)
	if n == 0 {
		return &batch[K, T, R]{items: make([]T, 0, e.size), notes: make([]note, 0, e.size)}
	}
	b := e.spare[n-1]
	e.spare[n-1] = nil
	e.spare = e.spare[:n-1]
	return b
}

// recycle clears b, and keeps its array for a later batch if few are kept.
func (e *engine[K, T, R]) recycle(b *batch[K, T, R]) {
	e.size = len(b.items)
	clear(b.items)
	*b = batch[K, T, R]{items: b.items[:0], notes: b.notes[:0], turn: b.turn}
	if len(e.spare) < e.opt.PendingItems/e.opt.MaxItems+2 {
		e.spare = append(e.spare, b)
	}
}

// seal takes no more items into b.
func (e *engine[K, T, R]) seal(b *batch[K, T, R]) {
	b.lane.open = nil
	e.makeDue(b)
}

func (e *engine[K, T, R]) makeDue(b *batch[K, T, R]) {
	if b.due {
		return
	}
	b.due = true
	e.lingers.remove(&b.inLingers)
	e.refresh(b.lane)
}

// unlinger makes every batch due: what they linger for cannot come.
func (e *engine[K, T, R]) unlinger() {
	for e.lingers.head != nil {
		e.makeDue(e.lingers.head.of)
	}
}

// refresh puts l on the ready list or takes it off, as its queue says, and
// forgets it when it has nothing left.
func (e *engine[K, T, R]) refresh(l *lane[K, T, R]) {
	first := l.queue.head
	if l.busy || first == nil || !first.of.due {
		e.ready.remove(&l.ready)
	} else if l.ready.on == nil {
		e.ready.push(&l.ready, l)
	}
	if e.keyed && !l.busy && first == nil {
		delete(e.lanes, l.key)
	}
	e.spawn()
}

// spawn starts a worker if there is a batch for it and a call left.
func (e *engine[K, T, R]) spawn() {
	if e.ready.n > 0 && e.workers < e.opt.InFlight {
		e.workers++
		go e.work()
	}
}

// dequeue takes b out of every list of batches to be taken.
func (e *engine[K, T, R]) dequeue(b *batch[K, T, R]) {
	l := b.lane
	if l.open == b {
		l.open = nil
	}
	l.queue.remove(&b.inLane)
	e.queued.remove(&b.inQueued)
	e.lingers.remove(&b.inLingers)
}

// drop ends an item of a queued batch that is not handed over. A batch that
// is empty thereby goes too.
func (e *engine[K, T, R]) drop(b *batch[K, T, R], i int) {
	e.free(b, 1, b.notes[i].size)
	b.end(i)
	if b.live > 0 {
		return
	}
	l := b.lane
	e.dequeue(b)
	e.recycle(b)
	e.refresh(l)
}

// end clears an item that has an outcome.
func (b *batch[K, T, R]) end(i int) {
	var zero T
	b.items[i], b.notes[i].size = zero, gone
}

// free gives n items of b and their bytes back to the budget.
func (e *engine[K, T, R]) free(b *batch[K, T, R], n, bytes int) {
	b.live -= n
	b.bytes -= bytes
	e.stats.Pending -= int64(n)
	e.stats.PendingBytes -= int64(bytes)
	if b.live == 0 && b.done != nil {
		close(b.done)
		b.done = nil
	}
}

// expire drops what is older than MaxAge from a queued batch, and returns the
// stamp of the oldest item left; 0 is none, and then the batch is gone.
func (e *engine[K, T, R]) expire(b *batch[K, T, R], now int64, expired *[]T) int64 {
	for i, n := range b.notes {
		if n.size == gone {
			continue
		}
		if n.stamp+int64(e.opt.MaxAge) > now {
			return n.stamp
		}
		if e.opt.Observer != nil {
			*expired = append(*expired, b.items[i])
		}
		if e.tickets {
			b.group.begin(len(b.items))
			b.group.set(i, Result[R]{Err: errExpired})
			b.group.end()
		}
		e.stats.Expired++
		empty := b.live == 1
		e.drop(b, i)
		if empty {
			break
		}
	}
	return 0
}

// arm sees to it that the timer fires at the latest at the time at.
func (e *engine[K, T, R]) arm(now, at int64) {
	if e.armed != 0 && e.armed <= at {
		return
	}
	e.armed = at
	d := time.Duration(at - now)
	if e.timer == nil {
		e.timer = time.AfterFunc(d, e.tick)
	} else {
		e.timer.Reset(d)
	}
}

// tick is the timer's: it ends what lingered or waited for long enough. It may
// come early, for a batch that left in time. It takes mu itself.
func (e *engine[K, T, R]) tick() {
	var expired []T
	e.mu.Lock()
	now := e.now()
	e.armed = 0
	for h := e.lingers.head; h != nil && h.of.until <= now; h = e.lingers.head {
		e.makeDue(h.of)
	}
	for h := e.queued.head; h != nil; h = e.queued.head {
		if oldest := e.expire(h.of, now, &expired); oldest != 0 {
			e.arm(now, oldest+int64(e.opt.MaxAge))
			break
		}
	}
	if h := e.lingers.head; h != nil {
		e.arm(now, h.of.until)
	}
	r := e.reportExpired(expired)
	e.freed()
	e.mu.Unlock()
	e.tell(r)
}

// freed passes room in the budget on to the callers that wait for it, and
// tidies up when nothing is left to do.
func (e *engine[K, T, R]) freed() {
	e.grant()
	if e.stats.Pending > 0 {
		return
	}
	if e.armed != 0 {
		e.timer.Stop()
		e.armed = 0
	}
	if len(e.spare) > 2 { // one fills while the other is sent
		clear(e.spare[2:])
		e.spare = e.spare[:2]
	}
	if e.workers+e.reports.n == 0 && e.idle != nil {
		close(e.idle)
		e.idle = nil
	}
}
