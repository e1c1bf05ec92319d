package batch_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
)

var errDown = errors.New("down")

func TestOnlyTheFailedSubsetIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := told{}
		r := record(func(_ context.Context, call int, _ []int) error {
			switch call {
			case 0:
				return batch.Failed([]int{3, 1, 3}, errDown)
			case 1:
				return batch.Failed([]int{1}, errDown)
			}
			return nil
		})
		b := start(t, batch.Options[int]{MaxItems: 5, Attempts: 3, Observer: o.observe}, r.handle)
		addAll(t, b, ints(5)...)
		finish(t, b)
		assert.Equal(t, [][]int{{0, 1, 2, 3, 4}, {1, 3}, {3}}, r.calls)
		assert.Equal(t, told{0: nil, 1: nil, 2: nil, 3: nil, 4: nil}, o)
		s := b.Stats()
		assert.EqualValues(t, 5, s.Delivered)
		assert.EqualValues(t, 2, s.Retries)
	})
}

func TestAttemptsRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := told{}
		r := record(func(context.Context, int, []int) error { return batch.Failed([]int{0}, errDown) })
		b := start(t, batch.Options[int]{MaxItems: 2, Attempts: 3, Observer: o.observe}, r.handle)
		addAll(t, b, 1, 2)
		finish(t, b)
		assert.Equal(t, [][]int{{1, 2}, {1}, {1}}, r.calls)
		require.ErrorIs(t, o[1], errDown)
		require.NoError(t, o[2])
	})
}

func TestNothingIsTriedAgainByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { return errDown })
		b := start(t, batch.Options[int]{MaxItems: 10}, r.handle)
		addAll(t, b, ints(10)...)
		finish(t, b)
		assert.Len(t, r.calls, 1)
		assert.EqualValues(t, 10, b.Stats().Failed)
	})
}

func TestFailedMisused(t *testing.T) {
	require.NoError(t, batch.Failed(nil, errDown), "nothing failed")
	require.ErrorContains(t, batch.Failed([]int{1}, nil), "did not say why")
	synctest.Test(t, func(t *testing.T) {
		o := told{}
		r := record(func(context.Context, int, []int) error { return batch.Failed([]int{7}, errDown) })
		b := start(t, batch.Options[int]{MaxItems: 2, Attempts: 5, Observer: o.observe}, r.handle)
		addAll(t, b, 1, 2)
		finish(t, b)
		require.ErrorContains(t, o[1], "batch: Failed names index 7 of a batch of 2, so the whole batch failed: down")
		require.Error(t, o[2])
		assert.Len(t, r.calls, 1, "a bug of the handler is not tried again")
	})
}

func TestBackoffDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { return errDown })
		b := start(t, batch.Options[int]{Attempts: 6, Backoff: 100 * ms, Linger: batch.Immediately}, r.handle)
		addAll(t, b, 1)
		require.NoError(t, b.Flush(t.Context()))
		require.Len(t, r.times, 6)
		for i, d := 1, 100*ms; i < 6; i, d = i+1, 2*d {
			got := r.times[i] - r.times[i-1]
			assert.GreaterOrEqual(t, got, d/2, "before attempt %d", i+1)
			assert.LessOrEqual(t, got, d, "before attempt %d", i+1)
		}
		finish(t, b)
	})
}

func TestNothingIsTriedAgainPastMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { return errDown })
		b := start(t, batch.Options[int]{Attempts: 1000, Backoff: 400 * ms, MaxAge: time.Second, Linger: batch.Immediately}, r.handle)
		addAll(t, b, 1)
		require.NoError(t, b.Flush(t.Context()))
		assert.Less(t, time.Since(r.start), time.Second)
		assert.Greater(t, len(r.calls), 1)
		assert.EqualValues(t, 1, b.Stats().Failed)
		finish(t, b)
	})
}

// poison fails the whole batch when one of these is in it.
func poison(err error, bad ...int) func(context.Context, int, []int) error {
	return func(_ context.Context, _ int, items []int) error {
		if slices.ContainsFunc(items, func(v int) bool { return slices.Contains(bad, v) }) {
			return err
		}
		return nil
	}
}

func TestPoisonIsFoundBySplitting(t *testing.T) {
	for name, bad := range map[string][]int{
		"first": {0}, "last": {499}, "inside": {123}, "two apart": {17, 401}, "neighbours": {250, 251}, "three in a row": {255, 256, 257},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := told{}
				r := record(poison(errDown, bad...))
				b := start(t, batch.Options[int]{MaxItems: 500, Attempts: 2, Observer: o.observe}, r.handle)
				addAll(t, b, ints(500)...)
				finish(t, b)
				for v, err := range o {
					assert.Equal(t, slices.Contains(bad, v), err != nil, "item %d: %v", v, err)
				}
				assert.Len(t, o, 500)
				assert.LessOrEqual(t, len(r.calls), 2+len(bad)*2*9)
				delivered := 0
				for _, items := range r.calls { // in order, also while it splits
					if poison(errDown, bad...)(nil, 0, items) == nil {
						assert.GreaterOrEqual(t, items[0], delivered)
						delivered = items[len(items)-1]
					}
				}
			})
		})
	}
}

