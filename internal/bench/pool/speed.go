package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http/httputil"
	"sync"
	"sync/atomic"

	gobufferpool "github.com/libp2p/go-buffer-pool"
	prompool "github.com/prometheus/prometheus/util/pool"
	"github.com/valyala/bytebufferpool"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/mem"
	"vitess.io/vitess/go/bucketpool"

	"github.com/leaksafe/leaksafe/internal/bench/side"
	"github.com/leaksafe/leaksafe/pool"
)

var page [1 << 20]byte

// leases returns a loop for each contender, written out so that none pays for a call that the
// others do not make.
func leases(size int, fill bool) []side.Case {
	raw := sync.Pool{New: func() any { b := make([]byte, size); return &b }}
	anyLength := sync.Pool{New: func() any { return new([]byte) }}
	ours := pool.NewBytes(pool.Options{})
	zeroing := pool.NewBytes(pool.Options{ZeroOnRelease: true})
	budget := pool.NewBytes(pool.Options{MaxInUse: 1 << 30})
	sample := pool.NewBytes(pool.Options{Level: pool.LevelSample})
	check := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	limit := semaphore.NewWeighted(1 << 30)
	vitess := bucketpool.New(256, 2<<20)
	libp2p := new(gobufferpool.BufferPool)
	grpc := mem.DefaultBufferPool()
	prom := prompool.New(256, 2<<20, 2, func(n int) any { return make([]byte, 0, n) })
	var bb bytebufferpool.Pool
	least := leastPool{sync.Pool{New: func() any { return &leastBlock{data: make([]byte, size)} }}}

	lease := func(p *pool.Bytes) func(n int) {
		return func(n int) {
			for range n {
				b := p.Get(size)
				if fill {
					copy(b.Bytes(), page[:])
				}
				b.Release()
			}
		}
	}
	return []side.Case{
		{Name: "sync.Pool", Run: func(n int) {
			for range n {
				b := raw.Get().(*[]byte)
				if fill {
					copy(*b, page[:])
				}
				raw.Put(b)
			}
		}},
		{Name: "sync.Pool, for any length", Run: func(n int) {
			for range n {
				b := anyLength.Get().(*[]byte)
				if cap(*b) < size {
					*b = make([]byte, size)
				}
				*b = (*b)[:size]
				if fill {
					copy(*b, page[:])
				}
				anyLength.Put(b)
			}
		}},
		{Name: "leaksafe/pool", Run: lease(ours)},
		{Name: "the least that a lease can be", Run: func(n int) {
			for range n {
				b := least.get()
				if fill {
					copy(b.h.data, page[:])
				}
				least.release(b)
			}
		}},
		{Name: "sync.Pool, cleared by hand", Run: func(n int) {
			for range n {
				b := raw.Get().(*[]byte)
				if fill {
					copy(*b, page[:])
				}
				clear(*b)
				raw.Put(b)
			}
		}},
		{Name: "leaksafe/pool, ZeroOnRelease", Run: lease(zeroing)},
		{Name: "sync.Pool and x/sync/semaphore", Run: func(n int) {
			for range n {
				limit.Acquire(context.Background(), int64(size))
				b := raw.Get().(*[]byte)
				if fill {
					copy(*b, page[:])
				}
				raw.Put(b)
				limit.Release(int64(size))
			}
		}},
		{Name: "leaksafe/pool, MaxInUse", Run: lease(budget)},
		{Name: "leaksafe/pool, level Sample", Run: lease(sample)},
		{Name: "leaksafe/pool, level Check", Run: lease(check)},
		{Name: "vitess bucketpool", Run: func(n int) {
			for range n {
				b := vitess.Get(size)
				if fill {
					copy(*b, page[:])
				}
				vitess.Put(b)
			}
		}},
		{Name: "bytebufferpool", Run: func(n int) {
			for range n {
				b := bb.Get()
				if fill {
					b.B = append(b.B[:0], page[:size]...)
				}
				bb.Put(b)
			}
		}},
		{Name: "libp2p", Run: func(n int) {
			for range n {
				b := libp2p.Get(size)
				if fill {
					copy(b, page[:])
				}
				libp2p.Put(b)
			}
		}},
		{Name: "grpc/mem", Run: func(n int) {
			for range n {
				b := grpc.Get(size)
				if fill {
					copy(*b, page[:])
				}
				grpc.Put(b)
			}
		}},
		{Name: "prometheus", Run: func(n int) {
			for range n {
				b := prom.Get(size).([]byte)[:size]
				if fill {
					copy(b, page[:])
				}
				prom.Put(b)
			}
		}},
	}
}

// A leastPool does what no pool of leases that end exactly once can leave out: two calls, and a
// compare-and-swap. It knows one size, and nothing decays.
type leastPool struct{ idle sync.Pool }

type leastBlock struct {
	gen  atomic.Uint64
	data []byte
}

type leastLease struct {
	h   *leastBlock
	gen uint64
}

//go:noinline
func (p *leastPool) get() leastLease {
	h := p.idle.Get().(*leastBlock)
	return leastLease{h, h.gen.Load()}
}

//go:noinline
func (p *leastPool) release(b leastLease) bool {
	if !b.h.gen.CompareAndSwap(b.gen, b.gen+1) {
		return false
	}
	p.idle.Put(b.h)
	return true
}

type object struct{ fields [16]int }

