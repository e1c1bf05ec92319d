package ctxreq

import (
	"time"
	"unsafe"
)

// Patient raises the default limits, so that a busy machine fails no test.
func Patient() { defaultGrace, defaultCleanup = time.Minute, time.Minute }

// ErrRetained is what the probe reports.
var ErrRetained = errRetained

// HandleSize is what a kept context keeps.
const HandleSize = unsafe.Sizeof(Scope{})

// Registered is how many states c's shards hold, at most a thousand each.
func (c *Config) Registered() (n int) {
	for i := range c.active {
		limit := n + 1000
		for st := c.active[i].first; st != nil && n < limit; st = st.next {
			n++
		}
	}
	return n
}

// RestoreKeys returns a function that forgets the keys made meanwhile.
func RestoreKeys() func() {
	all, carry := registry.all.Load(), registry.carry.Load()
	return func() {
		registry.all.Store(all)
		registry.carry.Store(carry)
	}
}
