package pool

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

const (
	idleDefault = 16 << 20 // Options.MaxIdleBytes
	trustedHint = 64 << 10 // what is allocated because a length says so
)

// Options of a [Bytes]. The zero Options is a good default. All sizes are in bytes.
type Options struct {
	// MaxBuffer is the largest buffer that is reused, rounded up to a size class. A larger one
	// gets memory of exactly its length, and the collector takes it after Release. 0 is
	// MaxIdleBytes.
	MaxBuffer int
	// MaxIdleBytes bounds the total size of idle buffers above 64 KiB. A buffer that would exceed
	// it is left to the collector on Release. Smaller idle buffers are not counted: there can be as
	// many as were leased at once. Both decay: idle memory that nobody needed for 0.1 to 0.3 s is
	// dropped, with or without traffic. At level Check the bound is for all sizes, and nothing
	// decays. 0 is 16 MiB.
	MaxIdleBytes int
	// MaxInUse is how many bytes leases may hold before [Bytes.GetContext] waits. A lease counts
	// with the size of its class. Get and growth never wait: they are counted, and may exceed the
	// limit. The bytes of a lost lease (one that was dropped without Release) are counted back once
	// the collector finds it. 0 is no limit.
	MaxInUse int
	// ZeroOnRelease clears, when a lease ends, all memory that the lease made writable: the
	// contents, at their greatest length; the memory behind them that ReadFrom and ReadAll passed
	// to a reader, or that AvailableBuffer returned; the same in smaller memory that the Buffer has
	// outgrown; and the memory behind the contents that Detach returns. So Get returns zeros, and a
	// later lease never sees bytes of an earlier one.
	ZeroOnRelease bool
	// Secret is ZeroOnRelease, and more: the smaller memory is cleared at once when a Buffer grows,
	// and a lost lease is cleared when the collector finds it. Keep a reference to the Buffer while
	// its bytes are in use: a slice alone does not keep the lease alive. A slice of [Slices] that
	// is never put is not cleared.
	Secret bool
	// Level says how closely leases are watched. The environment variable LEAKSAFE_POOL (off,
	// sample, check) raises it. Another value of the variable is logged and ignored.
	Level Level
}

// Bytes is a pool of byte buffers in size classes: powers of two from 256 B to 64 KiB, and four
// sizes in each doubling above. Create it with [NewBytes]. It is safe for concurrent use, has no
// goroutine and needs no Close: a pool that is not used any more is collected with all its idle
// memory.
type Bytes struct {
	guard   *guard // nil unless an option needs more than a generation
	zero    bool   // memory is cleared when a lease ends
	secret  bool   // and when it grows
	back    way    // how a block goes back that its lease left as it was
	kept    int    // classes below this are reused
	counts  []counts
	free    freeList  // here, so that each shelf is a cache line
	largest int       // the size of the last class that is reused
	shares  sync.Pool // blocks without memory, for Retain
	lent    *table    // of Slices and Pointers; on its own, since cleanups of memory hold it
	refused atomic.Uint64
}

// counts of one class. Only slow paths write them, and some leases: see tally.
type counts struct {
	leases atomic.Int64
	made   atomic.Uint64
	_      [48]byte
}

