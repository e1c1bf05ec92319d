package grpcpool_test

import (
	"context"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"

	"github.com/leaksafe/leaksafe/pool"
	"github.com/leaksafe/leaksafe/pool/grpcpool"
)

// A service answers a call with as many bytes as the call has.
type service struct {
	testgrpc.UnimplementedTestServiceServer
}

func (service) UnaryCall(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	return &testgrpc.SimpleResponse{Payload: r.Payload}, nil
}

// calls runs a server and a client on the buffers, and makes calls of many sizes from 8 goroutines.
func calls(t *testing.T, buffers mem.BufferPool) {
	before := mem.DefaultBufferPool()
	experimental.SetDefaultBufferPool(buffers)
	defer experimental.SetDefaultBufferPool(before)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(experimental.BufferPool(buffers))
	testgrpc.RegisterTestServiceServer(server, service{})
	var served sync.WaitGroup
	served.Go(func() { server.Serve(listener) })
	client, err := grpc.NewClient(listener.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), experimental.WithBufferPool(buffers))
	require.NoError(t, err)

	stub := testgrpc.NewTestServiceClient(client)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 20 {
				body := []byte(strings.Repeat(string(rune('a'+g)), 1<<(i%18)+g))
				got, err := stub.UnaryCall(ctx, &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: body}})
				if assert.NoError(t, err) {
					assert.True(t, string(body) == string(got.Payload.Body), "the bytes of another call")
				}
			}
		})
	}
	all.Wait()
	client.Close()
	server.GracefulStop()
	served.Wait()
}

func TestARealServerRunsOnThePool(t *testing.T) {
	for name, o := range map[string]pool.Options{
		"zero options": {}, "zeroing": {ZeroOnRelease: true}, "check": {Level: pool.LevelCheck},
	} {
		t.Run(name, func(t *testing.T) {
			p := pool.NewBytes(o)
			calls(t, grpcpool.New(p))
			s := p.Stats()
			assert.Zero(t, s.RefusedPuts)
			assert.NotZero(t, s.Made)
			if o.Level == pool.LevelCheck {
				assert.Greater(t, s.Gets, s.Made, "memory is reused")
				allPut(t, p)
			}
		})
	}
}

// allPut fails t if a buffer does not come back. The transports end a moment after the client.
func allPut(t *testing.T, p *pool.Bytes) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); len(p.Outstanding()) > 0 && time.Now().Before(end); {
		runtime.Gosched()
	}
	for _, f := range p.Outstanding() {
		t.Error(f)
	}
}

// twice is a buffer pool with the fault that the pool must find.
type twice struct{ mem.BufferPool }

func (p twice) Put(b *[]byte) {
	p.BufferPool.Put(b)
	p.BufferPool.Put(b)
}

func TestADoublePutIsFound(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	b := grpcpool.New(p).Get(5000)
	buffer := mem.NewBuffer(b, twice{grpcpool.New(p)})
	buffer.Free()
	require.Len(t, p.Outstanding(), 1)
	assert.Equal(t, 1, p.Outstanding()[0].RefusedPuts)
	assert.Contains(t, p.Outstanding()[0].String(), "a slice was put again, 1 time\n\tlent at ")
	assert.Contains(t, p.Outstanding()[0].String(), "put again at ")
}

func TestADoublePutBehindAServerIsFound(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	calls(t, twice{grpcpool.New(p)})
	puts := 0
	for _, f := range p.Outstanding() {
		puts += f.RefusedPuts
	}
	assert.NotZero(t, puts)
}

func TestPutOfNilIsRefused(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	grpcpool.New(p).Put(nil)
	assert.EqualValues(t, 1, p.Stats().RefusedPuts)
	require.Len(t, p.Outstanding(), 1)
	assert.Contains(t, p.Outstanding()[0].String(), "a slice was put that the pool had not lent")
}

func TestSmallBuffersAreNotPooled(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	buffers := grpcpool.New(p)
	b := buffers.Get(100)
	assert.Len(t, *b, 100)
	mem.NewBuffer(b, buffers).Free() // gRPC does not put it
	buffers.Put(buffers.Get(100))    // and if somebody does, it is no fault
	assert.Empty(t, p.Outstanding())
	assert.Zero(t, p.Stats().Gets)
}
