package pool

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// PoolOptions of a [Pool]. The zero PoolOptions is a good default.
type PoolOptions[T any] struct {
	// Reset clears an object when its lease ends, not when it is leased again, so that an idle
	// object holds nothing of what it was used for.
	Reset func(*T)
	// Keep is called when a lease ends, before Reset, and decides whether the object is reused.
	// Refuse objects that have grown large: in a sync.Pool they would replace the small ones.
	Keep func(*T) bool
	// Drop is called once with each object that leaves the pool: objects that Keep refused, objects
	// whose Keep, Reset or function in With panicked, and idle objects that the collector took.
	// Close the object there: a sync.Pool drops objects silently, and an object that has a
	// goroutine or a file would leak it. Drop must not block and must not panic: for an idle object
	// it runs on the runtime's goroutine for cleanups, where a panic ends the program. It is not
	// called for a lost lease, whose object may be in use: see Outstanding.
	Drop func(*T)
	// Level says how closely leases are watched; LEAKSAFE_POOL raises it. Above LevelOff the pool
	// knows Outstanding, and its panics name places.
	Level Level
}

// A Pool reuses objects, under leases that end once. Create it with [New]. It is safe for
// concurrent use. Idle objects are in a sync.Pool: the second collection frees them. When the pool
// itself is no longer referenced, all of them are freed.
type Pool[T any] struct {
	idle    sync.Pool // of *object[T]
	make    func() *T
	options PoolOptions[T]
	log     *leaseLog // nil at LevelOff
}

// New returns an empty pool of objects that make makes. Give at most one PoolOptions. It panics if
// make is nil or Level is unknown.
func New[T any](make func() *T, options ...PoolOptions[T]) *Pool[T] {
	if make == nil {
		panic("pool: New: the function that makes objects is nil")
	}
	if len(options) > 1 {
		panic("pool: New takes at most one PoolOptions")
	}
	p := &Pool[T]{make: make}
	for _, o := range options {
		p.options = o
	}
	p.log = newLeaseLog(p.options.Level.orEnv())
	return p
}

// An object is a value and the state of its lease, as a block is memory and the state of its lease.
type object[T any] struct {
	gen   atomic.Uint64
	value *T
	pool  *Pool[T]
	entry *entry   // written once, before the first lease
	fate  *fate[T] // non-nil exactly if the pool has Drop
}

// A fate drops a value once. It goes with the value from object to object. State is twice the
// number of the object that has the value, plus 1 while the value is leased.
type fate[T any] struct {
	value *T
	drop  func(*T)
	state atomic.Uint64
}

// A mark holds what the cleanup of an object needs.
type mark[T any] struct {
	fate   *fate[T]
	object uint64
}

// collected drops the value of an object that was collected, if the object had it idle.
func collected[T any](m mark[T]) {
	if m.fate.state.CompareAndSwap(m.object<<1, 0) {
		m.fate.drop(m.fate.value)
	}
}

// A Lease is the right to use an object of a [Pool]. It is copied freely: all copies are the same
// lease, and one Release ends it for all. The zero Lease has ended.
type Lease[T any] struct {
	o   *object[T]
	gen uint64
}

// Get leases an object. It panics if the function given to [New] returns nil.
func (p *Pool[T]) Get() Lease[T] {
	o, ok := p.idle.Get().(*object[T])
	if !ok {
		o = p.first()
	}
	if o.fate != nil {
		o.fate.state.Or(1) // before logged, which gives up o: collected must not find the value idle
	}
	if p.log != nil {
		o = p.logged(o)
	}
	return Lease[T]{o, o.gen.Load()}
}

// first makes a value.
func (p *Pool[T]) first() *object[T] {
	if p.make == nil {
		panic("pool: Get of a zero Pool: create it with New")
	}
	value := p.make()
	if value == nil {
		panic("pool: Get: the function given to New returned nil")
	}
	if p.options.Drop == nil {
		return p.object(value, nil)
	}
	return p.object(value, &fate[T]{value: value, drop: p.options.Drop})
}

// object gives the value to a new object.
func (p *Pool[T]) object(value *T, f *fate[T]) *object[T] {
	o := &object[T]{value: value, pool: p, fate: f}
	if f != nil {
		next := f.state.Load()>>1 + 1
		f.state.Store(next<<1 | 1)
		runtime.AddCleanup(o, collected[T], mark[T]{f, next})
	}
	return o
}

// logged returns the object for a lease: one of its own, if the lease is logged.
func (p *Pool[T]) logged(o *object[T]) *object[T] {
	e := p.log.begin(0, 0, "acquired")
	if e == nil {
		return o
	}
	own := p.object(o.value, o.fate)
	own.entry = e
	runtime.AddCleanup(own, p.log.lose, e)
	return own
}

// Value returns the object. It panics after the lease has ended. Do not use the object after that:
// the pointer itself is not refused.
func (l Lease[T]) Value() *T {
	if o := l.o; o != nil && o.gen.Load() == l.gen {
		return o.value
	}
	panic(misuse{l, "Value"})
}

// stale says why the lease may not be used any more.
func (l Lease[T]) stale(method string) string {
	if l.o == nil {
		return fmt.Sprintf("pool: Lease.%s called on the zero Lease: get one from Pool.Get", method)
	}
	return l.o.entry.stale("Lease."+method, l.gen)
}

// Release ends the lease, resets the object and gives it back. It returns true for exactly one call
// among all copies of the Lease, from any goroutine. Every later call returns false and has no
// effect.
func (l Lease[T]) Release() bool { return l.end(true) }

// end ends the lease, and gives the object back if it is fit for it.
func (l Lease[T]) end(fit bool) bool {
	o := l.o
	if o == nil || !o.gen.CompareAndSwap(l.gen, l.gen+1) {
		return false
	}
	p := o.pool
	if o.entry != nil {
		p.log.end(o.entry, "released")
		o, o.value = p.object(o.value, o.fate), nil
	}
	idle := false
	if o.fate != nil {
		defer func() { // also if Keep or Reset panics
			if !idle {
				o.drop()
			}
		}()
	}
	if !fit || p.options.Keep != nil && !p.options.Keep(o.value) {
		return true
	}
	if p.options.Reset != nil {
		p.options.Reset(o.value)
	}
	if o.fate != nil {
		o.fate.state.And(^uint64(1))
	}
	idle = true
	p.idle.Put(o)
	return true
}

// drop drops the value of an object that has a fate and whose lease this caller has ended.
func (o *object[T]) drop() {
	o.fate.state.Store(0)
	o.fate.drop(o.value)
}

// With calls f with a leased object and releases it. If f panics or ends its goroutine, the lease
// ends and the object is not reused, because its state is unknown.
func (p *Pool[T]) With(f func(*T)) {
	l, done := p.Get(), false
	defer func() { l.end(done) }()
	f(l.Value())
	done = true
}

// Outstanding returns the leases that have not ended, as [Bytes.Outstanding] does. Writes through a
// pointer that was kept after Release are not seen.
func (p *Pool[T]) Outstanding() []Finding { return p.log.outstanding() }