// NewBytes returns an empty pool. It panics if a size is negative or Level is unknown: a pool is
// often a package's variable, so there is no error to return.
func NewBytes(o Options) *Bytes {
	for _, size := range []struct {
		name  string
		value int
	}{{"MaxBuffer", o.MaxBuffer}, {"MaxIdleBytes", o.MaxIdleBytes}, {"MaxInUse", o.MaxInUse}} {
		if size.value < 0 {
			panic(fmt.Sprintf("pool: Options.%s is %d: set a number of bytes, or 0 for the default", size.name, size.value))
		}
	}
	if o.MaxIdleBytes == 0 {
		o.MaxIdleBytes = idleDefault
	}
	if o.MaxBuffer == 0 {
		o.MaxBuffer = o.MaxIdleBytes
	}
	kept := classOf(min(o.MaxBuffer, biggest)) + 1
	log := newLeaseLog(o.Level.orEnv())
	p := &Bytes{
		guard:   newGuard(o, log),
		zero:    o.ZeroOnRelease || o.Secret,
		secret:  o.Secret,
		kept:    kept,
		largest: classSize(kept - 1),
		counts:  make([]counts, kept+1),
		lent:    &table{},
	}
	switch {
	case log != nil: // a lease that is logged ends in the log first
		p.back = longWay
	case p.guard != nil || p.zero:
		p.back = shortWay
	default:
		p.back = directWay
	}
	p.free.init(o.MaxIdleBytes, kept, log)
	return p
}

// Get leases a buffer of n bytes. Its contents are arbitrary and may include bytes of earlier
// leases, unless ZeroOnRelease or Secret is set. Get never waits. It panics if n is negative. End
// the lease with [Buffer.Release].
func (p *Bytes) Get(n int) Buffer {
	if s := p.free.current.Load(); s != nil && p.guard == nil && uint(n) <= maxSmall {
		if h, ok := s[classOf(n)].Get().(*block); ok {
			h.n = n
			return Buffer{h, h.gen.Load()}
		}
	}
	return p.getSlow(n)
}

// checkMade panics if NewBytes did not make the pool.
func (p *Bytes) checkMade(method string) {
	if p.kept == 0 {
		panic("pool: " + method + " of a zero Bytes: create it with NewBytes")
	}
}

func (p *Bytes) getSlow(n int) Buffer {
	p.checkMade("Get")
	if n < 0 {
		panic(fmt.Sprintf("pool: Get(%d): the length is negative", n))
	}
	if p.guard != nil {
		p.guard.budget.count(int64(p.holds(n)), 1)
	}
	return p.lease(n)
}

// GetContext leases a buffer of n bytes as [Bytes.Get] does, and waits while MaxInUse is reached.
// Waiters are served in the order they came. It returns ctx's error if ctx ends first, and an error
// at once if n is negative or the buffer alone exceeds MaxInUse; the Buffer is then the zero
// Buffer.
//
// Do not wait for a second lease while you hold one: two callers that do this can block each other
// forever.
func (p *Bytes) GetContext(ctx context.Context, n int) (Buffer, error) {
	if n < 0 {
		return Buffer{}, fmt.Errorf("pool: GetContext: the length %d is negative", n)
	}
	if err := ctx.Err(); err != nil {
		return Buffer{}, fmt.Errorf("pool: GetContext: %w", err)
	}
	if p.guard == nil {
		return p.Get(n), nil
	}
	if err := p.guard.budget.acquire(ctx, p.holds(n)); err != nil {
		return Buffer{}, err
	}
	return p.lease(n), nil
}

// ReadAll reads r until io.EOF into a Buffer. The hint is the expected length, such as a
// Content-Length. It is not trusted: no more than 64 KiB are taken before bytes have arrived. Bound
// r itself (io.LimitReader, http.MaxBytesReader). After an error other than io.EOF nothing is kept:
// the Buffer is the zero Buffer, on which Release does nothing. ReadAll does not wait for MaxInUse;
// to be admitted, lease with GetContext and use [Buffer.ReadFrom].
func (p *Bytes) ReadAll(r io.Reader, hint int) (Buffer, error) {
	b := p.Get(min(max(hint, 0), trustedHint))
	b.h.n = 0
	all := false
	defer func() { // also if r panics
		if !all {
			b.Release()
		}
	}()
	if _, err := b.readFrom(r, hint); err != nil {
		return Buffer{}, err
	}
	all = true
	return b, nil
}

// holds returns how much memory a lease of n bytes has.
func (p *Bytes) holds(n int) int {
	if n > p.largest {
		return n
	}
	return classSize(classOf(n))
}

