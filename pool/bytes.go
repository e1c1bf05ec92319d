package pool

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	smallest     = 8                 // log2 of the smallest class, 256 B
	smallClasses = 9                 // 256 B to 64 KiB are in sync.Pools
	maxSmall     = 64 << 10          // the largest of them
	biggest      = math.MaxInt/2 + 1 // no class is larger
	idleDefault  = 16 << 20          // Options.MaxIdleBytes
	trustedHint  = 64 << 10          // what is allocated on a length's word
	countEvery   = uint64(16)        // leases of a header that are counted at once
	countMask    = countEvery - 1
)

// Options of a [Bytes]. The zero Options is a good default.
type Options struct {
	// MaxBuffer is the largest buffer, in bytes, that is kept for reuse,
	// rounded up to a power of two. A larger one is made to measure and left
	// to the collector on Release. 0 is MaxIdleBytes.
	MaxBuffer int
	// MaxIdleBytes bounds the idle buffers above 64 KiB together; what would
	// exceed it is left to the collector on Release. What stays idle decays
	// within a quarter of a second, with or without traffic. Smaller buffers
	// are in sync.Pools and go with the second collection. 0 is 16 MiB.
	MaxIdleBytes int
	// MaxInUse is how many bytes leases may hold before [Bytes.GetContext]
	// waits. A lease counts with the capacity it holds. Get and growth never
	// wait: they count, and may exceed it. A lease that was lost, dropped
	// without Release, is refunded once the collector finds it. 0 is no limit.
	MaxInUse int
	// ZeroOnRelease clears what a lease could have written when it ends, so
	// that Get returns zeros.
	ZeroOnRelease bool
	// Secret is ZeroOnRelease, and clears the smaller memory when a buffer
	// grows, and a lost lease when the collector finds it. Keep the Buffer for
	// as long as its bytes are in use: a slice alone does not hold the lease.
	Secret bool
	// Level of checking; the environment variable LEAKSAFE_POOL (off, sample,
	// check) raises it.
	Level Level
}

// Bytes is a pool of byte buffers in size classes: powers of two from 256 B.
// Create it with [NewBytes]. It is safe for concurrent use, has no goroutine
// and needs no Close: an unused pool is collected with all that is idle in it.
type Bytes struct {
	small  [smallClasses]sync.Pool
	large  *tier
	watch  *watch // nil unless an option needs more than a generation
	kept   int    // classes below this are kept
	counts []counts
}

// counts of one class. Only slow paths write them, and every 16th lease.
type counts struct {
	leases atomic.Int64
	made   atomic.Uint64
	_      [48]byte
}

// NewBytes returns an empty pool. It panics if an option is negative, if Level is
// none of the three, or if LEAKSAFE_POOL is none of off, sample, check.
func NewBytes(o Options) *Bytes {
	for name, v := range map[string]int{"MaxBuffer": o.MaxBuffer, "MaxIdleBytes": o.MaxIdleBytes, "MaxInUse": o.MaxInUse} {
		if v < 0 {
			panic(fmt.Sprintf("pool: Options.%s is %d: give bytes, or 0 for the default", name, v))
		}
	}
	if o.MaxIdleBytes == 0 {
		o.MaxIdleBytes = idleDefault
	}
	if o.MaxBuffer == 0 {
		o.MaxBuffer = o.MaxIdleBytes
	}
	kept := classOf(min(o.MaxBuffer, biggest)) + 1
	return &Bytes{
		large:  newTier(o.MaxIdleBytes, kept),
		watch:  newWatch(o),
		kept:   kept,
		counts: make([]counts, kept+1),
	}
}

// classOf returns the smallest class that holds n bytes.
func classOf(n int) int {
	return bits.Len(uint(max(n, 1)-1) >> smallest)
}

func classSize(class int) int { return 1 << (smallest + class) }

// Get leases a buffer of n bytes. Their contents are arbitrary, earlier leases'
// bytes among them, unless ZeroOnRelease or Secret is set. Get never waits. It
// panics if n is negative. End the lease with [Buffer.Release].
func (p *Bytes) Get(n int) Buffer {
	if p.watch == nil && uint(n) <= maxSmall {
		if h, ok := p.small[classOf(n)].Get().(*header); ok {
			h.n = n
			return Buffer{h, h.gen.Load()}
		}
	}
	return p.getSlow(n)
}

func (p *Bytes) getSlow(n int) Buffer {
	if n < 0 {
		panic(fmt.Sprintf("pool: Get(%d): the length is negative", n))
	}
	if p.watch != nil {
		p.watch.budget.take(p.holds(n))
	}
	return p.lease(n)
}

// GetContext leases a buffer of n bytes as [Bytes.Get] does, and waits while
// MaxInUse is reached. Waiters are served in the order they came. It returns
// ctx's error if ctx ends first, and an error at once if n is negative or the
// buffer alone exceeds MaxInUse; the Buffer is then the zero Buffer.
//
// Do not wait for a second lease while holding one: leases that wait for each
// other never end.
func (p *Bytes) GetContext(ctx context.Context, n int) (Buffer, error) {
	if n < 0 {
		return Buffer{}, fmt.Errorf("pool: GetContext: the length %d is negative", n)
	}
	if err := ctx.Err(); err != nil {
		return Buffer{}, err
	}
	if p.watch == nil {
		return p.Get(n), nil
	}
	if err := p.watch.budget.acquire(ctx, p.holds(n)); err != nil {
		return Buffer{}, err
	}
	return p.lease(n), nil
}

