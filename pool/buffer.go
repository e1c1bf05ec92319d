package pool

import (
	"fmt"
	"io"
	"runtime"
	"unicode/utf8"
)

// A Buffer is a lease on a byte buffer of a [Bytes]. It is a small value: all copies of it are the
// same lease, and one call of Release on any of them ends the lease for all.
//
// Release may be called at any time from any goroutine. The other methods follow the rules of a
// slice: several goroutines may read at once (Bytes, Slice, Len, Clone); a method that changes the
// Buffer, Retain included, needs it alone. After the lease has ended every method but Release and
// Format panics. The zero Buffer is a lease that has ended.
//
// A slice from Bytes, Slice or AvailableBuffer belongs to the lease until the lease ends, also when
// the Buffer has grown meanwhile. Use after that is an error that only [LevelCheck] and the race
// detector can find. Use Clone for data that you want to keep.
//
// The methods that write are the same as in [bytes.Buffer]. There is no method String, because
// contents that may be secret should not be printed by accident; fmt prints the length only.
type Buffer struct {
	h   *block
	gen uint64
}

// Release ends the lease and gives the memory back. It returns true for exactly one call among all
// copies of the Buffer. Every later call returns false and has no effect, so a deferred Release
// beside an early one is safe.
func (b Buffer) Release() bool {
	h := b.h
	if h == nil || !h.gen.CompareAndSwap(b.gen, b.gen+1) {
		return false
	}
	h.tally(b.gen)
	if s := h.pool.free.open.Load(); s != nil && h.back == directWay {
		s[h.class].Put(h)
	} else {
		h.putBack()
	}
	return true
}

// Retain returns a second lease on the same bytes, for one more receiver. Each of the two is
// released on its own, and the memory goes back to the pool after the last Release. A lease from
// Retain can be retained again. From the first Retain on the contents are shared: the methods that
// change them, and Detach, panic.
//
//	for _, s := range subscribers {
//		s.send(b.Retain()) // s releases its own
//	}
//	b.Release()
func (b Buffer) Retain() Buffer {
	s := b.own("Retain").share()
	return Buffer{s, s.gen.Load()}
}

// Bytes returns the contents. They may be written to, up to their length. The capacity ends there
// too: append copies.
func (b Buffer) Bytes() []byte {
	h := b.own("Bytes")
	return h.data[:h.n:h.n]
}

// Slice returns the contents from i to j. Its capacity ends at j.
func (b Buffer) Slice(i, j int) []byte { return b.Bytes()[i:j:j] }

// Len returns the length of the contents.
func (b Buffer) Len() int { return b.own("Len").n }

// Reset makes the length 0 and keeps the memory.
func (b Buffer) Reset() { b.writable("Reset").truncate(0) }

// Truncate makes n the length. It panics if n is negative or larger than the length.
func (b Buffer) Truncate(n int) {
	h := b.writable("Truncate")
	if n < 0 || n > h.n {
		panic(fmt.Sprintf("pool: Buffer.Truncate(%d): the length is %d", n, h.n))
	}
	h.truncate(n)
}

// Grow makes room for n more bytes, so that writing them allocates nothing. It panics if n is
// negative, or larger than any memory.
func (b Buffer) Grow(n int) {
	h := b.writable("Grow")
	if n < 0 {
		panic(fmt.Sprintf("pool: Buffer.Grow(%d): the number is negative", n))
	}
	if n > biggest-h.n {
		panic(fmt.Sprintf("pool: Buffer.Grow(%d): no memory is this large", n))
	}
	h.reserve(h.n + n)
}

// AvailableBuffer returns an empty slice of the free memory behind the contents. Append to it and
// pass the result to Write at once:
//
//	b.Write(strconv.AppendInt(b.AvailableBuffer(), i, 10))
func (b Buffer) AvailableBuffer() []byte { return b.writable("AvailableBuffer").room()[:0] }

// Write appends p. It never returns an error.
func (b Buffer) Write(p []byte) (int, error) {
	h := b.writable("Write")
	end := h.n + len(p)
	if end > len(h.data) {
		h.grow(end, p)
	} else {
		copy(h.data[h.n:], p)
	}
	h.n = end
	return len(p), nil
}

// WriteString appends s. It never returns an error.
func (b Buffer) WriteString(s string) (int, error) {
	h := b.writable("WriteString")
	n := h.n
	h.reserve(n + len(s))
	h.n += len(s)
	return copy(h.data[n:], s), nil
}

