// Package symbols names what a Go executable holds: its package variables, functions and types.
package symbols

import (
	"debug/dwarf"
	"debug/elf"
	"debug/gosym"
	"debug/macho"
	"debug/pe"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// ErrStripped says that the executable has no symbol table.
var ErrStripped = errors.New("symbols: the executable is stripped: link without -s and -w")

// A Symbol is a package variable or a function.
type Symbol struct {
	Name string
	Addr uint64 // in the executable, before it was moved
	Size uint64
}

// Unnamed tells memory that nobody declared: what a package variable points to from the start, such
// as the struct of "var x = &T{}", has a symbol of the compiler's.
func (s Symbol) Unnamed() bool { return strings.Contains(s.Name, "..stmp_") }

// A Table is the symbol table of one executable.
type Table struct {
	symbols []Symbol // by address
	named   map[string]uint64
	dwarf   func() (*dwarf.Data, *locations, error)
	rodata  []byte // constants, such as the text of strings
	roAddr  uint64
	pclntab []byte
	lines   *gosym.Table
	types   *Types

	// What to add to an address of the process to get that of the executable.
	dataShift, bssShift, textShift uint64
	otherCode                      bool
}

// Open reads the symbol table of an ELF, Mach-O or PE executable.
func Open(path string) (*Table, error) {
	for _, open := range []func(string) (*Table, error){openELF, openMachO, openPE} {
		t, err := open(path)
		if errors.Is(err, errOtherFormat) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w (%s)", err, path)
		}
		return t.finish()
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("symbols: %w", err)
	}
	return nil, fmt.Errorf("symbols: %s is no ELF, Mach-O or PE executable", path)
}

var errOtherFormat = errors.New("another format")

func openELF(path string) (*Table, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, errOtherFormat
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		return nil, ErrStripped
	}
	t := &Table{}
	t.pclntab = contents(f, ".gopclntab")
	if ro := f.Section(".rodata"); ro != nil {
		t.rodata, _ = ro.Data()
		t.roAddr = ro.Addr
	}
	for _, s := range syms {
		if k := elf.ST_TYPE(s.Info); k == elf.STT_SECTION || k == elf.STT_FILE || s.Section == elf.SHN_UNDEF {
			continue
		}
		t.symbols = append(t.symbols, Symbol{s.Name, s.Value, s.Size})
	}
	t.dwarf = dwarfOf(elf.Open, path, ".")
	return t, nil
}

// A section is a part of an executable, in one of the formats.
type section interface {
	comparable
	Data() ([]byte, error)
}

// A file is an executable in the format whose sections are S.
type file[S section] interface {
	Section(name string) S
	DWARF() (*dwarf.Data, error)
	Close() error
}

// contents is what a section holds: nothing where there is none, or it cannot be read.
func contents[S section](f file[S], name string) []byte {
	var none S
	s := f.Section(name)
	if s == none {
		return nil
	}
	b, _ := s.Data()
	return b
}

// dwarfOf returns a function that opens the executable again and reads what describes its types.
// The names of these sections begin with prefix.
func dwarfOf[F file[S], S section](open func(path string) (F, error), path, prefix string) func() (*dwarf.Data, *locations, error) {
	return func() (*dwarf.Data, *locations, error) {
		f, err := open(path)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		l := &locations{lists: contents[S](f, prefix+"debug_loclists"), addr: contents[S](f, prefix+"debug_addr")}
		d, err := f.DWARF()
		return d, l, err
	}
}

func openMachO(path string) (*Table, error) {
	f, err := macho.Open(path)
	if err != nil {
		return nil, errOtherFormat
	}
	defer f.Close()
	if f.Symtab == nil {
		return nil, ErrStripped
	}
	t := &Table{}
	t.pclntab = contents(f, "__gopclntab")
	if ro := f.Section("__rodata"); ro != nil {
		t.rodata, _ = ro.Data()
		t.roAddr = ro.Addr
	}
	for _, s := range f.Symtab.Syms {
		if s.Sect != 0 && s.Type&0xe0 == 0 { // 0xe0: debugging entries
			t.symbols = append(t.symbols, Symbol{Name: strings.TrimPrefix(s.Name, "_"), Addr: s.Value})
		}
	}
	t.dwarf = dwarfOf(macho.Open, path, "__")
	return t, nil
}

