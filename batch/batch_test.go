package batch_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
)

const ms = time.Millisecond

// A recorder is a handler that remembers its calls. It returns what the function then returns.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	calls [][]int
	times []time.Duration // of the calls, since the recorder was made
	then  func(ctx context.Context, call int, items []int) error
}

func record(then func(ctx context.Context, call int, items []int) error) *recorder {
	return &recorder{start: time.Now(), then: then}
}

func (r *recorder) handle(ctx context.Context, items []int) error {
	r.mu.Lock()
	call := len(r.calls)
	r.calls = append(r.calls, append([]int(nil), items...))
	r.times = append(r.times, time.Since(r.start))
	r.mu.Unlock()
	if r.then == nil {
		return nil
	}
	return r.then(ctx, call, items)
}

func start[T any](t *testing.T, opt batch.Options[T], handler func(context.Context, []T) error) *batch.Batcher[T] {
	t.Helper()
	b, err := batch.New(opt, handler)
	require.NoError(t, err)
	return b
}

// finish closes b and checks that nothing is left.
func finish[B interface {
	Close(context.Context) error
	AtRest() error
}](t *testing.T, b B) {
	t.Helper()
	require.NoError(t, b.Close(t.Context()))
	require.NoError(t, b.AtRest())
}

func addAll(t *testing.T, b *batch.Batcher[int], items ...int) {
	t.Helper()
	for _, v := range items {
		require.NoError(t, b.Add(t.Context(), v))
	}
}

// pass waits for d, and until every goroutine of the bubble is blocked.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func ints(n int) []int {
	vs := make([]int, n)
	for i := range vs {
		vs[i] = i
	}
	return vs
}

func TestOptionsThatBoundNothing(t *testing.T) {
	sized := func(int) int { return 1 }
	for name, c := range map[string]struct {
		opt  batch.Options[int]
		want string
	}{
		"negative":                     {batch.Options[int]{MaxItems: -1}, "batch: Options.MaxItems is -1: set more than 0, or 0 for the default"},
		"unbounded items":              {batch.Options[int]{PendingItems: math.MaxInt}, "which bounds nothing"},
		"unbounded calls":              {batch.Options[int]{InFlight: 1 << 30}, "Options.InFlight"},
		"bytes without a size":         {batch.Options[int]{MaxBytes: 10}, "need SizeOf"},
		"pending bytes without a size": {batch.Options[int]{PendingBytes: 10}, "need SizeOf"},
		"negative bytes":               {batch.Options[int]{PendingBytes: -1, SizeOf: sized}, "Options.PendingBytes"},
		"negative linger":              {batch.Options[int]{Linger: -2}, "Options.Linger is -2ns"},
		"negative timeout":             {batch.Options[int]{Timeout: -1}, "Options.Timeout"},
		"unbounded time":               {batch.Options[int]{MaxAge: math.MaxInt64}, "which bounds nothing"},
		"everything would expire":      {batch.Options[int]{Linger: time.Second, MaxAge: time.Second}, "every item would expire"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := batch.New(c.opt, func(context.Context, []int) error { return nil })
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestLargestOptionsDoNotOverflow(t *testing.T) {
	_, err := batch.New(batch.Options[int]{MaxItems: 1 << 20, InFlight: 1 << 16, SizeOf: func(int) int { return 1 }, MaxBytes: 1 << 30},
		func(context.Context, []int) error { return nil })
	require.NoError(t, err)
}

func TestBatchIsFull(t *testing.T) {
	for name, c := range map[string]struct {
		opt  batch.Options[int]
		add  []int
		want [][]int
	}{
		"at MaxItems":          {batch.Options[int]{MaxItems: 2}, []int{1, 2, 3, 4, 5}, [][]int{{1, 2}, {3, 4}, {5}}},
		"before MaxBytes":      {batch.Options[int]{MaxBytes: 10, SizeOf: func(v int) int { return v }}, []int{6, 4, 1, 9, 10, 2}, [][]int{{6, 4}, {1, 9}, {10}, {2}}},
		"never by empty items": {batch.Options[int]{MaxBytes: 10, SizeOf: func(v int) int { return 0 }}, []int{1, 2, 3}, [][]int{{1, 2, 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(nil)
				b := start(t, c.opt, r.handle)
				addAll(t, b, c.add...)
				finish(t, b)
				assert.Equal(t, c.want, r.calls)
			})
		})
	}
}

// Linger counts from the first item of each batch: not from a tick, and not
// from the first item of a batch that left in time.
func TestLingerIsOfItsOwnBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		b := start(t, batch.Options[int]{MaxItems: 2, Linger: 10 * ms}, r.handle)
		addAll(t, b, 1)
		time.Sleep(5 * ms)
		addAll(t, b, 2) // full, and leaves
		time.Sleep(1 * ms)
		addAll(t, b, 3) // at 6 ms
		time.Sleep(20 * ms)
		addAll(t, b, 4) // at 26 ms
		pass(20 * ms)
		assert.Equal(t, [][]int{{1, 2}, {3}, {4}}, r.calls)
		assert.Equal(t, []time.Duration{5 * ms, 16 * ms, 36 * ms}, r.times)
		finish(t, b)
	})
}

func TestEveryKeyLingersForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		at := map[string]time.Duration{}
		k, err := batch.NewKeyed(batch.Options[int]{Linger: 10 * ms}, func(_ context.Context, key string, _ []int) error {
			at[key] = time.Since(begin)
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, k.Add(t.Context(), "a", 1))
		time.Sleep(4 * ms)
		require.NoError(t, k.Add(t.Context(), "b", 1))
		time.Sleep(4 * ms)
		require.NoError(t, k.Add(t.Context(), "c", 1))
		pass(30 * ms)
		assert.Equal(t, map[string]time.Duration{"a": 10 * ms, "b": 14 * ms, "c": 18 * ms}, at)
		finish(t, k)
	})
}

func TestImmediately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { time.Sleep(10 * ms); return nil })
		b := start(t, batch.Options[int]{Linger: batch.Immediately}, r.handle)
		addAll(t, b, 1)
		synctest.Wait()
		addAll(t, b, 2, 3, 4) // they share a batch, because the only call is in use
		finish(t, b)
		assert.Equal(t, [][]int{{1}, {2, 3, 4}}, r.calls)
		assert.Equal(t, []time.Duration{0, 10 * ms}, r.times)
	})
}

// When the budget is full no item can be admitted, so no batch lingers.
func TestFullBudgetDoesNotLinger(t *testing.T) {
	for name, c := range map[string]struct {
		opt  batch.Options[int]
		try  bool
		none bool // no further item is added after the last one that fits
	}{
		"in items, just":       {opt: batch.Options[int]{PendingItems: 3}, none: true},
		"in items":             {opt: batch.Options[int]{PendingItems: 3}},
		"in items, try":        {opt: batch.Options[int]{PendingItems: 3}, try: true},
		"in bytes":             {opt: batch.Options[int]{PendingBytes: 30, SizeOf: func(int) int { return 9 }}},
		"in bytes, try":        {opt: batch.Options[int]{PendingBytes: 30, SizeOf: func(int) int { return 9 }}, try: true},
		"in bytes, and reject": {opt: batch.Options[int]{PendingBytes: 30, SizeOf: func(int) int { return 9 }, Reject: true}, try: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.opt.MaxItems, c.opt.Linger = 100, time.Minute
				r := record(nil)
				b := start(t, c.opt, r.handle)
				addAll(t, b, 1, 2, 3)
				switch {
				case c.try:
					if err := b.TryAdd(4); err != nil {
						require.ErrorIs(t, err, batch.ErrFull)
					}
				case !c.none:
					addAll(t, b, 4)
				}
				synctest.Wait()
				require.NotEmpty(t, r.calls, "the batch lingers although the budget is full")
				assert.Equal(t, []int{1, 2, 3}, r.calls[0])
				assert.Zero(t, r.times[0])
				finish(t, b)
			})
		})
	}
}

// While a caller waits for the budget, whatever else opens must not linger
// either: the budget that the caller waits for would be held for the linger.
func TestNothingLingersWhileACallerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		b := start(t, batch.Options[int]{PendingItems: 3, MaxItems: 2, Linger: time.Hour}, r.handle)
		n, err := b.AddAll(t.Context(), ints(100))
		require.NoError(t, err)
		assert.Equal(t, 100, n)
		assert.Zero(t, time.Since(r.start))
		finish(t, b)
	})
}

func TestTooLargeAtOnce(t *testing.T) {
	size := func(v int) int { return v }
	for name, opt := range map[string]batch.Options[int]{
		"for a batch":    {SizeOf: size, MaxBytes: 10, PendingBytes: 100},
		"for the budget": {SizeOf: size, MaxBytes: 100, PendingBytes: 10},
		"by default":     {SizeOf: func(v int) int { return v << 20 }},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, opt, record(nil).handle)
			err := b.Add(t.Context(), 11)
			require.ErrorIs(t, err, batch.ErrTooLarge)
			require.ErrorIs(t, b.TryAdd(11), batch.ErrTooLarge)
			n, err := b.AddAll(t.Context(), []int{1, 1, 11, 1})
			require.ErrorIs(t, err, batch.ErrTooLarge)
			assert.Equal(t, 2, n)
			finish(t, b)
		})
	}
}

