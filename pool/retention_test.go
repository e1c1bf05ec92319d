package pool_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

// What the heap retains is measured in separate processes. If this variable is set, TestMain runs
// such a program instead of the tests.
const programEnv = "POOL_TEST_PROGRAM"

var programs = map[string]func(){
	"mixed": func() {
		p := pool.NewBytes(pool.Options{})
		mixed(func(n int) func() {
			b := p.Get(n)
			touch(b.Bytes())
			return func() { b.Release() }
		}, func() bool { return p.Stats().Idle > 0 })
	},
	"mixed, sync.Pool": func() {
		p := sync.Pool{New: func() any { return new([]byte) }}
		rounds := 0
		mixed(func(n int) func() {
			b := p.Get().(*[]byte)
			if cap(*b) < n {
				*b = make([]byte, n)
			}
			touch((*b)[:n])
			return func() { p.Put(b) }
		}, func() bool { rounds++; return rounds < 5 })
	},
	"burst": func() {
		p := pool.NewBytes(pool.Options{MaxIdleBytes: 8 * mib})
		all := make([]pool.Buffer, 256)
		peak(func(i int) { all[i] = p.Get(mib) }, func(i int) { all[i].Release() })
		runtime.KeepAlive(p)
	},
	"small burst":                     func() { idle(64<<10, func() {}) },
	"large burst":                     func() { idle(65<<10, func() {}) },
	"small burst beside a collection": func() { besideCollection(64 << 10) },
	"large burst beside a collection": func() { besideCollection(65 << 10) },
	"burst beside light traffic": func() {
		p := pool.NewBytes(pool.Options{})
		stop := make(chan bool)
		defer close(stop)
		go func() {
			for { // a health check leases a small buffer, which is dropped again and again
				select {
				case <-stop:
					return
				case <-time.After(400 * time.Millisecond):
					p.Get(1000).Release()
				}
			}
		}()
		idle(mib, func() {})
	},
	"burst, sync.Pool": func() {
		p := sync.Pool{New: func() any { b := make([]byte, mib); return &b }}
		all := make([]*[]byte, 256)
		peak(func(i int) { all[i] = p.Get().(*[]byte) }, func(i int) { p.Put(all[i]); all[i] = nil })
	},
}

// mixed runs 400,000 operations, 1 in 100 with 1 MiB and the others with 1 KiB, then small ones
// only while more returns true, then one collection.
func mixed(use func(n int) (release func()), more func() bool) {
	runtime.GC()
	before := memory()
	traffic(400_000, 100, use)
	perOp := (memory().TotalAlloc - before.TotalAlloc) / 400_000
	for end := time.Now().Add(30 * time.Second); more() && time.Now().Before(end); {
		traffic(40_000, 0, use)
	}
	runtime.GC()
	fmt.Println(perOp, grown(before))
	runtime.KeepAlive(use)
}

func traffic(operations, every int, use func(n int) func()) {
	const goroutines = 64
	var all sync.WaitGroup
	for g := range uint64(goroutines) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(g, 1))
			for range operations / goroutines {
				n := 1024
				if every > 0 && r.IntN(every) == 0 {
					n = mib
				}
				release := use(n)
				runtime.Gosched()
				release()
			}
		})
	}
	all.Wait()
}

func touch(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i]++
	}
}

// peak holds 256 leases at once, releases them, and collects once.
func peak(lease, release func(i int)) {
	runtime.GC()
	before := memory()
	for i := range 256 {
		lease(i)
	}
	for i := range 256 {
		release(i)
	}
	runtime.GC()
	fmt.Println(0, grown(before))
	runtime.KeepAlive(lease)
}

// besideCollection makes a burst whose buffers come back while a collection runs that has marked
// them, and so retains them.
func besideCollection(size int) {
	type link struct{ next *link }
	var list *link // the collector marks it link by link
	for range 4 << 20 {
		list = &link{list}
	}
	idle(size, func() {
		go runtime.GC()
		time.Sleep(20 * time.Millisecond) // it has begun
	})
	runtime.KeepAlive(list)
}

