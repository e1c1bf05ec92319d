package batch

import (
	"math"
	"runtime"
	"slices"
)

// laneLocked returns the lane of key, which may be a new one.
func (e *engine[K, T, R]) laneLocked(key K) *lane[K, T, R] {
	if !e.keyed {
		return e.lanes.only
	}
	l := e.lanes.byKey[key]
	if l == nil {
		l = &lane[K, T, R]{key: key}
		e.lanes.byKey[key] = l
	}
	return l
}

// forgetLocked removes a keyed lane that has nothing to be remembered.
func (e *engine[K, T, R]) forgetLocked(l *lane[K, T, R]) {
	if e.keyed && !l.busy && !l.held && l.queue.n == 0 && l.waiting == 0 && l.reserved == 0 {
		delete(e.lanes.byKey, l.key)
	}
}

// admitLocked takes v into the budget and into the open batch of l, as the last of its items.
func (e *engine[K, T, R]) admitLocked(l *lane[K, T, R], v T, size int) *batch[K, T, R] {
	b := l.open
	if b == nil || b.due || b.bytes+size > e.opt.MaxBytes {
		b = e.placeLocked(l, size)
	}
	b.items = append(b.items, v)
	if !e.plain {
		b.notes = append(b.notes, note{b.stamp, int32(size), 0})
	}
	if e.countLocked(b, 1, size) {
		e.fullLocked(b)
	}
	return b
}

// quickenLocked makes b quick, if it may take more items without a look at anything else. It is the
// last thing that is done before mu is unlocked.
func (e *engine[K, T, R]) quickenLocked(b *batch[K, T, R]) {
	if e.keyed || b.due {
		return
	}
	n := len(b.items)
	items := min(e.opt.MaxItems-n, e.opt.PendingItems-int(e.stats.Pending)-e.budget.reserved) - 1
	items = min(items, cap(b.items)-n)
	room := 1
	if e.opt.SizeOf != nil {
		room = min(e.opt.MaxBytes-b.bytes, e.opt.PendingBytes-int(e.stats.PendingBytes)-e.budget.reservedBytes, math.MaxInt32)
	}
	if items <= 0 || room <= 0 {
		return
	}
	q := &e.quick
	q.batch, q.items = b, b.items[:n+items]
	if e.opt.SizeOf != nil {
		b.notes = slices.Grow(b.notes, items)
		q.notes = b.notes[:n+items]
	}
	q.first = uint64(items)<<32 | uint64(room)
	q.places.Store(q.first)
}

// lock locks mu, and closes quick.
func (e *engine[K, T, R]) lock() {
	e.mu.Lock()
	e.closeQuickLocked()
}

// closeQuickLocked counts the items that were added to quick.
func (e *engine[K, T, R]) closeQuickLocked() {
	q := &e.quick
	if q.places.Load() == 0 {
		return
	}
	taken := q.first - q.places.Swap(0)
	n, bytes := int(taken>>32), int(taken&math.MaxUint32)
	for q.filled.Load() != int64(n) {
		runtime.Gosched()
	}
	q.filled.Store(0)
	b := q.batch
	b.items = b.items[:len(b.items)+n]
	if e.opt.SizeOf != nil {
		b.notes = b.notes[:len(b.notes)+n]
	}
	q.batch, q.items, q.notes = nil, nil, nil
	b.live += n
	b.bytes += bytes
	e.stats.Admitted += int64(n)
	e.stats.Pending += int64(n)
	e.stats.PendingBytes += int64(bytes)
}

// unlock unlocks mu, and starts the workers that were asked for: not with mu held, because it takes
// a microsecond.
func (e *engine[K, T, R]) unlock() {
	n := e.flight.starting
	e.flight.starting = 0
	e.mu.Unlock()
	for range n {
		go e.work()
	}
}

// noteLocked makes the notes of b complete: without sizes they are made when they are needed.
func (b *batch[K, T, R]) noteLocked() {
	for len(b.notes) < len(b.items) {
		b.notes = append(b.notes, note{stamp: b.stamp})
	}
}

// placeLocked returns the open batch of l with room for size and the stamp of now, which may be a
// new one.
func (e *engine[K, T, R]) placeLocked(l *lane[K, T, R], size int) *batch[K, T, R] {
	if l.open != nil && l.open.bytes+size > e.opt.MaxBytes {
		e.sealLocked(l.open)
	}
	if l.open == nil {
		return e.openLocked(l, e.now())
	}
	l.open.noteLocked()
	l.open.stamp = e.now() // it may have been waiting for a worker for long
	return l.open
}

