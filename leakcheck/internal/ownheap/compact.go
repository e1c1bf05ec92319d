package ownheap

import (
	"bufio"
	"errors"
	"io"
	"os"
	"sort"
)

// A compact is a file that holds a dump without its long runs of zeros. Of a redacted dump they are
// most. A file with a hole for each of them takes a block of the disk for each object, and on a busy
// disk some ten seconds for 600 MiB.
type compact struct {
	file *os.File
	out  *bufio.Writer
	runs []run
	size int64 // of the dump
}

// A run is a part of the dump that is in the file.
type run struct{ at, in, n int64 }

func newCompact(f *os.File) *compact { return &compact{file: f, out: bufio.NewWriterSize(f, 64<<10)} }

// Write appends b to the dump.
func (c *compact) Write(b []byte) (int, error) {
	last := len(c.runs) - 1
	switch {
	case last < 0:
		c.runs = append(c.runs, run{at: c.size})
		last++
	case c.runs[last].at+c.runs[last].n != c.size:
		c.runs = append(c.runs, run{at: c.size, in: c.runs[last].in + c.runs[last].n})
		last++
	}
	n, err := c.out.Write(b)
	c.runs[last].n += int64(n)
	c.size += int64(n)
	return n, err
}

// Hole appends n zeros.
func (c *compact) Hole(n int64) error {
	c.size += n
	return nil
}

// ReadAt reads the dump.
func (c *compact) ReadAt(b []byte, off int64) (int, error) {
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

// A File is the file of a dump that nothing else of is left in memory.
type File struct {
	file    *os.File
	compact *compact // nil: file has all of the dump
	size    int64
}

// Size is the size of the dump, in bytes.
func (f *File) Size() int64 { return f.size }

// Save writes the dump to a new file that only this user can read. Where that fails nothing is left.
func (f *File) Save(name string) error {
	to, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err = errors.Join(f.write(to), to.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func (f *File) write(to *os.File) error {
	if f.compact == nil {
		_, err := io.Copy(to, io.NewSectionReader(f.file, 0, f.size))
		return err
	}
	for _, r := range f.compact.runs {
		if _, err := to.Seek(r.at, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(to, io.NewSectionReader(f.file, r.in, r.n)); err != nil {
			return err
		}
	}
	return to.Truncate(f.size)
}

// Close removes the file.
func (f *File) Close() {
	f.file.Close()
	os.Remove(f.file.Name()) // where it could not be done at once
}
