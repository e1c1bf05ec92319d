package pool

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// A Pool reuses objects, under leases that end once. Create it with [New]. It is
// safe for concurrent use. Idle objects are in a sync.Pool: they go with the
// second collection, and the pool itself with all of them once it is unused.
type Pool[T any] struct {
	idle   sync.Pool // of *node[T]
	make   func() *T
	reset  func(*T)
	keep   func(*T) bool
	level  Level
	ledger *ledger // nil at level Off
}

// An Option of [New].
type Option[T any] func(*Pool[T])

// Reset has f clear each object when its lease ends, and not when it is leased
// again, so that an idle object holds nothing of what it was used for.
func Reset[T any](f func(*T)) Option[T] {
	return func(p *Pool[T]) { p.reset = f }
}

// Keep has f decide, when a lease ends and before Reset, whether the object is
// kept. Refuse what has grown large: in a sync.Pool it would drive out the small.
func Keep[T any](f func(*T) bool) Option[T] {
	return func(p *Pool[T]) { p.keep = f }
}

// At sets the level, which LEAKSAFE_POOL may raise. Above [Off] the pool knows
// [Pool.Outstanding], and its panics name the places.
func At[T any](level Level) Option[T] {
	return func(p *Pool[T]) { p.level = level }
}

// New returns an empty pool of objects that make makes. It panics if make is
// nil, or if LEAKSAFE_POOL is none of off, sample, check.
func New[T any](make func() *T, opts ...Option[T]) *Pool[T] {
	if make == nil {
		panic("pool: New: the function that makes objects is nil")
	}
	p := &Pool[T]{make: make}
	for _, o := range opts {
		o(p)
	}
	if p.level = p.level.orEnv(); p.level != Off {
		p.ledger = newLedger(p.level)
	}
	return p
}

// A node owns an object, for one lease after another, as a header owns memory.
type node[T any] struct {
	gen   atomic.Uint64
	value *T
	pool  *Pool[T]
	lease *lease // written once, before the first lease
}

// A Lease is the right to use an object of a [Pool]. It is copied freely: all
// copies are the same lease, and one Release ends it for all. The zero Lease has
// ended.
type Lease[T any] struct {
	n   *node[T]
	gen uint64
}

// Get leases an object. It panics if the function given to [New] returns nil.
func (p *Pool[T]) Get() Lease[T] {
	n, ok := p.idle.Get().(*node[T])
	if !ok {
		n = p.node(p.make())
	}
	if p.ledger != nil {
		n = p.traced(n)
	}
	return Lease[T]{n, n.gen.Load()}
}

func (p *Pool[T]) node(value *T) *node[T] {
	if value == nil {
		panic("pool: Get: the function given to New returned nil")
	}
	return &node[T]{value: value, pool: p}
}

// traced returns the node for a lease at a level: one of its own, if the lease
// is traced.
func (p *Pool[T]) traced(n *node[T]) *node[T] {
	l := p.ledger.begin(0, 0)
	if l == nil {
		return n
	}
	own := p.node(n.value)
	own.lease = l
	runtime.AddCleanup(own, p.ledger.lose, l)
	return own
}

// Value returns the object. It panics after the lease has ended. Do not keep the
// object longer than the lease: the pointer itself is not refused.
func (l Lease[T]) Value() *T {
	if n := l.n; n != nil && n.gen.Load() == l.gen {
		return n.value
	}
	panic(misuse{l, "Value"})
}

// stale says why the lease may not be used any more.
func (l Lease[T]) stale(method string) string {
	if l.n == nil {
		return fmt.Sprintf("pool: Lease.%s of the zero Lease: lease one with Get", method)
	}
	return l.n.lease.stale("Lease."+method, l.gen)
}

// Release ends the lease, resets the object and gives it back. It returns true
// for exactly one call among all copies of the Lease, from whatever goroutines,
// and false, with no effect, for any later one.
func (l Lease[T]) Release() bool { return l.end(true) }

// end ends the lease, and gives the object back if it is fit for it.
func (l Lease[T]) end(fit bool) bool {
	n := l.n
	if n == nil || !n.gen.CompareAndSwap(l.gen, l.gen+1) {
		return false
	}
	p := n.pool
	if n.lease != nil {
		p.ledger.end(n.lease, "released")
		n, n.value = p.node(n.value), nil
	}
	if !fit || p.keep != nil && !p.keep(n.value) {
		return true
	}
	if p.reset != nil {
		p.reset(n.value)
	}
	p.idle.Put(n)
	return true
}

// With calls f with a leased object and releases it. If f panics or ends its
// goroutine, the lease ends and the object, whose state nobody knows, is not
// used again.
func (p *Pool[T]) With(f func(*T)) {
	l, done := p.Get(), false
	defer func() { l.end(done) }()
	f(l.Value())
	done = true
}

// Outstanding returns the leases that have not ended, as [Bytes.Outstanding] does.
func (p *Pool[T]) Outstanding() []Held { return p.ledger.outstanding() }
