package ctxreq_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/leaksafe/leaksafe/ctxreq"
)

type outsideKey struct{}

// derive is every constructor of package context that takes a parent.
var derive = map[string]func(context.Context) (context.Context, func()){
	"the scope's own": func(c context.Context) (context.Context, func()) { return c, func() {} },
	"WithCancel": func(c context.Context) (context.Context, func()) {
		c, cancel := context.WithCancel(c)
		return c, cancel
	},
	"WithCancelCause": func(c context.Context) (context.Context, func()) {
		c, cancel := context.WithCancelCause(c)
		return c, func() { cancel(nil) }
	},
	"WithDeadline": func(c context.Context) (context.Context, func()) {
		c, cancel := context.WithDeadline(c, time.Now().Add(time.Hour))
		return c, cancel
	},
	"WithDeadlineCause": func(c context.Context) (context.Context, func()) {
		c, cancel := context.WithDeadlineCause(c, time.Now().Add(time.Hour), errors.New("late"))
		return c, cancel
	},
	"WithTimeout": func(c context.Context) (context.Context, func()) {
		c, cancel := context.WithTimeout(c, time.Hour)
		return c, cancel
	},
	"WithTimeoutCause": func(c context.Context) (context.Context, func()) {
		c, cancel := context.WithTimeoutCause(c, time.Hour, errors.New("late"))
		return c, cancel
	},
	"WithValue": func(c context.Context) (context.Context, func()) {
		return context.WithValue(c, outsideKey{}, 1), func() {}
	},
	"a nested scope": func(c context.Context) (context.Context, func()) {
		c, s := ctxreq.Start(c, "nested")
		return c, func() { s.End(nil) }
	},
	"errgroup": func(c context.Context) (context.Context, func()) {
		g, c := errgroup.WithContext(c)
		return c, func() { g.Wait() }
	},
}

func TestEveryDerivedContextIsCancelledWithItsScope(t *testing.T) {
	boom := errors.New("boom")
	for name, f := range derive {
		for when, before := range map[string]bool{"derived before End": true, "derived after End": false} {
			t.Run(name+", "+when, func(t *testing.T) {
				ctx, s := ctxreq.Start(t.Context(), "scope")
				var child context.Context
				var cancel func()
				if before {
					child, cancel = f(ctx)
					defer cancel()
					require.NoError(t, child.Err())
					require.NoError(t, context.Cause(child))
				}
				done := make(chan error, 1)
				if before {
					context.AfterFunc(child, func() { done <- context.Cause(child) })
				}
				require.NoError(t, s.Defer(func(context.Context) error {
					if before { // the cause is seen by those who ask in time
						assert.ErrorIs(t, <-done, boom)
					}
					return nil
				}))
				require.NoError(t, s.End(boom))
				if !before {
					child, cancel = f(ctx)
					defer cancel()
				}
				<-child.Done()
				require.ErrorIs(t, child.Err(), context.Canceled)
				if !before || name == "the scope's own" || name == "WithValue" {
					require.ErrorIs(t, context.Cause(child), ctxreq.ErrEnded)
				} else {
					require.ErrorIs(t, context.Cause(child), boom)
				}
			})
		}
	}
}

func TestContextOfAnEndedScope(t *testing.T) {
	parent := context.WithValue(t.Context(), outsideKey{}, "outside")
	ctx, s := ctxreq.Start(parent, "scope")
	require.Equal(t, "outside", ctx.Value(outsideKey{}))
	done := ctx.Done()
	require.NoError(t, s.End(nil))

	assert.Equal(t, done, ctx.Done(), "Done is the same channel")
	assert.Equal(t, context.Canceled, ctx.Err())
	assert.Equal(t, ctxreq.ErrEnded, context.Cause(ctx))
	assert.Nil(t, ctx.Value(outsideKey{}), "the parent is cut off")
	assert.Same(t, s, ctxreq.From(ctx))
	assert.NoError(t, context.WithoutCancel(ctx).Err())
}

