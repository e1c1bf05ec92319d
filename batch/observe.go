package batch

import (
	"log/slog"
	"runtime"
	"time"
)

// Reports are outcomes that the Observer, or the log, is still to be told.
//
// Invariant: a report is in list from when its items have their outcome until the Observer or the
// log has been told. Flush and Close wait for earlier reports, so when they return the Observer has
// been told.
type reports[K comparable, T, R any] struct {
	list list[*report[K, T, R]] // oldest first
	seq  uint64                 // of the newest

	last   error // of an item that failed or expired
	failed lost  // what Flush has reported
	logged int64 // items that the log has told of
	line   int64 // when the last line was logged; 0 is never
}

type report[K comparable, T, R any] struct {
	seq   uint64
	said  []outcome[T]
	rooms []room[K, T, R]
	line  *line
	by    uint64        // the goroutine that makes it
	done  chan struct{} // made by a waiter
	node  node[*report[K, T, R]]
}

// An outcome is what the Observer is told in one call.
type outcome[T any] struct {
	items []T
	err   error
}

// addTo adds an item to said: to what was delivered, to what shares the error of the call, or on
// its own.
func addTo[T any](said []outcome[T], item T, err error, shared bool) []outcome[T] {
	for i := range said {
		if err == nil && said[i].err == nil || err != nil && said[i].err != nil && shared {
			said[i].items = append(said[i].items, item)
			return said
		}
	}
	return append(said, outcome[T]{[]T{item}, err})
}

// Expired items are past MaxAge, and to be reported.
type expired[K comparable, T, R any] struct {
	items []T
	room  []room[K, T, R]
	n     int
}

func (x *expired[K, T, R]) add(_ *lane[K, T, R], item T, _ int, keep bool) {
	x.n++
	if keep {
		x.items = append(x.items, item)
	}
}

func (e *engine[K, T, R]) reportExpiredLocked(x *expired[K, T, R]) *report[K, T, R] {
	var said []outcome[T]
	if len(x.items) > 0 {
		said = []outcome[T]{{x.items, errExpired}}
	}
	return e.reportLocked(said, x.room)
}

// reportLocked announces what the Observer or the log is to be told; nil is nothing.
func (e *engine[K, T, R]) reportLocked(said []outcome[T], rooms []room[K, T, R]) *report[K, T, R] {
	line := e.lineLocked()
	if len(said) == 0 && line == nil {
		return nil
	}
	e.reports.seq++
	r := &report[K, T, R]{seq: e.reports.seq, said: said, rooms: rooms, line: line, by: goroutine()}
	e.reports.list.push(&r.node, r)
	return r
}

// tell makes the announced report.
func (e *engine[K, T, R]) tell(r *report[K, T, R]) {
	if r == nil {
		return
	}
	defer e.told(r)
	defer e.self.leave(e.self.enter(r.by))
	if r.line != nil {
		r.line.write()
	}
	for _, o := range r.said {
		e.opt.Observer(o.items, o.err)
	}
}

// told wakes the callers that wait for r.
func (e *engine[K, T, R]) told(r *report[K, T, R]) {
	e.lock()
	defer e.unlock()
	e.reports.list.remove(&r.node)
	if r.done != nil {
		close(r.done)
	}
	e.returnRoomLocked(r)
	e.freedLocked()
}

// observingLocked returns the report that this goroutine is making: the caller is the Observer.
func (e *engine[K, T, R]) observingLocked() *report[K, T, R] {
	if e.reports.list.n == 0 || e.opt.Observer == nil {
		return nil
	}
	by := goroutine()
	for n := e.reports.list.head; n != nil; n = n.next {
		if n.of.by == by {
			return n.of
		}
	}
	return nil
}

// goroutine returns the number of the calling goroutine, from the first line of its stack:
// "goroutine 17 [running]:". It takes about a microsecond, so it is called once per report, and by
// callers that would block while a report is made.
func goroutine() (n uint64) {
	var buf [32]byte
	const prefix = len("goroutine ")
	for _, c := range buf[prefix:max(prefix, runtime.Stack(buf[:], false))] {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + uint64(c-'0')
	}
	return n
}

// A line is for the log.
type line struct {
	items   int64 // that failed or expired since the last line
	expired int64 // in all
	err     error // of the last item
}

// logEvery is the least time between two lines of the log.
const logEvery = 10 * time.Second

// unloggedLocked returns how many items failed or expired of which neither the log nor anybody else
// was told.
func (e *engine[K, T, R]) unloggedLocked() int64 {
	if e.opt.Observer != nil || e.tickets {
		return 0
	}
	return e.stats.Failed + e.stats.Expired - e.reports.logged
}

// lineLocked returns what is to be logged: the first time at once, then at most one line in
// logEvery. If a line is not due yet, the timer comes back for it.
func (e *engine[K, T, R]) lineLocked() *line {
	q, n := &e.reports, e.unloggedLocked()
	if n == 0 {
		return nil
	}
	now := e.now()
	if q.line != 0 && now-q.line < int64(logEvery) {
		e.armLocked(now, q.line+int64(logEvery))
		return nil
	}
	q.line, q.logged = now, q.logged+n
	return &line{n, e.stats.Expired, q.last}
}

func (l *line) write() {
	slog.Error("batch: items were not delivered, and Options.Observer is not set",
		"items", l.items, "expired in all", l.expired, "last error", l.err)
}
