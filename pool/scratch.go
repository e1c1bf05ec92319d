package pool

import (
	"fmt"
	"io"
)

// After every lookEvery contents a Scratch looks whether its memory is more than
// shrinkAt times what they needed.
const (
	lookEvery = 64
	shrinkAt  = 4
	scratchOf = 512 // bytes it keeps in any case
)

// A Scratch is the one buffer of a decode loop: each message replaces the last,
// in the same memory, for a connection's whole life. Memory that 64 messages in
// a row have not needed is let go of: one large message does not stay. The zero
// Scratch is empty and ready. It has one owner: it is not safe for concurrent
// use, and must not be copied.
type Scratch struct {
	data   []byte // length: the contents. capacity: the memory
	gen    uint64 // how many contents there were
	needed int    // the most that contents needed since it looked last
	looks  int
}

// A View is a part of what a [Scratch] contains now. It ends with the next Set,
// ReadFull or Clear.
type View struct {
	s    *Scratch
	gen  uint64
	i, j int
}

// Set makes a copy of src the contents. Earlier views end.
func (s *Scratch) Set(src []byte) {
	s.next(len(src))
	s.data = append(s.data, src...)
}

// ReadFull makes exactly n bytes from r the contents. Earlier views end. n may
// come from the message itself: no more than 64 KiB are taken before bytes have
// arrived. It returns [io.EOF] if r ended before the first byte, and
// [io.ErrUnexpectedEOF] if it ended later; what was read is the contents.
func (s *Scratch) ReadFull(r io.Reader, n int) error {
	if n < 0 {
		return fmt.Errorf("pool: Scratch.ReadFull: the length %d is negative", n)
	}
	s.next(min(n, trustedHint))
	for len(s.data) < n {
		s.room(min(n, max(2*len(s.data), trustedHint)))
		got, err := io.ReadFull(r, s.data[len(s.data):min(n, cap(s.data))])
		s.data = s.data[:len(s.data)+got]
		s.needed = max(s.needed, len(s.data))
		if err == io.EOF && len(s.data) > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// View returns the contents from i to j. It panics if they do not reach so far.
func (s *Scratch) View(i, j int) View {
	_ = s.data[:len(s.data):len(s.data)][i:j]
	return View{s, s.gen, i, j}
}

// Update copies src over the contents from at on; views see it. It panics if
// src does not fit into the contents; nothing is written then.
func (s *Scratch) Update(src []byte, at int) {
	copy(s.data[:len(s.data):len(s.data)][at:at+len(src)], src)
}

// Clear empties the contents. Earlier views end.
func (s *Scratch) Clear() { s.next(0) }

// Len returns how many bytes the contents have.
func (s *Scratch) Len() int { return len(s.data) }

// Bytes returns the view's bytes. It panics if the view has ended: take views
// anew from each contents. The slice itself is not refused later; do not keep
// it longer than the view.
func (v View) Bytes() []byte {
	if v.s == nil {
		panic("pool: View.Bytes of the zero View: take one with Scratch.View")
	}
	if v.gen != v.s.gen {
		panic(fmt.Sprintf("pool: View.Bytes: the view is of contents %d and the Scratch has contents %d: take the view again after Set, ReadFull or Clear", v.gen, v.s.gen))
	}
	return v.s.data[v.i:v.j:v.j]
}

// next begins new contents of about n bytes.
func (s *Scratch) next(n int) {
	s.gen++
	s.needed = max(s.needed, n)
	if s.looks++; s.looks == lookEvery {
		if cap(s.data) > shrinkAt*max(s.needed, scratchOf) {
			s.data = nil
		}
		s.looks, s.needed = 0, n
	}
	s.data = s.data[:0]
	s.room(n)
}

// room makes the capacity n at least.
func (s *Scratch) room(n int) {
	if n > cap(s.data) {
		s.data = append(make([]byte, 0, max(n, scratchOf)), s.data...)
	}
}
