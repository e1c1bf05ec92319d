// Package grpcpool has gRPC use a pool of package pool. It is a module of its own, so that package
// pool does not depend on gRPC.
//
//	buffers := grpcpool.New(pool.NewBytes(pool.Options{}))
//	server := grpc.NewServer(experimental.BufferPool(buffers))
//	client, err := grpc.NewClient(target, experimental.WithBufferPool(buffers))
//
// The proto codec takes its buffers from gRPC's default pool. Set that too, once and before the
// first connection, with experimental.SetDefaultBufferPool(buffers).
package grpcpool

import (
	"google.golang.org/grpc/mem"

	"github.com/leaksafe/leaksafe/pool"
)

// New returns a [mem.BufferPool] that lends memory of p. It is safe for concurrent use.
//
// gRPC does not put back buffers below its own threshold for pooling (1 KiB), so these are
// allocated and left to the collector, as gRPC itself does.
func New(p *pool.Bytes) mem.BufferPool { return buffers{p.Pointers()} }

type buffers struct{ pointers *pool.Pointers }

func (b buffers) Get(n int) *[]byte {
	if mem.IsBelowBufferPoolingThreshold(n) {
		small := make([]byte, n)
		return &small
	}
	return b.pointers.Get(n)
}

func (b buffers) Put(p *[]byte) {
	// A lent slice is nil once it was put: a second Put goes on to the pool, which refuses it.
	if p != nil && *p != nil && mem.IsBelowBufferPoolingThreshold(cap(*p)) {
		return
	}
	b.pointers.Put(p)
}
