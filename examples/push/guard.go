package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// A guard enforces a worker's memory limit. GOMEMLIMIT makes the collector work harder but never
// ends the process. The guard ends it when the memory that no collection frees exceeds 80 % of the
// limit.
type guard struct {
	*watch.Watcher
	stop chan struct{}
	once sync.Once
	done sync.WaitGroup
	heap int64 // the most bytes of heap objects seen
	held int64 // the most bytes that the runtime held: stacks too
}

// startGuard starts a guard. Before the guard ends the process it calls last, if set, which may add
// to the last words.
func startGuard(limit int64, last func(*words)) (*guard, error) {
	debug.SetMemoryLimit(limit)
	g := &guard{stop: make(chan struct{})}
	w, err := watch.Start(watch.Options{
		Interval: 50 * time.Millisecond,
		Limit:    limit,
		OnPressure: func(p watch.Pressure) {
			w := words{InUse: p.Used}
			w.PeakHeap, w.PeakMemory = g.peak()
			if last != nil {
				last(&w)
			}
			_ = sayLast(w)
			os.Exit(watch.ExitPressure)
		},
	})
	if err != nil {
		return nil, err
	}
	g.Watcher = w
	g.done.Go(g.measure)
	return g, nil
}

// measure keeps the highest sizes seen.
func (g *guard) measure() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	m := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	for {
		select {
		case <-g.stop:
			return
		case <-tick.C:
			metrics.Read(m)
			g.heap = max(g.heap, int64(m[0].Value.Uint64()))
			g.held = max(g.held, int64(m[1].Value.Uint64()-m[2].Value.Uint64()))
		}
	}
}

// peak ends the measuring and returns the highest sizes, in bytes. Pressure may come while the
// worker ends, and then both ask.
func (g *guard) peak() (heap, held int64) {
	g.once.Do(func() { close(g.stop) })
	g.done.Wait()
	return g.heap, g.held
}
