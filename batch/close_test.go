package batch_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
)

func TestCloseDeliversTheTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		b := start(t, batch.Options[int]{MaxItems: 4, Linger: time.Hour}, r.handle)
		addAll(t, b, ints(10)...)
		finish(t, b)
		assert.Equal(t, [][]int{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9}}, r.calls)
		assert.Zero(t, time.Since(r.start))
		require.ErrorIs(t, b.Add(t.Context(), 1), batch.ErrClosed)
		require.ErrorIs(t, b.TryAdd(1), batch.ErrClosed)
		_, err := b.AddAll(t.Context(), ints(2))
		require.ErrorIs(t, err, batch.ErrClosed)
		require.NoError(t, b.Flush(t.Context()))
	})
}

// On real time: producers that never stop, and a Close in the middle.
func TestCloseDuringABurst(t *testing.T) {
	for range 20 {
		var delivered, admitted, refused atomic.Int64
		b := start(t, batch.Options[int]{MaxItems: 7, InFlight: 3, PendingItems: 50}, func(_ context.Context, items []int) error {
			delivered.Add(int64(len(items)))
			return nil
		})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					if b.Add(t.Context(), 1) != nil {
						refused.Add(1)
						return
					}
					admitted.Add(1)
				}
			})
		}
		for admitted.Load() < 500 {
			runtime.Gosched()
		}
		var closers sync.WaitGroup
		for range 4 { // and four at once
			closers.Go(func() { assert.NoError(t, b.Close(t.Context())) })
		}
		closers.Wait()
		atClose := delivered.Load()
		wg.Wait()
		assert.Equal(t, admitted.Load(), atClose)
		assert.Equal(t, admitted.Load(), delivered.Load())
		assert.EqualValues(t, 8, refused.Load())
		finish(t, b) // twice
	}
}

// stuckHandler ignores its context until it is released.
func stuckHandler() (handler func(context.Context, []int) error, release func()) {
	hold := make(chan struct{})
	return func(context.Context, []int) error { <-hold; return nil }, sync.OnceFunc(func() { close(hold) })
}

func TestCloseWithAStuckHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, release := stuckHandler()
		b := start(t, batch.Options[int]{MaxItems: 2, PendingItems: 5}, handler)
		addAll(t, b, ints(5)...)
		var waiting error
		go func() { waiting = b.Add(t.Context(), 5) }()
		synctest.Wait()

		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		err := b.Close(ctx)
		assert.Equal(t, 100*ms, time.Since(begin))
		var drain *batch.DrainError[int]
		require.ErrorAs(t, err, &drain)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, []int{0, 1}, drain.InDoubt)
		assert.Equal(t, []int{2, 3, 4}, drain.Undelivered)
		assert.Equal(t, 1, drain.Stuck)
		assert.EqualError(t, err, "batch: Close timed out: 3 items not sent, 2 possibly sent (see DrainError.Undelivered and .InDoubt), 1 handler call still running: context deadline exceeded")
		synctest.Wait()
		require.ErrorIs(t, waiting, batch.ErrClosed, "a blocked caller gets an error")
		assert.EqualValues(t, 5, b.Stats().Returned)

		again, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		require.ErrorAs(t, b.Close(again), &drain, "it still has not returned")
		assert.Empty(t, drain.InDoubt, "and nothing is given back twice")
		assert.Empty(t, drain.Undelivered)
		assert.Equal(t, 1, drain.Stuck)
		release()
		finish(t, b)
		assert.EqualValues(t, 0, b.Stats().Delivered)
	})
}

func TestCloseWithAnEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		b := start(t, batch.Options[int]{}, record(nil).handle)
		require.NoError(t, b.Close(ended), "nothing was left to do")

		handler, release := stuckHandler()
		b = start(t, batch.Options[int]{Linger: time.Hour}, handler)
		addAll(t, b, 1, 2)
		var drain *batch.DrainError[int]
		require.ErrorAs(t, b.Close(ended), &drain)
		require.ErrorIs(t, drain, context.Canceled)
		assert.Equal(t, []int{1, 2}, slices.Concat(drain.InDoubt, drain.Undelivered))
		release()
		finish(t, b)
	})
}

