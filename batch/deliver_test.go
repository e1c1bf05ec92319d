package batch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
)

var errDown = errors.New("down")

// failed returns a Failure for the items at these indexes.
func failed(err error, indexes ...int) error {
	return &batch.Failure{Err: err, Items: items(indexes)}
}

// items are indexes as the Items of a Failure, with no errors of their own.
func items(indexes []int) map[int]error {
	m := map[int]error{}
	for _, i := range indexes {
		m[i] = nil
	}
	return m
}

func TestOnlyTheFailedSubsetIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := told{}
		r := record(func(_ context.Context, call int, _ []int) error {
			switch call {
			case 0:
				return failed(errDown, 3, 1, 3)
			case 1:
				return failed(errDown, 1)
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
		r := record(func(context.Context, int, []int) error { return failed(errDown, 0) })
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
		b := start(t, batch.Options[int]{MaxItems: 10, Observer: told{}.observe}, r.handle)
		addAll(t, b, ints(10)...)
		finish(t, b)
		assert.Len(t, r.calls, 1)
		assert.EqualValues(t, 10, b.Stats().Failed)
	})
}

func TestFailureMisused(t *testing.T) {
	var none *batch.Failure
	for name, c := range map[string]struct {
		err  error
		want string // the error of the first item; "" is none
	}{
		"an index out of range":           {failed(errDown, 7), "batch: Failure.Items has the index 7 in a batch of 2, so the whole batch failed: use the indexes of the slice that the handler was given: 1 item failed, the first at index 7: down"},
		"a negative index":                {failed(errDown, -1), "has the index -1"},
		"without a reason":                {&batch.Failure{}, "batch: failed, and the handler did not say why"},
		"an item without a reason":        {&batch.Failure{Items: map[int]error{0: nil}}, "did not say why"},
		"no item":                         {&batch.Failure{Err: errDown, Items: map[int]error{}}, ""},
		"nothing, as a nil pointer":       {none, ""},
		"wrapped, and another error":      {fmt.Errorf("insert: %w", &batch.Failure{Err: errDown}), "insert: down"},
		"an item's own, in place of Err":  {&batch.Failure{Err: errors.New("?"), Items: map[int]error{0: errDown}}, "down"},
		"a negative delay, which is none": {&batch.Failure{Err: errDown, RetryAfter: -time.Hour, PauseAll: true}, "down"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := told{}
				r := record(func(context.Context, int, []int) error { return c.err })
				b := start(t, batch.Options[int]{MaxItems: 2, Observer: o.observe}, r.handle)
				addAll(t, b, 0, 1)
				finish(t, b)
				if c.want == "" {
					require.NoError(t, o[0])
				} else {
					require.ErrorContains(t, o[0], c.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { return failed(errDown, 7) })
		b := start(t, batch.Options[int]{MaxItems: 2, Attempts: 5, Observer: told{}.observe}, r.handle)
		addAll(t, b, 1, 2)
		finish(t, b)
		assert.Len(t, r.calls, 1, "a bug of the handler is not tried again")
	})
}

// What a handler returns can be inspected by its tests.
func TestFailureCanBeInspected(t *testing.T) {
	own := errors.New("own")
	err := fmt.Errorf("insert: %w", &batch.Failure{Err: errDown, Items: map[int]error{4: nil, 2: own}})
	require.ErrorIs(t, err, errDown)
	require.ErrorIs(t, err, own)
	require.EqualError(t, err, "insert: 2 items failed, the first at index 2: own")
	var f *batch.Failure
	require.ErrorAs(t, err, &f)
	assert.Len(t, f.Items, 2)
}

func TestBackoffDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { return errDown })
		b := start(t, batch.Options[int]{Attempts: 6, Backoff: 100 * ms, Linger: batch.Immediately, Observer: told{}.observe}, r.handle)
		addAll(t, b, 1)
		require.ErrorIs(t, b.Flush(t.Context()), errDown)
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
		b := start(t, batch.Options[int]{Attempts: 1000, Backoff: 400 * ms, MaxAge: time.Second, Linger: batch.Immediately, Observer: told{}.observe}, r.handle)
		addAll(t, b, 1)
		require.ErrorIs(t, b.Flush(t.Context()), errDown)
		assert.Less(t, time.Since(r.start), time.Second)
		assert.Greater(t, len(r.calls), 1)
		assert.EqualValues(t, 1, b.Stats().Failed)
		finish(t, b)
	})
}

