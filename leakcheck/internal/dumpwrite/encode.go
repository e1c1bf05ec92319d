// Package dumpwrite writes what package goruntime has read of another process in the format of
// runtime/debug.WriteHeapDump, with or without the contents of its memory.
package dumpwrite

import (
	"encoding/binary"
	"io"
	"os"
)

// Tags of runtime/heapdump.go.
const (
	tagEOF             = 0
	tagObject          = 1
	tagOtherRoot       = 2
	tagType            = 3
	tagGoroutine       = 4
	tagStackFrame      = 5
	tagParams          = 6
	tagFinalizer       = 7
	tagItab            = 8
	tagMemStats        = 10
	tagQueuedFinalizer = 11
	tagData            = 12
	tagBSS             = 13
	tagDefer           = 14
	tagPanic           = 15
	tagMemProf         = 16
	tagAllocSample     = 17

	fieldEnd = 0
	fieldPtr = 1
)

const (
	bufferSize = 1 << 20
	// From this size on zeros become a hole in the file.
	holeSize = 4 << 10
	// The same for a Holer.
	leastHole = 1 << 10
)

// A Holer is a writer that can leave out zeros.
type Holer interface {
	io.Writer
	Hole(n int64) error // as if n zeros were written
}

// An encoder writes numbers, strings and memory. Errors stay until close.
type encoder struct {
	w     io.Writer
	holes Holer    // w, if it can leave out zeros
	least uint64   // of them
	file  *os.File // w, if it is a file that can have holes
	buf   []byte
	n     int64 // written, without buf
	hole  bool  // the file ends with one
	err   error
}

func newEncoder(w io.Writer) *encoder {
	e := &encoder{w: w, buf: make([]byte, 0, bufferSize+binary.MaxVarintLen64)}
	switch w := w.(type) {
	case Holer:
		e.holes, e.least = w, leastHole
	case *os.File:
		if info, err := w.Stat(); err == nil && info.Mode().IsRegular() {
			e.holes, e.least, e.file = sparse{w}, holeSize, w
		}
	}
	return e
}

// A sparse is a file with holes.
type sparse struct{ *os.File }

// Hole leaves n zeros out.
func (s sparse) Hole(n int64) error {
	_, err := s.Seek(n, io.SeekCurrent)
	return err
}

func (e *encoder) flush() {
	if len(e.buf) > 0 && e.err == nil {
		_, e.err = e.w.Write(e.buf)
		e.hole = false
	}
	e.n += int64(len(e.buf))
	e.buf = e.buf[:0]
}

func (e *encoder) uints(vs ...uint64) {
	for _, v := range vs {
		e.uint(v)
	}
}

func (e *encoder) uint(v uint64) {
	if len(e.buf) >= bufferSize {
		e.flush()
	}
	e.buf = binary.AppendUvarint(e.buf, v)
}

func (e *encoder) bool(b bool) {
	if b {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.bytes([]byte(s))
}

func (e *encoder) bytes(b []byte) {
	for len(b) > 0 {
		if len(e.buf) >= bufferSize {
			e.flush()
		}
		if len(e.buf) == 0 && len(b) >= bufferSize {
			if e.err == nil {
				_, e.err = e.w.Write(b)
				e.hole = false
			}
			e.n += int64(len(b))
			return
		}
		part := b[:min(len(b), bufferSize-len(e.buf))]
		e.buf = append(e.buf, part...)
		b = b[len(part):]
	}
}

var noughts [holeSize]byte

func (e *encoder) zeros(n uint64) {
	if e.holes != nil && n >= e.least && e.err == nil {
		e.flush()
		if e.err == nil {
			e.err = e.holes.Hole(int64(n))
		}
		e.n += int64(n)
		e.hole = true
		return
	}
	for n > 0 {
		part := min(n, holeSize)
		e.bytes(noughts[:part])
		n -= part
	}
}

func (e *encoder) word(v uint64) {
	if len(e.buf) >= bufferSize {
		e.flush()
	}
	e.buf = binary.LittleEndian.AppendUint64(e.buf, v)
}

// close writes what is left.
func (e *encoder) close() (int64, error) {
	e.flush()
	if e.hole && e.file != nil && e.err == nil {
		e.err = e.file.Truncate(e.n)
	}
	return e.n, e.err
}
