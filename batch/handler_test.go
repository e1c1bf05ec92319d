package batch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
)

// told is an Observer that remembers the outcome of each item.
type told map[int]error

var telling sync.Mutex // of every told: Observers run concurrently

func (o told) observe(items []int, err error) {
	telling.Lock()
	defer telling.Unlock()
	for _, v := range items {
		if _, twice := o[v]; twice {
			panic(fmt.Sprintf("item %d has two outcomes", v))
		}
		o[v] = err
	}
}

// A handler that outlives its timeout keeps its place in flight.
func TestTimeoutKeepsThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var active atomic.Int64
		release := make(chan struct{})
		b := start(t, batch.Options[int]{MaxItems: 1, InFlight: 2, PendingItems: 100, Timeout: 10 * ms}, func(ctx context.Context, _ []int) error {
			assert.LessOrEqual(t, active.Add(1), int64(2))
			defer active.Add(-1)
			<-release // whatever ctx says
			return nil
		})
		addAll(t, b, ints(20)...)
		pass(time.Second)
		s := b.Stats()
		assert.EqualValues(t, 2, s.InFlight)
		assert.EqualValues(t, 2, s.Stuck)
		assert.EqualValues(t, 20, s.Pending, "the outcome is open until the handler returns")
		close(release)
		finish(t, b)
		assert.EqualValues(t, 20, b.Stats().Delivered, "a late success is one")
		assert.Zero(t, b.Stats().Stuck)
	})
}

func TestTimeoutEndsTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := told{}
		r := record(func(ctx context.Context, _ int, _ []int) error { <-ctx.Done(); return ctx.Err() })
		b := start(t, batch.Options[int]{Timeout: 10 * ms, Observer: o.observe}, r.handle)
		addAll(t, b, 1)
		require.ErrorIs(t, b.Flush(t.Context()), batch.ErrTimeout)
		assert.Equal(t, 10*ms, time.Since(r.start))
		require.ErrorIs(t, o[1], batch.ErrTimeout)
		require.ErrorIs(t, o[1], context.DeadlineExceeded)
		finish(t, b)
	})
}

// A panic after the Timeout leaves unknown what happened, as an error does.
func TestAPanicAfterTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := told{}
		r := record(func(ctx context.Context, _ int, _ []int) error { <-ctx.Done(); panic("late") })
		b := start(t, batch.Options[int]{Timeout: 10 * ms, Attempts: 3, Observer: o.observe}, r.handle)
		addAll(t, b, 1)
		require.ErrorIs(t, b.Flush(t.Context()), batch.ErrTimeout)
		require.ErrorIs(t, o[1], batch.ErrTimeout)
		require.ErrorContains(t, o[1], "late")
		assert.Len(t, r.calls, 1, "and it is not tried again")
		finish(t, b)
	})
}

// Flush waits for a slow Observer, as Close does.
func TestFlushWaitsForTheObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		b := start(t, batch.Options[int]{Observer: func(items []int, _ error) {
			time.Sleep(time.Second)
			told += len(items)
		}}, record(nil).handle)
		addAll(t, b, 1)
		require.NoError(t, b.Flush(t.Context()))
		assert.Equal(t, 1, told)
		addAll(t, b, 2)
		ctx, cancel := context.WithTimeout(t.Context(), ms)
		defer cancel()
		require.ErrorIs(t, b.Flush(ctx), context.DeadlineExceeded)
		finish(t, b)
		assert.Equal(t, 2, told)
	})
}

// The context of a batch does not derive from the contexts of the callers whose items are in it.
func TestACallersContextIsItsOwn(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		c, err := batch.NewCaller(batch.Options[int]{}, func(ctx context.Context, items []int) ([]batch.Result[int], error) {
			if ctx.Value(key{}) != nil {
				return nil, errors.New("the context is a caller's")
			}
			select {
			case <-time.After(10 * ms):
				return make([]batch.Result[int], len(items)), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, 1))
		var first, second error
		_, err = c.Submit(t.Context(), 0)
		require.NoError(t, err)
		pass(100 * ms) // and now the others gather
		go func() { _, first = c.Do(ctx, 1) }()
		synctest.Wait()
		go func() { _, second = c.Do(t.Context(), 2) }()
		pass(15 * ms) // in flight since 110
		cancel()
		pass(10 * ms)
		require.ErrorIs(t, first, context.Canceled)
		require.ErrorContains(t, first, "in the handler's hands")
		require.NoError(t, second)
		finish(t, c)
		assert.EqualValues(t, 3, c.Stats().Delivered)
		assert.EqualValues(t, 2, c.Stats().Calls)
	})
}

func TestPanicFailsItsBatchOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := told{}
		cause := errors.New("the cause")
		r := record(func(_ context.Context, call int, items []int) error {
			switch call {
			case 0:
				panic("at the disco")
			case 1:
				panic(cause)
			case 2:
				runtime.Goexit()
			}
			return nil
		})
		b := start(t, batch.Options[int]{MaxItems: 2, Observer: o.observe}, r.handle)
		addAll(t, b, ints(8)...)
		finish(t, b)
		require.ErrorContains(t, o[0], "batch: the handler panicked: at the disco")
		require.ErrorContains(t, o[0], "handler_test.go", "the stack is part of it")
		require.ErrorContains(t, o[1], "at the disco")
		require.ErrorIs(t, o[2], cause)
		require.ErrorContains(t, o[4], "ended its goroutine")
		require.NoError(t, o[6])
		assert.EqualValues(t, 6, b.Stats().Failed)
		assert.EqualValues(t, 2, b.Stats().Delivered)
	})
}

// The handler owns the slice: if it retains the slice, the contents do not change, and if it
// changes them, the next attempt does not see it.
func TestTheSliceIsTheHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept [][]int
		r := record(func(_ context.Context, call int, items []int) error {
			if call%2 == 0 {
				clear(items)
				return errors.New("again")
			}
			kept = append(kept, items)
			return nil
		})
		b := start(t, batch.Options[int]{MaxItems: 4, Attempts: 2, Backoff: 1}, r.handle)
		addAll(t, b, ints(400)...)
		finish(t, b)
		require.Len(t, kept, 100)
		for i, items := range kept {
			assert.Equal(t, []int{4 * i, 4*i + 1, 4*i + 2, 4*i + 3}, items[:4])
		}
	})
}

// From inside the handler nothing waits for the handler.
func TestCallsFromInsideTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *batch.Batcher[int]
		var add, full, flush, closing error
		r := record(func(ctx context.Context, call int, _ []int) error {
			if call > 0 {
				return nil
			}
			add = b.Add(ctx, 2)
			full = b.Add(ctx, 3)
			flush = b.Flush(ctx)
			closing = b.Close(ctx)
			return nil
		})
		b = start(t, batch.Options[int]{PendingItems: 2, Linger: batch.Immediately}, r.handle)
		addAll(t, b, 1)
		synctest.Wait()
		assert.Zero(t, time.Since(r.start))
		require.NoError(t, add)
		require.ErrorIs(t, full, batch.ErrFull)
		require.ErrorContains(t, flush, "inside the handler")
		require.ErrorContains(t, closing, "inside the handler")
		require.ErrorIs(t, b.Add(t.Context(), 4), batch.ErrClosed, "Close has begun")
		finish(t, b)
		assert.Equal(t, [][]int{{1}, {2}}, r.calls)
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(_ context.Context, call int, _ []int) error {
			if call == 1 {
				return errors.New("again")
			}
			time.Sleep(15 * ms)
			return nil
		})
		b := start(t, batch.Options[int]{MaxItems: 1, InFlight: 3, PendingItems: 9, Pace: 10 * ms, Attempts: 2, Backoff: 1}, r.handle)
		addAll(t, b, 1, 2, 3, 4)
		finish(t, b)
		assert.Equal(t, []time.Duration{0, 10 * ms, 20 * ms, 30 * ms, 40 * ms}, r.times)
	})
}

