package batch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
)

// A journal is what was logged. It may be read while more is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// logged returns what is written to slog.Default while the test runs.
func logged(t *testing.T) *journal {
	out := new(journal)
	t.Cleanup(logTo(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	return out
}

// logTo makes h the handler of slog.Default until back is called. slog.SetDefault alone does not
// undo what it does to package log.
func logTo(h slog.Handler) (back func()) {
	before, out, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(h))
	return func() {
		slog.SetDefault(before)
		log.SetOutput(out)
		log.SetFlags(flags)
	}
}

// itemsLogged returns the number of items in each line of a log.
func itemsLogged(t *testing.T, out *journal) (items []int) {
	for line := range strings.Lines(out.String()) {
		_, after, found := strings.Cut(line, " items=")
		require.True(t, found, line)
		n, err := strconv.Atoi(after[:strings.IndexByte(after, ' ')])
		require.NoError(t, err)
		items = append(items, n)
	}
	return items
}

// Without an Observer no failure is silent: the log, Flush and Close report it.
func TestNothingFailsInSilence(t *testing.T) {
	t.Run("an error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			out := logged(t)
			b := start(t, batch.Options[int]{}, func(context.Context, []int) error { return errDown })
			addAll(t, b, 1, 2)
			require.EqualError(t, b.Flush(t.Context()), "batch: 2 items failed since the last Flush; the last error: down")
			for range 2 { // each Close says it
				err := b.Close(t.Context())
				require.EqualError(t, err, "batch: 2 items failed since the batcher was made, and Options.Observer is not set to be told of each; the last error: down")
				require.ErrorIs(t, err, errDown)
			}
			assert.Equal(t, "level=ERROR msg=\"batch: items were not delivered, and Options.Observer is not set\" items=2 \"expired in all\"=0 \"last error\"=down\n", out.String())
		})
	})
	t.Run("a panic", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			out := logged(t)
			b := start(t, batch.Options[int]{}, func(context.Context, []int) error { panic("oops") })
			addAll(t, b, 1)
			require.ErrorContains(t, b.Close(t.Context()), "1 item failed since the batcher was made, and Options.Observer is not set to be told of each; the last error: batch: the handler panicked: oops")
			assert.Contains(t, out.String(), "misuse_test.go", "with the stack")
		})
	})
	t.Run("expired, by key", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			out := logged(t)
			hold := make(chan struct{})
			k, err := batch.NewKeyed(batch.Options[int]{MaxItems: 1, Linger: batch.Immediately, MaxAge: time.Second}, func(context.Context, int, []int) error { <-hold; return nil })
			require.NoError(t, err)
			require.NoError(t, k.Add(t.Context(), 1, 1))
			synctest.Wait()
			require.NoError(t, k.Add(t.Context(), 2, 2))
			pass(2 * time.Second)
			close(hold)
			require.ErrorContains(t, k.Flush(t.Context()), "batch: 0 items failed and 1 item expired before the handler was free since the last Flush")
			require.ErrorIs(t, k.Close(t.Context()), context.DeadlineExceeded)
			assert.Contains(t, out.String(), "items=1 \"expired in all\"=1")
		})
	})
	t.Run("one line at once, then one in ten seconds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			out := logged(t)
			b := start(t, batch.Options[int]{MaxItems: 1, PendingItems: 30}, func(context.Context, []int) error { time.Sleep(900 * ms); return errDown })
			addAll(t, b, ints(25)...)
			require.ErrorContains(t, b.Close(t.Context()), "25 items failed")
			assert.Equal(t, []int{1, 11, 11, 2}, itemsLogged(t, out), "Close logs the rest")
			require.Error(t, b.Close(t.Context()))
			assert.Len(t, itemsLogged(t, out), 4, "once")
		})
	})
	t.Run("the rest is logged although nothing fails later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			out := logged(t)
			b := start(t, batch.Options[int]{MaxItems: 1}, func(context.Context, []int) error { return errDown })
			addAll(t, b, 1)
			pass(time.Second)
			addAll(t, b, 2, 3)
			pass(time.Second)
			assert.Equal(t, []int{1}, itemsLogged(t, out))
			pass(8 * time.Second)
			assert.Equal(t, []int{1, 2}, itemsLogged(t, out))
			require.NoError(t, b.AtRest(), "the timer is gone")
			require.Error(t, b.Close(t.Context()))
			assert.Equal(t, []int{1, 2}, itemsLogged(t, out))
		})
	})
	t.Run("a log that hangs does not hold up Close", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			hold := make(chan struct{})
			defer logTo(slogTo{func() { <-hold }})()
			b := start(t, batch.Options[int]{MaxItems: 1, InFlight: 2}, func(_ context.Context, items []int) error { return errDown })
			addAll(t, b, 1)
			synctest.Wait()
			addAll(t, b, 2)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			var left *batch.DrainError[int]
			require.ErrorAs(t, b.Close(ctx), &left)
			assert.Empty(t, append(left.Undelivered, left.InDoubt...))
			close(hold)
			require.ErrorContains(t, b.Close(t.Context()), "2 items failed")
		})
	})
	t.Run("told otherwise", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			out := logged(t)
			b := start(t, batch.Options[int]{Observer: told{}.observe}, func(context.Context, []int) error { return errDown })
			addAll(t, b, 1)
			require.NoError(t, b.Close(t.Context()), "the Observer was told")
			c, err := batch.NewCaller(batch.Options[int]{}, func(context.Context, []int) ([]batch.Result[int], error) { return nil, errDown })
			require.NoError(t, err)
			_, err = c.Do(t.Context(), 1)
			require.ErrorIs(t, err, errDown)
			require.NoError(t, c.Close(t.Context()), "the caller was told")
			assert.Empty(t, out.String())
		})
	})
}