// poison returns a handler that refuses a whole batch if one of these items is in it.
func poison(err error, bad ...int) func(context.Context, int, []int) error {
	return func(_ context.Context, _ int, items []int) error {
		for _, v := range items {
			if slices.Contains(bad, v) {
				return fmt.Errorf("%w: %d", err, v)
			}
		}
		return nil
	}
}

var errInvalid = errors.New("invalid item")

func isInvalid(err error) bool { return errors.Is(err, errInvalid) }

// from returns n numbers from lo on.
func from(lo, n int) []int {
	vs := ints(n)
	for i := range vs {
		vs[i] += lo
	}
	return vs
}

// log2 is the L of the documentation of Options.Split.
func log2(n int) int { return bits.Len(uint(n - 1)) }

// mostCalls is how many calls Options.Split promises at most, for a batch of n with these bad
// items.
func mostCalls(n int, bad []int) int {
	l, calls := log2(n), 1
	for i := 0; i < len(bad); {
		k := 1
		for i+k < len(bad) && bad[i+k] == bad[i]+k {
			k++
		}
		if k <= l {
			calls += l + k + 2
		} else {
			calls += 3*l + 2
		}
		i += k
	}
	return calls
}

// Wherever a run of bad items is, and however long, every good item is delivered, in order, and a
// bad one has the error of its own call.
func TestRunsOfBadItemsAreIsolated(t *testing.T) {
	type row struct {
		n   int
		bad []int
	}
	rows := []row{
		{500, []int{17, 401}}, {500, []int{0, 499}}, {500, []int{255, 256, 257}}, {500, []int{0, 2, 4, 6, 8}},
		{500, append(from(20, 5), from(300, 7)...)}, {2, []int{0}}, {2, []int{1}}, {2, []int{0, 1}}, {3, []int{1}}, {1, []int{0}},
	}
	for _, n := range []int{100, 500} {
		for _, at := range []int{0, 1, 63, 99, 100, 246, 250, 400, 490, 499} {
			for _, k := range []int{1, 2, 5, 6, 7, 8, 9} {
				if at+k <= n && k <= log2(n) {
					rows = append(rows, row{n, from(at, k)})
				}
			}
		}
	}
	for _, c := range rows {
		t.Run(fmt.Sprintf("%d of %d, first %d", len(c.bad), c.n, c.bad[0]), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := told{}
				r := record(poison(errInvalid, c.bad...))
				b := start(t, batch.Options[int]{MaxItems: c.n, PendingItems: c.n, Split: isInvalid, Observer: o.observe}, r.handle)
				addAll(t, b, ints(c.n)...)
				finish(t, b)
				require.Len(t, o, c.n)
				for v, err := range o {
					if slices.Contains(c.bad, v) {
						require.EqualError(t, err, fmt.Sprintf("invalid item: %d", v))
					} else {
						require.NoError(t, err, "item %d", v)
					}
				}
				assert.LessOrEqual(t, len(r.calls), mostCalls(c.n, c.bad))
				last := -1
				for _, items := range r.calls { // in order, also while it splits
					if poison(errInvalid, c.bad...)(nil, 0, items) == nil {
						require.Greater(t, items[0], last)
						last = items[len(items)-1]
					}
				}
			})
		})
	}
}

// A long run of bad items is not tried item by item. Items that are given up fail with ErrGivenUp,
// and no good item has the error of a bad one.
func TestALongRunIsGivenUp(t *testing.T) {
	for _, n := range []int{100, 500} {
		for _, at := range []int{0, 37, 250} {
			for _, k := range []int{10, 12, 15, 20, 30, 50, 200, 500} {
				if at+k > n {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					o := told{}
					r := record(poison(errInvalid, from(at, k)...))
					b := start(t, batch.Options[int]{MaxItems: n, PendingItems: n, Split: isInvalid, Observer: o.observe}, r.handle)
					addAll(t, b, ints(n)...)
					finish(t, b)
					given := 0
					for v, err := range o {
						bad := at <= v && v < at+k
						if errors.Is(err, batch.ErrGivenUp) {
							require.NotErrorIs(t, err, errInvalid)
							if !bad {
								given++
							}
						} else if bad {
							require.EqualError(t, err, fmt.Sprintf("invalid item: %d", v))
						} else {
							require.NoError(t, err)
						}
					}
					require.ErrorIs(t, o[at], errInvalid, "the first of the run was tried alone")
					assert.LessOrEqual(t, given, k, "good items that were given up")
					assert.LessOrEqual(t, len(r.calls), mostCalls(n, from(at, k)), "%d bad of %d at %d", k, n, at)
				})
			}
		}
	}
}