func TestWithdrawnItemsGiveTheirBudgetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		c, err := batch.NewCaller(batch.Options[int]{PendingItems: 4, Linger: 50 * ms, PendingBytes: 100, SizeOf: func(int) int { return 10 }},
			func(_ context.Context, items []int) ([]batch.Result[int], error) {
				if items[0] == 0 {
					<-hold
				} else {
					assert.Equal(t, []int{42}, items)
				}
				return make([]batch.Result[int], len(items)), nil
			})
		require.NoError(t, err)
		_, err = c.Submit(t.Context(), 0) // in flight, so that others linger
		require.NoError(t, err)
		pass(50 * ms)
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), ms)
			_, err := c.Do(ctx, 1)
			require.ErrorContains(t, err, "withdrawn before it was handed over")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
		}
		assert.EqualValues(t, 1, c.Stats().Pending)
		close(hold)
		_, err = c.Do(t.Context(), 42)
		require.NoError(t, err)
		assert.EqualValues(t, 100, c.Stats().Withdrawn)
		assert.EqualValues(t, 2, c.Stats().Calls)
		finish(t, c)
	})
}

// Withdrawal also reaches a full batch that only waits for its turn.
func TestWithdrawalFromAQueuedBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		var got [][]int
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: 2, PendingItems: 10}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			<-hold
			got = append(got, items)
			return make([]batch.Result[int], len(items)), nil
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 6 {
			mine := t.Context()
			if i == 2 || i == 4 || i == 5 {
				mine = ctx
			}
			if i < 2 {
				_, err := c.Submit(mine, i)
				require.NoError(t, err)
			} else {
				go func() { _, _ = c.Do(mine, i) }()
			}
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		assert.EqualValues(t, 3, c.Stats().Withdrawn)
		close(hold)
		finish(t, c)
		assert.Equal(t, [][]int{{0, 1}, {3}}, got)
	})
}

// A Do that wakes late does not withdraw a newer item in the same array.
func TestWithdrawalOfWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := batch.NewCaller(batch.Options[int]{}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			return doubled(items), nil
		})
		require.NoError(t, err)
		withdraw, err := c.Admit(1)
		require.NoError(t, err)
		require.NoError(t, c.Flush(t.Context()))
		synctest.Wait()
		ticket, err := c.Submit(t.Context(), 2)
		require.NoError(t, err)
		assert.False(t, withdraw())
		v, err := ticket.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 4, v)

		withdraw, err = c.Admit(3)
		require.NoError(t, err)
		assert.True(t, withdraw())
		assert.False(t, withdraw(), "twice")
		finish(t, c)
	})
}