// The Close that gives up first gets the items; the others get none.
func TestClosesThatGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, release := stuckHandler()
		b := start(t, batch.Options[int]{MaxItems: 2, PendingItems: 5}, handler)
		addAll(t, b, ints(5)...)
		var mu sync.Mutex
		var given []int
		var failed int
		for i := range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*ms*time.Duration(1+i/2))
			defer cancel()
			go func() {
				var drain *batch.DrainError[int]
				err := b.Close(ctx)
				mu.Lock()
				defer mu.Unlock()
				if errors.As(err, &drain) {
					failed++
					given = append(given, slices.Concat(drain.InDoubt, drain.Undelivered)...)
				}
			}()
			synctest.Wait()
		}
		pass(250 * ms)
		assert.Equal(t, 4, failed)
		assert.Equal(t, ints(5), given)
		release() // before the last one gives up
		synctest.Wait()
		assert.Equal(t, 4, failed)
		finish(t, b)
	})
}

// When Close gives up, it ends the context of the handler.
func TestCloseEndsTheHandlersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bool
		b := start(t, batch.Options[int]{Linger: batch.Immediately}, func(ctx context.Context, _ []int) error {
			<-ctx.Done()
			told = true
			return ctx.Err()
		})
		addAll(t, b, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		var drain *batch.DrainError[int]
		require.ErrorAs(t, b.Close(ctx), &drain)
		synctest.Wait()
		assert.True(t, told)
		finish(t, b)
	})
}

// An item that waits for another attempt was handed over: it is in doubt.
func TestCloseDuringABackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { return failed(errDown, 1) })
		b := start(t, batch.Options[int]{MaxItems: 3, Attempts: 2, Backoff: time.Minute}, r.handle)
		addAll(t, b, 1, 2, 3)
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		var drain *batch.DrainError[int]
		require.ErrorAs(t, b.Close(ctx), &drain)
		assert.Equal(t, []int{2}, drain.InDoubt)
		assert.Empty(t, drain.Undelivered)
		assert.Zero(t, drain.Stuck)
		synctest.Wait()
		assert.Len(t, r.calls, 1, "what was given back is not handed over again")
		finish(t, b)
		s := b.Stats()
		assert.EqualValues(t, 2, s.Delivered)
		assert.EqualValues(t, 1, s.Returned)
	})
}

// What a worker has taken, and not handed over yet, is not in doubt.
func TestCloseBeforeTheCall(t *testing.T) {
	r := record(nil)
	b := start(t, batch.Options[int]{MaxItems: 2}, r.handle)
	var drain *batch.DrainError[int]
	require.ErrorAs(t, b.CloseBeforeTheCall(t.Context(), 1, 2, 3), &drain)
	assert.Equal(t, []int{1, 2, 3}, drain.Undelivered)
	assert.Empty(t, drain.InDoubt)
	assert.Zero(t, drain.Stuck)
	finish(t, b)
	assert.Empty(t, r.calls)
	assert.EqualValues(t, 3, b.Stats().Returned)
}

func TestCloseDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		b := start(t, batch.Options[int]{MaxItems: 1, Pace: time.Minute, PendingItems: 5}, r.handle)
		addAll(t, b, 1, 2, 3)
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		var drain *batch.DrainError[int]
		require.ErrorAs(t, b.Close(ctx), &drain)
		assert.Equal(t, []int{2, 3}, drain.Undelivered)
		finish(t, b)
		assert.Len(t, r.calls, 1)
	})
}

func TestCloseTellsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: 1, PendingItems: 2}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			<-hold
			return doubled(items), nil
		})
		require.NoError(t, err)
		var errs [3]error
		for i := range 3 {
			go func() { _, errs[i] = c.Do(t.Context(), i) }()
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		var drain *batch.DrainError[int]
		require.ErrorAs(t, c.Close(ctx), &drain)
		synctest.Wait()
		for _, err := range errs {
			require.ErrorIs(t, err, batch.ErrClosed)
		}
		require.ErrorContains(t, errs[0], "the outcome is unknown")
		require.ErrorContains(t, errs[1], "before the item was handed over")
		require.Equal(t, batch.ErrClosed, errs[2], "never admitted")
		close(hold)
		finish(t, c)
	})
}

func TestFlushWhileCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, release := stuckHandler()
		b := start(t, batch.Options[int]{}, handler)
		addAll(t, b, 1)
		var err error
		go func() { err = b.Flush(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Error(t, b.Close(ctx))
		synctest.Wait()
		require.ErrorIs(t, err, batch.ErrClosed)
		release()
		finish(t, b)
	})
}

func TestDrainOfAKeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		k, err := batch.NewKeyed(batch.Options[int]{MaxItems: 2, PendingItems: 10}, func(context.Context, string, []int) error { <-hold; return nil })
		require.NoError(t, err)
		for key, n := range map[string]int{"a": 0, "b": 10} {
			_, err := k.AddAll(t.Context(), key, []int{n, n + 1, n + 2})
			require.NoError(t, err)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		err = k.Close(ctx)
		var drain *batch.DrainError[batch.Entry[string, int]]
		require.ErrorAs(t, err, &drain)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		got := map[string][]int{}
		for _, x := range slices.Concat(drain.InDoubt, drain.Undelivered) {
			got[x.Key] = append(got[x.Key], x.Item)
		}
		assert.Equal(t, map[string][]int{"a": {0, 1, 2}, "b": {10, 11, 12}}, got)
		assert.Len(t, drain.InDoubt, 2)
		close(hold)
		finish(t, k)
	})
}

// An idle batcher has no goroutine and no timer. The bubble ends only when no goroutine is left,
// and this test does not call Close.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, batch.Options[int]{MaxItems: 3, InFlight: 4}, record(nil).handle)
		require.NoError(t, b.AtRest(), "before the first item")
		for range 5 {
			addAll(t, b, ints(100)...)
			pass(101 * ms)
			require.NoError(t, b.AtRest())
		}
	})
}

// Close does not return nil while the Observer is still being told.
func TestCloseDuringTheObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		b := start(t, batch.Options[int]{Linger: batch.Immediately, Observer: func(items []int, _ error) { time.Sleep(time.Second); told += len(items) }}, record(nil).handle)
		addAll(t, b, 1)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), ms)
		defer cancel()
		var drain *batch.DrainError[int]
		require.ErrorAs(t, b.Close(ctx), &drain)
		require.ErrorIs(t, drain, context.DeadlineExceeded)
		assert.Empty(t, drain.Undelivered)
		assert.Empty(t, drain.InDoubt)
		finish(t, b)
		assert.Equal(t, 1, told)
	})
}

// A Close whose context has ended waits for the last worker to leave if there is nothing to give
// back, and then says what failed.
func TestCloseWithAnEndedContextSaysWhatFailed(t *testing.T) {
	logged(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2000 {
		b := start(t, batch.Options[int]{MaxItems: 1}, func(context.Context, []int) error { return errDown })
		addAll(t, b, 1)
		require.Error(t, b.Flush(t.Context()))
		require.ErrorContains(t, b.Close(ended), "1 item failed since the batcher was made")
		require.NoError(t, b.AtRest())
	}
}

// What a handler returns after Close gave its items back changes no result.
func TestAResultAfterCloseGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: 1}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			<-hold
			return doubled(items), nil
		})
		require.NoError(t, err)
		ticket, err := c.Submit(t.Context(), 1)
		require.NoError(t, err)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), ms)
		defer cancel()
		var left *batch.DrainError[int]
		require.ErrorAs(t, c.Close(ctx), &left)
		require.Equal(t, []int{1}, left.InDoubt)
		close(hold)
		synctest.Wait()
		_, err = ticket.Wait(t.Context())
		require.ErrorIs(t, err, batch.ErrClosed)
		require.NoError(t, c.AtRest())
	})
}