func TestContextFollowsItsParent(t *testing.T) {
	boom := errors.New("boom")
	parent, cancel := context.WithCancelCause(t.Context())
	ctx, s := ctxreq.Start(parent, "scope")
	lazy, s2 := ctxreq.Start(parent, "never asked for Done")
	defer s.End(nil)
	defer s2.End(nil)
	<-func() <-chan struct{} { cancel(boom); return ctx.Done() }()
	for _, c := range []context.Context{ctx, lazy} {
		assert.Equal(t, context.Canceled, c.Err())
		assert.Equal(t, boom, context.Cause(c))
	}
}

func TestDeadline(t *testing.T) {
	for name, asked := range map[string]bool{"Done in use": true, "Done never asked for": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &ctxreq.Config{Timeout: time.Minute}
				ctx, s := c.Start(t.Context(), "scope")
				want := time.Now().Add(time.Minute)
				got, ok := ctx.Deadline()
				require.True(t, ok)
				require.Equal(t, want, got)
				if asked {
					<-ctx.Done()
				} else {
					time.Sleep(time.Minute)
				}
				require.Equal(t, context.DeadlineExceeded, ctx.Err())
				require.Equal(t, context.DeadlineExceeded, context.Cause(ctx))
				require.NoError(t, s.End(nil))
				require.Equal(t, context.DeadlineExceeded, ctx.Err(), "Err does not change once it is set")
				require.Equal(t, ctxreq.ErrEnded, context.Cause(ctx))
				got, ok = ctx.Deadline()
				require.True(t, ok, "Deadline does not change once it was asked for")
				require.Equal(t, want, got)
				require.Equal(t, time.Minute, s.Info().Duration)
			})
		})
	}
}

func TestParentDeadlineThatIsSoonerWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ctx, s := (&ctxreq.Config{Timeout: time.Minute}).Start(parent, "scope")
		d, _ := ctx.Deadline()
		require.Equal(t, time.Now().Add(time.Second), d)
		<-ctx.Done()
		require.Equal(t, context.DeadlineExceeded, ctx.Err())
		require.NoError(t, s.End(nil))
	})
}

// wrapped hides the cancelCtx from package context. It is the leaky counterpart: package context
// starts a goroutine for each context derived from it.
type wrapped struct{ context.Context }

func (w wrapped) Value(any) any { return nil }

func TestDerivedContextsCostNoGoroutine(t *testing.T) {
	const n = 200
	waiting := func() int { // goroutines of package context, that wait for a parent
		buf := make([]byte, 4<<20)
		return strings.Count(string(buf[:runtime.Stack(buf, true)]), "created by context.(*cancelCtx).propagateCancel")
	}
	grown := func(parent context.Context) int {
		before := waiting()
		var cancels []func()
		for range n / len(derive) {
			for _, f := range derive {
				c, cancel := f(parent)
				context.AfterFunc(c, func() {})
				cancels = append(cancels, cancel)
			}
		}
		after := waiting()
		for _, cancel := range cancels {
			cancel()
		}
		return after - before
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, s := ctxreq.Start(context.Background(), "scope")
		assert.Zero(t, grown(ctx))
		s.End(nil)
		synctest.Wait()
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		assert.Greater(t, grown(wrapped{ctx}), n/2, "the leaky counterpart must be caught")
		cancel()
		synctest.Wait()
	})
}

func TestContextUnderConcurrentUse(t *testing.T) {
	for range 50 {
		ctx, s := (&ctxreq.Config{Timeout: time.Hour}).Start(context.WithValue(t.Context(), outsideKey{}, 1), "scope")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					ctx.Deadline()
					ctx.Value(outsideKey{})
					c, cancel := context.WithTimeout(ctx, time.Hour)
					context.Cause(c)
					cancel()
					s.Info()
				}
				<-ctx.Done()
				assert.Equal(t, ctxreq.ErrEnded, context.Cause(ctx))
			})
		}
		runtime.Gosched()
		s.End(nil)
		wg.Wait()
	}
}
