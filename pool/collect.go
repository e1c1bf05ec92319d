package pool

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// Dropped memory is free only after a garbage collection, and without traffic the next collection
// may be two minutes away. A collector runs one itself if much was dropped and no collection
// followed, and gives the pages back to the system.
const (
	collectAfter = 5 * time.Second // with no collection since the last drop
	collectFrom  = 4 << 20         // bytes dropped
	collectShare = 16              // and at least this part of the heap: 1/16
)

// collect is global, since the heap is one for all pools.
var collect collector

type collector struct {
	mu     sync.Mutex
	bytes  int       // dropped since the last collection
	cycles uint64    // how many collections there had been then
	armed  time.Time // when the timer was started
	last   time.Time // when memory was dropped last
}

// dropped counts memory that a pool has dropped.
func (c *collector) dropped(n int) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collected(read())
	c.bytes += n
	c.last = time.Now()
	if c.bytes >= collectFrom && !within(2*collectAfter, c.armed, c.last) {
		c.arm()
	}
}

// collected forgets what was dropped before the last collection. It runs with mu held.
func (c *collector) collected(now reading) {
	if now.cycles != c.cycles {
		c.bytes, c.cycles = 0, now.cycles
	}
}

// arm starts the timer. It runs with mu held.
func (c *collector) arm() {
	c.armed = time.Now()
	time.AfterFunc(collectAfter, c.look)
}

// look collects if it is worth it.
func (c *collector) look() {
	if c.due() {
		debug.FreeOSMemory() // by itself the runtime keeps a tenth more pages than the heap had
	}
}

func (c *collector) due() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := read()
	c.collected(now)
	c.armed = time.Time{}
	if c.bytes < collectFrom {
		return false
	}
	if within(collectAfter, c.last, time.Now()) { // still dropping: look again
		c.arm()
		return false
	}
	return c.bytes >= now.heap/collectShare && !now.off
}

// A reading is what the runtime says of its collector.
type reading struct {
	cycles uint64
	heap   int
	off    bool // GOGC=off: the program wants no collection before its memory limit
}

func read() reading {
	s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return reading{s[0].Value.Uint64(), int(s[1].Value.Uint64()), s[2].Value.Uint64() == math.MaxUint64}
}
