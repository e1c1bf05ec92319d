package goruntime

import (
	"encoding/binary"
	"fmt"
)

// A module is a piece of code that was linked in one go: the program, or a plugin.
type module struct {
	text, etext       uint64
	types, etypes     uint64
	noptrdata         uint64 // package variables without pointers
	gofunc            uint64
	pctab, pclntable  slice
	ftab, cutab       slice
	funcnametab       slice
	filetab, textsect slice
	plugin            string
	dataSegment       Segment
	bssSegment        Segment
}

const maxModules = 1000

func (r *Runtime) readModules() error {
	seen := map[uint64]bool{}
	for addr := r.variable("runtime.firstmoduledata"); addr != 0 && len(r.modules) < maxModules && !seen[addr]; addr = r.field(addr, "runtime.moduledata.next") {
		seen[addr] = true
		r.modules = append(r.modules, r.readModule(addr))
		if err := r.take(); err != nil {
			return fmt.Errorf("read the table of modules: %w", err)
		}
	}
	if m := r.modules[0]; m.text == 0 || m.etext <= m.text || m.etypes <= m.types {
		return errNoModule
	}
	return nil
}

func (r *Runtime) readModule(addr uint64) module {
	word := func(f string) uint64 { return r.field(addr, "runtime.moduledata."+f) }
	list := func(f string) slice { return r.slice(r.at(addr, "runtime.moduledata."+f)) }
	return module{
		text: word("text"), etext: word("etext"), types: word("types"), etypes: word("etypes"), gofunc: word("gofunc"), noptrdata: word("noptrdata"),
		pctab: list("pctab"), pclntable: list("pclntable"), ftab: list("ftab"), cutab: list("cutab"), funcnametab: list("funcnametab"),
		filetab: list("filetab"), textsect: list("textsectmap"),
		plugin:      r.gostring(r.at(addr, "runtime.moduledata.pluginpath")),
		dataSegment: r.segment(word("data"), word("edata"), r.at(addr, "runtime.moduledata.gcdatamask")),
		bssSegment:  r.segment(word("bss"), word("ebss"), r.at(addr, "runtime.moduledata.gcbssmask")),
	}
}

const maxSegment = 1 << 32

func (r *Runtime) segment(start, end, vector uint64) Segment {
	if end < start || end-start > maxSegment {
		r.fail("a segment of variables from %#x to %#x", start, end)
	}
	n := uint64(r.u32(r.at(vector, "runtime.bitvector.n")))
	if words := (end - start) / 8; n != words { // the linker writes the mask to the end of the segment
		r.fail("a segment of %d words of variables, with a mask of %d", words, n)
	}
	return Segment{start, end, r.bytes(r.field(vector, "runtime.bitvector.bytedata"), (n+7)/8, maxSegment/64)}
}

// A function is an entry of the table of functions.
type function struct {
	m           *module
	at          uint64 // of its struct
	entry       uint64
	name        string
	args        int32
	deferreturn uint64
	pcsp        uint32
	flag        uint8
}

// Flags of functions.
const (
	flagTop     = 1 // nothing called it
	flagWriteSP = 2 // it moves the stack pointer where the table does not say
)

const (
	maxFuncs = 1 << 24
	maxCache = 1 << 16
)

// function finds the function at a code address.
func (r *Runtime) function(pc uint64) (function, bool) {
	if f, ok := r.funcs[pc]; ok {
		return f, f.m != nil
	}
	var f function
	for i := range r.modules {
		if m := &r.modules[i]; pc >= m.text && pc < m.etext {
			f = r.lookup(m, pc)
		}
	}
	if len(r.funcs) >= maxCache {
		clear(r.funcs)
	}
	r.funcs[pc] = f
	return f, f.m != nil
}