// WriteByte appends c. It never returns an error.
func (b Buffer) WriteByte(c byte) error {
	h := b.writable("WriteByte")
	h.reserve(h.n + 1)
	h.data[h.n] = c
	h.n++
	return nil
}

// WriteRune appends the UTF-8 encoding of r, and returns its length. It never returns an error.
func (b Buffer) WriteRune(r rune) (int, error) {
	b.writable("WriteRune")
	var text [utf8.UTFMax]byte
	return b.Write(utf8.AppendRune(text[:0], r))
}

// ReadFrom appends what r returns until io.EOF. After another error the bytes that came before it
// are in the Buffer. The error is io.ErrNoProgress if r returns nothing 100 times.
func (b Buffer) ReadFrom(r io.Reader) (total int64, err error) { return b.readFrom(r, 0) }

// readFrom is ReadFrom of a Reader that probably returns so many bytes.
func (b Buffer) readFrom(r io.Reader, expected int) (total int64, err error) {
	for empty := 0; empty < 100; empty++ {
		n, err := b.readOnce(r, expected)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		if n > 0 {
			empty = -1
		}
	}
	return total, io.ErrNoProgress
}

// readOnce reads into the free memory. A full buffer grows only after one more byte has arrived, so
// contents that fill a size class exactly stay in it.
func (b Buffer) readOnce(r io.Reader, expected int) (int, error) {
	h := b.writable("ReadFrom")
	room := h.room()
	probing := len(room) == 0
	if probing {
		room = h.probe[:]
		defer clear(room)
	}
	at, size := h.n, len(h.data)
	n, err := r.Read(room)
	if n < 0 || n > len(room) {
		panic(fmt.Sprintf("pool: Buffer.ReadFrom: %T.Read returned %d for a slice of %d bytes: fix the Reader", r, n, len(room)))
	}
	b.writable("ReadFrom") // r may have released the buffer
	if h.n != at || len(h.data) != size {
		panic(fmt.Sprintf("pool: Buffer.ReadFrom: %T.Read changed the Buffer that it was read into: write to another Buffer", r))
	}
	if probing && n > 0 {
		if expected > h.n && expected < 2*len(h.data) {
			h.move(expected, room[:n])
		} else {
			h.grow(h.n+n, room[:n])
		}
	}
	h.n += n
	return n, err
}

// Clone returns a copy of the contents that belongs to the caller. The lease goes on.
func (b Buffer) Clone() []byte {
	data := append([]byte{}, b.Bytes()...)
	runtime.KeepAlive(b.h) // a lost lease may be cleared
	return data
}

// Detach ends the lease and returns its contents without a copy: the memory leaves the pool and
// belongs to the caller. A short slice retains the whole memory of its size class; if that is much
// larger, use Clone and Release.
func (b Buffer) Detach() []byte {
	b.writable("Detach")
	h := b.end("Detach")
	h.tally(b.gen)
	h.pool.guard.ended(h, "detached")
	h.pool.guard.detach(h)
	h.freeOutgrown()
	if h.pool.zero {
		clear(h.data[h.n:max(h.n, h.high)])
	}
	data := h.data[:h.n:h.n]
	h.drop()
	return data
}

// Format prints "pool.Buffer(5 bytes)" for every verb, never the contents.
func (b Buffer) Format(s fmt.State, _ rune) {
	if h := b.h; h != nil && h.gen.Load() == b.gen {
		fmt.Fprintf(s, "pool.Buffer(%d bytes)", h.n)
		return
	}
	io.WriteString(s, "pool.Buffer(released)")
}

// A Writer is a pointer to the Buffer, with the same methods. Pass it to functions that take an
// [io.Writer]: converting a Buffer itself to an interface allocates 16 bytes. Create it with
// [Buffer.Writer].
type Writer struct{ Buffer }

// writersAtOnce is how many Writers are allocated together.
const writersAtOnce = 32

// Writer returns the lease's Writer, the same one at each call. It appends: use Get(0) to start
// with empty contents. The first call for a lease allocates in one of 32 leases, because a Writer
// must never be reused for a later lease.
func (b Buffer) Writer() *Writer {
	h := b.own("Writer")
	if w := h.writer; w != nil && w.gen == b.gen {
		return w
	}
	if len(h.spare) == 0 {
		h.spare = make([]Writer, writersAtOnce)
	}
	h.writer, h.spare = &h.spare[0], h.spare[1:]
	h.writer.Buffer = b
	return h.writer
}
