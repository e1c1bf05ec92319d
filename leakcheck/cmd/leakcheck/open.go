package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// A dump is an open file, read.
type dump struct {
	*retain.Heap
	file *os.File
}

func (d *dump) Close() { d.file.Close() }

// share says how many objects have an allocation site, and what to do when they are few.
func (d *dump) share() string {
	s := fmt.Sprintf("%s of %s have an allocation site", figure.Number(d.Sample), figure.Plural(d.Len(), "object"))
	if d.Sample*2 < d.Len() {
		s += "; run with runtime.MemProfileRate = 1 to have all"
	}
	return s
}

// redacted says what a redacted dump lacks; "" for others.
func (d *dump) redacted() string {
	if !d.Redacted() {
		return ""
	}
	return "\nThe dump is redacted: … stands for map keys, strings and numbers. leakcheck dump -contents keeps them."
}

// unnamed says what to do about types and variables without names, once for all of an answer.
func (c *command) unnamed() string {
	if c.executable() != "" {
		return ""
	}
	return "\nTypes, variables and functions have no names here: give the executable that wrote the dump as -exe."
}

func (c *command) open(file string) (*dump, error) {
	f, err := c.file(file)
	if err != nil {
		return nil, err
	}
	d, err := c.read(f, file)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

// file opens a dump, or returns the dump of the process.
func (c *command) file(name string) (*os.File, error) {
	if c.pid != 0 && name == c.processName() {
		return c.process()
	}
	f, err := os.Open(name)
	if _, wrong := strconv.Atoi(name); os.IsNotExist(err) && wrong == nil {
		err = fmt.Errorf("%w; name a process as -pid %s", err, name)
	}
	return f, err
}

func (c *command) read(f *os.File, file string) (*dump, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	progress := terminal(c.errOut)
	h, err := heapdump.Read(f, size, func(done, total int64) {
		if progress != nil && total > 64<<20 {
			fmt.Fprintf(progress, "\rreading %s: %d %%", file, done*100/total)
		}
	})
	if progress != nil && size > 64<<20 {
		fmt.Fprint(progress, "\r\x1b[K")
	}
	if err != nil {
		return nil, err
	}
	n, err := c.names(h)
	if err != nil {
		return nil, err
	}
	return &dump{retain.New(h, n), f}, nil
}

// names reads the executable.
func (c *command) names(h *heapdump.Dump) (retain.Names, error) {
	n := retain.Names{Source: c.source.line, Enclosing: c.source.function, NoNames: " (-exe names it)"}
	exe := c.executable()
	if exe == "" {
		return n, nil
	}
	t, err := symbols.Open(exe)
	switch {
	case err == nil:
	case c.exe == "": // the process cannot be dumped without -exe either, which says more
		return n, nil
	default:
		return n, err
	}
	switch err := t.Place(h.Data.Addr, uint64(h.Data.Len), h.BSS.Addr, uint64(h.BSS.Len)); {
	case err == nil:
	case c.exe == "":
		return n, fmt.Errorf("process %d runs another build than the one that wrote the dump (%w): dump the process, and compare the two dumps without -exe", c.pid, err)
	default:
		return n, fmt.Errorf("-exe %s: %w", c.exe, err)
	}
	for _, f := range h.Frames {
		if t.PlaceText(f.Func, f.Entry) {
			break
		}
	}
	n.Table = t
	n.Func = func(pc uint64) retain.Func {
		l := t.Line(pc)
		return retain.Func{Name: l.Func, File: l.File, Line: l.Line, Entry: l.Entry}
	}
	if types, err := t.Types(); err == nil {
		known := map[uint64]string{}
		h.Types(func(addr uint64, t heapdump.Type) { known[addr] = t.Name })
		types.Calibrate(known)
		n.Types = types
	}
	return n, nil
}

// terminal is w if progress can be shown there, or nil.
func terminal(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if s, err := f.Stat(); err != nil || s.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return f
}
