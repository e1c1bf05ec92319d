package goruntime

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/leaksafe/leaksafe/leakcheck/internal/process"
)

// reading is memory with an error that stays: after the first failure everything reads as zero, so
// that code need not ask after each word. Whoever starts something new takes the error.
type reading struct {
	mem     process.Memory
	err     error
	scratch [64]byte
}

func (r *reading) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// take returns the error and forgets it.
func (r *reading) take() error {
	err := r.err
	r.err = nil
	return err
}

var zeros [64]byte

// small reads up to 64 bytes, valid until the next read.
func (r *reading) small(addr uint64, n int) []byte {
	if r.err == nil {
		b, err := r.mem.View(addr, n, r.scratch[:])
		if err == nil {
			return b
		}
		r.err = err
	}
	return zeros[:n]
}

func (r *reading) u64(addr uint64) uint64 { return binary.LittleEndian.Uint64(r.small(addr, 8)) }
func (r *reading) u32(addr uint64) uint32 { return binary.LittleEndian.Uint32(r.small(addr, 4)) }
func (r *reading) u8(addr uint64) uint8   { return r.small(addr, 1)[0] }

// bytes reads n bytes, at most max, into memory of their own.
func (r *reading) bytes(addr, n, limit uint64) []byte {
	if n > limit {
		r.fail("%d bytes at %#x are more than there can be", n, addr)
	}
	if r.err != nil || n == 0 {
		return nil
	}
	out := make([]byte, n)
	b, err := r.mem.View(addr, int(n), out)
	if err != nil {
		r.err = err
		return nil
	}
	copy(out, b)
	return out
}

const maxName = 64 << 10

// cstring reads a string that ends with a zero byte.
func (r *reading) cstring(addr uint64) string {
	var out []byte
	for r.err == nil && len(out) < maxName {
		// A piece must not reach over a border of pages: what follows need not be mapped.
		n := int(64 - addr%64)
		for _, c := range r.small(addr, n) {
			if c == 0 {
				return string(out)
			}
			out = append(out, c)
		}
		addr += uint64(n)
	}
	return ""
}

// gostring reads the string whose header is at addr.
func (r *reading) gostring(addr uint64) string {
	return string(r.bytes(r.u64(addr), r.u64(addr+8), maxName))
}

// A slice is a header.
type slice struct{ at, len uint64 }

func (r *reading) slice(addr uint64) slice { return slice{r.u64(addr), r.u64(addr + 8)} }

// bit tells whether bit i is set.
func bit(b []byte, i uint64) bool { return i/8 < uint64(len(b)) && b[i/8]>>(i%8)&1 != 0 }

// anyBit tells whether one is.
func anyBit(b []byte) bool {
	for _, x := range b {
		if bits.OnesCount8(x) > 0 {
			return true
		}
	}
	return false
}
