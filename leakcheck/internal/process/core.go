package process

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A Core is the memory that a core file holds, of Linux on amd64 or arm64. It is [Memory].
type Core struct {
	Machine elf.Machine
	Threads []Thread
	Path    string // of the executable, as the process knew it; empty when the core does not say
	file    *os.File
	loads   []load
	entry   uint64
	cut     bool   // the file is shorter than it says
	exe     []load // what the core leaves out, from the executable
	exeFile *elf.File
}

// A load is a piece of memory and where it is in a file.
type load struct {
	addr, size uint64
	from       io.ReaderAt
	off        int64
}

// ErrNotCore is wrapped by the error for a file that is no core.
var ErrNotCore = errors.New("not a core file")

// OpenCore opens a core file.
func OpenCore(path string) (*Core, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	c := &Core{file: f}
	if err := c.parse(); err != nil {
		f.Close()
		return nil, fmt.Errorf("process: %s: %w", path, err)
	}
	return c, nil
}

// Close closes the file.
func (c *Core) Close() {
	c.file.Close()
	if c.exeFile != nil {
		c.exeFile.Close()
	}
}

func (c *Core) parse() error {
	e, err := elf.NewFile(c.file)
	switch {
	case err != nil && c.saysCore():
		return fmt.Errorf("the core file is cut short or damaged: %w", err)
	case err != nil || e.Type != elf.ET_CORE:
		return ErrNotCore
	}
	if e.Class != elf.ELFCLASS64 || e.Machine != elf.EM_X86_64 && e.Machine != elf.EM_AARCH64 {
		return fmt.Errorf("a core of %s %s: known are amd64 and arm64", e.Class, e.Machine)
	}
	c.Machine = e.Machine
	info, err := c.file.Stat()
	if err != nil {
		return err
	}
	for _, p := range e.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			c.addLoad(p, uint64(info.Size()))
		case elf.PT_NOTE:
			b := make([]byte, min(p.Filesz, 64<<20))
			if n, _ := p.ReadAt(b, 0); n < len(b) {
				return errors.New("the core file is cut short: its notes are missing")
			}
			c.notes(b)
		}
	}
	if len(c.loads) == 0 {
		return errors.New("the core file holds no memory")
	}
	sortLoads(c.loads)
	return nil
}

// saysCore tells a core by its first bytes: gcore writes a table at the end, which is missing where
// the file is cut short.
func (c *Core) saysCore() bool {
	var b [18]byte
	_, err := c.file.ReadAt(b[:], 0)
	return err == nil && string(b[:4]) == elf.ELFMAG && elf.Type(binary.LittleEndian.Uint16(b[16:])) == elf.ET_CORE
}

func (c *Core) addLoad(p *elf.Prog, fileSize uint64) {
	n := p.Filesz
	if p.Off > fileSize || n > fileSize-p.Off {
		c.cut = true
		n = fileSize - min(fileSize, p.Off)
	}
	if n > 0 && p.Vaddr+n > p.Vaddr {
		c.loads = append(c.loads, load{p.Vaddr, n, c.file, int64(p.Off)})
	}
}

func sortLoads(l []load) {
	slices.SortFunc(l, func(a, b load) int { return cmp.Compare(a.addr, b.addr) })
}

// Kinds of notes.
const (
	noteStatus = 1
	noteAuxv   = 6
	noteFiles  = 0x46494c45
)

func (c *Core) notes(b []byte) {
	for len(b) >= 12 {
		nameSize, size, kind := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
		b = b[12:]
		skip := (uint64(nameSize) + 3) &^ 3
		if skip > uint64(len(b)) || uint64(size) > uint64(len(b))-skip {
			return
		}
		desc := b[skip : skip+uint64(size)]
		switch kind {
		case noteStatus:
			c.addThread(desc)
		case noteAuxv:
			c.entry, _ = entryOf(desc)
		case noteFiles:
			c.files(desc)
		}
		b = b[min(uint64(len(b)), skip+(uint64(size)+3)&^3):]
	}
}

// addThread reads a struct elf_prstatus.
func (c *Core) addThread(b []byte) {
	const pid, regs = 32, 112
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[regs+8*i:]) }
	if len(b) < regs+34*8 && c.Machine == elf.EM_AARCH64 || len(b) < regs+27*8 {
		return
	}
	t := Thread{ID: uint64(binary.LittleEndian.Uint32(b[pid:]))}
	if c.Machine == elf.EM_AARCH64 {
		for i := range 31 {
			t.Other = append(t.Other, word(i))
		}
		t.FP, t.SP, t.PC = word(29), word(31), word(32)
	} else {
		for i := range 15 {
			t.Other = append(t.Other, word(i))
		}
		t.FP, t.PC, t.SP = word(4), word(16), word(19)
	}
	c.Threads = append(c.Threads, t)
}

// files reads the list of mapped files: the executable is the one that its entry point is in.
func (c *Core) files(b []byte) {
	if len(b) < 16 {
		return
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(len(b))/24 {
		return
	}
	names := bytes.Split(b[16+min(24*n, uint64(len(b)-16)):], []byte{0})
	for i := range int(n) {
		if i >= len(names) || 16+24*i+24 > len(b) {
			return
		}
		start, end := binary.LittleEndian.Uint64(b[16+24*i:]), binary.LittleEndian.Uint64(b[24+24*i:])
		if c.entry >= start && c.entry < end || c.Path == "" {
			c.Path = string(names[i])
		}
	}
}

// Entry is where the executable's entry point was in the process.
func (c *Core) Entry() (uint64, error) {
	if c.entry == 0 {
		return 0, errors.New("process: the core file does not say where the executable was")
	}
	return c.entry, nil
}

// AddExe takes from the executable what the core leaves out: its code and constants. shift is by
// how much it was moved.
func (c *Core) AddExe(path string, shift uint64) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("process: open the executable: %w", err)
	}
	c.exeFile = f
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Filesz > 0 {
			c.exe = append(c.exe, load{p.Vaddr + shift, p.Filesz, p.ReaderAt, 0})
		}
	}
	sortLoads(c.exe)
	return nil
}

// View implements [Memory].
func (c *Core) View(addr uint64, n int, scratch []byte) ([]byte, error) {
	if n < 0 || addr+uint64(n) < addr {
		return nil, unmapped(addr, n)
	}
	out := grown(scratch, n)
	for done := 0; done < n; {
		at := addr + uint64(done)
		l, ok := find(c.loads, at)
		if !ok {
			l, ok = find(c.exe, at)
		}
		if !ok {
			if c.cut {
				return nil, fmt.Errorf("process: the core file is cut short: %w", unmapped(at, n-done))
			}
			return nil, unmapped(at, n-done)
		}
		off := at - l.addr
		part := out[done : done+int(min(uint64(n-done), l.size-off))]
		if _, err := l.from.ReadAt(part, l.off+int64(off)); err != nil && err != io.EOF {
			return nil, fmt.Errorf("process: read the core file: %w", err)
		}
		done += len(part)
	}
	return out, nil
}

func find(loads []load, addr uint64) (load, bool) {
	i, found := slices.BinarySearchFunc(loads, addr, func(l load, a uint64) int { return cmp.Compare(l.addr, a) })
	if !found {
		i--
	}
	if i < 0 || addr-loads[i].addr >= loads[i].size {
		return load{}, false
	}
	return loads[i], true
}