func TestSizeOfMisbehaves(t *testing.T) {
	size := func(v int) int {
		if v == 0 {
			panic("no size")
		}
		return v
	}
	b := start(t, batch.Options[int]{SizeOf: size}, record(nil).handle)
	require.ErrorContains(t, b.Add(t.Context(), -3), "batch: SizeOf returned -3")
	require.PanicsWithValue(t, "no size", func() { _ = b.Add(t.Context(), 0) })
	require.NoError(t, b.Add(t.Context(), 1)) // and nothing stays locked
	finish(t, b)
}

// blocked starts b with a handler that holds its first batch until the
// returned function is called, and fills the budget.
func blocked(t *testing.T, opt batch.Options[int], fill ...int) (b *batch.Batcher[int], r *recorder, release func()) {
	t.Helper()
	hold := make(chan struct{})
	r = record(func(context.Context, int, []int) error { <-hold; return nil })
	b = start(t, opt, r.handle)
	addAll(t, b, fill...)
	synctest.Wait()
	return b, r, sync.OnceFunc(func() { close(hold) })
}

func TestFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, release := blocked(t, batch.Options[int]{PendingItems: 1}, 0)
		for i := range 20 {
			go func() { assert.NoError(t, b.Add(t.Context(), i+1)) }()
			synctest.Wait()
		}
		assert.EqualValues(t, 20, b.Stats().Waiting)
		release()
		finish(t, idleCallers(t, b))
		var got []int
		for _, c := range r.calls {
			got = append(got, c...)
		}
		assert.Equal(t, ints(21), got)
	})
}

// idleCallers waits until nobody is blocked in b.
func idleCallers(t *testing.T, b *batch.Batcher[int]) *batch.Batcher[int] {
	t.Helper()
	for b.Stats().Waiting > 0 {
		time.Sleep(ms)
	}
	return b
}

// A small item does not overtake a large one that waits, though it would fit.
func TestNobodyOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := func(v int) int { return v }
		b, _, release := blocked(t, batch.Options[int]{PendingBytes: 10, SizeOf: size}, 7)
		defer release()
		go func() { assert.NoError(t, b.Add(t.Context(), 5)) }()
		synctest.Wait()
		require.ErrorIs(t, b.TryAdd(1), batch.ErrFull)
		release()
		finish(t, idleCallers(t, b))
	})
}

// When the first in the queue gives up, the next may fit where it did not.
func TestGivingUpLetsTheNextIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		size := func(v int) int { return v }
		b, _, release := blocked(t, batch.Options[int]{PendingBytes: 10, SizeOf: size}, 7)
		ctx, cancel := context.WithCancel(t.Context())
		var large, small error
		go func() { large = b.Add(ctx, 5) }()
		synctest.Wait()
		go func() { small = b.Add(t.Context(), 1) }()
		synctest.Wait()
		assert.EqualValues(t, 2, b.Stats().Waiting)
		cancel()
		synctest.Wait()
		require.ErrorIs(t, large, context.Canceled)
		require.NoError(t, small)
		assert.EqualValues(t, 0, b.Stats().Waiting)
		assert.EqualValues(t, 2, b.Stats().Pending)
		release()
		finish(t, b)
	})
}

func TestMaxWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, release := blocked(t, batch.Options[int]{PendingItems: 1, MaxWaiters: 2}, 0)
		var full int
		for range 5 {
			go func() {
				if errors.Is(b.Add(t.Context(), 1), batch.ErrFull) {
					full++
				}
			}()
			synctest.Wait()
		}
		assert.Equal(t, 3, full)
		assert.EqualValues(t, 3, b.Stats().Rejected)
		release()
		finish(t, idleCallers(t, b))
	})
}

func TestReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, release := blocked(t, batch.Options[int]{PendingItems: 3, Reject: true}, 0)
		n, err := b.AddAll(t.Context(), ints(10))
		require.ErrorIs(t, err, batch.ErrFull)
		assert.Equal(t, 2, n)
		require.ErrorIs(t, b.Add(t.Context(), 1), batch.ErrFull)
		release()
		finish(t, b)
		assert.EqualValues(t, 3, b.Stats().Delivered)
	})
}

func TestAddWithAnEndedContext(t *testing.T) {
	b := start(t, batch.Options[int]{}, record(nil).handle)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.Add(ctx, 1), context.Canceled)
	n, err := b.AddAll(ctx, ints(3))
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, n)
	finish(t, b)
	assert.Zero(t, b.Stats().Admitted)
}

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { time.Sleep(10 * ms); return errDown })
		b := start(t, batch.Options[int]{MaxItems: 3, Linger: time.Hour, Observer: told{}.observe}, r.handle)
		require.NoError(t, b.Flush(t.Context()), "nothing to do")
		addAll(t, b, 1, 2, 3, 4)
		err := b.Flush(t.Context())
		require.ErrorIs(t, err, errDown)
		require.EqualError(t, err, "batch: 4 items failed since the last Flush; the last error: down")
		assert.Equal(t, 20*ms, time.Since(r.start))
		assert.EqualValues(t, 4, b.Stats().Failed)
		require.NoError(t, b.Flush(t.Context()), "nothing failed since")

		addAll(t, b, 5)
		ctx, cancel := context.WithTimeout(t.Context(), ms)
		defer cancel()
		require.ErrorIs(t, b.Flush(ctx), context.DeadlineExceeded)
		finish(t, b)
	})
}

