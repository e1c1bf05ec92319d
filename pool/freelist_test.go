package pool_test

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

const mib = 1 << 20

// clockStandsStill runs a test in which nothing decays, however slow the machine.
func clockStandsStill(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

func TestIdleBuffersDecayWithoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{})
		burst(p, 8, mib)
		assert.Equal(t, 8*mib, p.Stats().Idle)
		time.Sleep(pool.DecayEvery / 2)
		assert.Equal(t, 8*mib, p.Stats().Idle, "they may be needed in an instant")
		time.Sleep(2 * pool.DecayEvery)
		assert.Equal(t, pool.Stats{Made: 8, Dropped: 8, Gets: 8}, p.Stats())
	})
}

// burst leases n buffers at once and releases them.
func burst(p *pool.Bytes, n, size int) {
	all := make([]pool.Buffer, n)
	for i := range all {
		all[i] = p.Get(size)
	}
	for _, b := range all {
		b.Release()
	}
}

func TestWhatIsNeededDoesNotDecay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{})
		burst(p, 8, mib)
		for range 100 {
			burst(p, 2, mib)
			time.Sleep(pool.DecayEvery / 2)
		}
		assert.EqualValues(t, 8, p.Stats().Made)
		assert.Equal(t, 2*mib, p.Stats().Idle)
	})
}

func TestABurstKeepsMaxIdleBytes(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{MaxIdleBytes: 3 * mib})
		burst(p, 64, mib)
		s := p.Stats()
		assert.Equal(t, 3*mib, s.Idle)
		assert.EqualValues(t, 61, s.Dropped)
	})
}

func TestMadeToMeasure(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{MaxBuffer: 100_000})
		b := p.Get(114_688)
		assert.Equal(t, 114_688, pool.Capacity(b), "MaxBuffer is rounded up to a class")
		b.Release()
		assert.Equal(t, 114_688, p.Stats().Idle)
		b = p.Get(114_689)
		assert.Equal(t, 114_689, pool.Capacity(b))
		b.Release()
		assert.EqualValues(t, 1, p.Stats().Dropped)
	})
}

// Blocks to 64 KiB decay too, without traffic and without a collection.
func TestSmallBuffersDecayWithoutTraffic(t *testing.T) {
	if testgate.Race {
		t.Skip("under -race a sync.Pool drops one in four")
	}
	for _, size := range []int{100, 4096, 64 << 10, 65 << 10} {
		synctest.Test(t, func(t *testing.T) {
			p := pool.NewBytes(pool.Options{})
			const many = 100
			burst(p, many, size)
			time.Sleep(pool.DecayEvery / 2)
			assert.Zero(t, p.Stats().Dropped, "they may be needed in an instant")
			time.Sleep(5 * pool.DecayEvery)
			// Each processor keeps one to itself.
			assert.GreaterOrEqual(t, p.Stats().Dropped, uint64(many-runtime.GOMAXPROCS(0)), size)

			burst(p, many, size) // the decay starts again
			time.Sleep(5 * pool.DecayEvery)
			assert.GreaterOrEqual(t, p.Stats().Dropped, uint64(2*many-2*runtime.GOMAXPROCS(0)), size)

			held := p.Get(size) // released long after the decay has stopped
			time.Sleep(time.Hour)
			before := p.Stats().Dropped
			burst(p, many, size)
			held.Release()
			time.Sleep(5 * pool.DecayEvery)
			assert.GreaterOrEqual(t, p.Stats().Dropped, before+uint64(many-2*runtime.GOMAXPROCS(0)), size)
		})
	}
}

func TestSmallBuffersThatAreNeededDoNotDecay(t *testing.T) {
	if testgate.Race {
		t.Skip("under -race a sync.Pool drops one in four")
	}
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{})
		for range 100 {
			burst(p, 10, 4096)
			time.Sleep(pool.DecayEvery / 2)
		}
		assert.LessOrEqual(t, p.Stats().Made, uint64(10+10*runtime.GOMAXPROCS(0)))
	})
}

// A timer that restarts itself forever would prevent synctest from finding a deadlock.
func TestTheDecayStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{})
		burst(p, 10, 4096)
		burst(p, 10, mib)
		held := p.Get(4096)
		time.Sleep(time.Minute)
		assert.False(t, pool.Decaying(p))
		held.Release()
		assert.True(t, pool.Decaying(p))
	})
}

