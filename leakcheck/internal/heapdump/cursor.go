package heapdump

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
)

// A cursor reads a file from front to back through a window. After an error it returns zeros.
type cursor struct {
	r    io.ReaderAt
	size int64
	base int64  // where in the file buf starts
	buf  []byte // the window
	i    int    // how much of it is read
	err  error

	ahead *ahead // reads the next window meanwhile; may be nil
}

// An ahead reads the windows of a file, each while the one before is parsed.
type ahead struct {
	r       io.ReaderAt
	at      int64       // where in the file the window that is being read starts
	spare   []byte      // not in use
	pending chan window // has one element once start was called
}

// A window is a part of a file. There is room before it for what is left of the one before.
type window struct {
	buf []byte
	n   int
	err error
}

func newAhead(r io.ReaderAt, size int64) *ahead {
	a := &ahead{r: r, spare: make([]byte, windowRoom+min(windowSize, size)), pending: make(chan window, 1)}
	a.start(make([]byte, len(a.spare)), 0)
	return a
}

func (a *ahead) start(buf []byte, at int64) {
	a.at = at
	go func() {
		n, err := a.r.ReadAt(buf[windowRoom:], at)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		a.pending <- window{buf, n, err}
	}()
}

// next returns the window that starts at this place, with what is left of the one before in front
// of it.
func (a *ahead) next(left []byte, at int64) ([]byte, error) {
	w := <-a.pending
	if a.at != at {
		a.start(w.buf, at)
		w = <-a.pending
	}
	start := windowRoom - copy(w.buf[windowRoom-len(left):], left)
	a.start(a.spare, at+int64(w.n))
	a.spare = w.buf
	return w.buf[start : windowRoom+w.n], w.err
}

// stop waits for the read that is under way.
func (a *ahead) stop() { <-a.pending }

func (c *cursor) offset() int64 { return c.base + int64(c.i) }

func (c *cursor) rest() []byte { return c.buf[c.i:] }

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// need tries to have n bytes in the window; at the end of the file there may be fewer.
func (c *cursor) need(n int) {
	if len(c.buf)-c.i >= n || c.err != nil || c.base+int64(len(c.buf)) >= c.size {
		return
	}
	if left := len(c.buf) - c.i; c.ahead != nil && n <= windowRoom {
		base := c.offset()
		buf, err := c.ahead.next(c.rest(), base+int64(left))
		c.base, c.buf, c.i = base, buf, 0
		if err != nil {
			c.fail(err)
		}
		return
	}
	if n > cap(c.buf) {
		grown := make([]byte, len(c.buf)-c.i, n)
		copy(grown, c.rest())
		c.base, c.buf, c.i = c.offset(), grown, 0
	} else {
		left := copy(c.buf, c.rest())
		c.base, c.buf, c.i = c.offset(), c.buf[:left], 0
	}
	c.fill()
}

func (c *cursor) fill() {
	have := len(c.buf)
	room := min(int64(cap(c.buf)), c.size-c.base)
	n, err := c.r.ReadAt(c.buf[have:room], c.base+int64(have))
	c.buf = c.buf[:have+n]
	if err != nil && !errors.Is(err, io.EOF) {
		c.fail(err)
	}
}

func (c *cursor) uint() uint64 {
	if c.i < len(c.buf) && c.buf[c.i] < 0x80 {
		c.i++
		return uint64(c.buf[c.i-1])
	}
	return c.longUint()
}

func (c *cursor) longUint() uint64 {
	if len(c.buf)-c.i >= 8 {
		if v, n := shortUvarint(c.buf[c.i:]); n > 0 {
			c.i += n
			return v
		}
	}
	c.need(binary.MaxVarintLen64)
	v, n := binary.Uvarint(c.rest())
	switch {
	case n > 0 && c.err == nil:
		c.i += n
		return v
	case n < 0:
		c.fail(damaged("a number of more than 64 bits"))
	default:
		c.fail(ErrShort)
	}
	return 0
}

// shortUvarint is binary.Uvarint for numbers of at most eight bytes, all at once; n is 0 for a
// longer one. Addresses have six or seven bytes, and there is one for every object.
func shortUvarint(b []byte) (v uint64, n int) {
	x := binary.LittleEndian.Uint64(b)
	last := ^x & 0x8080808080808080 // the bits that only the last byte of a number lacks
	if last == 0 {
		return 0, 0
	}
	x &= (last - 1) & 0x7f7f7f7f7f7f7f7f
	x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
	x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
	x = x&0x000000000fffffff | x&0x0fffffff00000000>>4
	return x, bits.TrailingZeros64(last)/8 + 1
}

func (c *cursor) skipUints(n int) {
	for range n {
		c.uint()
	}
}

// bytes returns the next n bytes, valid until the next call.
func (c *cursor) bytes(n int) []byte {
	c.need(n)
	if len(c.rest()) < n {
		c.fail(ErrShort)
		return nil
	}
	c.i += n
	return c.buf[c.i-n : c.i]
}

func (c *cursor) skip(n int64) {
	if n <= int64(len(c.buf)-c.i) {
		c.i += int(n)
		return
	}
	c.seek(c.offset() + n)
}

func (c *cursor) seek(to int64) {
	if to > c.size {
		c.fail(ErrShort)
		return
	}
	c.base, c.buf, c.i = to, c.buf[:0], 0
}