func objects() []side.Case {
	raw := sync.Pool{New: func() any { return new(object) }}
	ours := pool.New(func() *object { return new(object) }, pool.PoolOptions[object]{Reset: func(o *object) { *o = object{} }})
	return []side.Case{
		{Name: "sync.Pool, reset by hand", Run: func(n int) {
			for range n {
				o := raw.Get().(*object)
				o.fields[3]++
				*o = object{}
				raw.Put(o)
			}
		}},
		{Name: "leaksafe/pool Get, Release", Run: func(n int) {
			for range n {
				l := ours.Get()
				l.Value().fields[3]++
				l.Release()
			}
		}},
		{Name: "leaksafe/pool With", Run: func(n int) {
			for range n {
				ours.With(func(o *object) { o.fields[3]++ })
			}
		}},
	}
}

// A rawPointers is a sync.Pool behind the interface of grpc's mem.BufferPool, as one would write it
// by hand.
type rawPointers struct{ sync.Pool }

func (p *rawPointers) Get(n int) *[]byte {
	if b, ok := p.Pool.Get().(*[]byte); ok && cap(*b) >= n {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n)
	return &b
}

func (p *rawPointers) Put(b *[]byte) { p.Pool.Put(b) }

// A byMap finds the lease of a slice in a map, as a hand-written adapter must.
type byMap struct {
	pool *pool.Bytes
	open sync.Map
}

func (p *byMap) Get(n int) *[]byte {
	b := p.pool.Get(n)
	s := b.Bytes()
	p.open.Store(&s, b)
	return &s
}

func (p *byMap) Put(s *[]byte) {
	if b, ok := p.open.LoadAndDelete(s); ok {
		b.(pool.Buffer).Release()
	}
}

// adapters returns pools behind the interfaces that libraries ask for.
func adapters(size int) []side.Case {
	pointers := func(p mem.BufferPool) func(n int) {
		return func(n int) {
			for range n {
				b := p.Get(size)
				(*b)[0] = 1
				p.Put(b)
			}
		}
	}
	ours := pool.NewBytes(pool.Options{})
	var slices httputil.BufferPool = ours.Slices(size)
	return []side.Case{
		{Name: "sync.Pool of *[]byte", Run: pointers(new(rawPointers))},
		{Name: "leaksafe/pool Pointers", Run: pointers(ours.Pointers())},
		{Name: "leaksafe/pool Slices", Run: func(n int) {
			for range n {
				b := slices.Get()
				b[0] = 1
				slices.Put(b)
			}
		}},
		{Name: "leaksafe/pool Buffer", Run: func(n int) {
			for range n {
				b := ours.Get(size)
				b.Bytes()[0] = 1
				b.Release()
			}
		}},
		{Name: "leaksafe/pool Buffer, retained once", Run: func(n int) {
			for range n {
				b := ours.Get(size)
				b.Bytes()[0] = 1
				c := b.Retain()
				b.Release()
				c.Release()
			}
		}},
		{Name: "leaksafe/pool and a map by hand", Run: pointers(&byMap{pool: pool.NewBytes(pool.Options{})})},
		{Name: "grpc/mem", Run: pointers(mem.DefaultBufferPool())},
	}
}

// crowd returns pools under 64 goroutines that fill buffers of 256 B to 256 KiB, small ones more
// often.
func crowd() []side.Case {
	ours := pool.NewBytes(pool.Options{})
	var raw rawPointers
	vitess := bucketpool.New(256, 2<<20)
	grpc := mem.DefaultBufferPool()
	return []side.Case{
		{Name: "sync.Pool of *[]byte", Run: mixed(raw.Get, func(b *[]byte) []byte { return *b }, raw.Put)},
		{Name: "leaksafe/pool", Run: mixed(ours.Get, pool.Buffer.Bytes, func(b pool.Buffer) { b.Release() })},
		{Name: "vitess bucketpool", Run: mixed(vitess.Get, deref, vitess.Put)},
		{Name: "grpc/mem", Run: mixed(grpc.Get, deref, grpc.Put)},
	}
}

func mixed[H any](get func(int) H, bytes func(H) []byte, put func(H)) func(n int) {
	return func(n int) {
		var all sync.WaitGroup
		for g := range goroutines {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 1))
				for range n/goroutines + 1 {
					size := 256 << min(r.IntN(11), r.IntN(11), r.IntN(11))
					h := get(size)
					copy(bytes(h), page[:])
					put(h)
				}
			})
		}
		all.Wait()
	}
}

func encoders() []side.Case {
	type row struct {
		ID   int
		Name string
		Tags []string
	}
	rows := make([]row, 40)
	for i := range rows {
		rows[i] = row{i, "a name of a row", []string{"one", "two"}}
	}
	raw := sync.Pool{New: func() any { return new(bytes.Buffer) }}
	ours := pool.NewBytes(pool.Options{})
	return []side.Case{
		{Name: "sync.Pool of bytes.Buffer", Run: func(n int) {
			for range n {
				b := raw.Get().(*bytes.Buffer)
				b.Reset()
				json.NewEncoder(b).Encode(rows)
				raw.Put(b)
			}
		}},
		{Name: "leaksafe/pool Writer", Run: func(n int) {
			for range n {
				b := ours.Get(0)
				json.NewEncoder(b.Writer()).Encode(rows)
				b.Release()
			}
		}},
		{Name: "json.Marshal", Run: func(n int) {
			for range n {
				json.Marshal(rows)
			}
		}},
	}
}
