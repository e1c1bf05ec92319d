package heapdump

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
)

// A Compact is a dump in a file without its long runs of zeros. Of a redacted dump they are most. A
// file with a hole for each of them takes a block of the disk for each object: on a busy disk some
// ten seconds for 600 MiB.
//
// As long as it is written only this Compact knows where the zeros were. Save writes a file that
// says so at its end, and that Read reads as any other.
type Compact struct {
	file io.ReaderAt
	out  *bufio.Writer
	runs []run
	size int64 // of the dump
}

// A run is a part of the dump that is in the file.
type run struct{ at, in, n int64 }

// NewCompact begins a dump in an empty file.
func NewCompact(f *os.File) *Compact { return &Compact{file: f, out: bufio.NewWriterSize(f, 64<<10)} }

// Size is the size of the dump, in bytes.
func (c *Compact) Size() int64 { return c.size }

// Write appends b to the dump.
func (c *Compact) Write(b []byte) (int, error) {
	c.extend()
	n, err := c.out.Write(b)
	c.runs[len(c.runs)-1].n += int64(n)
	c.size += int64(n)
	return n, err
}

// extend makes the last run end at the end of the dump.
func (c *Compact) extend() {
	if len(c.runs) == 0 {
		c.runs = append(c.runs, run{at: c.size})
		return
	}
	if last := c.runs[len(c.runs)-1]; last.at+last.n != c.size {
		c.runs = append(c.runs, run{at: c.size, in: last.in + last.n})
	}
}

// Hole appends n zeros.
func (c *Compact) Hole(n int64) error {
	c.size += n
	return nil
}

// Flush writes what is still in memory, so that ReadAt finds it.
func (c *Compact) Flush() error { return c.out.Flush() }

// ReadAt reads the dump.
func (c *Compact) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	i := sort.Search(len(c.runs), func(i int) bool { return c.runs[i].at+c.runs[i].n > off })
	end := min(off+int64(len(b)), c.size)
	for ; i < len(c.runs) && c.runs[i].at < end; i++ {
		r := c.runs[i]
		from, to := max(r.at, off), min(r.at+r.n, end)
		if n, err := c.file.ReadAt(b[from-off:to-off], r.in+from-r.at); n < int(to-from) {
			return 0, err
		}
	}
	if n := max(end-off, 0); n < int64(len(b)) {
		return int(n), io.EOF
	}
	return len(b), nil
}

// compactMark ends a compact file. Before it are the size of the dump and the length of the index,
// in eight bytes each, and before them the index: the zeros before each run, and its length.
const compactMark = "leaksafe compact"

const compactTail = 16 + len(compactMark)

// Save writes the dump to w.
func (c *Compact) Save(w io.Writer) error {
	var index []byte
	at, n := int64(0), int64(0)
	for _, r := range c.runs {
		index = binary.AppendUvarint(index, uint64(r.at-at))
		index = binary.AppendUvarint(index, uint64(r.n))
		at, n = r.at+r.n, n+r.n
	}
	if _, err := io.Copy(w, io.NewSectionReader(c.file, 0, n)); err != nil {
		return err
	}
	tail := binary.LittleEndian.AppendUint64(index, uint64(c.size))
	tail = binary.LittleEndian.AppendUint64(tail, uint64(len(index)))
	_, err := w.Write(append(tail, compactMark...))
	return err
}

// openCompact reads the index of a file of this size that Save wrote; nil for another file.
func openCompact(f io.ReaderAt, size int64) (*Compact, error) {
	var tail [compactTail]byte
	if size < int64(compactTail) {
		return nil, nil
	}
	if n, err := f.ReadAt(tail[:], size-int64(compactTail)); n < compactTail {
		return nil, err
	}
	if string(tail[16:]) != compactMark {
		return nil, nil
	}
	length := binary.LittleEndian.Uint64(tail[8:])
	if length > uint64(size)-uint64(compactTail) {
		return nil, damaged("an index of %d bytes", length)
	}
	end := size - int64(compactTail) - int64(length)
	index, err := io.ReadAll(io.NewSectionReader(f, end, int64(length)))
	if err != nil {
		return nil, err
	}
	c := &Compact{file: f}
	if c.runs, err = readIndex(bytes.NewReader(index), end); err != nil {
		return nil, damaged("%w", err)
	}
	if n := len(c.runs); n > 0 {
		c.size = c.runs[n-1].at + c.runs[n-1].n
	}
	if full := binary.LittleEndian.Uint64(tail[:]); full >= uint64(c.size) && full <= maxCompact {
		c.size = int64(full)
		return c, nil
	}
	return nil, damaged("an index that does not fit")
}

// maxCompact is more than any dump has.
const maxCompact = 1 << 50

// readIndex reads the runs of a file that has size bytes of them.
func readIndex(b *bytes.Reader, size int64) (runs []run, err error) {
	at, in := uint64(0), uint64(0)
	for b.Len() > 0 {
		zeros, err := binary.ReadUvarint(b)
		n, err2 := binary.ReadUvarint(b)
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		if zeros > maxCompact || n > uint64(size)-in || at+zeros > maxCompact {
			return nil, fmt.Errorf("an index with %d zeros and %d bytes", zeros, n)
		}
		runs = append(runs, run{int64(at + zeros), int64(in), int64(n)})
		at, in = at+zeros+n, in+n
	}
	return runs, nil
}
