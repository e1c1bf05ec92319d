package ctxreq

import (
	"time"
	"unsafe"
)

// Patient raises the default limits, so that a busy machine fails no test.
func Patient() { defaultGrace, defaultCleanup = time.Minute, time.Minute }

// HandleSize is what a kept context keeps.
const HandleSize = unsafe.Sizeof(Scope{})

// RestoreKeys returns a function that forgets the keys made meanwhile.
func RestoreKeys() func() {
	all, carry := registry.all.Load(), registry.carry.Load()
	return func() {
		registry.all.Store(all)
		registry.carry.Store(carry)
	}
}
