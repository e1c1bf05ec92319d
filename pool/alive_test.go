package pool_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

// beside calls f from many goroutines, beside garbage collections, until the time is up. f returns
// whether all was right. The collector may take a block or an object while one of its methods still
// runs, from the last use of its pointer on: its cleanup must find nothing left to do then. Without
// that, the first test fails in about 2 s under -race, the second in one run of ten.
func beside(t *testing.T, goroutines int, f func() bool) {
	testgate.Seconds(t)
	var failed, stop atomic.Bool
	time.AfterFunc(3*time.Second, func() { stop.Store(true) })
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for !stop.Load() && !failed.Load() {
				if !f() {
					failed.Store(true)
				}
			}
		})
	}
	all.Go(func() {
		for !stop.Load() && !failed.Load() {
			runtime.GC()
		}
	})
	all.Wait()
	if failed.Load() {
		t.Error("a cleanup took what was still in use")
	}
}

// The cleanup of a block that was collected clears its memory, which must not have moved on to
// another block by then.
func TestASecretSliceBesideCollections(t *testing.T) {
	p := pool.NewBytes(pool.Options{Secret: true, Level: pool.LevelCheck})
	s := p.Slices(300)
	beside(t, 200, func() (ok bool) {
		defer func() { ok = recover() == nil }() // Get panics if idle memory has changed
		b := s.Get()
		b[0] = 's'
		s.Put(b)
		return true
	})
}

func TestALeasedObjectIsNotDroppedBesideCollections(t *testing.T) {
	type file struct{ closed atomic.Bool }
	p := pool.New(func() *file { return new(file) }, pool.PoolOptions[file]{
		Drop: func(f *file) { f.closed.Store(true) }, Level: pool.LevelCheck,
	})
	beside(t, 8, func() bool {
		l := p.Get()
		defer l.Release()
		return !l.Value().closed.Load()
	})
}
