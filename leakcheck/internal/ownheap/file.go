package ownheap

import (
	"errors"
	"io"
	"os"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

// A File is the file of a dump of which nothing else is left in memory.
type File struct {
	file    *os.File
	compact *heapdump.Compact // nil: file has all of the dump
	size    int64
}

// Save writes the dump to a new file that only this user can read, and that heapdump reads. Where
// that fails nothing is left.
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
	if f.compact != nil {
		return f.compact.Save(to)
	}
	_, err := io.Copy(to, io.NewSectionReader(f.file, 0, f.size))
	return err
}

// Size is about how many bytes Save writes.
func (f *File) Size() int64 {
	info, err := f.file.Stat()
	if err != nil {
		return f.size
	}
	return info.Size()
}

// Close removes the file.
func (f *File) Close() {
	f.file.Close()
	os.Remove(f.file.Name()) // where it could not be done at once
}
