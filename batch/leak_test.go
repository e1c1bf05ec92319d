package batch_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/batch"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

type message struct{ payload [100]byte }

// Whatever its outcome, an item can be collected while the batcher is in use.
func TestItemsAreCollected(t *testing.T) {
	nothing := func(context.Context, []*message) error { return nil }
	fails := func(context.Context, []*message) error { return errDown }
	for name, c := range map[string]struct {
		opt     batch.Options[*message]
		handler func(context.Context, []*message) error
	}{
		"delivered":           {batch.Options[*message]{}, nothing},
		"failed":              {batch.Options[*message]{}, fails},
		"failed for good":     {batch.Options[*message]{Attempts: 3, Backoff: 1}, fails},
		"beside an Observer":  {batch.Options[*message]{Observer: func([]*message, error) {}}, nothing},
		"the handler panics":  {batch.Options[*message]{}, func(context.Context, []*message) error { panic("oh") }},
		"the handler Goexits": {batch.Options[*message]{}, func(context.Context, []*message) error { runtime.Goexit(); return nil }},
	} {
		b := start(t, c.opt, c.handler)
		t.Run(name, func(t *testing.T) {
			require.NoError(t, b.Add(t.Context(), leakcheck.Track(t, &message{})))
			_ = b.Flush(t.Context())
		})
		_ = b.Close(t.Context())
	}
}

func TestItemsOfCallersThatGaveUpAreCollected(t *testing.T) {
	hold := make(chan struct{})
	c, err := batch.NewCaller(batch.Options[*message]{PendingItems: 2, MaxItems: 1}, func(_ context.Context, items []*message) ([]batch.Result[int], error) {
		<-hold
		return make([]batch.Result[int], len(items)), nil
	})
	require.NoError(t, err)
	_, err = c.Submit(t.Context(), &message{}) // is in the handler's hands
	require.NoError(t, err)
	for c.Stats().InFlight == 0 {
		runtime.Gosched()
	}
	giveUp := func(when func(batch.Stats) bool) func() *message {
		return func() *message {
			m := &message{}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := c.Do(ctx, m)
				assert.ErrorIs(t, err, context.Canceled)
			})
			for !when(c.Stats()) {
				runtime.Gosched()
			}
			cancel()
			wg.Wait()
			return m
		}
	}
	t.Run("withdrawn", func(t *testing.T) {
		leakcheck.Collected(t, giveUp(func(s batch.Stats) bool { return s.Pending == 2 }))
	})
	_, err = c.Submit(t.Context(), &message{})
	require.NoError(t, err)
	t.Run("still waiting for room", func(t *testing.T) {
		leakcheck.Collected(t, giveUp(func(s batch.Stats) bool { return s.Waiting == 1 }))
	})
	close(hold)
	finish(t, c)
}

// A ticket retains the results of its batch, but not the items and not the Caller.
func TestATicketKeepsLittle(t *testing.T) {
	var kept batch.Ticket[*message]
	submit := func(item *message) (*batch.Caller[*message, *message], []batch.Ticket[*message]) {
		c, err := batch.NewCaller(batch.Options[*message]{}, func(_ context.Context, items []*message) ([]batch.Result[*message], error) {
			rs := make([]batch.Result[*message], len(items))
			for i := range rs {
				rs[i].Value = &message{}
			}
			return rs, nil
		})
		require.NoError(t, err)
		var tickets []batch.Ticket[*message]
		for range 2 {
			ticket, err := c.Submit(t.Context(), item)
			require.NoError(t, err)
			tickets = append(tickets, ticket)
		}
		require.NoError(t, c.Close(t.Context()))
		kept = tickets[0]
		return c, tickets
	}
	leakcheck.Collected(t, func() *message { m := &message{}; submit(m); return m })
	leakcheck.Collected(t, func() *batch.Caller[*message, *message] { c, _ := submit(&message{}); return c })
	leakcheck.MustDetect(t, func(t testing.TB) { // and this is what it does retain
		leakcheck.Collected(t, func() *message {
			_, tickets := submit(&message{})
			v, err := tickets[1].Wait(t.Context())
			require.NoError(t, err)
			return v
		})
	})
	_, err := kept.Wait(t.Context())
	require.NoError(t, err)
}

// A result that a Do has read is not retained by the ticket of another item.
func TestATicketDoesNotKeepWhatDoTook(t *testing.T) {
	c, err := batch.NewCaller(batch.Options[int]{MaxItems: 2}, func(_ context.Context, items []int) ([]batch.Result[*message], error) {
		return []batch.Result[*message]{{Value: &message{}}, {Value: &message{}}}, nil
	})
	require.NoError(t, err)
	ticket, err := c.Submit(t.Context(), 1)
	require.NoError(t, err)
	leakcheck.Collected(t, func() *message {
		m, err := c.Do(t.Context(), 2)
		require.NoError(t, err)
		return m
	})
	_, err = ticket.Wait(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Close(t.Context()))
}

