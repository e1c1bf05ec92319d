package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

// The library's own interceptors are interceptors of gRPC by inference.
var (
	_ = grpc.UnaryInterceptor(ctxreq.Unary)
	_ = grpc.StreamInterceptor(ctxreq.Stream)
)

func start(t testing.TB, leaky bool) *client {
	t.Helper()
	s := startServer(leaky)
	c, err := s.dial()
	require.NoError(t, err)
	t.Cleanup(func() { c.close(); s.stop() })
	return c
}

func TestRPCs(t *testing.T) {
	c := start(t, false)
	text, err := c.echo(t.Context(), "hello")
	require.NoError(t, err)
	assert.Equal(t, "hello, ada", text)
	var got []string
	require.NoError(t, c.count(t.Context(), 3, func(m *wrapperspb.StringValue) { got = append(got, m.Value) }))
	assert.Equal(t, []string{"0", "1", "2"}, got)
	_, err = c.echo(t.Context(), "panic")
	assert.Equal(t, codes.Internal, status.Code(err))
	assert.NotContains(t, err.Error(), "mistake", "the client learns nothing of the panic")
}

func TestRPCsLeaveNothing(t *testing.T) {
	leaves := func(t testing.TB, leaky bool) {
		c := start(t, leaky)
		leakcheck.NoGrowth(t, func() {
			if err := c.round(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	leaves(t, false)
	leakcheck.MustDetect(t, func(t testing.TB) { leaves(t, true) })
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, false, 200))
	assert.Regexp(t, `goroutines left    \d\n`, out.String())
	assert.Contains(t, out.String(), `reported: panic in /leaksafe.Echo/Echo: `)
	assert.ErrorContains(t, run(t.Context(), &out, true, 200), "outlive their RPCs")
}