// A Flush reports what failed since the last one. If several run at once, each of them reports it.
func TestFlushTellsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(_ context.Context, call int, _ []int) error {
			time.Sleep(ms)
			if call%2 == 0 {
				return errDown
			}
			return nil
		})
		b := start(t, batch.Options[int]{Observer: told{}.observe}, r.handle)
		addAll(t, b, 1)
		var errs [2]error
		for i := range errs {
			go func() { errs[i] = b.Flush(t.Context()) }()
		}
		pass(10 * ms)
		require.ErrorIs(t, errs[0], errDown)
		require.ErrorIs(t, errs[1], errDown)
		addAll(t, b, 2)
		require.NoError(t, b.Flush(t.Context()))
		addAll(t, b, 3)
		pass(time.Second) // fails before the call of Flush
		require.ErrorIs(t, b.Flush(t.Context()), errDown)
		finish(t, b)
	})
}

func TestConstructorsPanicOnNil(t *testing.T) {
	assert.PanicsWithValue(t, "batch: the handler of New is nil: pass the function that delivers a batch", func() { _, _ = batch.New[int](batch.Options[int]{}, nil) })
	assert.PanicsWithValue(t, "batch: the handler of NewCaller is nil: pass the function that delivers a batch", func() { _, _ = batch.NewCaller[int, int](batch.Options[int]{}, nil) })
	assert.PanicsWithValue(t, "batch: the handler of NewKeyed is nil: pass the function that delivers a batch", func() { _, _ = batch.NewKeyed[int, int](batch.Options[int]{}, nil) })
	assert.PanicsWithValue(t, "batch: the handler of NewKeyedCaller is nil: pass the function that delivers a batch", func() {
		_, _ = batch.NewKeyedCaller[int, int, int](batch.Options[int]{}, func(int) int { return 0 }, nil)
	})
	assert.PanicsWithValue(t, "batch: the key function of NewKeyedCaller is nil: pass the function that returns the key of an item", func() {
		_, _ = batch.NewKeyedCaller(batch.Options[int]{}, nil, func(context.Context, int, []int) ([]batch.Result[int], error) { return nil, nil })
	})
}

func TestOptionsThatMeanNothing(t *testing.T) {
	nothing := func(context.Context, []int) error { return nil }
	for want, opt := range map[string]batch.Options[int]{
		"Options.PendingPerKey needs keys":         {PendingPerKey: 5},
		"Options.HoldKeys needs NewKeyed":          {HoldKeys: true},
		"Options.Split with Attempts 1 could":      {Attempts: 1, Split: isInvalid},
		"Options.MaxBytes and PendingBytes need S": {MaxBytes: 1},
	} {
		_, err := batch.New(opt, nothing)
		require.ErrorContains(t, err, "batch: "+want)
	}
	_, err := batch.NewKeyedCaller(batch.Options[int]{HoldKeys: true}, func(v int) int { return v }, func(context.Context, int, []int) ([]batch.Result[int], error) { return nil, nil })
	require.ErrorContains(t, err, "Options.HoldKeys needs NewKeyed")
	_, err = batch.NewKeyed(batch.Options[int]{PendingItems: 10, PendingPerKey: 11}, func(context.Context, int, []int) error { return nil })
	require.ErrorContains(t, err, "Options.PendingPerKey is 11")
}

