package pool_test

import (
	"bytes"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

type object struct {
	n    int
	user *[64]byte
}

func newObject() *object { return &object{} }

func TestPoolReusesObjects(t *testing.T) {
	var made atomic.Int32
	p := pool.New(func() *object { made.Add(1); return &object{} })
	for range 1000 {
		l := p.Get()
		l.Value().n++
		require.True(t, l.Release())
	}
	if !testgate.Race {
		assert.Less(t, made.Load(), int32(100))
	}
}

func TestMisuseOfNew(t *testing.T) {
	assert.PanicsWithValue(t, "pool: New takes at most one PoolOptions", func() { pool.New(newObject, pool.PoolOptions[object]{}, pool.PoolOptions[object]{}) })
	assert.PanicsWithValue(t, "pool: New: the function that makes objects is nil", func() { pool.New[object](nil) })
	assert.PanicsWithValue(t, "pool: Get: the function given to New returned nil",
		func() { pool.New(func() *object { return nil }).Get() })
}

func TestAnObjectIsReleasedOnce(t *testing.T) {
	for _, level := range []pool.Level{pool.LevelOff, pool.LevelSample, pool.LevelCheck} {
		p := pool.New(newObject, pool.PoolOptions[object]{Level: level})
		for range 50 {
			l := p.Get()
			var ended atomic.Int32
			var all sync.WaitGroup
			for range 64 {
				all.Go(func() {
					if l.Release() {
						ended.Add(1)
					}
				})
			}
			all.Wait()
			require.EqualValues(t, 1, ended.Load())
		}
	}
	assert.False(t, pool.Lease[object]{}.Release())
}

func TestAStaleLeaseIsRefusedAfterReuse(t *testing.T) {
	p := pool.New(newObject)
	stale := p.Get()
	was := stale.Value()
	stale.Release()
	for range 1000 {
		now := p.Get()
		assert.Panics(t, func() { stale.Value() })
		assert.False(t, stale.Release())
		if now.Value() == was {
			return
		}
		defer now.Release()
	}
	t.Skip("the sync.Pool dropped the object")
}

func TestStaleLeaseNamesBothPlaces(t *testing.T) {
	p := pool.New(newObject, pool.PoolOptions[object]{Level: pool.LevelCheck})
	l := p.Get()
	l.Release()
	assert.Regexp(t, `^pool: Lease.Value called after the lease had ended
	acquired at \S+TestStaleLeaseNamesBothPlaces \(\S+\)
	released at \S+TestStaleLeaseNamesBothPlaces \(\S+\)$`, panicOf(t, func() { l.Value() }))
	assert.Equal(t, "pool: Lease.Value called on the zero Lease: get one from Pool.Get", panicOf(t, func() { pool.Lease[object]{}.Value() }))
}

func TestResetIsWhenTheLeaseEnds(t *testing.T) {
	p := pool.New(newObject, pool.PoolOptions[object]{Reset: func(o *object) { *o = object{} }})
	l := p.Get()
	user := &[64]byte{1}
	gone := weak.Make(user)
	l.Value().user = user
	user = nil
	object := l.Value() // as idle objects are held
	l.Release()
	eventually(t, func() bool { return gone.Value() == nil })
	runtime.KeepAlive(object)
}

func TestWithoutResetAnIdleObjectHolds(t *testing.T) {
	// The leaky counterpart.
	p := pool.New(newObject)
	l := p.Get()
	user := &[64]byte{1}
	held := weak.Make(user)
	l.Value().user = user
	user = nil
	object := l.Value()
	l.Release()
	runtime.GC()
	assert.NotNil(t, held.Value())
	runtime.KeepAlive(object)
}

func TestKeepRefuses(t *testing.T) {
	reset := 0
	p := pool.New(func() *bytes.Buffer { return new(bytes.Buffer) },
		pool.PoolOptions[bytes.Buffer]{
			Keep:  func(b *bytes.Buffer) bool { return b.Cap() <= 64<<10 },
			Reset: func(b *bytes.Buffer) { reset++; b.Reset() },
		})
	large := make([]byte, mib)
	for range 20 {
		l := p.Get()
		require.LessOrEqual(t, l.Value().Cap(), 64<<10)
		l.Value().Write(large)
		require.True(t, l.Release())
	}
	assert.Zero(t, reset, "what is not kept need not be reset")
	p.With(func(b *bytes.Buffer) { b.WriteString("small") })
	assert.Equal(t, 1, reset)
}

func TestWithDropsTheObjectOfAPanic(t *testing.T) {
	p := pool.New(newObject, pool.PoolOptions[object]{Level: pool.LevelCheck})
	var broken *object
	assert.PanicsWithValue(t, "f's own", func() {
		p.With(func(o *object) {
			broken = o
			panic("f's own")
		})
	})
	assert.Empty(t, p.Outstanding())
	for range 100 {
		p.With(func(o *object) { require.NotSame(t, broken, o) })
	}
}

func TestOutstandingObjects(t *testing.T) {
	p := pool.New(newObject, pool.PoolOptions[object]{Level: pool.LevelCheck})
	l := p.Get()
	func() { p.Get() }()
	eventually(t, func() bool {
		for _, h := range p.Outstanding() {
			if h.Lost == 1 {
				return true
			}
		}
		return false
	})
	require.Len(t, p.Outstanding(), 2)
	assert.Contains(t, p.Outstanding()[0].String(), "1 lease not released")
	l.Release()
	require.Len(t, p.Outstanding(), 1)
	assert.Contains(t, p.Outstanding()[0].String(), "1 lease not released, 1 of them lost (nothing refers to it any more), acquired at")
	assert.Contains(t, pool.New(newObject).Outstanding()[0].String(), "leases are not logged at LevelOff")
}

func TestAnUnusedTypedPoolIsCollected(t *testing.T) {
	for _, level := range []pool.Level{pool.LevelOff, pool.LevelSample, pool.LevelCheck} {
		p := pool.New(newObject, pool.PoolOptions[object]{Level: level})
		p.Get().Release()
		gone := weak.Make(p)
		p = nil
		eventually(t, func() bool { return gone.Value() == nil })
	}
}

func TestObjectsAreNeverShared(t *testing.T) {
	p := pool.New(newObject, pool.PoolOptions[object]{Level: pool.LevelSample})
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for range 1000 {
				p.With(func(o *object) {
					o.n = i
					runtime.Gosched()
					assert.Equal(t, i, o.n)
				})
			}
		})
	}
	all.Wait()
}

