package main

import (
	"os"
	"sync"

	"github.com/leaksafe/leaksafe/internal/bench/side"
	"github.com/leaksafe/leaksafe/pool"
)

func main() {
	p := pool.NewBytes(pool.Options{})
	sp := sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}
	fill := func(b []byte) {
		for i := range b {
			b[i] = 'x'
		}
	}
	rs := side.Compare([]side.Case{
		{"sync.Pool", func(n int) {
			for range n {
				b := sp.Get().(*[]byte)
				sp.Put(b)
			}
		}},
		{"pool", func(n int) {
			for range n {
				b := p.Get(4096)
				b.Release()
			}
		}},
	}, side.Options{})
	side.Table(os.Stdout, "empty", rs)
	rs = side.Compare([]side.Case{
		{"sync.Pool", func(n int) {
			for range n {
				b := sp.Get().(*[]byte)
				fill(*b)
				sp.Put(b)
			}
		}},
		{"pool", func(n int) {
			for range n {
				b := p.Get(4096)
				fill(b.Bytes())
				b.Release()
			}
		}},
	}, side.Options{})
	side.Table(os.Stdout, "fill", rs)
}
