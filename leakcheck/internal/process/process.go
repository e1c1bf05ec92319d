// Package process reads the memory of another process, or of a core file, without its help.
//
// A live process is first stopped, then what must be consistent is copied at the speed of memory,
// then it runs again (see [Open], [Process.Stop] and [Process.Copy]). What never changes while a
// process runs, such as its code and types, may be read at any time.
package process

import (
	"errors"
	"fmt"
)

// Memory is the memory of a process by its own addresses. Implementations need not be safe for
// concurrent use.
type Memory interface {
	// View returns the n bytes at addr. The slice may be scratch, or memory of the implementation:
	// it is valid until the next call, and must not be modified.
	View(addr uint64, n int, scratch []byte) ([]byte, error)
}

// ErrUnmapped is wrapped by the error for an address at which the process has no memory.
var ErrUnmapped = errors.New("no such memory")

func unmapped(addr uint64, n int) error {
	return fmt.Errorf("process: %w: %d bytes at %#x", ErrUnmapped, n, addr)
}

// A Range is a piece of memory. End is the first address after it.
type Range struct{ Start, End uint64 }

// A Thread is a thread of a process that stands still.
type Thread struct {
	ID     uint64 // as the process itself knows it, in its own PID namespace
	PC, SP uint64
	FP     uint64   // the frame pointer
	Other  []uint64 // the other registers
}

// grown returns a slice of n bytes, b itself where it is large enough.
func grown(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	return make([]byte, n)
}