// Flush waits for what was added before it, and not for what keeps coming.
func TestFlushEndsWhileOthersAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(context.Context, int, []int) error { time.Sleep(10 * ms); return nil })
		b := start(t, batch.Options[int]{MaxItems: 2}, r.handle)
		stop := make(chan struct{})
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					assert.NoError(t, b.Add(t.Context(), i))
				}
			}
		}()
		time.Sleep(5 * ms)
		require.NoError(t, b.Flush(t.Context()))
		assert.Less(t, time.Since(r.start), 100*ms)
		close(stop)
		synctest.Wait()
		finish(t, idleCallers(t, b))
	})
}

func TestFlushesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, release := blocked(t, batch.Options[int]{MaxWaiters: 2, Linger: batch.Immediately}, 0)
		for range 2 {
			go func() { assert.NoError(t, b.Flush(t.Context())) }()
		}
		synctest.Wait()
		require.ErrorIs(t, b.Flush(t.Context()), batch.ErrFull)
		release()
		finish(t, b)
	})
}

func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		c, err := batch.NewCaller(batch.Options[int]{Linger: batch.Immediately, MaxAge: 50 * ms, MaxItems: 2, PendingItems: 3},
			func(_ context.Context, items []int) ([]batch.Result[int], error) {
				<-hold
				return make([]batch.Result[int], len(items)), nil
			})
		require.NoError(t, err)
		begin := time.Now()
		stuck, err := c.Submit(t.Context(), 0)
		require.NoError(t, err)
		synctest.Wait()
		var took [3]time.Duration
		var errs [3]error
		for i := range 3 { // the last one waits for the budget of the first
			go func() {
				_, errs[i] = c.Do(t.Context(), i)
				took[i] = time.Since(begin)
			}()
			time.Sleep(10 * ms)
		}
		pass(time.Second)
		for i, want := range []time.Duration{50 * ms, 60 * ms, 100 * ms} {
			require.ErrorIs(t, errs[i], context.DeadlineExceeded)
			require.ErrorContains(t, errs[i], "older than MaxAge, never handed over")
			assert.Equal(t, want, took[i], "item %d", i)
		}
		assert.EqualValues(t, 3, c.Stats().Expired)
		close(hold)
		_, err = stuck.Wait(t.Context())
		require.NoError(t, err, "an item in the handler's hands does not expire")
		finish(t, c)
	})
}

func TestNaN(t *testing.T) {
	k, err := batch.NewKeyed(batch.Options[int]{}, func(context.Context, float64, []int) error { return nil })
	require.NoError(t, err)
	require.ErrorContains(t, k.Add(t.Context(), math.NaN(), 1), "not equal to itself")
	require.NoError(t, k.Add(t.Context(), 1, 1))
	finish(t, k)
}

// One call per key at a time; other keys go on.
func TestAStuckKeyHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		var done []string
		k, err := batch.NewKeyed(batch.Options[int]{InFlight: 2, Linger: batch.Immediately}, func(_ context.Context, key string, _ []int) error {
			if key == "stuck" {
				<-hold
			}
			done = append(done, key)
			return nil
		})
		require.NoError(t, err)
		for i := range 3 {
			require.NoError(t, k.Add(t.Context(), "stuck", i))
			synctest.Wait()
			require.NoError(t, k.Add(t.Context(), "free", i))
			synctest.Wait()
		}
		assert.Equal(t, []string{"free", "free", "free"}, done)
		assert.EqualValues(t, 1, k.Stats().Keys)
		close(hold)
		finish(t, k)
	})
}

func TestKeysTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		k, err := batch.NewKeyed(batch.Options[int]{MaxItems: 1, PendingItems: 10, PendingPerKey: 9}, func(_ context.Context, key string, _ []int) error {
			order = append(order, key)
			time.Sleep(ms)
			return nil
		})
		require.NoError(t, err)
		for range 3 {
			_, err := k.AddAll(t.Context(), "a", []int{1})
			require.NoError(t, err)
		}
		require.NoError(t, k.TryAdd("b", 1))
		finish(t, k)
		assert.Equal(t, []string{"a", "b", "a", "a"}, order)
	})
}