// idle makes a burst of 256 MiB beside a heap of 48 MiB. It calls full before the buffers are
// released, and does nothing for a minute at most afterwards. It prints by how many bytes the
// resident memory is larger than before and a tenth, and the heap's growth.
func idle(size int, full func()) {
	ballast := make([]byte, 48*mib)
	touch(ballast)
	p := pool.NewBytes(pool.Options{})
	burst(p, 4, size)
	runtime.GC()
	before, heap := resident(), memory()
	all := make([]pool.Buffer, 256*mib/size)
	for i := range all {
		all[i] = p.Get(size)
		touch(all[i].Bytes())
	}
	full()
	for i := range all {
		all[i].Release()
	}
	all = nil
	for end := time.Now().Add(time.Minute); resident() > before+before/10 && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Println(max(0, resident()-before-before/10), grown(heap))
	runtime.KeepAlive(ballast)
	runtime.KeepAlive(p)
}

// resident returns the process's resident memory, in bytes.
func resident() int {
	var all, resident int
	text, _ := os.ReadFile("/proc/self/statm")
	fmt.Sscan(string(text), &all, &resident)
	return resident * os.Getpagesize()
}

func memory() (m runtime.MemStats) {
	runtime.ReadMemStats(&m)
	return m
}

func grown(before runtime.MemStats) int { return int(memory().HeapAlloc) - int(before.HeapAlloc) }

// process returns what a program printed: bytes allocated an operation, and how
// much the heap has grown.
func process(t *testing.T, name string) (perOp, heap int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), programEnv+"="+name)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	_, err = fmt.Sscan(string(out), &perOp, &heap)
	require.NoError(t, err, "%s", out)
	t.Logf("%s: %d B, heap grown by %.1f MiB", name, perOp, float64(heap)/mib)
	return perOp, heap
}

func TestTheHeapAfterMixedTraffic(t *testing.T) {
	testgate.Seconds(t)
	if testgate.Race {
		t.Skip("measures the heap, of which sync.Pool drops a part under -race")
	}
	perOp, heap := process(t, "mixed")
	assert.LessOrEqual(t, heap, 2*mib)
	assert.LessOrEqual(t, perOp, 2000, "the more, the busier the machine: what is not needed for 0.1 s goes")

	_, heap = process(t, "mixed, sync.Pool")
	assert.Greater(t, heap, 2*mib, "the leaky counterpart: small operations hold large buffers")
}

func TestTheHeapAfterABurst(t *testing.T) {
	if testgate.Race {
		t.Skip("measures the heap, of which sync.Pool drops a part under -race")
	}
	_, heap := process(t, "burst")
	assert.LessOrEqual(t, heap, (8+2)*mib, "MaxIdleBytes and 2 MiB")

	_, heap = process(t, "burst, sync.Pool")
	assert.Greater(t, heap, 200*mib, "the leaky counterpart")
}

// After a burst of 256 MiB, of buffers of 64 KiB and of 65 KiB, nothing happens: no traffic, no
// collection, or only one that had begun before the buffers were dropped and so retains them, or
// light traffic. The heap and the resident memory fall by themselves.
func TestMemoryGoesBackToTheSystemWithoutTraffic(t *testing.T) {
	if testgate.Race || resident() == 0 {
		t.Skip("measures resident memory, which needs /proc and no race detector")
	}
	testgate.Seconds(t)
	for _, name := range []string{
		"small burst", "large burst", "small burst beside a collection", "large burst beside a collection", "burst beside light traffic",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits
			rss, heap := process(t, name)
			assert.Zero(t, rss, "more than a tenth above what was resident before")
			assert.LessOrEqual(t, heap, 2*mib)
		})
	}
}

func TestACollectionIsDue(t *testing.T) {
	const much = 1 << 30
	assert.True(t, pool.CollectionDue(much, 0))
	assert.True(t, pool.CollectionDue(much, much/16), "light traffic goes on")
	assert.False(t, pool.CollectionDue(much, much/16+1), "the burst goes on")
	assert.False(t, pool.CollectionDue(4*mib-1, 0), "too little")
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	assert.False(t, pool.CollectionDue(much, 0), "GOGC=off")
}
