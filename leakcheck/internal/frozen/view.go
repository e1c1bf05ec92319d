package frozen

import (
	"encoding/binary"
	"errors"
	"os"
)

const (
	blockSize = 64 << 10
	blocks    = 64
)

// A block is a piece of the copy that was read: small structures lie close together.
type block struct {
	addr  uint64
	bytes []byte
	ok    bool
}

// View returns the n bytes at addr, in scratch where that is large enough. A hundred small reads
// cost one system call.
func (c *Copy) View(addr uint64, n int, scratch []byte) ([]byte, error) {
	if n < 0 || addr+uint64(n) < addr {
		return nil, errors.New("frozen: no such memory")
	}
	out := scratch[:0]
	if cap(out) < n {
		out = make([]byte, n)
	}
	out = out[:n]
	off := addr % blockSize
	if n > blockSize/4 || off+uint64(n) > blockSize {
		return out, c.Read(addr, out)
	}
	b := &c.cached()[addr/blockSize%blocks]
	if !b.ok || b.addr != addr-off {
		if b.bytes == nil {
			b.bytes = make([]byte, blockSize)
		}
		b.addr = addr - off
		b.ok = c.Read(b.addr, b.bytes) == nil
	}
	if !b.ok { // not all of it is mapped
		return out, c.Read(addr, out)
	}
	copy(out, b.bytes[off:])
	return out, nil
}

// Entry is where the executable's entry point is.
func (c *Copy) Entry() (uint64, error) {
	auxv, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return 0, err
	}
	const atEntry = 9
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		if binary.NativeEndian.Uint64(auxv) == atEntry {
			return binary.NativeEndian.Uint64(auxv[8:]), nil
		}
	}
	return 0, errors.New("frozen: the auxiliary vector has no entry point")
}
