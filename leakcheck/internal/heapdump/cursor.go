package heapdump

import (
	"encoding/binary"
	"errors"
	"io"
)

// A cursor reads a file from front to back through a window. After an error it returns zeros.
type cursor struct {
	r    io.ReaderAt
	size int64
	base int64  // where in the file buf starts
	buf  []byte // the window
	i    int    // how much of it is read
	err  error
}

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
	if len(c.buf)-c.i < binary.MaxVarintLen64 {
		c.need(binary.MaxVarintLen64)
	}
	v, n := binary.Uvarint(c.rest())
	if n <= 0 || c.err != nil {
		c.fail(ErrShort)
		return 0
	}
	c.i += n
	return v
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
