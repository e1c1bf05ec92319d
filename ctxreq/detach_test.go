package ctxreq_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestDetachCarriesOnlyWhatWasChosen(t *testing.T) {
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), outsideKey{}, 1))
	ctx, s := ctxreq.Start(parent, "scope")
	tenant.Set(ctx, "acme")
	owner.Set(ctx, "Jane")
	logged.Set(ctx, "stays")
	d := ctxreq.Detach(context.WithValue(ctx, outsideKey{}, 2))
	cancel()
	s.End(nil)

	require.NoError(t, d.Err())
	require.Nil(t, d.Done())
	_, ok := d.Deadline()
	require.False(t, ok)
	require.Nil(t, d.Value(outsideKey{}))
	v, _ := tenant.Get(d)
	require.Equal(t, "acme", v, "made with Carry")
	_, ok = owner.Get(d)
	require.False(t, ok, "not made with Carry")
	_, ok = logged.Get(d)
	require.False(t, ok, "not made with Carry")
	require.Equal(t, s.Info().ID, ctxreq.From(d).Info().ID)
	require.Equal(t, "scope", ctxreq.From(d).Info().Name)
	require.ErrorIs(t, ctxreq.From(d).Go("x", idle), ctxreq.ErrEnded)
	require.ErrorIs(t, owner.Set(d, ""), ctxreq.ErrEnded)

	again := ctxreq.Detach(d)
	v, _ = tenant.Get(again)
	require.Equal(t, "acme", v)
	require.NoError(t, ctxreq.Detach(t.Context()).Err(), "without a scope it is an empty root")

	nested, n := ctxreq.Start(d, "below")
	v, _ = tenant.Get(nested)
	require.Equal(t, "acme", v)
	require.Equal(t, s.Info().ID, n.Info().ID)
	n.End(nil)
}

// keptDetached are the contexts that outlive their requests in TestDetachHoldsNoRequest.
var keptDetached []context.Context

func keepDetached(t testing.TB, detach func(context.Context) context.Context) {
	h := new(ctxreq.Config).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), outsideKey{}, leakcheck.Track(t, r))
		keptDetached = append(keptDetached, detach(ctx))
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

func TestDetachHoldsNoRequest(t *testing.T) {
	t.Cleanup(func() { keptDetached = nil })
	keepDetached(t, func(ctx context.Context) context.Context { return ctxreq.Detach(ctx) })
}

func TestWithoutCancelIsCaughtHoldingTheRequest(t *testing.T) {
	t.Cleanup(func() { keptDetached = nil })
	leakcheck.MustDetect(t, func(t testing.TB) { keepDetached(t, context.WithoutCancel) })
}

func TestJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(recorder)
		jobs := &ctxreq.Jobs{Config: &ctxreq.Config{Reporter: rec}}
		reqCtx, req := ctxreq.Start(t.Context(), "request")
		tenant.Set(reqCtx, "acme")
		done := make(chan struct{})
		require.NoError(t, jobs.Go(reqCtx, "mail", func(ctx context.Context) error {
			time.Sleep(time.Minute) // outlives the request
			v, _ := tenant.Get(ctx)
			assert.Equal(t, "acme", v)
			assert.NoError(t, ctx.Err())
			assert.Equal(t, "mail", ctxreq.From(ctx).Info().Name)
			assert.Equal(t, req.Info().ID, ctxreq.From(ctx).Info().ID)
			close(done)
			return io.EOF
		}))
		require.NoError(t, jobs.Go(reqCtx, "panics", func(context.Context) error { return panicHere() }))
		req.End(nil)
		require.NoError(t, jobs.Shutdown(t.Context()))
		<-done
		require.Len(t, rec.of(ctxreq.KindError), 1)
		require.ErrorContains(t, rec.of(ctxreq.KindError)[0].Err, `job "mail": EOF`)
		require.Equal(t, req.Info().ID, rec.of(ctxreq.KindError)[0].Info.ID)
		require.Len(t, rec.of(ctxreq.KindPanic), 1, "and one job's panic stops no other")
		require.ErrorIs(t, jobs.Go(t.Context(), "late", idle), ctxreq.ErrEnded)
		require.NoError(t, jobs.Shutdown(t.Context()))
		require.Empty(t, jobs.Config.InFlight())
	})
}

func TestShutdownOfJobsThatDoNotEndInTime(t *testing.T) {
	for name, heeds := range map[string]bool{"they heed the cancellation": true, "they ignore it": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				jobs := ctxreq.Jobs{Config: &ctxreq.Config{Grace: 100 * time.Millisecond, Reporter: new(recorder)}}
				release := make(chan struct{})
				require.NoError(t, jobs.Go(t.Context(), "slow", func(ctx context.Context) error {
					if heeds {
						<-ctx.Done()
						return nil
					}
					<-release
					return nil
				}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				err := jobs.Shutdown(ctx)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				if heeds {
					require.Equal(t, time.Second, time.Since(start))
				} else {
					require.Equal(t, time.Second+100*time.Millisecond, time.Since(start))
					require.ErrorContains(t, err, `child "slow" ignores its context`)
				}
				close(release)
				synctest.Wait()
			})
		})
	}
}

func TestJobsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := &ctxreq.Jobs{Config: &ctxreq.Config{MaxChildren: 2}}
		var running, most atomic.Int32
		work := func(context.Context) error {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Second)
			running.Add(-1)
			return nil
		}
		for range 10 {
			require.NoError(t, jobs.Go(t.Context(), "job", work))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		err := jobs.Go(ctx, "job", work)
		require.True(t, errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded), "%v", err)
		require.NoError(t, jobs.Shutdown(t.Context()))
		require.EqualValues(t, 2, most.Load())
	})
}
