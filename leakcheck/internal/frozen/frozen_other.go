//go:build !linux || !(amd64 || arm64)

package frozen

import "time"

// A Copy is the memory of this process at one moment: there is none on this system.
type Copy struct{}

// Take returns [ErrUnsupported].
func Take(time.Duration, func(copy func())) (*Copy, error) { return nil, ErrUnsupported }

// PID is the number of the process that is the copy.
func (*Copy) PID() int { return 0 }

// Stood is how long the kernel took to make the copy.
func (*Copy) Stood() time.Duration { return 0 }

// Read fills b with the memory at an address.
func (*Copy) Read(uint64, []byte) error { return ErrUnsupported }

func (*Copy) cached() []block { return make([]block, blocks) }

// Close ends the copy.
func (*Copy) Close() {}
