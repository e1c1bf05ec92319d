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
	idle    sync.Pool // of *object[T], or of *shell[T] if the pool has Drop
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
	entry *entry    // written once, before the first lease
	shell *shell[T] // non-nil exactly if the pool has Drop and the object is leased
}

// A shell holds an object while the object is idle. Nothing else refers to the shell then, so the
// collector finds it once the sync.Pool has dropped it. The object itself would not do: its value
// may refer to it, through a lease that has ended. A shell goes with the value from object to
// object.
type shell[T any] struct {
	object *object[T]
	idle   *atomic.Pointer[T] // the value while it is idle; apart, for the cleanup of the shell
}

// newShell returns a shell whose cleanup drops the value if the shell was collected while the value
// was idle.
func newShell[T any](drop func(*T)) *shell[T] {
	s := &shell[T]{idle: new(atomic.Pointer[T])}
	runtime.AddCleanup(s, func(idle *atomic.Pointer[T]) {
		if value := idle.Load(); value != nil {
			drop(value)
		}
	}, s.idle)
	return s
}

// A Lease is the right to use an object of a [Pool]. It is copied freely: all copies are the same
// lease, and one Release ends it for all. The zero Lease has ended.
type Lease[T any] struct {
	o   *object[T]
	gen uint64
}

// Get leases an object. It panics if the function given to [New] returns nil.
func (p *Pool[T]) Get() Lease[T] {
	var o *object[T]
	if p.options.Drop == nil {
		o, _ = p.idle.Get().(*object[T])
	} else if s, ok := p.idle.Get().(*shell[T]); ok {
		o = s.open()
	}
	if o == nil {
		o = p.first()
	}
	if p.log != nil {
		o = p.logged(o)
	}
	return Lease[T]{o, o.gen.Load()}
}

// open takes the object out of the shell.
func (s *shell[T]) open() *object[T] {
	s.idle.Store(nil) // while s is in use: its cleanup must not find the value idle
	o := s.object
	s.object, o.shell = nil, s
	return o
}

// close puts an object into its shell, and returns the shell.
func (o *object[T]) close() *shell[T] {
	s := o.shell
	s.object, o.shell = o, nil
	s.idle.Store(o.value)
	return s
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
	o := &object[T]{value: value, pool: p}
	if p.options.Drop != nil {
		o.shell = newShell(p.options.Drop)
	}
	return o
}

// logged returns the object for a lease: one of its own, if the lease is logged.
func (p *Pool[T]) logged(o *object[T]) *object[T] {
	e := p.log.begin(0, 0, "acquired")
	if e == nil {
		return o
	}
	own := o.next()
	own.entry = e
	runtime.AddCleanup(own, p.log.lose, e)
	return own
}

// next returns a new object that takes over the value.
func (o *object[T]) next() *object[T] {
	next := &object[T]{value: o.value, pool: o.pool, shell: o.shell}
	o.value, o.shell = nil, nil
	return next
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
		o = o.next()
	}
	if o.shell != nil {
		o.idleOrDropped(fit)
	} else if fit && o.clean() {
		p.idle.Put(o)
	}
	return true
}

// clean asks Keep, and resets an object that is kept.
func (o *object[T]) clean() (kept bool) {
	p := o.pool
	if p.options.Keep != nil && !p.options.Keep(o.value) {
		return false
	}
	if p.options.Reset != nil {
		p.options.Reset(o.value)
	}
	return true
}

// idleOrDropped makes an object idle if it is fit and kept. If not, or if Keep or Reset panics, it
// drops the object.
func (o *object[T]) idleOrDropped(fit bool) {
	kept := false
	defer func() {
		if !kept {
			o.pool.options.Drop(o.value)
		}
	}()
	kept = fit && o.clean()
	if kept {
		o.pool.idle.Put(o.close())
	}
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
