// Package dumptest writes small heap dumps for tests.
package dumptest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

const (
	// Size of each object.
	Size = 1024
	base = 0xc000000000
	bss  = 0x600000
	end  = base + 1<<32
)

// Addr is the address of object i.
func Addr(i int) uint64 { return base + uint64(i)*Size }

// A Writer writes one dump.
type Writer struct{ b bytes.Buffer }

func (w *Writer) uint(vs ...uint64) {
	for _, v := range vs {
		w.b.Write(binary.AppendUvarint(nil, v))
	}
}

func (w *Writer) string(s string) {
	w.uint(uint64(len(s)))
	w.b.WriteString(s)
}

// Header begins a dump.
func (w *Writer) Header() {
	w.b.WriteString("go1.7 heap dump\n")
	w.uint(6, 0, 8, base, end)
	w.string("amd64")
	w.string("go1.26")
	w.uint(1)
}

// Object writes object i, which refers to others. Later references than fit are dropped.
func (w *Writer) Object(i int, to []int) {
	w.uint(1, Addr(i))
	w.memory(to, Size/8)
}

// Sized writes object i with another size, in words. A page of 8 objects has one size.
func (w *Writer) Sized(i, words int, to []int) {
	w.uint(1, Addr(i))
	w.memory(to, words)
}

// Roots writes the segments of variables, which refer to objects.
func (w *Writer) Roots(to []int) {
	w.uint(12, bss-8)
	w.memory(nil, 1)
	w.uint(13, bss)
	w.memory(to, len(to))
}

func (w *Writer) memory(to []int, words int) {
	to = to[:min(len(to), words)]
	w.uint(uint64(words) * 8)
	contents := make([]byte, words*8)
	for k, o := range to {
		binary.LittleEndian.PutUint64(contents[8*k:], Addr(o))
	}
	w.b.Write(contents)
	for k := range to {
		w.uint(1, uint64(8*k))
	}
	w.uint(0)
}

// Rest writes one record of every other kind. Object 0 is what they refer to.
func (w *Writer) Rest() {
	w.uint(2)
	w.string("a root")
	w.uint(Addr(0))
	w.uint(3, 0x500000, 8)
	w.string("example.com/pkg.T")
	w.uint(1)
	w.uint(8, 0x500100, 0x500000) // itab
	w.goroutine()
	w.uint(7, Addr(0), Addr(0), 0x400000, 0, 0)
	w.uint(11, Addr(0), Addr(0), 0x400000, 0, 0)
	w.uint(9, 1, 2, 3)
	w.uint(10)
	w.uint(make([]uint64, 24+256+1)...)
	w.uint(16, 77, Size, 1)
	w.string("example.com/pkg.F")
	w.string("/src/pkg/f.go")
	w.uint(12, 10, 3)
	w.uint(17, Addr(0), 77)
}

func (w *Writer) goroutine() {
	const g = base + 1<<20
	w.uint(4, g, 0x1000, 1, 0x400000, 4, 0, 0, 123)
	w.string("chan receive")
	w.uint(Addr(0), 0, 0, 0)
	w.uint(5, 0x1000, 0, 0, 16)
	frame := make([]byte, 16)
	binary.LittleEndian.PutUint64(frame[8:], Addr(0))
	w.b.Write(frame)
	w.uint(0x400000, 0x400010, 0x400010)
	w.string("example.com/pkg.F")
	w.uint(1, 8, 0)
	w.uint(14, 0x2000, g, 0x1000, 0x400010, Addr(0), 0x400000, 0)
	w.uint(15, 0x3000, g, 0x500000, Addr(0), 0, 0)
}

// End ends a dump.
func (w *Writer) End() { w.uint(0) }

// Bytes is what was written.
func (w *Writer) Bytes() []byte { return w.b.Bytes() }

// Read reads what was written.
func (w *Writer) Read(t testing.TB) *heapdump.Dump {
	d, err := heapdump.Read(bytes.NewReader(w.Bytes()), int64(w.b.Len()), nil)
	require.NoError(t, err)
	return d
}
