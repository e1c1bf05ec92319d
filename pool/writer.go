package pool

import (
	"fmt"
	"io"
)

// writersAtOnce is how many Writers are allocated together.
const writersAtOnce = 32

// A Writer appends to a [Buffer], and grows it from class to class. It is an
// [io.Writer], [io.StringWriter], [io.ByteWriter] and [io.ReaderFrom]; it never
// returns an error of its own. It ends with the lease and panics after it, as
// the Buffer does. Create it with [Buffer.Writer].
type Writer struct {
	b Buffer
}

// Writer returns the lease's Writer, the same one at each call. It writes after
// the present length: lease with Get(0) to begin at the start. One allocation
// in 32 first calls is made, since a Writer kept past Release must not be
// mistaken for a later lease's.
func (b Buffer) Writer() *Writer {
	h := b.own("Writer")
	if w := h.writer; w != nil && w.b.gen == b.gen {
		return w
	}
	if len(h.spare) == 0 {
		h.spare = make([]Writer, writersAtOnce)
	}
	h.writer, h.spare = &h.spare[0], h.spare[1:]
	h.writer.b = b
	return h.writer
}

// Write appends p.
func (w *Writer) Write(p []byte) (int, error) {
	h := w.b.own("Writer.Write")
	end := h.n + len(p)
	if end > len(h.data) {
		h.grow(end, p)
	} else {
		copy(h.data[h.n:], p)
	}
	h.n = end
	return len(p), nil
}

// WriteString appends s.
func (w *Writer) WriteString(s string) (int, error) {
	h := w.b.own("Writer.WriteString")
	n := h.n
	h.extend(len(s))
	return copy(h.data[n:h.n], s), nil
}

// WriteByte appends c.
func (w *Writer) WriteByte(c byte) error {
	h := w.b.own("Writer.WriteByte")
	h.extend(1)
	h.data[h.n-1] = c
	return nil
}

// ReadFrom appends what r has until io.EOF. What was read before another error
// is in the buffer. The error is io.ErrNoProgress if r keeps returning nothing.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	w.b.own("Writer.ReadFrom")
	return w.b.readFrom(r)
}

// extend adds n bytes, whose contents are to be written.
func (h *header) extend(n int) {
	h.reserve(h.n + n)
	h.n += n
}

func (b Buffer) readFrom(r io.Reader) (total int64, err error) {
	for empty := 0; empty < 100; empty++ {
		n, err := b.readOnce(r)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		if n > 0 {
			empty = 0
		}
	}
	return total, io.ErrNoProgress
}

// readOnce reads into what room there is. A full buffer is asked to grow only
// once there is a byte for it: contents that fill a class exactly stay in it.
func (b Buffer) readOnce(r io.Reader) (int, error) {
	h := b.own("ReadFrom")
	room := h.data[h.n:]
	if len(room) == 0 {
		room = h.probe[:]
	}
	n, err := r.Read(room)
	if n < 0 || n > len(room) {
		panic(fmt.Sprintf("pool: ReadFrom: %T.Read returned %d for %d bytes of room", r, n, len(room)))
	}
	// r may have released the buffer.
	b.own("ReadFrom")
	if len(h.data) == h.n {
		h.reserve(h.n + n)
		copy(h.data[h.n:], h.probe[:n])
	}
	h.n += n
	return n, err
}
