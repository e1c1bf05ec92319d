package pool

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// Dropped memory is free only after a garbage collection, and without traffic the next collection
// may be two minutes away. A collector runs one itself if much was dropped and few collections
// followed. It gives the pages back to the system. It waits for the end of a burst, not for
// silence: a health check drops a small buffer every few seconds.
const (
	collectAfter = 5 * time.Second // in which little was dropped
	collectFrom  = 4 << 20         // bytes dropped
	collectShare = 16              // and at least this part of the heap: 1/16
	littleShare  = 16              // little is at most this part of what was dropped: 1/16
)

// enough is how many collections make dropped memory the runtime's own business. The first may have
// begun before the drop, and then it has marked the memory and retains it. The second frees it. The
// runtime returns no pages that were in use at the end of the last collection, so it takes a third.
const enough = 3

// collect is global, since the heap is one for all pools.
var collect collector

type collector struct {
	mu     sync.Mutex
	bytes  [enough]int // dropped, by how many collections have ended since
	cycles uint64      // how many collections have ended
	recent int         // bytes dropped since the timer was started
	armed  time.Time   // when that was
}

// dropped counts memory that a pool has dropped.
func (c *collector) dropped(n int) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collected(read())
	c.bytes[0] += n
	c.recent += n
	if c.sum() >= collectFrom && !within(2*collectAfter, c.armed, time.Now()) {
		c.arm()
	}
}

// collected forgets memory that enough collections have followed. It runs with mu held.
func (c *collector) collected(now reading) {
	for range min(now.cycles-c.cycles, enough) {
		copy(c.bytes[1:], c.bytes[:])
		c.bytes[0] = 0
	}
	c.cycles = now.cycles
}

// sum returns how many bytes were dropped and not forgotten. It runs with mu held.
func (c *collector) sum() (n int) {
	for _, bytes := range c.bytes {
		n += bytes
	}
	return n
}

// arm starts the timer. It runs with mu held.
func (c *collector) arm() {
	c.armed, c.recent = time.Now(), 0
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
	dropped := c.sum()
	if dropped < collectFrom {
		return false
	}
	if c.recent > dropped/littleShare { // still dropping: look again
		c.arm()
		return false
	}
	if now.off || dropped < now.heap/collectShare {
		return false
	}
	c.bytes = [enough]int{} // the collection that follows frees them
	return true
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