// When all of it fails, it is not one item: the calls stay few.
func TestADownstreamThatIsDownIsNotAskedForEveryItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { return errDown })
		b := start(t, batch.Options[int]{MaxItems: 500, Attempts: 3}, r.handle)
		addAll(t, b, ints(500)...)
		finish(t, b)
		assert.LessOrEqual(t, len(r.calls), 3+2*9+1)
		assert.EqualValues(t, 500, b.Stats().Failed)
	})
}

func TestRetryJudgesTheError(t *testing.T) {
	invalid := errors.New("invalid")
	worth := func(err error) bool { return !errors.Is(err, invalid) }
	t.Run("a whole batch that is invalid is split at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := told{}
			r := record(poison(invalid, 3))
			b := start(t, batch.Options[int]{MaxItems: 4, Attempts: 5, Backoff: time.Hour, MaxAge: 100 * time.Hour, Retry: worth, Observer: o.observe, Linger: batch.Immediately}, r.handle)
			n, err := b.AddAll(t.Context(), ints(4))
			require.NoError(t, err)
			require.Equal(t, 4, n)
			finish(t, b)
			assert.Equal(t, [][]int{{0, 1, 2, 3}, {0, 1}, {2, 3}, {2}, {3}}, r.calls)
			assert.Zero(t, time.Since(r.start))
			require.ErrorIs(t, o[3], invalid)
		})
	})
	t.Run("by result", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var calls [][]int
			c, err := batch.NewResult(batch.Options[int]{MaxItems: 3, Attempts: 2, Retry: worth}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
				calls = append(calls, items)
				rs := doubled(items)
				if len(calls) == 1 {
					rs[1].Err, rs[2].Err = errDown, invalid
				}
				return rs, nil
			})
			require.NoError(t, err)
			begin := time.Now()
			var took [3]time.Duration
			var errs [3]error
			for i := range 3 {
				go func() {
					_, errs[i] = c.Do(t.Context(), i)
					took[i] = time.Since(begin)
				}()
				synctest.Wait()
			}
			finish(t, c)
			synctest.Wait()
			assert.Equal(t, [][]int{{0, 1, 2}, {1}}, calls)
			assert.NoError(t, errs[0])
			assert.NoError(t, errs[1])
			assert.ErrorIs(t, errs[2], invalid)
			assert.Zero(t, took[0], "who has a result does not wait for the others")
			assert.Zero(t, took[2])
			assert.NotZero(t, took[1])
		})
	})
}

// The key stays held while a subset of its batch is tried again.
func TestOrderOfAKeyWhileItIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls [][]int
		k, err := batch.NewKeyed(batch.Options[int]{MaxItems: 2, InFlight: 4, Attempts: 4, PendingItems: 20, Backoff: time.Second}, func(_ context.Context, _ string, items []int) error {
			calls = append(calls, items)
			if len(calls) == 1 || len(calls) == 2 {
				return batch.Failed([]int{0}, errDown)
			}
			return nil
		})
		require.NoError(t, err)
		n, err := k.AddAll(t.Context(), "a", ints(6))
		require.NoError(t, err)
		require.Equal(t, 6, n)
		finish(t, k)
		assert.Equal(t, [][]int{{0, 1}, {0}, {0}, {2, 3}, {4, 5}}, calls)
	})
}

// A timed-out handler is not tried again beside itself.
func TestNoAttemptBesideAHandlerThatHasNotReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		active := 0
		r := record(func(_ context.Context, call int, _ []int) error {
			active++
			assert.Equal(t, 1, active)
			if call == 0 {
				time.Sleep(time.Second) // ten times its timeout
			}
			active--
			return errDown
		})
		b := start(t, batch.Options[int]{Timeout: 100 * ms, Attempts: 2, InFlight: 4}, r.handle)
		addAll(t, b, 1)
		finish(t, b)
		assert.Len(t, r.calls, 2)
	})
}

// A half that runs past its timeout does not speak for the other half.
func TestATimeoutWhileSplitting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := batch.NewResult(batch.Options[int]{MaxItems: 4, Attempts: 2, Timeout: 10 * ms, Backoff: 1}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			switch {
			case len(items) == 4:
				return nil, errDown
			case items[0] == 0:
				time.Sleep(time.Second)
			}
			return doubled(items), nil
		})
		require.NoError(t, err)
		var tickets []batch.Ticket[int]
		for i := range 4 {
			ticket, err := c.Submit(t.Context(), i)
			require.NoError(t, err)
			tickets = append(tickets, ticket)
		}
		for i, ticket := range tickets {
			v, err := ticket.Wait(t.Context())
			if i < 2 {
				require.ErrorIs(t, err, batch.ErrTimeout)
			} else {
				require.NoError(t, err)
				assert.Equal(t, 2*i, v)
			}
		}
		finish(t, c)
		assert.EqualValues(t, 2, c.Stats().Delivered)
	})
}

// However often and however long, the delays stay delays.
func TestBackoffDoesNotOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { return errDown })
		b := start(t, batch.Options[int]{Attempts: 100, Backoff: time.Hour, MaxAge: 1000 * time.Hour, Linger: batch.Immediately}, r.handle)
		addAll(t, b, 1)
		require.NoError(t, b.Flush(t.Context()))
		assert.Len(t, r.calls, 100)
		assert.LessOrEqual(t, time.Since(r.start), 100*time.Hour)
		finish(t, b)
	})
}