// Attempts bounds every hand-over, and without Split a batch is not taken apart.
func TestAttemptsBoundTheHandOvers(t *testing.T) {
	for name, c := range map[string]struct {
		opt   batch.Options[int]
		calls int // 0 is any number
	}{
		"nothing is said":            {batch.Options[int]{}, 1},
		"attempts":                   {batch.Options[int]{Attempts: 3}, 3},
		"Retry says no":              {batch.Options[int]{Attempts: 3, Retry: func(error) bool { return false }}, 1},
		"Split says no":              {batch.Options[int]{Attempts: 3, Split: func(error) bool { return false }}, 3},
		"Split says no, no attempts": {batch.Options[int]{Split: func(error) bool { return false }}, 1},
		"Split, two attempts":        {batch.Options[int]{Attempts: 2, Split: func(error) bool { return true }}, 0},
		"Split, five attempts":       {batch.Options[int]{Attempts: 5, Split: func(error) bool { return true }}, 0},
	} {
		for _, n := range []int{1, 8, 500} {
			t.Run(fmt.Sprintf("%s, %d items", name, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tries := map[int]int{}
					r := record(func(_ context.Context, _ int, items []int) error {
						for _, v := range items {
							tries[v]++
						}
						return errDown
					})
					c.opt.MaxItems, c.opt.PendingItems, c.opt.Observer = n, n, told{}.observe
					b := start(t, c.opt, r.handle)
					addAll(t, b, ints(n)...)
					finish(t, b)
					for v, k := range tries {
						require.LessOrEqual(t, k, max(1, c.opt.Attempts), "item %d", v)
					}
					if c.calls > 0 {
						assert.Len(t, r.calls, c.calls)
					}
					assert.EqualValues(t, n, b.Stats().Failed)
				})
			})
		}
	}
}

// Items with an unknown outcome are not sent twice, whatever Retry and Split return, unless
// Idempotent is set.
func TestUnknownOutcomesAreNotSentAgain(t *testing.T) {
	for name, err := range map[string]error{
		"the answer is lost":   fmt.Errorf("reading the answer: %w", io.ErrUnexpectedEOF),
		"the server hung up":   io.EOF,
		"a context ended":      context.Canceled,
		"a deadline":           fmt.Errorf("rpc: %w", os.ErrDeadlineExceeded),
		"connection reset":     &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)},
		"broken pipe":          &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)},
		"a closed connection":  &net.OpError{Op: "write", Net: "tcp", Err: net.ErrClosed},
		"a network timeout":    &net.DNSError{Err: "i/o timeout", IsTimeout: true},
		"with a delay":         &batch.Failure{Err: io.ErrUnexpectedEOF, RetryAfter: time.Second},
		"of some items":        &batch.Failure{Items: map[int]error{0: io.EOF, 1: io.EOF, 2: io.EOF, 3: io.EOF}},
		"past the Timeout":     nil, // a plain error, but too late
		"a panic":              nil,
		"the handler's Goexit": nil,
	} {
		for _, idempotent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, idempotent %v", name, idempotent), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := record(func(ctx context.Context, _ int, items []int) error {
						switch name {
						case "past the Timeout":
							<-ctx.Done()
							return errDown
						case "a panic":
							panic("oh")
						case "the handler's Goexit":
							runtime.Goexit()
						}
						return err
					})
					yes := func(error) bool { return true }
					b := start(t, batch.Options[int]{MaxItems: 4, Attempts: 3, Retry: yes, Split: yes, Idempotent: idempotent, Observer: told{}.observe}, r.handle)
					addAll(t, b, ints(4)...)
					finish(t, b)
					if idempotent && name != "the handler's Goexit" {
						assert.Greater(t, len(r.calls), 1, "the negative control")
					} else {
						assert.Len(t, r.calls, 1)
					}
				})
			})
		}
	}
}

// The calls that split a batch back off like other retries.
func TestSplitCallsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(poison(errInvalid, 3))
		b := start(t, batch.Options[int]{MaxItems: 8, Split: isInvalid, Backoff: 100 * ms, Observer: told{}.observe}, r.handle)
		addAll(t, b, ints(8)...)
		finish(t, b)
		require.Greater(t, len(r.times), 3)
		for i := 1; i < len(r.times); i++ {
			assert.GreaterOrEqual(t, r.times[i]-r.times[i-1], 50*ms)
			assert.LessOrEqual(t, r.times[i]-r.times[i-1], 100*ms)
		}
	})
}