func openPE(path string) (*Table, error) {
	f, err := pe.Open(path)
	if err != nil {
		return nil, errOtherFormat
	}
	defer f.Close()
	var base uint64
	switch h := f.OptionalHeader.(type) {
	case *pe.OptionalHeader64:
		base = h.ImageBase
	case *pe.OptionalHeader32:
		base = uint64(h.ImageBase)
	}
	t := &Table{}
	if ro := f.Section(".rdata"); ro != nil {
		t.rodata, _ = ro.Data()
		t.roAddr = base + uint64(ro.VirtualAddress)
	}
	for _, s := range f.Symbols {
		if s.SectionNumber > 0 && int(s.SectionNumber) <= len(f.Sections) {
			section := f.Sections[s.SectionNumber-1]
			t.symbols = append(t.symbols, Symbol{Name: s.Name, Addr: base + uint64(section.VirtualAddress) + uint64(s.Value)})
		}
	}
	t.dwarf = dwarfOf(pe.Open, path, ".")
	return t, nil
}

func (t *Table) finish() (*Table, error) {
	sort.SliceStable(t.symbols, func(i, j int) bool { return t.symbols[i].Addr < t.symbols[j].Addr })
	t.named = make(map[string]uint64, len(t.symbols))
	for i := range t.symbols {
		s := &t.symbols[i]
		t.named[s.Name] = s.Addr
		if s.Size == 0 { // formats without sizes: up to the next symbol
			s.Size = t.gap(i)
		}
	}
	if _, ok := t.named["runtime.data"]; !ok {
		return nil, ErrStripped
	}
	return t, nil
}

func (t *Table) gap(i int) uint64 {
	for _, next := range t.symbols[i+1:] {
		if next.Addr > t.symbols[i].Addr {
			return next.Addr - t.symbols[i].Addr
		}
	}
	return 0
}

// Place says where in the process the executable's segments of variables are: they may have been
// moved. It fails when the sizes differ, because then this is not the executable that ran.
func (t *Table) Place(dataAddr, dataLen, bssAddr, bssLen uint64) error {
	for _, s := range []struct {
		name      string
		addr, len uint64
		shift     *uint64
	}{{"data", dataAddr, dataLen, &t.dataShift}, {"bss", bssAddr, bssLen, &t.bssShift}} {
		start, size := t.Segment(s.name)
		if size != s.len {
			return fmt.Errorf("symbols: not the same build: the process has %d bytes of %s, the executable %d", s.len, s.name, size)
		}
		*s.shift = start - s.addr
	}
	t.textShift = t.dataShift
	return nil
}

// Data names the variable at an address of the process's data or bss segment.
func (t *Table) Data(addr uint64, bss bool) (s Symbol, off uint64, ok bool) {
	shift := t.dataShift
	if bss {
		shift = t.bssShift
	}
	return t.at(addr + shift)
}

// Func names the function at a code address of the process.
func (t *Table) Func(pc uint64) (s Symbol, off uint64, ok bool) { return t.at(pc + t.textShift) }

// A Line is a place in the code.
type Line struct {
	Func, File string
	Line       int
	Entry      uint64 // of the function, in the process
}

// Line returns the function and line at a code address of the process.
func (t *Table) Line(pc uint64) Line {
	at := pc + t.textShift
	if at < t.named["runtime.text"] || at >= t.named["runtime.etext"] {
		return Line{}
	}
	if t.lines == nil && t.pclntab != nil {
		t.lines, _ = gosym.NewTable(nil, gosym.NewLineTable(t.pclntab, t.named["runtime.text"]))
		t.pclntab = nil
	}
	if t.lines != nil {
		if file, line, fn := t.lines.PCToLine(at); fn != nil {
			return Line{fn.Name, file, line, fn.Entry - t.textShift}
		}
	}
	if s, _, ok := t.at(at); ok {
		return Line{Func: s.Name, Entry: s.Addr - t.textShift}
	}
	return Line{}
}

// Text is the executable's address of a code address of the process. ok is false after
// [Table.OtherCode].
func (t *Table) Text(pc uint64) (at uint64, ok bool) { return pc + t.textShift, !t.otherCode }

