package pool

// SameHeader reports whether two leases, at different times, had the same header.
func SameHeader(a, b Buffer) bool { return a.h == b.h }

// SameMemory says whether b has the memory that begins at p.
func SameMemory(b Buffer, p *byte) bool { return &b.h.data[0] == p }

// Capacity returns how many bytes b's memory has.
func Capacity(b Buffer) int { return len(b.h.data) }

// Memory returns all of b's memory.
func Memory(b Buffer) []byte { return b.h.data }

const (
	DecayEvery = decayEvery
	PoisonByte = poisonByte
)

// Listed returns how many addresses p's table has.
func Listed(p *Bytes) int {
	p.lent.mu.Lock()
	defer p.lent.mu.Unlock()
	return p.lent.live
}

// Slots returns p's table: another one after each rebuild.
func Slots(p *Bytes) any { return p.lent.slots.Load() }

// TableLen returns how many slots p's table has.
func TableLen(p *Bytes) int { return len(*p.lent.slots.Load()) }

// ClassOf and ClassSize are of the size classes.
func ClassOf(n int) int       { return classOf(n) }
func ClassSize(class int) int { return classSize(class) }

// Decaying says whether p's decay has a timer.
func Decaying(p *Bytes) bool {
	p.free.mu.Lock()
	defer p.free.mu.Unlock()
	return !p.free.armed.IsZero()
}

// Remembers reports whether the collector still counts memory, after so many collections have ended
// in each of the steps between which it looked.
func Remembers(ended ...uint64) bool {
	c := collector{cycles: 7}
	c.bytes[0] = 1
	for _, n := range ended {
		c.collected(reading{cycles: c.cycles + n})
	}
	return c.sum() > 0
}

// CollectionDue says whether a collector runs a collection after so many bytes were dropped, recent
// of them since it looked last.
func CollectionDue(dropped, recent int) bool {
	c := collector{cycles: read().cycles, recent: recent}
	c.bytes[0] = dropped
	due := c.due()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = [enough]int{} // a timer that was started finds nothing
	return due
}
