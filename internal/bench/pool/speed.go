package main

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"

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

// leases returns a loop for each contender, written out so that none pays for
// a call the others do not make.
func leases(size int, fill bool) []side.Case {
	raw := sync.Pool{New: func() any { b := make([]byte, size); return &b }}
	ours := pool.NewBytes(pool.Options{})
	zeroing := pool.NewBytes(pool.Options{ZeroOnRelease: true})
	budget := pool.NewBytes(pool.Options{MaxInUse: 1 << 30})
	sample := pool.NewBytes(pool.Options{Level: pool.Sample})
	check := pool.NewBytes(pool.Options{Level: pool.Check})
	limit := semaphore.NewWeighted(1 << 30)
	vitess := bucketpool.New(256, 2<<20)
	libp2p := new(gobufferpool.BufferPool)
	grpc := mem.DefaultBufferPool()
	prom := prompool.New(256, 2<<20, 2, func(n int) any { return make([]byte, 0, n) })
	var bb bytebufferpool.Pool

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
		{Name: "leaksafe/pool", Run: lease(ours)},
		{Name: "leaksafe/pool, ZeroOnRelease", Run: lease(zeroing)},
		{Name: "leaksafe/pool, MaxInUse", Run: lease(budget)},
		{Name: "leaksafe/pool, level Sample", Run: lease(sample)},
		{Name: "leaksafe/pool, level Check", Run: lease(check)},
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

type object struct{ fields [16]int }

func objects() []side.Case {
	raw := sync.Pool{New: func() any { return new(object) }}
	ours := pool.New(func() *object { return new(object) }, pool.Reset(func(o *object) { *o = object{} }))
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