// A worker owns a goroutine, as encoders and interpreters do.
type worker struct{ in chan func() }

var workersRunning atomic.Int32

func newWorker() *worker {
	w := &worker{make(chan func())}
	workersRunning.Add(1)
	go func() {
		defer workersRunning.Add(-1)
		for f := range w.in {
			f()
		}
	}()
	return w
}

func (w *worker) close() { close(w.in) } // twice panics

// useWorkers leases ten workers at a time, has them work, and releases them.
func useWorkers(p *pool.Pool[worker]) {
	for range 5 {
		var held []pool.Lease[worker]
		for range 10 {
			l := p.Get()
			done := make(chan bool)
			l.Value().in <- func() { close(done) }
			<-done
			held = append(held, l)
		}
		for _, l := range held {
			l.Release()
		}
		runtime.GC()
		runtime.GC()
		runtime.GC()
	}
}

func TestDropClosesWhatTheCollectorTakes(t *testing.T) {
	for _, level := range []pool.Level{pool.LevelOff, pool.LevelSample, pool.LevelCheck} {
		workersRunning.Store(0)
		p := pool.New(newWorker, pool.PoolOptions[worker]{Drop: (*worker).close, Level: level})
		useWorkers(p)
		eventually(t, func() bool { return workersRunning.Load() == 0 })
		runtime.KeepAlive(p)

		unused := pool.New(newWorker, pool.PoolOptions[worker]{Drop: (*worker).close, Level: level})
		unused.Get().Release()
		unused = nil
		eventually(t, func() bool { return workersRunning.Load() == 0 })
	}
}

func TestWithoutDropWorkersStay(t *testing.T) {
	// The leaky counterpart.
	workersRunning.Store(0)
	var made []*worker
	p := pool.New(func() *worker { w := newWorker(); made = append(made, w); return w })
	useWorkers(p)
	runtime.GC()
	assert.NotZero(t, workersRunning.Load())
	for _, w := range made {
		w.close()
	}
	eventually(t, func() bool { return workersRunning.Load() == 0 })
}

