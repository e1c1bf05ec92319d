package mapper

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"
)

// The bounds of the caches, in plans.
const (
	maxPlans   = 512 // of the package-level functions
	maxDynamic = 64  // of one Mapper, for types met in interfaces
)

// A cache holds plans by their pair of types, never by the types' names. When it is full, it evicts
// a plan that was not used since its last check (the clock algorithm).
type cache struct {
	cfg   *config
	limit int
	inner bool // its plans are parts of a Mapper

	mu      sync.RWMutex
	entries map[pair]*entry
	clock   []*entry // all entries, in a circle
	hand    int

	hits, misses, evictions atomic.Uint64
}

// typedPlans has a slot for each of 64 hashes. It finds plans of pairs whose types the compiler
// knows without a lock. The first pair with a hash keeps the slot until its plan is evicted.
type typedPlans [64]atomic.Pointer[typedPlan]

// A typedPlan says which entry was found for the addresses of two types, which are never moved or
// freed.
type typedPlan struct {
	types [2]uintptr
	entry *entry
}

func (t *typedPlans) slot(types [2]uintptr) *atomic.Pointer[typedPlan] {
	return &t[(types[0]>>5^types[1]>>5*31)%uintptr(len(t))]
}

// typeWord is the address of the type *T, which the compiler knows.
func typeWord[T any]() uintptr {
	var p any = (*T)(nil)
	return *(*uintptr)(unsafe.Pointer(&p))
}

// An entry is built once, by the first goroutine that needs it, while the others that need it wait.
type entry struct {
	pair pair
	slot *atomic.Pointer[typedPlan] // the slot that has this entry, or nil
	used atomic.Bool
	once sync.Once
	plan *plan
	err  error
}

func newCache(limit int, cfg *config) *cache { return &cache{cfg: cfg, limit: limit} }

// newDynamic returns a cache for the types that are met in interfaces. They map by the same
// options.
func newDynamic(cfg *config) *cache { return &cache{cfg: cfg, limit: maxDynamic, inner: true} }

// plan returns the plan of a pair, and builds it if it is not there.
func (c *cache) plan(p pair) (*plan, error) {
	e := c.find(p)
	return e.plan, e.err
}

func (c *cache) hit(e *entry) {
	c.hits.Add(1)
	if !e.used.Load() {
		e.used.Store(true)
	}
}

func (c *cache) find(p pair) *entry {
	c.mu.RLock()
	e := c.entries[p]
	c.mu.RUnlock()
	if e != nil {
		c.hit(e)
	} else {
		e = c.insert(p)
	}
	e.once.Do(func() { e.plan, e.err = compile(p, c.cfg, c.inner) })
	return e
}

// give puts an entry into a slot that is free, unless it was evicted meanwhile.
func (c *cache) give(slot *atomic.Pointer[typedPlan], types [2]uintptr, e *entry) {
	if e.err != nil || slot.Load() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[e.pair] == e && slot.CompareAndSwap(nil, &typedPlan{types, e}) {
		e.slot = slot
	}
}

// insert adds an entry for p, unless another goroutine was faster.
func (c *cache) insert(p pair) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[p]; e != nil {
		c.hits.Add(1)
		return e
	}
	c.misses.Add(1)
	if c.entries == nil {
		c.entries = map[pair]*entry{}
	}
	e := &entry{pair: p}
	c.entries[p] = e
	if len(c.clock) < c.limit {
		c.clock = append(c.clock, e)
		return e
	}
	for c.clock[c.hand].used.Swap(false) {
		c.hand = (c.hand + 1) % c.limit
	}
	out := c.clock[c.hand]
	delete(c.entries, out.pair)
	if out.slot != nil {
		out.slot.Store(nil)
	}
	c.evictions.Add(1)
	c.clock[c.hand] = e
	c.hand = (c.hand + 1) % c.limit
	return e
}

// plans is the cache of Map, MapSlice and MapAny. typed has the plans that Map and MapSlice use
// most.
var (
	plans = newCache(maxPlans, newConfig(pair{}, nil))
	typed typedPlans
)

// cached returns the plan of a pair for all of the package.
func cached[S, D any]() (*plan, error) {
	types := [2]uintptr{typeWord[S](), typeWord[D]()}
	slot := typed.slot(types)
	if p := slot.Load(); p != nil && p.types == types {
		plans.hit(p.entry)
		return p.entry.plan, nil
	}
	e := plans.find(pairOf[S, D]())
	plans.give(slot, types, e)
	return e.plan, e.err
}

// CacheStats describe the cache of the package-level functions.
type CacheStats struct {
	Plans, Limit            int    // plans held, and the most there can be
	Hits, Misses, Evictions uint64 // since the program started
}

// Stats returns the state of the cache that Map, MapSlice and MapAny share. If Evictions keeps
// rising, the program uses more pairs of types than the cache holds, and builds plans again and
// again: use Mappers.
func Stats() CacheStats {
	plans.mu.RLock()
	defer plans.mu.RUnlock()
	return CacheStats{
		Plans: len(plans.entries), Limit: plans.limit,
		Hits: plans.hits.Load(), Misses: plans.misses.Load(), Evictions: plans.evictions.Load(),
	}
}

// Map maps src to a D by the default plan of the two types, without options. Plans are cached, up
// to a bound, for all of the package: see Stats. The error is a *BuildError if the types do not map
// and an *Error if the value does not. A Mapper is faster, and reports types that do not map when
// the program starts.
func Map[D, S any](src S) (dst D, err error) {
	p, err := cached[S, D]()
	if err != nil {
		return dst, err
	}
	if err = into(unsafe.Pointer(&p.core), nil, unsafe.Pointer(&dst), unsafe.Pointer(&src)); err != nil {
		dst = *new(D)
	}
	return dst, err
}

// MapSlice is Map for every element of a slice.
func MapSlice[D, S any](src []S) ([]D, error) {
	p, err := cached[S, D]()
	if err != nil {
		return nil, err
	}
	m := Mapper[S, D]{p.core}
	return m.Slice(src)
}

// MapAny is Map for types known only at run time, without options: dst is a pointer to the
// destination, src is the source or a pointer to it. For options, use the method of a Mapper.
func MapAny(dst, src any) error { return mapAny(plans, dst, src) }

// MapAny maps types known only at run time by m's options: dst is a pointer to the destination, src
// is the source or a pointer to it. The two need not be m's own types: a Mapper from any to any has
// none. Options that choose fields apply wherever their pair of types occurs. m caches plans of
// other types, up to a bound.
func (m *Mapper[S, D]) MapAny(dst, src any) error {
	if m == nil || m.plan == nil {
		return m.misused()
	}
	return mapAny(m.plan.cfg.dynamic, dst, src)
}

func mapAny(cache *cache, dst, src any) error {
	to, from := reflect.ValueOf(dst), reflect.ValueOf(src)
	if from.Kind() == reflect.Pointer {
		from = from.Elem()
	}
	if to.Kind() != reflect.Pointer || to.IsNil() || !from.IsValid() {
		return &Error{Src: reflect.TypeOf(src), Dst: reflect.TypeOf(dst), Err: errAny}
	}
	p, err := cache.plan(pair{from.Type(), to.Type().Elem()})
	if err != nil {
		return err
	}
	if !from.CanAddr() {
		fresh := reflect.New(from.Type()).Elem()
		fresh.Set(from)
		from = fresh
	}
	return p.mapTo(context.Background(), to.UnsafePointer(), from.Addr().UnsafePointer())
}