func TestResults(t *testing.T) {
	odd := errors.New("odd")
	for name, c := range map[string]struct {
		handler func(items []int) ([]batch.Result[int], error)
		want    func(t *testing.T, i, v int, err error)
	}{
		"one each": {
			func(items []int) ([]batch.Result[int], error) { return doubled(items), nil },
			func(t *testing.T, i, v int, err error) { assert.NoError(t, err); assert.Equal(t, 2*i, v) },
		},
		"an error of one": {
			func(items []int) ([]batch.Result[int], error) {
				rs := doubled(items)
				rs[1].Err = odd
				return rs, nil
			},
			func(t *testing.T, i, v int, err error) {
				assert.Equal(t, 2*i, v)
				assert.Equal(t, i == 1, errors.Is(err, odd))
			},
		},
		"an error of all": {
			func(items []int) ([]batch.Result[int], error) { return doubled(items), odd },
			func(t *testing.T, i, v int, err error) { assert.ErrorIs(t, err, odd); assert.Zero(t, v) },
		},
		"some failed, with results": {
			func(items []int) ([]batch.Result[int], error) { return doubled(items), failed(odd, 2) },
			func(t *testing.T, i, v int, err error) {
				if i == 2 {
					assert.ErrorIs(t, err, odd)
				} else {
					assert.NoError(t, err)
					assert.Equal(t, 2*i, v)
				}
			},
		},
		"some failed, without results": {
			func(items []int) ([]batch.Result[int], error) { return nil, failed(odd, 2) },
			func(t *testing.T, i, v int, err error) { assert.Equal(t, i == 2, err != nil); assert.Zero(t, v) },
		},
		"some failed, with too few results": {
			func(items []int) ([]batch.Result[int], error) { return doubled(items)[1:], failed(odd, 2) },
			func(t *testing.T, i, v int, err error) {
				assert.ErrorContains(t, err, "returned 2 results for 3 items, so the whole batch failed")
				assert.ErrorIs(t, err, odd)
			},
		},
		"too few": {
			func(items []int) ([]batch.Result[int], error) { return doubled(items)[1:], nil },
			func(t *testing.T, i, v int, err error) {
				assert.EqualError(t, err, "batch: the handler returned 2 results for 3 items: return one for each, in their order")
			},
		},
		"too many": {
			func(items []int) ([]batch.Result[int], error) {
				return append(doubled(items), batch.Result[int]{}), nil
			},
			func(t *testing.T, i, v int, err error) {
				assert.ErrorContains(t, err, "returned 4 results for 3 items")
			},
		},
		"none": {
			func(items []int) ([]batch.Result[int], error) { return nil, nil },
			func(t *testing.T, i, v int, err error) {
				assert.ErrorContains(t, err, "returned 0 results for 3 items")
			},
		},
		"a panic": {
			func(items []int) ([]batch.Result[int], error) { panic("oh") },
			func(t *testing.T, i, v int, err error) { assert.ErrorContains(t, err, "the handler panicked: oh") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller, err := batch.NewCaller(batch.Options[int]{MaxItems: 3}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
					return c.handler(items)
				})
				require.NoError(t, err)
				var tickets []batch.Ticket[int]
				for i := range 3 {
					ticket, err := caller.Submit(t.Context(), i)
					require.NoError(t, err)
					tickets = append(tickets, ticket)
				}
				for i, ticket := range tickets {
					for range 2 { // a ticket can be read any number of times
						v, err := ticket.Wait(t.Context())
						c.want(t, i, v, err)
					}
				}
				finish(t, caller)
			})
		})
	}
}

func doubled(items []int) []batch.Result[int] {
	var rs []batch.Result[int]
	for _, v := range items {
		rs = append(rs, batch.Result[int]{Value: 2 * v})
	}
	return rs
}

func TestTicketWaitGivesUpAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := batch.NewCaller(batch.Options[int]{}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			return doubled(items), nil
		})
		require.NoError(t, err)
		ticket, err := c.Submit(t.Context(), 21)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), ms)
		defer cancel()
		_, err = ticket.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		v, err := ticket.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 42, v)
		finish(t, c)
		require.Panics(t, func() { _, _ = batch.Ticket[int]{}.Wait(t.Context()) })
	})
}

// A caller does not wait for a handler that ignores its context.
func TestCallersAreToldOfATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c, err := batch.NewCaller(batch.Options[int]{Timeout: 100 * ms, Linger: batch.Immediately, Attempts: 5},
			func(_ context.Context, items []int) ([]batch.Result[int], error) {
				<-release
				return doubled(items), nil
			})
		require.NoError(t, err)
		begin := time.Now()
		_, err = c.Do(context.Background(), 1)
		require.ErrorIs(t, err, batch.ErrTimeout)
		assert.Equal(t, 110*ms, time.Since(begin))
		assert.EqualValues(t, 1, c.Stats().Pending)
		close(release)
		finish(t, c)
		assert.EqualValues(t, 1, c.Stats().Failed, "it is what its caller was told")
		assert.EqualValues(t, 1, c.Stats().Calls, "and not tried again")
	})
}

// Results that came in time are not lost because other results came late.
func TestResultsAtTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := batch.NewCaller(batch.Options[int]{Timeout: 100 * ms, MaxItems: 2}, func(ctx context.Context, items []int) ([]batch.Result[int], error) {
			rs := doubled(items)
			<-ctx.Done()
			rs[1].Err = ctx.Err()
			return rs, nil
		})
		require.NoError(t, err)
		first, err := c.Submit(t.Context(), 1)
		require.NoError(t, err)
		second, err := c.Submit(t.Context(), 2)
		require.NoError(t, err)
		v, err := first.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, v)
		_, err = second.Wait(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		finish(t, c)
	})
}