func TestTrimDropsAll(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	burst(p, 8, mib)
	p.Trim()
	assert.Zero(t, p.Stats().Idle)

	kept := 0
	for range 100 {
		b := p.Get(100)
		b.Release()
		p.Trim()
		if pool.SameHeader(p.Get(100), b) {
			kept++ // this goroutine was moved to another processor and back
		}
	}
	assert.Less(t, kept, 50, "small ones go too")
	pool.NewBytes(everyOption["keeps little"]).Trim()
}

func TestAPoolUsedInABubbleDecaysOutsideToo(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	// The bubble ends with its timer pending: it never fires.
	synctest.Test(t, func(*testing.T) { burst(p, 1, mib) })
	burst(p, 1, mib)
	for end := time.Now().Add(20 * time.Second); p.Stats().Idle > 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("nothing decayed in 20 s")
		}
	}
	// And the reverse: the bubble comes second.
	burst(p, 1, mib)
	synctest.Test(t, func(*testing.T) {
		burst(p, 1, mib)
		time.Sleep(3 * pool.DecayEvery)
		assert.Zero(t, p.Stats().Idle)
	})
}

func TestAnUnusedPoolIsCollected(t *testing.T) {
	for name, o := range everyOption {
		t.Run(name, func(t *testing.T) {
			p := pool.NewBytes(o)
			burst(p, 4, mib/2)
			burst(p, 4, 100)
			lose(p, 100)
			for _, n := range []int{100, 100_000} {
				s, q := p.Slices(n), p.Pointers()
				s.Get() // lost
				q.Get(n)
				slice, pointer := s.Get(), q.Get(n)
				s.Put(slice) // idle, and at LevelCheck for good
				q.Put(pointer)
			}
			gone := weak.Make(p)
			p = nil
			eventually(t, func() bool { return gone.Value() == nil })
		})
	}
}

func TestATimerDoesNotHoldAPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The bubble's clock does not advance, so the timer does not fire.
		p := pool.NewBytes(pool.Options{})
		burst(p, 4, mib)
		gone := weak.Make(p)
		p = nil
		for range 1000 {
			runtime.GC()
			if gone.Value() == nil {
				return
			}
		}
		t.Error("1000 collections did not find the pool")
	})
}

func TestTheTierUnderLoad(t *testing.T) {
	p := pool.NewBytes(pool.Options{MaxIdleBytes: 2 * mib})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 500 {
				b := p.Get(100_000 << (i % 4))
				b.Bytes()[0] = byte(i)
				runtime.Gosched()
				assert.Equal(t, byte(i), b.Bytes()[0])
				b.Release()
				assert.LessOrEqual(t, p.Stats().Idle, 2*mib)
			}
		})
	}
	all.Wait()
}

// Growth exchanges the memory of two blocks. Each must go back to the class that its memory is of.
func TestABlockGoesBackToTheClassOfItsMemory(t *testing.T) {
	for name, o := range everyOption {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pool.NewBytes(o)
				for range 200 {
					burst(p, 8, 2000) // so that there is something to drop in each interval
					for range 2 {     // the second lease has the block by Get's short cut
						p.Get(512).Release()
						p.Get(256).Release()
					}
					b := p.Get(256)
					b.Write(make([]byte, 10)) // takes the idle block of 512 bytes
					b.Release()
					time.Sleep(pool.DecayEvery * 11 / 10) // what is idle is not current any more
					for _, n := range []int{256, 512, 1024} {
						b := p.Get(n)
						require.GreaterOrEqual(t, pool.Capacity(b), n)
						b.Release()
					}
					for _, n := range []int{256, 512, 1024} {
						b := p.Get(n)
						require.GreaterOrEqual(t, pool.Capacity(b), n)
						require.Less(t, pool.Capacity(b), 2*n)
						b.Release()
					}
				}
			})
		})
	}
}

// The first collection to end after a drop may have begun before it, the second frees the memory,
// and the third lets the runtime return the pages.
func TestDroppedMemoryIsCountedForThreeCollections(t *testing.T) {
	for _, ended := range [][]uint64{{0}, {1}, {1, 1}, {2}, {1, 0, 1}} {
		assert.True(t, pool.Remembers(ended...), ended)
	}
	for _, ended := range [][]uint64{{3}, {1, 1, 1}, {2, 1}, {1 << 40}} {
		assert.False(t, pool.Remembers(ended...), ended)
	}
}