// Do, DoAll and Wait inside the handler would wait for the handler: they are refused at once, with
// every InFlight. Submit works.
func TestDoInsideTheHandler(t *testing.T) {
	for _, inFlight := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			var c *batch.Caller[int, int]
			var do, all, wait error
			var ticket batch.Ticket[int]
			begin := time.Now()
			c, err := batch.NewCaller(batch.Options[int]{InFlight: inFlight}, func(ctx context.Context, items []int) ([]batch.Result[int], error) {
				if items[0] == 1 {
					_, do = c.Do(ctx, 2)
					all = c.DoAll(ctx, []int{2, 3})[1].Err
					var err error
					ticket, err = c.Submit(ctx, 4)
					assert.NoError(t, err)
					_, wait = ticket.Wait(ctx)
					assert.Zero(t, time.Since(begin))
				}
				return doubled(items), nil
			})
			require.NoError(t, err)
			v, err := c.Do(t.Context(), 1)
			require.NoError(t, err)
			assert.Equal(t, 2, v)
			for _, err := range []error{do, all, wait} {
				require.EqualError(t, err, "batch: called from inside the handler, the Observer, Retry, Split or the log handler, which cannot wait for itself: call it from elsewhere, or go on without waiting")
			}
			v, err = ticket.Wait(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 8, v)
			finish(t, c)
			assert.EqualValues(t, 2, c.Stats().Admitted, "what was refused was not admitted")
		})
	}
	t.Run("another's handler may wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			double := func(_ context.Context, items []int) ([]batch.Result[int], error) { return doubled(items), nil }
			inner, err := batch.NewCaller(batch.Options[int]{}, double)
			require.NoError(t, err)
			outer, err := batch.NewCaller(batch.Options[int]{}, func(ctx context.Context, items []int) ([]batch.Result[int], error) {
				return inner.DoAll(ctx, items), nil
			})
			require.NoError(t, err)
			v, err := outer.Do(t.Context(), 3)
			require.NoError(t, err)
			assert.Equal(t, 6, v)
			finish(t, outer)
			finish(t, inner)
		})
	})
}

// The Observer adds failed items again while producers keep the budget full. There is room for
// these items, nothing waits, and nothing expires.
func TestTheObserverPutsBack(t *testing.T) {
	size := func(int) int { return 7 }
	for name, opt := range map[string]batch.Options[int]{
		"in items": {MaxItems: 10, PendingItems: 20},
		"in bytes": {MaxItems: 10, PendingBytes: 140, SizeOf: size},
		"reject":   {MaxItems: 10, PendingItems: 20, Reject: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b *batch.Batcher[int]
				begin := time.Now()
				again := 0
				opt.Observer = func(items []int, err error) {
					require.NotErrorIs(t, err, context.DeadlineExceeded)
					if err != nil {
						before := time.Now()
						for _, v := range items {
							require.NoError(t, b.Add(context.Background(), v))
							again++
						}
						require.ErrorIs(t, b.Add(context.Background(), -1), batch.ErrFull, "more than failed is refused at once, not waited for")
						require.Zero(t, time.Since(before))
					}
				}
				b = start(t, opt, func(context.Context, []int) error {
					time.Sleep(10 * ms)
					if time.Since(begin) < 50*ms {
						return errors.New("busy")
					}
					return nil
				})
				for p := range 3 {
					go func() {
						for i := range 40 {
							err := b.Add(context.Background(), p*100+i)
							for opt.Reject && errors.Is(err, batch.ErrFull) {
								time.Sleep(ms)
								err = b.Add(context.Background(), p*100+i)
							}
							assert.NoError(t, err)
						}
					}()
				}
				pass(20 * time.Second)
				assert.EqualValues(t, 120, b.Stats().Delivered)
				assert.NotZero(t, again)
				finish(t, b)
			})
		})
	}
}

