// Package scratch has the one buffer of a decode loop.
//
// Each message replaces the last one in the same memory, for a connection's whole life:
//
//	var b scratch.Buffer
//	for {
//		if err := b.ReadFull(conn, 4); err != nil {
//			return err
//		}
//		n := int(binary.BigEndian.Uint32(b.View(0, 4).Bytes()))
//		if err := b.ReadFull(conn, n); err != nil {
//			return err
//		}
//		decode(b.View(0, b.Len()).Bytes())
//	}
//
// # Leak
//
// A slice that grows to the largest message keeps that memory for as long as the connection lives:
// one message of 10 MiB on each of 10,000 connections takes 100 GiB. A Buffer looks at every 64th
// message whether it has more than four times the memory that the messages since the last look
// needed, and drops it. So a large message's memory is dropped after 65 to 128 small messages.
// While no message arrives nothing is dropped. Also, a field that is decoded in place and used
// after the next message has arrived has bytes of the wrong message. A Buffer refuses such an old
// [View].
// TestOneLargeMessageDoesNotStay, TestWhenTheMemoryOfALargeMessageGoes and
// TestAViewEndsWithItsContents prove it.
package scratch

import (
	"fmt"
	"io"
)

// After every lookEvery contents a Buffer looks whether its memory is more than shrinkAt times what
// they needed.
const (
	lookEvery   = 64
	shrinkAt    = 4
	smallest    = 512      // bytes it keeps in any case
	trustedHint = 64 << 10 // bytes that are allocated because a length says so
)

// A Buffer has the contents of one message. The next contents replace them in the same memory.
// Memory beyond four times what the contents need is dropped after 65 to 128 of them. The zero
// Buffer is empty and ready. It has one owner: it is not safe for concurrent use, and must not be
// copied.
type Buffer struct {
	data   []byte // length: the contents. capacity: the memory
	gen    uint64 // how many contents there were
	needed int    // the most that contents needed since the last look
	looks  int
}

// A View is a part of the contents of a [Buffer]. It ends with the next Set, ReadFull or Reset.
type View struct {
	b    *Buffer
	gen  uint64
	i, j int
}

// Set makes a copy of src the contents. Earlier views end.
func (b *Buffer) Set(src []byte) {
	b.next(len(src))
	b.data = append(b.data, src...)
}

// ReadFull makes exactly n bytes from r the contents. Earlier views end. n may come from the
// message itself: no more than 64 KiB are allocated before bytes have arrived. It returns [io.EOF]
// if r ended before the first byte, and [io.ErrUnexpectedEOF] if it ended later; what was read is
// the contents. A negative n is an error.
func (b *Buffer) ReadFull(r io.Reader, n int) error {
	if n < 0 {
		return fmt.Errorf("scratch: ReadFull: the length %d is negative", n)
	}
	b.next(min(n, trustedHint))
	for len(b.data) < n {
		b.room(min(n, max(2*len(b.data), trustedHint)))
		got, err := io.ReadFull(r, b.data[len(b.data):min(n, cap(b.data))])
		b.data = b.data[:len(b.data)+got]
		b.needed = max(b.needed, len(b.data))
		if err == io.EOF && len(b.data) > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// View returns the contents from i to j. It panics if the contents end before j.
func (b *Buffer) View(i, j int) View {
	_ = b.data[:len(b.data):len(b.data)][i:j]
	return View{b, b.gen, i, j}
}

// Reset empties the contents. Earlier views end.
func (b *Buffer) Reset() { b.next(0) }

// Len returns how many bytes the contents have.
func (b *Buffer) Len() int { return len(b.data) }

// Bytes returns the view's bytes, which may be written to. It panics if the view has ended. The
// slice itself is not refused later: do not use it longer than the view.
func (v View) Bytes() []byte {
	if v.b == nil {
		panic("scratch: View.Bytes called on the zero View: get one from Buffer.View")
	}
	if v.gen != v.b.gen {
		panic(fmt.Sprintf("scratch: View.Bytes: the view is of contents %d and the Buffer has contents %d: take views again after Set, ReadFull or Reset", v.gen, v.b.gen))
	}
	return v.b.data[v.i:v.j:v.j]
}

// next begins new contents of about n bytes.
func (b *Buffer) next(n int) {
	b.gen++
	b.needed = max(b.needed, n)
	if b.looks++; b.looks == lookEvery {
		if cap(b.data) > shrinkAt*max(b.needed, smallest) {
			b.data = nil
		}
		b.looks, b.needed = 0, n
	}
	b.data = b.data[:0]
	b.room(n)
}

// room makes the capacity n at least.
func (b *Buffer) room(n int) {
	if n > cap(b.data) {
		b.data = append(make([]byte, 0, max(n, smallest)), b.data...)
	}
}