// admitMoreLocked admits of vs what also fits into the batch that was just admitted to, and returns
// how many.
func (e *engine[K, T, R]) admitMoreLocked(b *batch[K, T, R], vs []T, sizes []int) (n int) {
	n = min(len(vs), e.opt.MaxItems-len(b.items), e.opt.PendingItems-int(e.stats.Pending)-e.budget.reserved)
	room := min(e.opt.MaxBytes-b.bytes, e.opt.PendingBytes-int(e.stats.PendingBytes)-e.budget.reservedBytes)
	if l := b.lane; e.keyed {
		n = min(n, e.budget.keyItems-l.items-l.claims-l.reserved)
		room = min(room, e.budget.keyBytes-l.bytes-l.claimedBytes-l.reservedForBytes)
	}
	n = max(n, 0)
	bytes := 0
	for i, size := range sizes[:n] {
		if e.plain {
			break
		}
		if bytes+size > room {
			n = i
			break
		}
		bytes += size
		b.notes = append(b.notes, note{b.stamp, int32(size), 0})
	}
	b.items = append(b.items, vs[:n]...)
	if e.countLocked(b, n, bytes) {
		e.fullLocked(b)
	}
	return n
}

// countLocked accounts for n items just admitted to b. It reports whether b, the share of its key,
// or the budget is now full.
func (e *engine[K, T, R]) countLocked(b *batch[K, T, R], n, bytes int) (full bool) {
	b.live += n
	e.stats.Admitted += int64(n)
	e.stats.Pending += int64(n)
	if e.opt.SizeOf != nil {
		b.bytes += bytes
		e.stats.PendingBytes += int64(bytes)
		full = b.bytes >= e.opt.MaxBytes || e.stats.PendingBytes >= int64(e.opt.PendingBytes)
	}
	if e.keyed {
		b.lane.items += n
		b.lane.bytes += bytes
		full = full || e.keyFullLocked(b.lane)
	}
	return full || len(b.items) == e.opt.MaxItems || e.stats.Pending == int64(e.opt.PendingItems)
}

// fullLocked hands over b, or every batch, since there is no room for more.
func (e *engine[K, T, R]) fullLocked(b *batch[K, T, R]) {
	if len(b.items) == e.opt.MaxItems || b.bytes >= e.opt.MaxBytes {
		e.sealLocked(b)
	}
	if e.stats.Pending == int64(e.opt.PendingItems) || e.stats.PendingBytes >= int64(e.opt.PendingBytes) {
		e.unlingerLocked()
	}
	if e.keyed && e.keyFullLocked(b.lane) {
		e.makeDueLocked(b)
	}
}

// keyFullLocked reports whether the share of l has no room: with sizes, not for a byte.
func (e *engine[K, T, R]) keyFullLocked(l *lane[K, T, R]) bool {
	least := 0
	if e.opt.SizeOf != nil {
		least = 1
	}
	return l.blocked.n > 0 || !e.shareLocked(l, least)
}

// openLocked starts a batch in l at the time now.
func (e *engine[K, T, R]) openLocked(l *lane[K, T, R], now int64) *batch[K, T, R] {
	b := e.freshLocked()
	q := &e.lanes
	q.seq++
	b.lane, b.seq, b.stamp, b.until = l, q.seq, now, now+int64(e.opt.Linger)
	if e.tickets {
		b.group = &group[R]{of: e.self}
	}
	l.open = b
	l.queue.push(&b.inLane, b)
	q.queued.push(&b.inQueued, b)
	if e.opt.Linger == 0 {
		e.makeDueLocked(b)
		e.armLocked(now, now+int64(e.opt.MaxAge))
	} else {
		q.lingers.push(&b.inLingers, b)
		e.armLocked(now, b.until)
	}
	return b
}

func (e *engine[K, T, R]) freshLocked() *batch[K, T, R] {
	q := &e.lanes
	n := len(q.spare)
	if n == 0 {
		return &batch[K, T, R]{items: make([]T, 0, q.size), notes: make([]note, 0, q.size)}
	}
	b := q.spare[n-1]
	q.spare[n-1] = nil
	q.spare = q.spare[:n-1]
	return b
}

// recycleLocked keeps the array of b, whose items are cleared, for a later batch unless enough are
// kept already.
func (e *engine[K, T, R]) recycleLocked(b *batch[K, T, R]) {
	q := &e.lanes
	q.size = len(b.items)
	*b = batch[K, T, R]{items: b.items[:0], notes: b.notes[:0], watch: b.watch}
	if len(q.spare) < e.opt.PendingItems/e.opt.MaxItems+2 {
		q.spare = append(q.spare, b)
	}
}

// sealLocked takes no more items into b.
func (e *engine[K, T, R]) sealLocked(b *batch[K, T, R]) {
	b.lane.open = nil
	e.makeDueLocked(b)
}

func (e *engine[K, T, R]) makeDueLocked(b *batch[K, T, R]) {
	if b.due {
		return
	}
	b.due = true
	e.lanes.lingers.remove(&b.inLingers)
	e.refreshLocked(b.lane)
}

// unlingerLocked makes every batch due, because no item can join them.
func (e *engine[K, T, R]) unlingerLocked() {
	for e.lanes.lingers.head != nil {
		e.makeDueLocked(e.lanes.lingers.head.of)
	}
}

// askLocked notes that a Do waits for an item of b. Such a batch does not linger while no call is
// in flight: the items that arrive during this call share the next one, like the group commit of a
// database.
func (e *engine[K, T, R]) askLocked(b *batch[K, T, R]) {
	b.asked = true
	if e.flight.list.n == 0 {
		e.makeDueLocked(b)
	}
}