// The Observer moves what failed to another key, while other keys and a caller that waits keep the
// budget full.
func TestTheObserverMovesToAnotherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k *batch.Keyed[string, int]
		moved := 0
		k, err := batch.NewKeyed(batch.Options[int]{MaxItems: 2, PendingItems: 6, PendingPerKey: 3, InFlight: 3, Observer: func(items []int, err error) {
			if err == nil {
				return
			}
			before := time.Now()
			for _, v := range items {
				assert.NoError(t, k.Add(context.Background(), "dead letters", v))
				moved++
			}
			assert.ErrorIs(t, k.Add(context.Background(), "dead letters", -1), batch.ErrFull)
			assert.Zero(t, time.Since(before))
		}}, func(_ context.Context, key string, _ []int) error {
			switch key {
			case "fails":
				time.Sleep(10 * ms)
				return errDown
			case "slow", "other":
				time.Sleep(50 * ms)
			}
			return nil
		})
		require.NoError(t, err)
		for i, key := range []string{"fails", "fails", "slow", "slow", "slow", "other"} {
			require.NoError(t, k.Add(t.Context(), key, i))
		}
		go func() { assert.NoError(t, k.Add(context.Background(), "other", 6)) }() // it waits
		pass(time.Second)
		assert.Equal(t, 2, moved)
		assert.EqualValues(t, 7, k.Stats().Delivered)
		finish(t, k)
	})
}

// Every other call that would wait in the Observer returns an error at once.
func TestNothingWaitsInTheObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *batch.Caller[int, int]
		var do, all, wait, flush, closing error
		var next batch.Ticket[int]
		submitted := make(chan struct{})
		begin := time.Now()
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: 1, Observer: func([]int, error) {
			if do == nil {
				_, wait = next.Wait(context.Background())
				_, do = c.Do(context.Background(), 2)
				all = c.DoAll(context.Background(), []int{2})[0].Err
				flush = c.Flush(context.Background())
				closing = c.Close(context.Background())
			}
		}}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			<-submitted
			return doubled(items), nil
		})
		require.NoError(t, err)
		first, err := c.Submit(t.Context(), 1)
		require.NoError(t, err)
		next, err = c.Submit(t.Context(), 2)
		require.NoError(t, err)
		close(submitted)
		_, err = first.Wait(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		assert.Zero(t, time.Since(begin))
		for _, err := range []error{do, all, wait, flush, closing} {
			require.ErrorContains(t, err, "cannot wait for itself")
		}
		_, err = next.Wait(t.Context())
		require.NoError(t, err)
		finish(t, c)
	})
}

// Sequential callers do not pay for Linger, and those that come during a call share the next.
func TestDoDoesNotLingerWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls [][]int
		c, err := batch.NewCaller(batch.Options[int]{}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			calls = append(calls, items)
			time.Sleep(ms)
			return doubled(items), nil
		})
		require.NoError(t, err)
		begin := time.Now()
		for i := range 10 {
			_, err := c.Do(t.Context(), i)
			require.NoError(t, err)
		}
		assert.Equal(t, 10*ms, time.Since(begin), "ten calls of a millisecond each")
		calls = nil
		for i := range 20 {
			go func() {
				_, err := c.Do(t.Context(), i)
				assert.NoError(t, err)
			}()
			synctest.Wait()
		}
		pass(2 * ms)
		require.Len(t, calls, 2, "the first alone, and then all that came meanwhile")
		assert.Len(t, calls[1], 19)

		begin, calls = time.Now(), nil
		for i, r := range c.DoAll(t.Context(), ints(700)) {
			require.NoError(t, r.Err)
			require.Equal(t, 2*i, r.Value)
		}
		assert.Len(t, calls, 2)
		assert.Equal(t, 2*ms, time.Since(begin))

		ticket, err := c.Submit(t.Context(), 1)
		require.NoError(t, err)
		begin = time.Now()
		_, err = ticket.Wait(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 101*ms, time.Since(begin), "Submit lingers")
		finish(t, c)
	})
}

