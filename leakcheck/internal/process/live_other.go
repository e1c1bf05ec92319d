//go:build !linux || (!amd64 && !arm64)

package process

import (
	"fmt"
	"runtime"
)

// A Process is a running process whose memory can be read. There is none on this system.
type Process struct{}

// Open fails: this system is not supported.
func Open(pid int) (*Process, error) {
	return nil, fmt.Errorf("process: cannot read the memory of process %d: -pid needs Linux on amd64 or arm64, and this is %s/%s; "+
		"let the process write its own dump with runtime/debug.WriteHeapDump, or with package leakcheck/watch", pid, runtime.GOOS, runtime.GOARCH)
}

func (*Process) Exe() string                                     { return "" }
func (*Process) Entry() (uint64, error)                          { return 0, nil }
func (*Process) Close()                                          {}
func (*Process) View(uint64, int, []byte) ([]byte, error)        { return nil, ErrUnmapped }
func (*Process) Now() *Blocks                                    { return nil }
func (*Process) Reserve(uint64, *Blocks, string) (string, error) { return "", nil }
func (*Process) Stop() error                                     { return nil }
func (*Process) Threads() []Thread                               { return nil }
func (*Process) Copy([]Range) error                              { return nil }
func (*Process) Continue()                                       {}

// Hurry does nothing.
func Hurry() (end func()) { return func() {} }
