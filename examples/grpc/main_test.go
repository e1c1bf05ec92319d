package main

import (
	"bytes"
	"context"
	"errors"
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

// The interceptors of ctxreq have gRPC's types by type inference.
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
	require.NoError(t, c.count(t.Context(), 3, func(m *wrapperspb.StringValue) {
		got = append(got, m.Value)
	}))
	assert.Equal(t, []string{"0", "1", "2"}, got)
	_, err = c.echo(t.Context(), "panic")
	assert.Equal(t, codes.Internal, status.Code(err))
	assert.Equal(t, "internal error", status.Convert(err).Message(),
		"the client learns nothing of the panic")
}

// TestTheClientLearnsWhatTheHandlerChose checks every way in which something other than the
// handler's answer can fail.
func TestTheClientLearnsWhatTheHandlerChose(t *testing.T) {
	c := start(t, false)
	for text, want := range map[string]error{
		"hello": nil, "failing audit": nil, "failing cleanup": nil,
		"not found": status.Error(codes.NotFound, "no such text"),
		"panic":     status.Error(codes.Internal, "internal error"),
	} {
		_, err := c.echo(t.Context(), text)
		assert.Equal(t, status.Convert(want).Proto().String(),
			status.Convert(err).Proto().String(), text)
	}
	joined := errors.Join(status.Error(codes.NotFound, "no such text"),
		errors.New("dial postgres://app:hunter2@db"))
	assert.Equal(t, "no such text", status.Convert(answer(joined)).Message(),
		"nor of what the handler joined to it")
	assert.Equal(t, codes.DeadlineExceeded, status.Code(answer(context.DeadlineExceeded)))
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
	assert.Contains(t, out.String(),
		"panic in /leaksafe.Echo/Echo: panic: connect postgres://hidden@db/app")
	assert.Contains(t, out.String(), "the audit's disk is full")
	assert.NotContains(t, out.String(), "hunter2")
	assert.ErrorContains(t, run(t.Context(), &out, true, 200), "outlive their RPCs")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Error(t, run(ctx, &out, false, 200), "interrupted")
}