// DoAll loses nothing: every item has its result or an error.
func TestDoAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := batch.NewCaller(batch.Options[int]{MaxItems: 3, PendingItems: 6, SizeOf: func(v int) int { return v }, MaxBytes: 1000}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			time.Sleep(ms)
			rs := doubled(items)
			for i, v := range items {
				if v == 5 {
					rs[i].Err = errDown
				}
			}
			return rs, nil
		})
		require.NoError(t, err)
		assert.Empty(t, c.DoAll(t.Context(), nil))
		rs := c.DoAll(t.Context(), append(ints(20), 1001, 20))
		require.Len(t, rs, 22)
		for i, r := range rs[:20] {
			if i == 5 {
				require.ErrorIs(t, r.Err, errDown)
				continue
			}
			require.Equal(t, batch.Result[int]{Value: 2 * i}, r)
		}
		require.ErrorIs(t, rs[20].Err, batch.ErrTooLarge)
		require.ErrorIs(t, rs[21].Err, batch.ErrTooLarge, "nothing behind it was admitted")
		ctx, cancel := context.WithTimeout(t.Context(), 2*ms+ms/2)
		defer cancel()
		got := 0
		for _, r := range c.DoAll(ctx, from(30, 12)) {
			if r.Err == nil {
				got++
			} else {
				require.ErrorIs(t, r.Err, context.DeadlineExceeded)
			}
		}
		assert.Equal(t, 6, got)
		finish(t, c)
		require.ErrorIs(t, c.DoAll(t.Context(), []int{1})[0].Err, batch.ErrClosed)
	})
}

// Results by key: one call per key at a time, and each caller its own result.
func TestKeyedCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		busy := map[string]bool{}
		calls := 0
		enter := func(key string) {
			mu.Lock()
			defer mu.Unlock()
			assert.False(t, busy[key])
			busy[key] = true
			calls++
		}
		leave := func(key string) {
			mu.Lock()
			defer mu.Unlock()
			delete(busy, key)
		}
		c, err := batch.NewKeyedCaller(batch.Options[int]{MaxItems: 4, InFlight: 4}, func(v int) string { return fmt.Sprint(v % 3) },
			func(_ context.Context, key string, items []int) ([]batch.Result[string], error) {
				enter(key)
				defer leave(key)
				rs := make([]batch.Result[string], len(items))
				for i, v := range items {
					rs[i].Value = fmt.Sprintf("%d of %s", v, key)
				}
				time.Sleep(ms)
				return rs, nil
			})
		require.NoError(t, err)
		for v, r := range c.DoAll(t.Context(), ints(24)) {
			require.NoError(t, r.Err)
			require.Equal(t, fmt.Sprintf("%d of %d", v, v%3), r.Value)
		}
		assert.Equal(t, 6, calls)
		finish(t, c)
	})
}

// A key whose calls hang leaves room for the others.
func TestOneKeyDoesNotTakeTheBudget(t *testing.T) {
	sized := func(int) int { return 1 << 10 }
	for name, opt := range map[string]batch.Options[int]{
		"by default":        {MaxItems: 10, InFlight: 4},
		"one in flight":     {MaxItems: 10, Timeout: 50 * ms},
		"a small budget":    {MaxItems: 10, InFlight: 2, PendingItems: 3},
		"in bytes":          {MaxItems: 10, InFlight: 4, SizeOf: sized, PendingBytes: 20 << 10},
		"waiters":           {MaxItems: 10, InFlight: 4, MaxWaiters: 8},
		"a share of one":    {MaxItems: 10, InFlight: 4, PendingPerKey: 1},
		"while it is tried": {MaxItems: 10, InFlight: 4, Attempts: 1000, Backoff: time.Second, Idempotent: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if opt.Timeout == 0 {
					opt.Timeout = 30 * time.Second
				}
				opt.Observer = func([]int, error) {}
				k, err := batch.NewKeyed(opt, func(ctx context.Context, key string, _ []int) error {
					if key == "hangs" {
						<-ctx.Done()
						return ctx.Err()
					}
					return nil
				})
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				for range 8 { // callers of the key that hangs, as many as may wait
					go func() {
						for i := range 1000 {
							if k.Add(ctx, "hangs", i) != nil && ctx.Err() != nil {
								return
							}
							if k.Stats().Rejected > 0 {
								time.Sleep(ms)
							}
						}
					}()
				}
				for i := range 50 {
					time.Sleep(100 * ms)
					start := time.Now()
					require.NoError(t, k.Add(t.Context(), "fine", i))
					require.LessOrEqual(t, time.Since(start), 51*ms, "item %d", i)
				}
				if name != "one in flight" {
					assert.GreaterOrEqual(t, k.Stats().Delivered, int64(48), "all but the last, which linger")
				}
				cancel()
				pass(ms)
				ended, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_ = k.Close(ended)
				pass(time.Hour)
				finish(t, k)
			})
		})
	}
}

