package main

import (
	"bytes"
	"fmt"
	"log"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	gobufferpool "github.com/libp2p/go-buffer-pool"
	"github.com/oxtoacart/bpool"
	prompool "github.com/prometheus/prometheus/util/pool"
	"github.com/valyala/bytebufferpool"
	"google.golang.org/grpc/mem"
	"vitess.io/vitess/go/bucketpool"

	"github.com/leaksafe/leaksafe/pool"
)

var holders = []string{
	"leaksafe/pool", "no pool", "sync.Pool of *[]byte", "sync.Pool of bytes.Buffer", "the same, oversize dropped",
	"bpool", "bytebufferpool", "vitess bucketpool", "libp2p", "grpc/mem", "prometheus",
}

// held runs one program with one holder, and prints its two figures.
func held(program, name string) {
	switch name {
	case "leaksafe/pool":
		p := pool.NewBytes(pool.Options{})
		run(program, p.Get, pool.Buffer.Bytes, func(b pool.Buffer) { b.Release() })
	case "no pool":
		run(program, func(n int) []byte { return make([]byte, n) }, same, func([]byte) {})
	case "sync.Pool of *[]byte":
		p := sync.Pool{New: func() any { return new([]byte) }}
		run(program, func(n int) *[]byte {
			b := p.Get().(*[]byte)
			if cap(*b) < n {
				*b = make([]byte, n)
			}
			*b = (*b)[:n]
			return b
		}, deref, func(b *[]byte) { p.Put(b) })
	case "sync.Pool of bytes.Buffer":
		buffers(program, 1<<40)
	case "the same, oversize dropped":
		buffers(program, 64<<10)
	case "bpool":
		p := bpool.NewBufferPool(64)
		run(program, func(n int) *bytes.Buffer { return grown(p.Get(), n) }, available, p.Put)
	case "bytebufferpool":
		var p bytebufferpool.Pool
		run(program, func(n int) *bytebufferpool.ByteBuffer {
			b := p.Get()
			if cap(b.B) < n {
				b.B = make([]byte, n)
			}
			b.B = b.B[:n]
			return b
		}, (*bytebufferpool.ByteBuffer).Bytes, p.Put)
	case "vitess bucketpool":
		p := bucketpool.New(256, 2<<20)
		run(program, p.Get, deref, p.Put)
	case "libp2p":
		p := new(gobufferpool.BufferPool)
		run(program, p.Get, same, p.Put)
	case "grpc/mem":
		p := mem.DefaultBufferPool()
		run(program, p.Get, deref, p.Put)
	case "prometheus":
		p := prompool.New(256, 2<<20, 2, func(n int) any { return make([]byte, 0, n) })
		run(program, func(n int) []byte { return p.Get(n).([]byte)[:n] }, same, func(b []byte) { p.Put(b) })
	default:
		log.Fatalf("no holder %q", name)
	}
}

func same(b []byte) []byte             { return b }
func deref(b *[]byte) []byte           { return *b }
func available(b *bytes.Buffer) []byte { return b.AvailableBuffer()[:b.Available()] }
func grown(b *bytes.Buffer, n int) *bytes.Buffer {
	b.Reset()
	b.Grow(n)
	return b
}

func buffers(program string, largest int) {
	p := sync.Pool{New: func() any { return new(bytes.Buffer) }}
	run(program, func(n int) *bytes.Buffer { return grown(p.Get().(*bytes.Buffer), n) }, available, func(b *bytes.Buffer) {
		if b.Cap() <= largest {
			p.Put(b)
		}
	})
}

const (
	small, large = 1 << 10, 1 << 20
	goroutines   = 64
	operations   = 400_000
)

func run[H any](program string, get func(int) H, bytes func(H) []byte, put func(H)) {
	defer runtime.KeepAlive(get) // and with it the pool
	if program == "burst" {
		burst(get, put)
		return
	}
	runtime.GC()
	before := stats()
	traffic(get, bytes, put, operations, 100)
	after := stats()
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		traffic(get, bytes, put, operations/10, 0)
	}
	runtime.GC()
	fmt.Printf("%d %.1f\n", (after.TotalAlloc-before.TotalAlloc)/operations, mib(before))
}

// traffic runs n operations; every every'th has the large size. All touch their memory, and yield
// to other goroutines while they hold it.
func traffic[H any](get func(int) H, bytes func(H) []byte, put func(H), n, every int) {
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range n / goroutines {
				size := small
				if every > 0 && r.IntN(every) == 0 {
					size = large
				}
				h := get(size)
				for b := bytes(h); len(b) > 0; b = b[min(len(b), 4096):] {
					b[0]++
				}
				runtime.Gosched()
				put(h)
			}
		})
	}
	all.Wait()
}

func burst[H any](get func(int) H, put func(H)) {
	runtime.GC()
	before := stats()
	all := make([]H, 256)
	for i := range all {
		all[i] = get(large)
	}
	for _, h := range all {
		put(h)
	}
	clear(all)
	runtime.GC()
	once := mib(before)
	time.Sleep(time.Second)
	runtime.GC()
	fmt.Printf("%.1f %.1f\n", once, mib(before))
}

func stats() (m runtime.MemStats) {
	runtime.ReadMemStats(&m)
	return m
}

// mib returns by how much the heap has grown.
func mib(before runtime.MemStats) float64 {
	return float64(int64(stats().HeapAlloc)-int64(before.HeapAlloc)) / (1 << 20)
}