func (r *Runtime) lookup(m *module, pc uint64) function {
	n := m.ftab.len
	off, ok := r.textOff(m, pc)
	if !ok || n < 2 || n > maxFuncs {
		return function{}
	}
	// The last entry marks the end.
	lo, hi := uint64(0), n-1
	for lo < hi {
		mid := (lo + hi) / 2
		if r.u32(m.ftab.at+8*mid) <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 || lo == n-1 && r.u32(m.ftab.at+8*(n-1)) <= off {
		return function{}
	}
	rel := uint64(r.u32(m.ftab.at + 8*(lo-1) + 4))
	if rel >= m.pclntable.len {
		return function{}
	}
	at := m.pclntable.at + rel
	field := func(f string) uint32 { return r.u32(r.at(at, "runtime._func."+f)) }
	f := function{m: m, at: at, entry: r.textAddr(m, field("entryOff")), args: int32(field("args")), deferreturn: uint64(field("deferreturn")),
		pcsp: field("pcsp"), flag: r.u8(r.at(at, "runtime._func.flag"))}
	if name := uint64(field("nameOff")); name != 0 && name < m.funcnametab.len {
		f.name = r.cstring(m.funcnametab.at + name)
	}
	if r.take() != nil {
		return function{}
	}
	return f
}

const maxSections = 1000

// textOff is how far a code address is from the start of the code, had all of it one section.
func (r *Runtime) textOff(m *module, pc uint64) (uint32, bool) {
	if m.textsect.len <= 1 || m.textsect.len > maxSections {
		return uint32(pc - m.text), true
	}
	for i := range m.textsect.len {
		s := m.textsect.at + i*r.x.size["runtime.textsect"]
		vaddr, end, base := r.field(s, "runtime.textsect.vaddr"), r.field(s, "runtime.textsect.end"), r.field(s, "runtime.textsect.baseaddr")
		if pc >= base && pc-base < end-vaddr {
			return uint32(pc - base + vaddr), true
		}
	}
	return 0, false
}

func (r *Runtime) textAddr(m *module, off uint32) uint64 {
	if m.textsect.len > 1 && m.textsect.len <= maxSections {
		for i := range m.textsect.len {
			s := m.textsect.at + i*r.x.size["runtime.textsect"]
			vaddr, end := r.field(s, "runtime.textsect.vaddr"), r.field(s, "runtime.textsect.end")
			if uint64(off) >= vaddr && uint64(off) < end {
				return r.field(s, "runtime.textsect.baseaddr") + uint64(off) - vaddr
			}
		}
	}
	return m.text + uint64(off)
}

type pcKey struct {
	table uint32
	pc    uint64
	m     *module
}

// value looks a code address up in one of the tables that hold a number for each stretch of a
// function's code.
func (r *Runtime) value(f function, table uint32, pc uint64) int32 {
	if table == 0 || uint64(table) >= f.m.pctab.len {
		return -1
	}
	key := pcKey{table, pc, f.m}
	if v, ok := r.pcs[key]; ok {
		return v
	}
	v := r.walk(f, table, pc)
	if len(r.pcs) >= maxCache {
		clear(r.pcs)
	}
	r.pcs[key] = v
	return v
}

func (r *Runtime) walk(f function, table uint32, pc uint64) int32 {
	quantum := uint64(1)
	if r.Arch == "arm64" {
		quantum = 4
	}
	t := pcTable{r: r, at: f.m.pctab.at + uint64(table), end: f.m.pctab.at + f.m.pctab.len}
	v, at := int32(-1), f.entry
	for first := true; r.err == nil; first = false {
		d := t.uvarint()
		if d == 0 && !first {
			break
		}
		v += int32(d>>1) ^ -int32(d&1)
		at += uint64(t.uvarint()) * quantum
		if pc < at {
			return v
		}
		if at-f.entry > 1<<30 {
			break
		}
	}
	return -1
}

// A pcTable is read in pieces.
type pcTable struct {
	r       *Runtime
	at, end uint64
	buf     []byte
	space   [256]byte
}

func (t *pcTable) uvarint() uint32 {
	if len(t.buf) < 5 && t.at < t.end {
		n := int(min(uint64(len(t.space)), t.end-t.at))
		b, err := t.r.mem.View(t.at, n, t.space[:])
		if err != nil {
			t.r.err = err
			return 0
		}
		t.buf = t.space[:copy(t.space[:], b)]
	}
	v, n := binary.Uvarint(t.buf)
	if n <= 0 {
		t.r.fail("a table of code addresses ends too early")
		return 0
	}
	t.buf, t.at = t.buf[n:], t.at+uint64(n)
	return uint32(v)
}

// pcdata is the number of one of a function's tables at a code address.
func (r *Runtime) pcdata(f function, table uint64, pc uint64) int32 {
	if table >= uint64(r.u32(r.at(f.at, "runtime._func.npcdata"))) {
		return -1
	}
	return r.value(f, r.u32(f.at+r.x.size["runtime._func"]+4*table), pc)
}

// funcdata is the address of one of a function's descriptions, or 0.
func (r *Runtime) funcdata(f function, i uint64) uint64 {
	if i >= uint64(r.u8(r.at(f.at, "runtime._func.nfuncdata"))) {
		return 0
	}
	n := uint64(r.u32(r.at(f.at, "runtime._func.npcdata")))
	off := r.u32(f.at + r.x.size["runtime._func"] + 4*n + 4*i)
	if off == ^uint32(0) {
		return 0
	}
	return f.m.gofunc + uint64(off)
}

// line is the file and line of a code address.
func (r *Runtime) line(f function, pc uint64) (file string, line int) {
	i, n := r.value(f, r.u32(r.at(f.at, "runtime._func.pcfile")), pc), r.value(f, r.u32(r.at(f.at, "runtime._func.pcln")), pc)
	if i < 0 || n < 0 {
		return "?", 0
	}
	unit := uint64(r.u32(r.at(f.at, "runtime._func.cuOffset"))) + uint64(i)
	if unit >= f.m.cutab.len {
		return "?", 0
	}
	off := r.u32(f.m.cutab.at + 4*unit)
	if off == ^uint32(0) || uint64(off) >= f.m.filetab.len {
		return "?", 0
	}
	return r.cstring(f.m.filetab.at + uint64(off)), int(n)
}

// IsConstant tells whether an address is in the code or the constants of a module, which never
// refer to the heap.
func (r *Runtime) IsConstant(addr uint64) bool {
	for i := range r.modules {
		if m := &r.modules[i]; addr >= m.text && addr < m.variables() {
			return true
		}
	}
	return false
}

// variables is where the first of the segments of variables begins: the C linker puts them in
// another order than Go's.
func (m *module) variables() uint64 { return min(m.noptrdata, m.dataSegment.Addr, m.bssSegment.Addr) }

// inCode tells whether a function begins at an address.
func (r *Runtime) inCode(addr uint64) bool {
	for i := range r.modules {
		if m := &r.modules[i]; addr >= m.text && addr < m.etext {
			f, ok := r.function(addr)
			return ok && f.entry == addr
		}
	}
	return false
}