// After a failure a key continues or, with HoldKeys, none of its items is handed over until Resume.
func TestHeldKeys(t *testing.T) {
	setUp := func(hold bool) (k *batch.Keyed[string, string], got *[]string) {
		got = new([]string)
		k, err := batch.NewKeyed(batch.Options[string]{MaxItems: 1, Linger: batch.Immediately, PendingItems: 10, HoldKeys: hold,
			Observer: func(v []string, err error) { *got = append(*got, fmt.Sprint(v[0], " ", err)) }},
			func(_ context.Context, key string, items []string) error {
				if items[0] == "create" {
					return errDown
				}
				return nil
			})
		require.NoError(t, err)
		for _, op := range []string{"create", "update", "delete"} {
			require.NoError(t, k.Add(t.Context(), "row 1", op))
			require.NoError(t, k.Add(t.Context(), "row 2", op+"d"))
		}
		synctest.Wait()
		return k, got
	}
	t.Run("goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, got := setUp(false)
			assert.Equal(t, []string{"create down", "created <nil>", "update <nil>", "updated <nil>", "delete <nil>", "deleted <nil>"}, *got)
			assert.False(t, k.Resume("row 1"))
			finish(t, k)
		})
	})
	t.Run("is held, and resumed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, got := setUp(true)
			assert.Equal(t, []string{"create down", "created <nil>", "updated <nil>", "deleted <nil>"}, *got)
			assert.EqualValues(t, 1, k.Stats().Held)
			require.ErrorIs(t, k.Flush(t.Context()), errDown)
			require.EqualError(t, k.Flush(t.Context()), "batch: keys are on hold after a failure, and their items wait: call Resume for each, or Close")
			*got = nil
			assert.True(t, k.Resume("row 1"))
			assert.False(t, k.Resume("row 1"), "twice")
			assert.False(t, k.Resume("row 3"), "no such key")
			require.NoError(t, k.Flush(t.Context()))
			assert.Equal(t, []string{"update <nil>", "delete <nil>"}, *got)
			finish(t, k)
		})
	})
	t.Run("its items come back at Close, at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, _ := setUp(true)
			begin := time.Now()
			err := k.Close(t.Context())
			assert.Zero(t, time.Since(begin))
			var drain *batch.DrainError[batch.Entry[string, string]]
			require.ErrorAs(t, err, &drain)
			assert.Equal(t, []batch.Entry[string, string]{{Key: "row 1", Item: "update"}, {Key: "row 1", Item: "delete"}}, drain.Undelivered)
			assert.Empty(t, drain.InDoubt)
			require.ErrorContains(t, err, "batch: Close found keys on hold: 2 items not sent")
			require.NoError(t, k.AtRest())
		})
	})
	t.Run("its items expire, and Flush does not wait for them", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, _ := setUp(true)
			pass(6 * time.Minute)
			assert.EqualValues(t, 2, k.Stats().Expired)
			assert.EqualValues(t, 1, k.Stats().Held)
			finish(t, k)
		})
	})
	t.Run("a Flush that waits already", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, err := batch.NewKeyed(batch.Options[int]{MaxItems: 1, PendingItems: 10, HoldKeys: true, Observer: func([]int, error) {}}, func(context.Context, string, []int) error {
				time.Sleep(time.Second)
				return errDown
			})
			require.NoError(t, err)
			require.NoError(t, k.Add(t.Context(), "a", 1))
			require.NoError(t, k.Add(t.Context(), "a", 2))
			begin := time.Now()
			require.ErrorIs(t, k.Flush(t.Context()), errDown)
			assert.Equal(t, time.Second, time.Since(begin))
			require.Error(t, k.Close(t.Context()))
		})
	})
	t.Run("what is remembered has a bound", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k, err := batch.NewKeyed(batch.Options[int]{PendingItems: 4, InFlight: 4, Linger: batch.Immediately, HoldKeys: true, Observer: func([]int, error) {}}, func(context.Context, int, []int) error { return errDown })
			require.NoError(t, err)
			full := 0
			for key := range 100 {
				if err := k.Add(t.Context(), key, key); err != nil {
					require.ErrorIs(t, err, batch.ErrFull)
					require.ErrorContains(t, err, "as many keys as PendingItems are on hold; call Resume for some")
					full++
				}
				synctest.Wait()
			}
			assert.LessOrEqual(t, k.Stats().Held, int64(8))
			assert.GreaterOrEqual(t, full, 92)
			for key := range 100 {
				k.Resume(key)
			}
			require.NoError(t, k.Add(t.Context(), 1, 1))
			synctest.Wait()
			k.Resume(1)
			finish(t, k)
		})
	})
}