// When time runs out while a batch is split, what is left is given up, not failed with another's
// error.
func TestMaxAgeWhileSplitting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := told{}
		r := record(func(context.Context, int, []int) error { return errInvalid })
		b := start(t, batch.Options[int]{MaxItems: 64, Split: isInvalid, Backoff: 400 * ms, MaxAge: time.Second, Observer: o.observe}, r.handle)
		addAll(t, b, ints(64)...)
		finish(t, b)
		assert.Less(t, time.Since(r.start), time.Second)
		assert.Len(t, o, 64)
		for _, err := range o {
			require.ErrorIs(t, err, batch.ErrGivenUp)
		}
	})
}

// An error of another kind, while a batch is split, fails only the part that had it.
func TestAnotherErrorWhileSplitting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := told{}
		r := record(func(_ context.Context, call int, items []int) error {
			switch {
			case len(items) == 8:
				return errInvalid
			case items[0] == 0:
				return errDown
			}
			return poison(errInvalid, 6)(nil, 0, items)
		})
		b := start(t, batch.Options[int]{MaxItems: 8, Split: isInvalid, Observer: o.observe}, r.handle)
		addAll(t, b, ints(8)...)
		finish(t, b)
		for v, err := range o {
			switch {
			case v < 4:
				require.ErrorIs(t, err, errDown)
			case v == 6:
				require.EqualError(t, err, "invalid item: 6")
			default:
				require.NoError(t, err)
			}
		}
	})
}

func TestRetryJudgesTheError(t *testing.T) {
	worth := func(err error) bool { assert.Error(t, err); return !errors.Is(err, errInvalid) }
	t.Run("by result", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var calls [][]int
			c, err := batch.NewCaller(batch.Options[int]{MaxItems: 3, Attempts: 2, Retry: worth}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
				calls = append(calls, items)
				rs := doubled(items)
				if len(calls) == 1 {
					rs[1].Err, rs[2].Err = errDown, errInvalid
				}
				return rs, nil
			})
			require.NoError(t, err)
			begin := time.Now()
			var took [3]time.Duration
			var errs [3]error
			for i := range 3 {
				ticket, err := c.Submit(t.Context(), i)
				require.NoError(t, err)
				go func() {
					_, errs[i] = ticket.Wait(t.Context())
					took[i] = time.Since(begin)
				}()
			}
			finish(t, c)
			synctest.Wait()
			assert.Equal(t, [][]int{{0, 1, 2}, {1}}, calls)
			assert.NoError(t, errs[0])
			assert.NoError(t, errs[1])
			assert.ErrorIs(t, errs[2], errInvalid)
			assert.Zero(t, took[0], "who has a result does not wait for the others")
			assert.Zero(t, took[2])
			assert.NotZero(t, took[1])
		})
	})
	t.Run("by item", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := told{}
			r := record(func(_ context.Context, call int, _ []int) error {
				if call == 0 {
					return &batch.Failure{Items: map[int]error{0: errInvalid, 2: errDown}}
				}
				return nil
			})
			b := start(t, batch.Options[int]{MaxItems: 3, Attempts: 2, Retry: worth, Observer: o.observe}, r.handle)
			addAll(t, b, ints(3)...)
			finish(t, b)
			assert.Equal(t, [][]int{{0, 1, 2}, {2}}, r.calls)
			assert.Equal(t, told{0: errInvalid, 1: nil, 2: nil}, o)
		})
	})
}