// The leaky counterpart: a handler that retains its slices retains every item.
func TestCollectedSeesAHandlerThatKeepsItems(t *testing.T) {
	var kept [][]*message
	b := start(t, batch.Options[*message]{}, func(_ context.Context, items []*message) error {
		kept = append(kept, items)
		return nil
	})
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Collected(t, func() *message {
			m := &message{}
			require.NoError(t, b.Add(t.Context(), m))
			require.NoError(t, b.Flush(t.Context()))
			return m
		})
	})
	require.Len(t, kept, 1)
	require.NoError(t, b.Close(t.Context()))
}

// A batcher that is dropped without Close leaves nothing behind.
func TestADroppedBatcherIsCollected(t *testing.T) {
	leakcheck.Collected(t, func() *batch.Batcher[int] {
		b := start(t, batch.Options[int]{}, func(context.Context, []int) error { return nil })
		addAll(t, b, 1, 2, 3)
		require.NoError(t, b.Flush(t.Context()))
		return b
	})
}

// A producer is faster than its downstream, which takes one item in ten. The batcher makes it wait
// or returns ErrFull, and the heap does not grow.
func TestAFastProducerDoesNotGrowTheHeap(t *testing.T) {
	slow := make(chan struct{})
	b := start(t, batch.Options[*message]{MaxItems: 10, PendingItems: 100, Reject: true}, func(context.Context, []*message) error {
		<-slow
		return nil
	})
	n := 0
	leakcheck.NoGrowth(t, func() {
		if err := b.Add(t.Context(), &message{}); err != nil {
			require.ErrorIs(t, err, batch.ErrFull)
		}
		if n++; n%100 == 0 {
			select {
			case slow <- struct{}{}:
			default:
			}
		}
	}, leakcheck.Warmup(2000))
	close(slow)
	require.NoError(t, b.Close(t.Context()))
	assert.NotZero(t, b.Stats().Rejected)
}

// The leaky counterpart, which is the code of the package comment: a queue without a bound.
func TestAnUnboundedQueueGrowsTheHeap(t *testing.T) {
	var mu sync.Mutex
	var queue []*message
	add := func(m *message) {
		mu.Lock()
		defer mu.Unlock()
		queue = append(queue, m)
	}
	n := 0
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.NoGrowth(t, func() {
			add(&message{})
			if n++; n%100 == 0 { // the slow downstream
				mu.Lock()
				queue = queue[10:]
				mu.Unlock()
			}
		})
	})
	require.NotEmpty(t, queue)
}

// Cancelled callers, keys that are used once, and failures leave nothing behind.
func TestNoGrowth(t *testing.T) {
	opt := batch.Options[int]{MaxItems: 4, Linger: batch.Immediately}
	t.Run("batcher", func(t *testing.T) {
		opt := opt
		opt.Observer = func([]int, error) {}
		b := start(t, opt, func(context.Context, []int) error { return errors.New("down") })
		leakcheck.NoGrowth(t, func() {
			addAll(t, b, 1, 2, 3)
			_ = b.Flush(t.Context())
		})
		finish(t, b)
	})
	t.Run("keyed, ever new keys", func(t *testing.T) {
		k, err := batch.NewKeyed(opt, func(context.Context, int, []int) error { return nil })
		require.NoError(t, err)
		key := 0
		leakcheck.NoGrowth(t, func() {
			key++
			_ = k.Add(t.Context(), key, 1)
			_ = k.Flush(t.Context())
		})
		finish(t, k)
	})
	t.Run("callers that give up", func(t *testing.T) {
		opt := opt
		opt.Linger = 0
		c, err := batch.NewCaller(opt, func(_ context.Context, items []int) ([]batch.Result[int], error) {
			return doubled(items), nil
		})
		require.NoError(t, err)
		leakcheck.NoGrowth(t, func() {
			ctx, cancel := context.WithCancel(t.Context())
			var giveUp sync.WaitGroup
			giveUp.Go(cancel)
			_, _ = c.Do(ctx, 1)
			giveUp.Wait() // otherwise more and more of them wait for a processor
		})
		finish(t, c)
	})
	t.Run("the leaky counterpart: keys that are never forgotten", func(t *testing.T) {
		seen := map[int]*message{}
		key := 0
		leakcheck.MustDetect(t, func(t testing.TB) {
			leakcheck.NoGrowth(t, func() { key++; seen[key] = &message{} })
		})
		runtime.KeepAlive(seen)
	})
}