// A batch or budget that is full to the byte counts as full.
func TestFullToTheByte(t *testing.T) {
	sized := func(v int) int { return v }
	for name, c := range map[string]struct {
		opt  batch.Options[int]
		all  bool
		want []int
	}{
		"a batch":           {batch.Options[int]{MaxBytes: 1000}, false, []int{600, 400}},
		"the budget":        {batch.Options[int]{MaxBytes: 2000, PendingBytes: 1000}, false, []int{600, 400}},
		"a batch, AddAll":   {batch.Options[int]{MaxBytes: 1000}, true, []int{600, 400}},
		"a budget, AddAll":  {batch.Options[int]{MaxBytes: 2000, PendingBytes: 1000}, true, []int{200, 400, 400}},
		"one item":          {batch.Options[int]{MaxBytes: 1000}, false, []int{1000}},
		"items, not a byte": {batch.Options[int]{MaxItems: 2}, false, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.opt.Linger, c.opt.SizeOf = 5*time.Second, sized
				r := record(nil)
				b := start(t, c.opt, r.handle)
				if c.all {
					_, err := b.AddAll(t.Context(), c.want)
					require.NoError(t, err)
				} else {
					addAll(t, b, c.want...)
				}
				synctest.Wait()
				assert.Equal(t, [][]int{c.want}, r.calls)
				finish(t, b)
			})
		})
	}
	t.Run("the share of a key", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			k, err := batch.NewKeyed(batch.Options[int]{MaxBytes: 1000, PendingBytes: 2000, PendingItems: 10, PendingPerKey: 2, SizeOf: sized, Linger: 5 * time.Second},
				func(context.Context, int, []int) error { assert.Zero(t, time.Since(begin)); return nil })
			require.NoError(t, err)
			require.NoError(t, k.Add(t.Context(), 1, 100))
			require.NoError(t, k.Add(t.Context(), 1, 300)) // 2 items, 400 of 400 bytes
			synctest.Wait()
			assert.EqualValues(t, 2, k.Stats().Delivered)
			finish(t, k)
		})
	})
	t.Run("the bytes of a key's share", func(t *testing.T) {
		for _, all := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				k, err := batch.NewKeyed(batch.Options[int]{MaxBytes: 2000, PendingBytes: 2000, PendingItems: 10, PendingPerKey: 5, SizeOf: sized, Linger: 5 * time.Second},
					func(context.Context, int, []int) error { return nil })
				require.NoError(t, err)
				if all {
					_, err = k.AddAll(t.Context(), 1, []int{600, 400})
				} else {
					require.NoError(t, k.Add(t.Context(), 1, 600))
					err = k.Add(t.Context(), 1, 400) // 1000 of 1000 bytes
				}
				require.NoError(t, err)
				synctest.Wait()
				assert.EqualValues(t, 2, k.Stats().Delivered)
				finish(t, k)
			})
		}
	})
}

