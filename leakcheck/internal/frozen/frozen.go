// Package frozen takes a frozen copy of the memory of this process, so that the memory can be read
// while the program runs on.
//
// The copy is a child process made by clone(2), as fork makes one: the kernel copies the page
// tables, and a page only when somebody writes to it. The child runs a few system calls and then
// sleeps. It executes no Go code that may allocate, grow its stack or be scheduled, and none of the
// runtime's threads but one exists in it.
//
// The program stands still while the kernel copies the page tables: about as long as a process of
// this size needs to fork. Pages that the program writes to while the copy exists count twice
// against a memory limit, so a copy lives for a bounded time, there is one at a time, and none is
// taken near the limit.
package frozen

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnsupported is wrapped by the error where the system cannot take a copy: it is not Linux on
// amd64 or arm64, its kernel is older than 5.9, or a sandbox forbids it.
var ErrUnsupported = errors.New("frozen: this system takes no frozen copy")

// ErrMemory is wrapped by the error when a copy could take the process over its memory limit.
var ErrMemory = errors.New("frozen: too close to the memory limit for a frozen copy")

// ErrBusy is returned while another copy exists.
var ErrBusy = errors.New("frozen: another frozen copy of this process is in use")

// MaxLife is the longest that a copy lives.
const MaxLife = 10 * time.Minute

// room is what must be free below the memory limit: an eighth of what is resident, which a busy
// program may write to while the copy is read, and at least 8 MiB.
func room(resident int64) int64 { return max(resident/8, 8<<20) }

// checkRoom refuses a copy that could take the process over its limit.
func checkRoom(m memory) error {
	if m.limit <= 0 || m.used <= 0 {
		return nil
	}
	if free, need := m.limit-m.used, room(m.resident); free < need {
		return fmt.Errorf("%w: %d MiB are free of %d MiB, and %d MiB are needed", ErrMemory, max(free, 0)>>20, m.limit>>20, need>>20)
	}
	return nil
}

// A memory is how much the process, or the group that it is in, uses and may use, in bytes; 0 for
// unknown.
type memory struct{ limit, used, resident int64 }