// A timer that fires late, for an earlier call with the same array, does not end this call.
func TestATimerOfAnEarlierCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := batch.NewCaller(batch.Options[int]{Timeout: time.Second}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			time.Sleep(time.Second)
			return doubled(items), nil
		})
		require.NoError(t, err)
		for range 2 {
			go func() {
				time.Sleep(ms)
				c.FireLate()
			}()
			v, err := c.Do(t.Context(), 4)
			require.NoError(t, err)
			assert.Equal(t, 8, v)
		}
		finish(t, c)
	})
}

// A handler may return the same slice of results from each call. Tickets have the results of their
// own call.
func TestTheHandlerUsesItsResultsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := make([]batch.Result[int], 2)
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: 2}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			for i, v := range items {
				results[i].Value = 2 * v
			}
			return results, nil
		})
		require.NoError(t, err)
		var tickets []batch.Ticket[int]
		for v := range 6 {
			ticket, err := c.Submit(t.Context(), v)
			require.NoError(t, err)
			tickets = append(tickets, ticket)
		}
		require.NoError(t, c.Flush(t.Context()))
		for v, ticket := range tickets {
			got, err := ticket.Wait(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 2*v, got)
		}
		finish(t, c)
	})
}

// A brokenError panics in its methods if it is a nil pointer, as many errors do.
type brokenError struct{ err error }

func (b *brokenError) Error() string { return b.err.Error() }

// An unwrapError panics in Unwrap too.
type unwrapError struct{ brokenError }

func (u *unwrapError) Unwrap() error { return u.err }

// An error whose methods panic fails its batch or its item, like a panic of the handler, and
// nothing else: it leaves open what became of the items.
func TestErrorsThatPanic(t *testing.T) {
	for name, broken := range map[string]error{"Error": (*brokenError)(nil), "Unwrap": (*unwrapError)(nil)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, answer := range []func([]int) ([]batch.Result[int], error){
					func([]int) ([]batch.Result[int], error) { return nil, broken },
					func([]int) ([]batch.Result[int], error) { return nil, &batch.Failure{Err: broken} },
					func(items []int) ([]batch.Result[int], error) {
						return doubled(items), &batch.Failure{Items: map[int]error{0: broken}}
					},
					func(items []int) ([]batch.Result[int], error) {
						results := doubled(items)
						results[0].Err = broken
						return results, nil
					},
				} {
					calls, split := 0, func(error) bool { return true }
					c, err := batch.NewCaller(batch.Options[int]{Attempts: 3, Split: split}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
						if calls++; calls == 1 {
							return answer(items)
						}
						return doubled(items), nil
					})
					require.NoError(t, err)
					_, err = c.Do(t.Context(), 1)
					require.True(t, err != nil)
					require.Equal(t, 1, calls, "nothing is sent again")
					v, err := c.Do(t.Context(), 2)
					require.NoError(t, err)
					require.Equal(t, 4, v)
					finish(t, c)
				}
			})
		})
	}
}

// A lateContext ends when it is waited for, and lets the result arrive first.
type lateContext struct {
	context.Context
	arrive func()
}

func (l lateContext) Done() <-chan struct{} {
	l.arrive()
	done := make(chan struct{})
	close(done)
	return done
}

func (lateContext) Err() error { return context.Canceled }

// A result that has arrived when the context ends is returned: the caller is not told that the
// handler still has the item.
func TestAResultAtTheEndOfTheContext(t *testing.T) {
	for range 30 { // select takes any of the two
		c, err := batch.NewCaller(batch.Options[int]{}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			return doubled(items), nil
		})
		require.NoError(t, err)
		ticket, err := c.Submit(t.Context(), 1)
		require.NoError(t, err)
		v, err := ticket.Wait(lateContext{t.Context(), func() { require.NoError(t, c.Flush(t.Context())) }})
		require.NoError(t, err)
		require.Equal(t, 2, v)
		finish(t, c)
	}
}