// Retry and Split run in a worker, and so must not wait for it: each call returns at once.
func TestNothingWaitsInRetryAndSplit(t *testing.T) {
	for _, inFlight := range []int{1, 4} {
		for name, set := range map[string]func(*batch.Options[int], func(error) bool){
			"Retry": func(o *batch.Options[int], f func(error) bool) { o.Attempts, o.Retry = 2, f },
			"Split": func(o *batch.Options[int], f func(error) bool) { o.Split = f },
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var c *batch.Caller[int, int]
					var errs []error
					asked := make(chan struct{})
					opt := batch.Options[int]{InFlight: inFlight, MaxItems: 1, PendingItems: 2, Linger: time.Hour, MaxAge: 2 * time.Hour}
					set(&opt, func(error) bool {
						begin := time.Now()
						ticket, err := c.Submit(context.Background(), 2)
						assert.NoError(t, err)
						_, full := c.Submit(context.Background(), 3)
						assert.ErrorIs(t, full, batch.ErrFull)
						_, wait := ticket.Wait(context.Background())
						_, do := c.Do(context.Background(), 3)
						errs = append(errs, wait, do, c.DoAll(context.Background(), []int{4})[0].Err, c.Flush(context.Background()), c.Close(context.Background()))
						assert.Zero(t, time.Since(begin))
						close(asked)
						return false
					})
					var err error
					c, err = batch.NewCaller(opt, func(_ context.Context, items []int) ([]batch.Result[int], error) {
						if items[0] == 1 {
							return nil, errDown
						}
						<-asked // so 2 has no outcome before
						return doubled(items), nil
					})
					require.NoError(t, err)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					_, err = c.Do(ctx, 1)
					require.ErrorIs(t, err, errDown)
					require.Len(t, errs, 5)
					for _, err := range errs {
						require.ErrorContains(t, err, "batch: called from inside")
					}
					finish(t, c)
				})
			})
		}
	}
}

// A slogTo is a log handler that calls add for every record.
type slogTo struct{ add func() }

func (slogTo) Enabled(context.Context, slog.Level) bool    { return true }
func (s slogTo) Handle(context.Context, slog.Record) error { s.add(); return nil }
func (s slogTo) WithAttrs([]slog.Attr) slog.Handler        { return s }
func (s slogTo) WithGroup(string) slog.Handler             { return s }

// A program may ship its log with a Batcher. What the Batcher logs of itself must not wait for it.
func TestALogThatIsShippedByTheBatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *batch.Batcher[int]
		var adds []error
		var flush error
		defer logTo(slogTo{func() {
			adds = append(adds, b.Add(context.Background(), 2), b.Add(context.Background(), 3))
			flush = b.Flush(context.Background())
		}})()
		b = start(t, batch.Options[int]{MaxItems: 1, PendingItems: 1}, func(context.Context, []int) error { return errDown })
		addAll(t, b, 1)
		synctest.Wait()
		require.Len(t, adds, 2)
		require.NoError(t, adds[0])
		require.ErrorIs(t, adds[1], batch.ErrFull)
		require.ErrorContains(t, flush, "batch: called from inside")
		require.ErrorIs(t, b.Close(t.Context()), errDown)
		require.NoError(t, b.AtRest())
	})
}

// Items that join a batch with room to spare are admitted with few checks. The one that fills the
// batch or the budget to the byte, and a Do, still end the linger.
func TestTheLastOfManyDoesNotLinger(t *testing.T) {
	size := func(v int) int { return v }
	for name, opt := range map[string]batch.Options[int]{
		"a full batch":  {MaxBytes: 10, PendingBytes: 100, SizeOf: size},
		"a full budget": {MaxBytes: 100, PendingBytes: 10, SizeOf: size},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(nil)
				opt.Linger, opt.PendingItems = time.Hour, 1000
				b := start(t, opt, r.handle)
				for range 2 { // the second time in an array that has room
					addAll(t, b, 0, 0, 0, 0, 3, 3, 3, 0, 1)
					synctest.Wait()
					require.Zero(t, b.Stats().Pending, "it lingers")
				}
				require.Len(t, r.calls, 2)
				finish(t, b)
			})
		})
	}
	t.Run("a Do", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, err := batch.NewCaller(batch.Options[int]{Linger: time.Hour}, func(_ context.Context, items []int) ([]batch.Result[int], error) {
				return doubled(items), nil
			})
			require.NoError(t, err)
			for range 2 {
				for v := range 7 {
					_, err := c.Submit(t.Context(), v)
					require.NoError(t, err)
				}
				start := time.Now()
				v, err := c.Do(t.Context(), 8)
				require.NoError(t, err)
				require.Equal(t, 16, v)
				require.Zero(t, time.Since(start), "it lingers")
				require.Zero(t, c.Stats().Pending)
			}
			finish(t, c)
		})
	})
}
