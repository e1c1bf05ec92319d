package watch

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"time"
)

// expected counts the objects that should be collected soon and are not yet.
type expected struct {
	mu    sync.Mutex
	alive map[string]*waiting
}

// waiting are the objects of one name. Their dates are kept for the first
// many; the rest are counted.
type waiting struct {
	since  map[uint64]time.Time
	next   uint64
	beyond int
}

const (
	maxNames = 256
	maxDates = 4096
)

// overdue says how many objects of a name are still alive.
type overdue struct {
	Name   string  `json:"name"`
	Alive  int     `json:"alive"`
	Oldest Seconds `json:"oldest"`
}

func (e *expected) init() { e.alive = make(map[string]*waiting) }

// Expect says that *p should be collected soon, because its work is done: the
// page and the JSON count, by name, those that still live, with the age of the
// oldest. It does not keep *p alive. It must be the pointer that was allocated,
// not one into a larger object, and it must not be used for objects that are smaller than 16 bytes
// and hold no pointer: the runtime packs those together.
//
// Give few names: kinds of objects, not objects. After 256 of them further ones
// are counted together, as "…".
func Expect[T any](w *Watcher, p *T, name string) {
	if w == nil || p == nil {
		return
	}
	id, name := w.expected.add(name)
	runtime.AddCleanup(p, func(id uint64) { w.expected.gone(name, id) }, id)
}

func (e *expected) add(name string) (uint64, string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.alive[name] == nil && len(e.alive) >= maxNames {
		name = "…"
	}
	x := e.alive[name]
	if x == nil {
		x = &waiting{since: make(map[uint64]time.Time)}
		e.alive[name] = x
	}
	x.next++
	if len(x.since) < maxDates {
		x.since[x.next] = time.Now()
	} else {
		x.beyond++
	}
	return x.next, name
}

func (e *expected) gone(name string, id uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.alive[name]
	if _, dated := x.since[id]; dated {
		delete(x.since, id)
		return
	}
	x.beyond--
}

func (e *expected) list(now time.Time) []overdue {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []overdue
	for name, x := range e.alive {
		o := overdue{Name: name, Alive: len(x.since) + x.beyond}
		for _, since := range x.since {
			o.Oldest = max(o.Oldest, Seconds(now.Sub(since)))
		}
		if o.Alive > 0 {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b overdue) int { return cmp.Or(cmp.Compare(b.Alive, a.Alive), cmp.Compare(a.Name, b.Name)) })
	return out
}