func TestDropIsCalledOnceWithEachObject(t *testing.T) {
	for _, level := range []pool.Level{pool.LevelOff, pool.LevelSample, pool.LevelCheck} {
		var made, dropped atomic.Int32
		keep := true
		p := pool.New(func() *object { made.Add(1); return &object{} }, pool.PoolOptions[object]{
			Keep: func(*object) bool { return keep },
			Drop: func(o *object) {
				o.n++
				assert.Equal(t, 1, o.n)
				dropped.Add(1)
			},
			Level: level,
		})
		p.Get().Release()
		keep = false
		p.Get().Release() // refused by Keep
		assert.NotZero(t, dropped.Load())
		keep = true
		before := dropped.Load()
		assert.Panics(t, func() { p.With(func(*object) { panic("f's own") }) })
		assert.Equal(t, before+1, dropped.Load(), "left in a panic")
		for range 20 {
			l := p.Get()
			runtime.GC() // must not drop a leased object, whose earlier idle state is collected
			require.Zero(t, l.Value().n)
			l.Release()
		}
		eventually(t, func() bool { return dropped.Load() == made.Load() })
	}
}

// The state of an object whose Keep or Reset panics is unknown. It is not reused, and Drop closes
// it.
func TestAnObjectWhoseReleasePanicsIsDropped(t *testing.T) {
	for _, level := range []pool.Level{pool.LevelOff, pool.LevelSample, pool.LevelCheck} {
		for name, o := range map[string]pool.PoolOptions[worker]{
			"Keep panics":              {Keep: func(*worker) bool { panic("keep's own") }},
			"Reset panics":             {Reset: func(*worker) { panic("reset's own") }},
			"Reset ends its goroutine": {Reset: func(*worker) { runtime.Goexit() }},
		} {
			workersRunning.Store(0)
			o.Drop, o.Level = (*worker).close, level
			p := pool.New(newWorker, o)
			for _, release := range []func(){
				func() { p.Get().Release() },
				func() { p.With(func(*worker) {}) },
			} {
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer func() { recover() }()
					release()
				}()
				<-done
			}
			eventually(t, func() bool { return workersRunning.Load() == 0 })
			if level == pool.LevelCheck {
				assert.Empty(t, p.Outstanding(), name)
			}
		}
	}
}

func TestALostObjectIsNotDropped(t *testing.T) {
	// It may be in use: only the lease was lost.
	for _, level := range []pool.Level{pool.LevelOff, pool.LevelSample, pool.LevelCheck} {
		var dropped sync.Map
		p := pool.New(newWorker, pool.PoolOptions[worker]{Level: level, Drop: func(w *worker) {
			dropped.Store(w, true)
			w.close()
		}})
		p.Get().Release()
		w := p.Get().Value() // mostly the same object, which was idle
		for range 10 {
			runtime.GC()
			runtime.Gosched()
		}
		_, was := dropped.Load(w) // under -race the first object may be another one, and go
		assert.False(t, was)
		w.close()
	}
}

// An object may refer to its own lease, to release itself. It is dropped nevertheless, and if its
// lease is lost the collector takes it.
func TestAnObjectThatKnowsItsLeaseIsCollected(t *testing.T) {
	type conn struct{ lease pool.Lease[conn] }
	for _, level := range []pool.Level{pool.LevelOff, pool.LevelSample, pool.LevelCheck} {
		var made, dropped atomic.Int32
		p := pool.New(func() *conn { made.Add(1); return new(conn) },
			pool.PoolOptions[conn]{Level: level, Drop: func(*conn) { dropped.Add(1) }})
		for range 3 {
			l := p.Get()
			l.Value().lease = l
			l.Value().lease.Release()
		}
		eventually(t, func() bool { return dropped.Load() == made.Load() })

		lost := func() weak.Pointer[conn] {
			l := p.Get()
			l.Value().lease = l
			return weak.Make(l.Value())
		}()
		eventually(t, func() bool { return lost.Value() == nil })
		assert.Equal(t, made.Load()-1, dropped.Load(), "a lost object may be in use")
	}
}