// Begins tells whether a function of the executable begins at a code address of the process, as one
// does if this is the code that runs there.
func (t *Table) Begins(entry uint64) bool {
	_, off, ok := t.Func(entry)
	return ok && off == 0
}

// OtherCode says that code and constants of the executable are not those of the process: only its
// variables are.
func (t *Table) OtherCode() { t.otherCode = true }

// PlaceText says that the function of this name begins at the address in the process.
func (t *Table) PlaceText(name string, entry uint64) bool {
	addr, ok := t.named[name]
	if ok {
		t.textShift = addr - entry
	}
	return ok
}

// Constant reads up to n bytes of the executable's constants at an address of the process. It needs
// [Types.Calibrate] to have found where they are.
func (t *Table) Constant(addr uint64, n int) ([]byte, bool) {
	if t.otherCode || t.types == nil || t.types.base == 0 {
		return nil, false
	}
	off := addr - t.types.base + t.named["runtime.types"] - t.roAddr
	if off >= uint64(len(t.rodata)) {
		return nil, false
	}
	return t.rodata[off:min(uint64(len(t.rodata)), off+uint64(n))], true
}

func (t *Table) at(addr uint64) (s Symbol, off uint64, ok bool) {
	i := sort.Search(len(t.symbols), func(i int) bool { return t.symbols[i].Addr > addr }) - 1
	// Markers such as runtime.data have the address of the first variable, and no size of their
	// own.
	for ; i >= 0; i-- {
		s = t.symbols[i]
		if addr-s.Addr < s.Size && !marker(s.Name) {
			return s, addr - s.Addr, true
		}
		if addr-s.Addr > 1<<20 {
			break
		}
	}
	return Symbol{}, 0, false
}

func marker(name string) bool {
	switch name {
	case "runtime.data", "runtime.edata", "runtime.bss", "runtime.ebss", "runtime.noptrdata", "runtime.enoptrdata", "runtime.noptrbss",
		"runtime.enoptrbss", "runtime.text", "runtime.etext":
		return true
	}
	return false
}

// Segment returns where the executable has one of its two segments of variables, "data" or "bss".
func (t *Table) Segment(name string) (addr, size uint64) {
	start := t.named["runtime."+name]
	return start, t.named["runtime.e"+name] - start
}

// Entry returns where the executable has a function.
func (t *Table) Entry(name string) (addr uint64, ok bool) {
	addr, ok = t.named[name]
	return addr, ok
}

// Address returns where in the process the variable of this name is.
func (t *Table) Address(name string, bss bool) (uint64, bool) {
	addr, ok := t.named[name]
	if bss {
		return addr - t.bssShift, ok
	}
	return addr - t.dataShift, ok
}

// Short is a qualified name without the directories of its package: cache.Store for
// example.com/cache.Store. It shortens every path in a type such as
// map[string]*example.com/cache.Store. The compiler's type arguments of generic code become [...],
// as the runtime prints them.
func Short(name string) string {
	var b strings.Builder
	name = withoutShapes(name)
	for len(name) > 0 {
		n := strings.IndexAny(name, "[]*(){};, <>")
		if n < 0 {
			n = len(name)
		}
		b.WriteString(shortWord(name[:n]))
		if n < len(name) {
			b.WriteByte(name[n])
			n++
		}
		name = name[n:]
	}
	return strings.TrimPrefix(b.String(), "noalg.")
}

func shortWord(word string) string {
	i := strings.LastIndexByte(word, '/')
	if i < 0 {
		return word
	}
	pkg, rest, dot := strings.Cut(word[i+1:], ".")
	if own, ok := source.PackageName(word[:i+1] + pkg); ok && dot {
		return own + "." + rest
	}
	if len(pkg) > 1 && pkg[0] == 'v' && strings.Trim(pkg[1:], "0123456789") == "" { // a major version
		dir := word[:i]
		pkg = dir[strings.LastIndexByte(dir, '/')+1:]
	}
	pkg = strings.ReplaceAll(pkg, "%2e", ".")
	if !dot {
		return pkg
	}
	return pkg + "." + rest
}
