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
)

// An encoder writes numbers, strings and memory. Errors stay until close.
type encoder struct {
	w    io.Writer
	file *os.File // w, if it can have holes
	buf  []byte
	n    int64 // written, without buf
	hole bool  // the file ends with one
	err  error
}

func newEncoder(w io.Writer) *encoder {
	e := &encoder{w: w, buf: make([]byte, 0, bufferSize+binary.MaxVarintLen64)}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			e.file = f
		}
	}
	return e
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
	if e.file != nil && n >= holeSize && e.err == nil {
		e.flush()
		_, e.err = e.file.Seek(int64(n), io.SeekCurrent)
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
	if e.hole && e.err == nil {
		e.err = e.file.Truncate(e.n)
	}
	return e.n, e.err
}
