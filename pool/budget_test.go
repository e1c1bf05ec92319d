package pool_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

func TestGetContextWaitsAndServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{MaxInUse: 4096})
		first := p.Get(4096)
		served := make(chan int, 4)
		var all sync.WaitGroup
		// The first waits for all of the budget; the small ones behind it fit
		// earlier, and must not overtake it.
		for i, n := range []int{4096, 256, 256, 256} {
			all.Go(func() {
				b, err := p.GetContext(t.Context(), n)
				assert.NoError(t, err)
				served <- i
				time.Sleep(time.Millisecond)
				b.Release()
			})
			synctest.Wait()
			assert.Equal(t, i+1, p.Stats().Waiting)
		}
		part := p.Get(100)
		first.Release()
		synctest.Wait()
		assert.Empty(t, served, "256 bytes are in use, and the first asks for 4096")
		part.Release()
		all.Wait()
		assert.Len(t, served, 4)
		assert.Equal(t, 0, <-served)
		s := p.Stats()
		assert.Zero(t, s.InUse)
		assert.Zero(t, s.InUseLeases)
		assert.Zero(t, s.Waiting)
	})
}

func TestALateSmallOneDoesNotOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{MaxInUse: 4096})
		held := p.Get(2048)
		served := make(chan int, 2)
		for i, n := range []int{4096, 256} {
			go func() {
				b, _ := p.GetContext(t.Context(), n)
				served <- i
				b.Release()
			}()
			synctest.Wait()
		}
		assert.Equal(t, 2, p.Stats().Waiting, "there is room for the second, but it is not the first")
		held.Release()
		assert.Equal(t, []int{0, 1}, []int{<-served, <-served})
	})
}

func TestWhatComesBackServesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{MaxInUse: 4096})
		held := p.Get(4096)
		served := make(chan time.Time)
		go func() {
			b, _ := p.GetContext(t.Context(), 4096)
			served <- time.Now()
			b.Release()
		}()
		synctest.Wait()
		released := time.Now()
		held.Release()
		assert.Zero(t, (<-served).Sub(released), "not when the waiter looks next")
	})
}

func TestAWaiterLeavesOnItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{MaxInUse: 1024})
		held := p.Get(512)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var small error
		go func() {
			// Behind the one that leaves, and served by its leaving.
			synctest.Wait()
			var b pool.Buffer
			b, small = p.GetContext(t.Context(), 256)
			b.Release()
		}()
		b, err := p.GetContext(ctx, 1024)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.EqualError(t, err, "pool: GetContext: waited for 1024 bytes while 512 of MaxInUse, 1024, were in use: context deadline exceeded")
		assert.Equal(t, pool.Buffer{}, b)
		synctest.Wait()
		assert.NoError(t, small)
		assert.Equal(t, 512, p.Stats().InUse)
		assert.Zero(t, p.Stats().Waiting)
		held.Release()

		_, err = p.GetContext(ctx, 1)
		assert.ErrorIs(t, err, context.DeadlineExceeded, "an ended context gets nothing, though there is room")
	})
}

func TestWhatCanNeverBeServedIsRefusedAtOnce(t *testing.T) {
	p := pool.NewBytes(pool.Options{MaxInUse: 1000})
	_, err := p.GetContext(t.Context(), 600)
	assert.EqualError(t, err, "pool: GetContext: the buffer takes 1024 bytes (its size class), which is more than Options.MaxInUse, 1000")
}

func TestGetAndGrowthCountAndDoNotWait(t *testing.T) {
	p := pool.NewBytes(pool.Options{MaxInUse: 1024})
	a, b := p.Get(1024), p.Get(1024)
	assert.Equal(t, 2048, p.Stats().InUse)
	set(a, make([]byte, 4096)) // what it outgrew stays with it
	assert.Equal(t, 2048+4096, p.Stats().InUse)
	a.Release()
	b.Release()
	assert.Zero(t, p.Stats().InUse)
}

