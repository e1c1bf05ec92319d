package ctxreq

import "unsafe"

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
