package pool_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/pool"
)

// The leaky counterparts leak into these variables.
var (
	keptBuffers []pool.Buffer
	keptWriters []*pool.Writer
	keptBodies  []io.ReadCloser

	keptObjects []pool.Lease[object]
)

func forget() {
	keptBuffers, keptWriters, keptBodies, keptObjects = nil, nil, nil, nil
}

func TestNothingGrows(t *testing.T) {
	message := make([]byte, 700)
	ways := []struct {
		name  string
		op    func(p *pool.Bytes) func()
		leaks string
		leaky func(p *pool.Bytes) func()
	}{
		{
			"Buffer", func(p *pool.Bytes) func() {
				return func() { p.Get(300).Release() }
			},
			"a lease kept", func(p *pool.Bytes) func() {
				return func() { keptBuffers = append(keptBuffers, p.Get(300)) }
			},
		},
		{
			"Writer", func(p *pool.Bytes) func() {
				return func() {
					b := p.Get(0)
					b.Writer().Write(message)
					b.Release()
				}
			},
			"a writer kept, which holds memory though the lease has ended", func(p *pool.Bytes) func() {
				return func() {
					b := p.Get(0)
					keptWriters = append(keptWriters, b.Writer())
					b.Release()
				}
			},
		},
		{
			"Body", func(p *pool.Bytes) func() {
				return func() { p.Get(300).Body().Close() }
			},
			"a body never closed", func(p *pool.Bytes) func() {
				return func() { keptBodies = append(keptBodies, p.Get(300).Body()) }
			},
		},
		{
			"Pool", func(*pool.Bytes) func() {
				p := pool.New(newObject)
				return func() { p.With(func(o *object) { o.n++ }) }
			},
			"an object's lease kept", func(*pool.Bytes) func() {
				p := pool.New(newObject)
				return func() { keptObjects = append(keptObjects, p.Get()) }
			},
		},
		{
			"Pool, checked", func(*pool.Bytes) func() {
				p := pool.New(newObject, pool.PoolOptions[object]{Level: pool.LevelCheck})
				return func() { p.With(func(o *object) { o.n++ }) }
			},
			"an object's lease kept", func(*pool.Bytes) func() {
				p := pool.New(newObject, pool.PoolOptions[object]{Level: pool.LevelCheck})
				return func() { keptObjects = append(keptObjects, p.Get()) }
			},
		},
	}
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			testgate.NoRace(t)
			if i > 0 {
				testgate.Seconds(t)
			}
			leakcheck.NoGrowth(t, w.op(pool.NewBytes(pool.Options{})))
		})
		t.Run(w.name+", "+w.leaks, func(t *testing.T) {
			if i > 0 {
				testgate.Seconds(t)
			}
			t.Cleanup(forget)
			leakcheck.MustDetect(t, func(t testing.TB) {
				leakcheck.NoGrowth(t, w.leaky(pool.NewBytes(pool.Options{})))
			})
		})
	}
}

func TestNoOptionGrows(t *testing.T) {
	for name, o := range everyOption {
		t.Run(name, func(t *testing.T) {
			testgate.NoRace(t)
			if name != "check secret" {
				testgate.Seconds(t)
			}
			p := pool.NewBytes(o)
			leakcheck.NoGrowth(t, func() {
				b := p.Get(0)
				set(b, make([]byte, 700))
				b.Body().Close()
				c := p.Get(100_000)
				c.Release()
				p.Get(10).Detach()
			})
		})
	}
}

func TestLostLeasesDoNotGrow(t *testing.T) {
	testgate.NoRace(t)
	// Their owner has lost them, but the pool has not: it remembers one entry for each place.
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck, MaxInUse: 1 << 20})
	leakcheck.NoGrowth(t, func() { lose(p, 100) })
}

func TestNoGoroutineStays(t *testing.T) {
	leakcheck.Check(t)
	p := pool.NewBytes(pool.Options{MaxInUse: mib, Level: pool.LevelCheck})
	held := p.Get(mib)
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error)
	go func() {
		_, err := p.GetContext(ctx, 100)
		waited <- err
	}()
	cancel()
	assert.ErrorIs(t, <-waited, context.Canceled)
	held.Release() // idle, and decaying
	lose(p, 100)
}

func TestAWaiterWithoutEndIsSeen(t *testing.T) {
	// The leaky counterpart: a context that never ends, and a lease that never ends.
	p := pool.NewBytes(pool.Options{MaxInUse: mib})
	held := p.Get(mib)
	defer held.Release()
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Check(t)
		go func() {
			b, _ := p.GetContext(context.Background(), 100)
			b.Release()
		}()
	})
}

func TestPoolsAndWhatTheyLentAreCollected(t *testing.T) {
	for name, o := range everyOption {
		t.Run(name, func(t *testing.T) {
			p := leakcheck.Track(t, pool.NewBytes(o))
			burst(p, 3, 100)
			burst(p, 3, mib/2)
			lose(p, 100)
		})
	}
	t.Run("typed", func(t *testing.T) {
		p := leakcheck.Track(t, pool.New(newObject))
		leakcheck.Track(t, p.Get().Value())
		p.Get().Release()
	})
	t.Run("a pool kept is seen", func(t *testing.T) {
		t.Cleanup(func() { keptPool = nil })
		leakcheck.MustDetect(t, func(t testing.TB) {
			keptPool = leakcheck.Track(t, pool.NewBytes(pool.Options{}))
		})
	})
}

var keptPool *pool.Bytes