func TestEveryEndOfALeaseGivesItsBytesBack(t *testing.T) {
	p := pool.NewBytes(pool.Options{MaxInUse: 1 << 30})
	sizes := []int{0, 1000, 100_000, 32 << 20}
	for _, n := range sizes[:testgate.Count(3, 4, 4)] {
		p.Get(n).Release()
		p.Get(n).Detach()
		p.Get(n).Body().Close()
		b := p.Get(n)
		set(b, make([]byte, 3*n+1000))
		b.Detach()
		assert.Zero(t, p.Stats().InUse, n)
		assert.Zero(t, p.Stats().InUseLeases, n)
	}
}

// Buffers larger than MaxBuffer have any number of bytes, and the budget counts in units: all that
// a lease counts for its memories, one by one, must come back.
func TestOddSizesGiveAllBytesBack(t *testing.T) {
	for name, o := range everyOption {
		o.MaxInUse, o.MaxBuffer = 1<<30, 1000
		p := pool.NewBytes(o)
		for n := 1000; n < 1600; n += 7 {
			b := p.Get(n)
			for range 3 {
				b.Write(make([]byte, b.Len()+1))
			}
			b.Release()
			p.Get(n).Detach()
			c, err := p.GetContext(t.Context(), n)
			require.NoError(t, err)
			c.Body().Close()
			require.Zero(t, p.Stats().InUse, "%s: %d bytes", name, n)
		}
		loseOdd(p)
		eventually(t, func() bool { return p.Stats().InUse == 0 })
	}
}

//go:noinline
func loseOdd(p *pool.Bytes) {
	b := p.Get(1025)
	b.Write(make([]byte, 1026))
}

//go:noinline
func lose(p *pool.Bytes, n int) { set(p.Get(n), make([]byte, 2*n)) }

func TestALostLeaseIsRefunded(t *testing.T) {
	p := pool.NewBytes(pool.Options{MaxInUse: 1 << 20})
	lose(p, 1000)
	require.Equal(t, 1024+2048, p.Stats().InUse)
	eventually(t, func() bool { return p.Stats().InUse == 0 })
	assert.EqualValues(t, 1, p.Stats().Lost)
	assert.Zero(t, p.Stats().InUseLeases)
}

// eventually runs the collector until f.
func eventually(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); runtime.GC() {
		if time.Now().After(end) {
			require.Fail(t, "did not become true in 20 s of collections")
		}
		runtime.Gosched()
	}
}

func TestWaitersFindLostLeasesThoughNothingAllocates(t *testing.T) {
	// Nothing but the waiters runs the collector.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	p := pool.NewBytes(pool.Options{MaxInUse: 4096})
	lose(p, 1024)
	lose(p, 256)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			b, err := p.GetContext(ctx, 4096)
			assert.NoError(t, err)
			b.Release()
		})
	}
	all.Wait()
	assert.EqualValues(t, 2, p.Stats().Lost)
}

// However many wait, the collector runs for them once a second.
func TestManyWaitersRunTheCollectorSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{MaxInUse: 4096})
		held := p.Get(4096)
		defer held.Release()
		before := memory().NumForcedGC
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				_, err := p.GetContext(ctx, 4096)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
		all.Wait()
		runs := memory().NumForcedGC - before
		assert.GreaterOrEqual(t, runs, uint32(5))
		assert.LessOrEqual(t, runs, uint32(20))
	})
}

func TestALostLeaseIsFoundInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{MaxInUse: 4096})
		lose(p, 1024)
		b, err := p.GetContext(t.Context(), 4096)
		require.NoError(t, err)
		b.Release()
	})
}

func TestTheBudgetHoldsUnderLoad(t *testing.T) {
	const limit = 16 << 10
	p := pool.NewBytes(pool.Options{MaxInUse: limit})
	ctx := t.Context()
	var all sync.WaitGroup
	for seed := range uint64(16) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 300 {
				some, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(2000))*time.Microsecond)
				b, err := p.GetContext(some, r.IntN(8<<10))
				if err == nil {
					assert.LessOrEqual(t, p.Stats().InUse, limit)
					runtime.Gosched()
					b.Release()
				}
				cancel()
			}
		})
	}
	all.Wait()
	s := p.Stats()
	assert.Zero(t, s.InUse)
	assert.Zero(t, s.InUseLeases)
	assert.Zero(t, s.Waiting)
}