// ask is askLocked for the batches of spots that no worker has taken.
func (e *engine[K, T, R]) ask(spots []spot[K, T, R]) {
	e.lock()
	defer e.unlock()
	for _, at := range spots {
		if b := at.batch; b.group == at.group && b.inQueued.on != nil {
			e.askLocked(b)
		}
	}
}

// commitLocked hands over the batches that a Do waits for, once no call is in flight.
func (e *engine[K, T, R]) commitLocked() {
	if !e.tickets || e.flight.list.n > 0 {
		return
	}
	for h := e.lanes.lingers.head; h != nil; {
		b := h.of
		h = h.next
		if b.asked {
			e.makeDueLocked(b)
		}
	}
}

// refreshLocked puts l on the ready list or takes it off, as its queue says, and forgets it when it
// has nothing left.
func (e *engine[K, T, R]) refreshLocked(l *lane[K, T, R]) {
	first := l.queue.head
	if l.busy || l.held || first == nil || !first.of.due {
		e.lanes.ready.remove(&l.ready)
	} else if l.ready.on == nil {
		e.lanes.ready.push(&l.ready, l)
	}
	e.forgetLocked(l)
	e.spawnLocked()
}

// holdLocked puts a key on hold because an item of it was not delivered, if Options say so.
func (e *engine[K, T, R]) holdLocked(l *lane[K, T, R]) {
	if !e.opt.HoldKeys || l.held {
		return
	}
	l.held = true
	e.lanes.held++
	e.lanes.ready.remove(&l.ready)
	for n := l.queue.head; n != nil; n = n.next { // Flush does not wait for them any longer
		n.of.wakeLocked()
	}
}

// resume ends the hold of a key, and reports whether it was on hold.
func (e *engine[K, T, R]) resume(key K) bool {
	e.lock()
	defer e.unlock()
	l := e.lanes.byKey[key]
	if l == nil || !l.held {
		return false
	}
	l.held = false
	e.lanes.held--
	e.refreshLocked(l)
	e.freedLocked()
	return true
}

// dequeueLocked takes b out of every list of batches to be taken.
func (e *engine[K, T, R]) dequeueLocked(b *batch[K, T, R]) {
	l := b.lane
	if l.open == b {
		l.open = nil
	}
	l.queue.remove(&b.inLane)
	e.lanes.queued.remove(&b.inQueued)
	e.lanes.lingers.remove(&b.inLingers)
}

// dropLocked ends an item of a queued batch that is not handed over. A batch that is empty thereby
// goes too.
func (e *engine[K, T, R]) dropLocked(b *batch[K, T, R], i int) {
	e.freeLocked(b, 1, int(b.notes[i].size))
	b.end(i)
	if b.live > 0 {
		return
	}
	l := b.lane
	e.dequeueLocked(b)
	e.recycleLocked(b)
	e.refreshLocked(l)
}

// end clears an item that has an outcome.
func (b *batch[K, T, R]) end(i int) {
	var zero T
	b.items[i], b.notes[i].size = zero, gone
}

// freeLocked gives n items of b and their bytes back to the budget.
func (e *engine[K, T, R]) freeLocked(b *batch[K, T, R], n, bytes int) {
	b.live -= n
	b.bytes -= bytes
	e.stats.Pending -= int64(n)
	e.stats.PendingBytes -= int64(bytes)
	if e.keyed {
		b.lane.items -= n
		b.lane.bytes -= bytes
		e.unblockLocked(b.lane)
	}
	if b.live == 0 {
		b.wakeLocked()
	}
}

// wakeLocked wakes the calls of Flush that wait for b.
func (b *batch[K, T, R]) wakeLocked() {
	if b.done != nil {
		close(b.done)
		b.done = nil
	}
}

// expireLocked drops what is older than MaxAge from a queued batch, and returns the stamp of the
// oldest item left; 0 is none, and then the batch is gone.
func (e *engine[K, T, R]) expireLocked(b *batch[K, T, R], now int64, lost *expired[K, T, R]) int64 {
	if len(b.notes) == 0 && b.stamp+int64(e.opt.MaxAge) > now { // all items have this stamp
		return b.stamp
	}
	b.noteLocked()
	for i, n := range b.notes {
		if n.size == gone {
			continue
		}
		if n.stamp+int64(e.opt.MaxAge) > now {
			return n.stamp
		}
		if e.tickets {
			b.group.begin(len(b.items))
			b.group.set(i, Result[R]{Err: errExpired})
			b.group.end()
		}
		e.stats.Expired++
		e.reports.last = errExpired
		l, empty := b.lane, b.live == 1
		lost.add(l, b.items[i], int(n.size), e.opt.Observer != nil)
		e.reserveLocked(l, &lost.room, int(n.size))
		e.holdLocked(l)
		e.dropLocked(b, i)
		if empty {
			break
		}
	}
	return 0
}