// ReadAll reads r until io.EOF into a buffer. The hint, a Content-Length say,
// is where it starts, and is not trusted: no more than 64 KiB are taken before
// bytes have arrived. Bound r itself (io.LimitReader, http.MaxBytesReader). On
// an error other than io.EOF nothing is kept: the Buffer is the zero Buffer, on
// which Release does nothing. ReadAll does not wait for MaxInUse; to be admitted,
// lease with GetContext and use [Writer.ReadFrom].
func (p *Bytes) ReadAll(r io.Reader, hint int) (Buffer, error) {
	b := p.Get(min(max(hint, 0), trustedHint))
	b.h.n = 0
	if _, err := b.readFrom(r); err != nil {
		b.Release()
		return Buffer{}, err
	}
	return b, nil
}

// holds returns how much memory a lease of n bytes has.
func (p *Bytes) holds(n int) int {
	if class := classOf(n); class < p.kept {
		return classSize(class)
	}
	return n
}

// lease is Get without its short cut, and after its bytes are paid for. It pays
// them back if memory panics: there is none, or it was written to while idle.
func (p *Bytes) lease(n int) Buffer {
	began := p.watch == nil
	defer func() {
		if !began {
			p.watch.budget.undo(p.holds(n))
		}
	}()
	h := p.memory(n)
	h.n = n
	if p.watch != nil {
		p.watch.begin(h)
		began = true
	}
	return Buffer{h, h.gen.Load()}
}

// memory returns a header with room for n bytes that nobody has leased.
func (p *Bytes) memory(n int) *header {
	class := classOf(n)
	if class >= p.kept {
		return p.make(p.kept, n)
	}
	h := p.idle(class)
	if h == nil {
		return p.make(class, classSize(class))
	}
	if p.watch != nil {
		p.watch.wake(h)
	}
	return h
}

func (p *Bytes) make(class, size int) *header {
	p.counts[class].made.Add(1)
	h := &header{pool: p, class: class, data: make([]byte, size), home: p.home(class)}
	if p.watch != nil {
		p.watch.made(h)
	}
	return h
}

// idle takes an idle buffer, or nil.
func (p *Bytes) idle(class int) *header {
	if p.shared(class) {
		h, _ := p.small[class].Get().(*header)
		return h
	}
	return p.large.take(class)
}

// shared says whether the class is in a sync.Pool. At level Check none is: a
// sync.Pool loses what it likes, and a test that counts needs to know.
func (p *Bytes) shared(class int) bool {
	return class < smallClasses && class < p.kept && !p.watch.at(Check)
}

// home is where a plain buffer goes back to by Release's short cut.
func (p *Bytes) home(class int) *sync.Pool {
	if p.watch == nil && p.shared(class) {
		return &p.small[class]
	}
	return nil
}

// put takes back what nobody leases any more.
func (p *Bytes) put(h *header) {
	h.next = nil
	if !p.shared(h.class) {
		p.large.put(h)
		return
	}
	h.home = p.home(h.class)
	p.small[h.class].Put(h)
}

// Trim lets go of all idle memory: of buffers above 64 KiB at once, of smaller
// ones what this processor can reach (the rest goes with the next two
// collections, as in any sync.Pool).
func (p *Bytes) Trim() {
	for class := range min(smallClasses, p.kept) {
		// Others may be putting back meanwhile: never more than there are.
		for range p.counts[class].made.Load() {
			if p.small[class].Get() == nil {
				break
			}
		}
	}
	p.large.trim()
}

// Stats of a [Bytes]. Counts are since NewBytes.
type Stats struct {
	// Gets counts leases. Without MaxInUse, ZeroOnRelease, Secret and Level it
	// is counted by each buffer in steps of 16, and so lags.
	Gets uint64
	// Made counts buffers allocated because none was idle.
	Made uint64
	// Dropped counts buffers above 64 KiB (at level Check, of any size) left to
	// the collector: made to measure, over MaxIdleBytes, or decayed.
	Dropped uint64
	// Idle is how many bytes of buffers above 64 KiB are kept (at level Check,
	// of any size).
	Idle int
	// InUse, in bytes, InUseLeases and Lost, the leases that ended without
	// Release, are counted with any of MaxInUse, ZeroOnRelease, Secret, Level.
	InUse, InUseLeases int
	Lost               uint64
	// Waiting is how many calls of GetContext wait.
	Waiting int
}

// Stats returns the pool's counts. It does not stop the pool: counts that
// change meanwhile may be from slightly different moments.
func (p *Bytes) Stats() Stats {
	var s Stats
	var gets int64
	for i := range p.counts {
		gets += p.counts[i].leases.Load()
		s.Made += p.counts[i].made.Load()
	}
	s.Gets = uint64(max(gets, 0)) // moves into a Body are counted at once
	p.large.stats(&s)
	p.watch.stats(&s)
	return s
}