// lease is the slow path of Get, after its bytes are counted.
func (p *Bytes) lease(n int) Buffer {
	if p.guard != nil && p.guard.leases == nil && n <= maxSmall {
		if h, ok := p.free.current.Load()[classOf(n)].Get().(*block); ok {
			h.n = n
			h.record.bytes, h.record.open = int64(len(h.data)), true
			return Buffer{h, h.gen.Load()}
		}
	}
	h := p.idle(n)
	if h == nil {
		h = p.counted(n)
	} else if late := p.guard.wake(h); late != nil {
		p.guard.give(int64(p.holds(n)), 1)
		panic("pool: Get, which is not at fault, found that " + late.String())
	}
	h.n = n
	p.guard.begin(h)
	return Buffer{h, h.gen.Load()}
}

// counted makes a block whose bytes are counted already. If the allocation panics, it counts them
// back.
func (p *Bytes) counted(n int) (h *block) {
	defer func() {
		if h == nil && p.guard != nil {
			p.guard.give(int64(p.holds(n)), 1)
		}
	}()
	return p.make(n)
}

// memory returns a block with room for n bytes that nobody has leased, for a lease that grows.
func (p *Bytes) memory(n int) *block {
	h := p.idle(n)
	if h == nil {
		return p.make(n)
	}
	if late := p.guard.wake(h); late != nil {
		panic("pool: a Buffer that grew, which is not at fault, found that " + late.String())
	}
	return h
}

// idle returns an idle block with room for n bytes, or nil.
func (p *Bytes) idle(n int) *block {
	if n > p.largest {
		return nil
	}
	return p.free.take(classOf(n))
}

func (p *Bytes) make(n int) *block {
	class, size := p.kept, n
	if n <= p.largest {
		class = classOf(n)
		size = classSize(class)
	}
	p.counts[class].made.Add(1)
	h := &block{pool: p, class: uint8(class), data: make([]byte, size)}
	p.guard.made(h)
	return h
}

// Trim drops all idle memory now. Each other processor may keep one buffer of up to 64 KiB per size
// class; the next two collections free these.
func (p *Bytes) Trim() { p.free.trim() }

// Stats of a [Bytes]. Counts are since NewBytes.
type Stats struct {
	// Gets counts leases. At LevelOff each buffer counts its first 1024 leases in steps of 16, and
	// later ones in steps of 128, so Gets lags behind.
	Gets uint64
	// Made counts buffers that were allocated because none was idle.
	Made uint64
	// Dropped counts buffers that the pool left to the collector: larger than MaxBuffer, over
	// MaxIdleBytes, decayed or trimmed. Idle buffers up to 64 KiB that the collector takes by
	// itself are not counted.
	Dropped uint64
	// Idle is how many bytes of buffers above 64 KiB are idle; at LevelCheck, of any size.
	Idle int
	// RefusedPuts counts slices that were passed to Put of Slices or Pointers a second time, or
	// that were never lent. They are left to the collector.
	RefusedPuts uint64
	// InUse, in bytes, InUseLeases, and Lost, the leases that were dropped without Release, are
	// counted if MaxInUse, Secret or Level is set.
	InUse, InUseLeases int
	Lost               uint64
	// Waiting is how many calls of GetContext wait.
	Waiting int
}

// Stats returns the pool's counts. It does not stop the pool: counts that change meanwhile may be
// from slightly different moments.
func (p *Bytes) Stats() Stats {
	var s Stats
	var gets int64
	for i := range p.counts {
		gets += p.counts[i].leases.Load()
		s.Made += p.counts[i].made.Load()
	}
	s.Gets = uint64(max(gets, 0)) // a lease that moves into a Body is counted back at once
	s.RefusedPuts = p.refused.Load()
	p.free.stats(&s)
	p.guard.stats(&s)
	return s
}