// RetryAfter delays the next call as the downstream asks.
func TestRetryAfter(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want []time.Duration // of the calls of item 0
		next time.Duration   // when item 1 is handed over
	}{
		"for the batch":      {&batch.Failure{Err: errDown, RetryAfter: 30 * time.Second}, []time.Duration{0, 30 * time.Second}, 10 * ms},
		"wrapped":            {fmt.Errorf("fcm: %w", &batch.Failure{Err: errDown, RetryAfter: 30 * time.Second}), []time.Duration{0, 30 * time.Second}, 10 * ms},
		"by item":            {&batch.Failure{Items: map[int]error{0: &batch.Failure{Err: errDown, RetryAfter: 30 * time.Second}}}, []time.Duration{0, 30 * time.Second}, 10 * ms},
		"for all":            {&batch.Failure{Err: errDown, RetryAfter: 30 * time.Second, PauseAll: true}, []time.Duration{0, 30 * time.Second}, 30 * time.Second},
		"longest":            {&batch.Failure{Err: errDown, RetryAfter: math.MaxInt64}, []time.Duration{0}, 10 * ms},
		"longer than MaxAge": {&batch.Failure{Err: errDown, RetryAfter: 3 * time.Minute}, []time.Duration{0}, 10 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at := map[int][]time.Duration{}
				var mu sync.Mutex // of at: two calls may be in flight
				begin := time.Now()
				b := start(t, batch.Options[int]{Attempts: 4, InFlight: 2, MaxAge: time.Minute, MaxItems: 1, Linger: batch.Immediately, Observer: told{}.observe}, func(_ context.Context, items []int) error {
					mu.Lock()
					at[items[0]] = append(at[items[0]], time.Since(begin))
					mu.Unlock()
					if items[0] == 0 && time.Since(begin) < 30*time.Second {
						return c.err
					}
					return nil
				})
				addAll(t, b, 0)
				time.Sleep(10 * ms)
				addAll(t, b, 1)
				finish(t, b)
				assert.Equal(t, c.want, at[0])
				assert.Equal(t, []time.Duration{c.next}, at[1])
			})
		})
	}
	t.Run("by result", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			c, err := batch.NewCaller(batch.Options[int]{Attempts: 2}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
				rs := doubled(items)
				if time.Since(begin) < 30*time.Second {
					rs[0].Err = &batch.Failure{Err: errDown, RetryAfter: 30 * time.Second}
				}
				return rs, nil
			})
			require.NoError(t, err)
			v, err := c.Do(t.Context(), 4)
			require.NoError(t, err)
			assert.Equal(t, 8, v)
			assert.Equal(t, 30*time.Second, time.Since(begin))
			finish(t, c)
		})
	})
	t.Run("without attempts left it only pauses the others", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := record(func(_ context.Context, call int, _ []int) error {
				if call == 0 {
					return &batch.Failure{Err: errDown, RetryAfter: 10 * time.Second, PauseAll: true}
				}
				return nil
			})
			b := start(t, batch.Options[int]{MaxItems: 1, PendingItems: 9, Observer: told{}.observe}, r.handle)
			addAll(t, b, 1, 2, 3)
			finish(t, b)
			assert.Equal(t, [][]int{{1}, {2}, {3}}, r.calls)
			assert.Equal(t, []time.Duration{0, 10 * time.Second, 10 * time.Second}, r.times)
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
				return failed(errDown, 0)
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

// A batch that timed out is not tried again before its handler has returned.
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
		b := start(t, batch.Options[int]{Timeout: 100 * ms, Attempts: 2, Idempotent: true, InFlight: 4, Observer: told{}.observe}, r.handle)
		addAll(t, b, 1)
		finish(t, b)
		assert.Len(t, r.calls, 2)
	})
}

// When one half of a split batch times out, the other half is not affected.
func TestATimeoutWhileSplitting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: 4, Timeout: 10 * ms, Split: isInvalid}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			switch {
			case len(items) == 4:
				return nil, errInvalid
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

// Delays do not overflow, however many attempts there are and however long Backoff is.
func TestBackoffDoesNotOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { return errDown })
		b := start(t, batch.Options[int]{Attempts: 100, Backoff: time.Hour, MaxAge: 1000 * time.Hour, Linger: batch.Immediately, Observer: told{}.observe}, r.handle)
		addAll(t, b, 1)
		require.ErrorIs(t, b.Flush(t.Context()), errDown)
		assert.Len(t, r.calls, 100)
		assert.LessOrEqual(t, time.Since(r.start), 100*time.Hour)
		finish(t, b)
	})
}

// One run of k bad items takes at most L+k+2 calls after the batch was refused, wherever it is: 2L
// if k <= L-2. For a power of two some place takes exactly as many.
func TestCostOfOneRun(t *testing.T) {
	for _, n := range []int{5, 8, 16, 20, 32} {
		l := log2(n)
		for k := 1; k <= l; k++ {
			worst := 0
			for at := 0; at+k <= n; at++ {
				synctest.Test(t, func(t *testing.T) {
					r := record(poison(errInvalid, from(at, k)...))
					b := start(t, batch.Options[int]{MaxItems: n, PendingItems: n, Split: isInvalid, Backoff: 1, Observer: told{}.observe}, r.handle)
					addAll(t, b, ints(n)...)
					finish(t, b)
					worst = max(worst, len(r.calls)-1)
				})
			}
			assert.LessOrEqual(t, worst, l+k+2, "%d of %d", k, n)
			if k <= l-2 {
				assert.LessOrEqual(t, worst, 2*l, "%d of %d", k, n)
			}
			if n == 1<<l {
				assert.Equal(t, l+k+2, worst, "%d of %d", k, n)
			}
		}
	}
}
