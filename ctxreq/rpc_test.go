package ctxreq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// TestRPCTellsTheClientTheHandlersErrorAlone checks what the returned error contains, for every way
// to fail.
func TestRPCTellsTheClientTheHandlersErrorAlone(t *testing.T) {
	answers := map[string]error{"the handler succeeds": nil, "the handler answers": errors.New("no such order")}
	fails := map[string]struct {
		do     func(context.Context)
		report ctxreq.Kind
	}{
		"nothing else": {func(context.Context) {}, ""},
		"a cleanup fails": {func(ctx context.Context) {
			ctxreq.From(ctx).Defer(func(context.Context) error { return io.ErrShortWrite })
		}, ctxreq.KindCleanup},
		"a cleanup panics": {func(ctx context.Context) { ctxreq.From(ctx).Defer(func(context.Context) error { panic("p") }) }, ctxreq.KindCleanup},
		"a child fails": {func(ctx context.Context) {
			ctxreq.From(ctx).Go("audit", func(context.Context) error { return io.ErrShortWrite })
			ctxreq.From(ctx).Wait()
		}, ctxreq.KindError},
		"a child panics": {func(ctx context.Context) {
			ctxreq.From(ctx).Go("audit", func(context.Context) error { panic("p") })
			ctxreq.From(ctx).Wait()
		}, ctxreq.KindPanic},
	}
	for answer, want := range answers {
		for what, fail := range fails {
			t.Run(answer+", "+what, func(t *testing.T) {
				rec := new(recorder)
				c := &ctxreq.Config{Reporter: rec}
				err := c.RPC(t.Context(), "/svc/M", func(ctx context.Context) error {
					fail.do(ctx)
					return want
				})
				require.True(t, err == want, "%v", err)
				if fail.report == "" {
					require.Empty(t, rec.all())
					return
				}
				require.Len(t, rec.all(), 1, "and it is reported, once")
				require.Equal(t, fail.report, rec.all()[0].Kind)
				require.Equal(t, "/svc/M", rec.all()[0].Info.Name)
			})
		}
	}
}

func TestRPCThatPanics(t *testing.T) {
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	err := c.RPC(t.Context(), "/svc/M", func(context.Context) error { panic("pq: connect postgres://app:hunter2@db/app") })
	require.EqualError(t, err, "internal error, request "+rec.all()[0].Info.ID)
	require.Len(t, rec.all(), 1)
	require.EqualError(t, rec.all()[0].Err, "panic: pq: connect postgres://hidden@db/app")

	c.Repanic = true
	require.PanicsWithValue(t, "as it was", func() {
		c.RPC(t.Context(), "/svc/M", func(context.Context) error { panic("as it was") })
	})
	require.Len(t, rec.all(), 2)
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		c.RPC(context.Background(), "/svc/M", func(context.Context) error { runtime.Goexit(); return nil })
	}()
	<-exited
	require.Empty(t, c.InFlight())
}

// A handler that returns what Wait returns does not tell the client what a child's panic said. What
// it returns beside is reported.
func TestRPCThatReturnsThePanicOfAChild(t *testing.T) {
	own := errors.New("no stock")
	for name, row := range map[string]struct {
		wrap  func(error) error
		kinds []ctxreq.Kind
	}{
		"as it is": {func(err error) error { return err }, []ctxreq.Kind{ctxreq.KindPanic}},
		"wrapped":  {func(err error) error { return fmt.Errorf("load: %w", err) }, []ctxreq.Kind{ctxreq.KindPanic}},
		"joined":   {func(err error) error { return errors.Join(own, err) }, []ctxreq.Kind{ctxreq.KindPanic, ctxreq.KindError}},
	} {
		rec := new(recorder)
		err := (&ctxreq.Config{Reporter: rec}).RPC(t.Context(), "/svc/M", func(ctx context.Context) error {
			s := ctxreq.From(ctx)
			s.Go("audit", func(context.Context) error { panic("pq: connect postgres://app:hunter2@db/app") })
			return row.wrap(s.Wait())
		})
		require.EqualError(t, err, "internal error, request "+rec.all()[0].Info.ID, name)
		var kinds []ctxreq.Kind
		for _, r := range rec.all() {
			kinds = append(kinds, r.Kind)
		}
		require.Equal(t, row.kinds, kinds, name)
	}
	child := errors.New("a child's error")
	err := new(ctxreq.Config).RPC(t.Context(), "/svc/M", func(ctx context.Context) error {
		ctxreq.From(ctx).Go("audit", func(context.Context) error { return child })
		return ctxreq.From(ctx).Wait()
	})
	require.True(t, err == child, "an error that the handler chose to return")
}

// wire is the part of grpc.ServerStream that Stream needs.
type wire interface {
	SetHeader(map[string][]string) error
	SendHeader(map[string][]string) error
	SetTrailer(map[string][]string)
	Context() context.Context
	SendMsg(m any) error
	RecvMsg(m any) error
}

type fakeStream struct {
	wire
	ctx  context.Context
	sent []any
}

func (f *fakeStream) Context() context.Context { return f.ctx }
func (f *fakeStream) SendMsg(m any) error      { f.sent = append(f.sent, m); return nil }

func TestStream(t *testing.T) {
	rec := new(recorder)
	ctx, s := (&ctxreq.Config{Reporter: rec}).Start(t.Context(), "server")
	defer s.End(nil)
	type info struct{ FullMethod string }
	type handler func(srv any, ss wire) error
	var intercept func(srv any, ss wire, info *info, handler handler) error = ctxreq.Stream // by inference
	f := &fakeStream{ctx: ctx}
	var kept context.Context
	err := intercept("srv", f, &info{"/svc/Count"}, func(srv any, ss wire) error {
		kept = ss.Context()
		require.Equal(t, "/svc/Count", ctxreq.From(kept).Info().Name)
		return ss.SendMsg(srv)
	})
	require.NoError(t, err)
	require.Equal(t, []any{"srv"}, f.sent)
	require.ErrorIs(t, context.Cause(kept), ctxreq.ErrEnded)
	err = intercept("srv", f, nil, func(any, wire) error { panic(io.EOF) })
	require.ErrorContains(t, err, "internal error, request ")
	require.NotErrorIs(t, err, io.EOF)
	require.Len(t, rec.of(ctxreq.KindPanic), 1, "to the Config of the scope around")
}
