package goruntime

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// An Exe is what an executable says about the Go runtime that is linked into it.
type Exe struct {
	GoVersion string // such as go1.26.8
	Arch      string // GOARCH
	entry     uint64 // ELF's entry point, before the executable was moved
	offset    map[string]uint64
	size      map[string]uint64
	variable  map[string]uint64
}

// ErrNotGo is wrapped by the error for an executable that is no Go program.
var ErrNotGo = errors.New("not a Go program")

// ErrStripped is wrapped by the error for an executable that was linked with -s or -w.
var ErrStripped = errors.New("it is stripped (linked with -s or -w): build the same source with the same flags but without these two, " +
	"and pass the result as -exe")

// OpenExe reads the executable of a process. names is the path of an unstripped build of the same
// program, or empty.
func OpenExe(path, names string) (*Exe, error) { return open(path, names, sameBuild) }

// OpenTestExe does the same for a test: go test compiles its package main without DWARF, so that
// this package differs from the one in names.
func OpenTestExe(path, names string) (*Exe, error) { return open(path, names, sameLayout) }

func open(path, names string, same func(run, other *elfFile) error) (*Exe, error) {
	run, err := openELF(path)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	from := run
	if names != "" {
		if from, err = openELF(names); err != nil {
			return nil, err
		}
		defer from.Close()
		if err := same(run, from); err != nil {
			return nil, fmt.Errorf("-exe %s: %w", names, err)
		}
	}
	x := &Exe{GoVersion: run.goVersion, Arch: run.arch, entry: run.Entry,
		offset: map[string]uint64{}, size: map[string]uint64{}, variable: map[string]uint64{}}
	if err := x.variables(run, from); err != nil {
		return nil, err
	}
	return x, x.layouts(from)
}

// An elfFile is an ELF file that holds a Go program.
type elfFile struct {
	*elf.File
	path, goVersion, arch string
}

func openELF(path string) (*elfFile, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: no ELF executable: %w", path, err)
	}
	x := &elfFile{File: f, path: path}
	switch f.Machine {
	case elf.EM_X86_64:
		x.arch = "amd64"
	case elf.EM_AARCH64:
		x.arch = "arm64"
	}
	if x.arch == "" || f.Class != elf.ELFCLASS64 || f.ByteOrder.String() != "LittleEndian" {
		f.Close()
		return nil, fmt.Errorf("%s: built for %s: known are amd64 and arm64; let the process write its own dump with runtime/debug.WriteHeapDump", path, f.Machine)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrNotGo)
	}
	if x.goVersion = info.GoVersion; !supported(info.GoVersion) {
		f.Close()
		return nil, fmt.Errorf("%s: built with %s: the runtime's structures are known from Go 1.26 on; "+
			"let the process write its own dump with runtime/debug.WriteHeapDump", path, info.GoVersion)
	}
	return x, nil
}

// supported is false for releases that are known to differ. A later one is decided by Verify.
func supported(version string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(version, "go%d.%d", &major, &minor); n < 2 {
		return strings.HasPrefix(version, "devel")
	}
	return major > 1 || minor >= 26
}

// sameBuild tells whether two files are builds of the same source with the same flags, but for -s
// and -w: then code, constants and package variables have the same layout.
func sameBuild(run, other *elfFile) error {
	if a, b := run.mainID(), other.mainID(); a != b {
		return fmt.Errorf("not the same build: the package main of the process has the build ID %s, this one %s; the source or a flag (-trimpath, -tags, -gcflags) differs", a, b)
	}
	a, errA := run.functions()
	b, errB := other.functions()
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		return errors.New("not the same build: the tables of functions differ")
	}
	return sameLayout(run, other)
}

// sameLayout compares the sizes of segments. Constants of one size may be in another order.
func sameLayout(run, other *elfFile) error {
	if run.goVersion != other.goVersion || run.arch != other.arch {
		return fmt.Errorf("not the same build: the process runs %s %s, this is %s %s", run.goVersion, run.arch, other.goVersion, other.arch)
	}
	for _, name := range []string{".text", ".gopclntab", ".data", ".bss", ".noptrdata", ".noptrbss"} {
		a, b := run.Section(name), other.Section(name)
		if (a == nil) != (b == nil) || a != nil && a.Size != b.Size {
			return fmt.Errorf("not the same build: the sizes of %s differ", name)
		}
	}
	return nil
}

// mainID is the part of the build ID that stands for the contents of package main: no flag of the
// linker changes it.
func (x *elfFile) mainID() string {
	s := x.Section(".note.go.buildid")
	if s == nil {
		return ""
	}
	b, err := s.Data()
	if err != nil || len(b) < 16 {
		return ""
	}
	parts := strings.Split(strings.TrimRight(string(b[16:]), "\x00"), "/")
	if len(parts) != 4 {
		return ""
	}
	return parts[2]
}

// functions is the table from which the runtime prints stacks.
func (x *elfFile) functions() ([]byte, error) {
	for _, name := range []string{".gopclntab", ".data.rel.ro.gopclntab"} {
		if s := x.Section(name); s != nil {
			return s.Data()
		}
	}
	return nil, errors.New("no table of functions")
}

// variables are the runtime's package variables from which everything is found.
var variables = []string{"runtime.mheap_", "runtime.allgs", "runtime.allp", "runtime.allm", "runtime.firstmoduledata", "runtime.itabTable",
	"runtime.mbuckets", "runtime.allfin", "runtime.waitReasonStrings", "runtime.buildVersion"}

// variables finds where they are in the executable that runs: segments keep their contents, but may
// start elsewhere.
func (x *Exe) variables(run, from *elfFile) error {
	symbols, err := from.Symbols()
	if err != nil {
		return fmt.Errorf("%s: %w", from.path, ErrStripped)
	}
	wanted := map[string]bool{}
	for _, name := range variables {
		wanted[name] = true
	}
	for _, s := range symbols {
		if !wanted[s.Name] || int(s.Section) >= len(from.Sections) {
			continue
		}
		section := from.Sections[s.Section]
		running := run.Section(section.Name)
		if running == nil || s.Value < section.Addr {
			return fmt.Errorf("%s: the process has no section %s", from.path, section.Name)
		}
		x.variable[s.Name] = s.Value - section.Addr + running.Addr
	}
	for _, name := range variables {
		if x.variable[name] == 0 {
			if len(x.variable) == 0 {
				return fmt.Errorf("%s: %w", from.path, ErrStripped)
			}
			return fmt.Errorf("%s: this version's runtime has no variable %s: %s is not known", from.path, name, x.GoVersion)
		}
	}
	return nil
}

// structs are the types whose layout is needed, and which of their fields.
var structs = map[string]string{
	"runtime.mheap":              "allspans sweepgen",
	"runtime.mspan":              "startAddr npages nelems freeIndexForScan allocBits gcmarkBits sweepgen spanclass state elemsize specials largeType",
	"runtime.moduledata":         "text etext types etypes noptrdata data edata bss ebss rodata pctab pclntable ftab funcnametab filetab cutab gofunc gcdatamask gcbssmask textsectmap next pluginpath",
	"runtime.textsect":           "vaddr end baseaddr",
	"runtime.bitvector":          "n bytedata",
	"runtime.g":                  "atomicstatus goid gopc startpc stack sched syscallsp syscallpc waitsince waitreason m _defer _panic",
	"runtime.gobuf":              "sp pc ctxt",
	"runtime.stack":              "lo hi",
	"runtime.m":                  "g0 curg gsignal procid alllink",
	"runtime.p":                  "id sudogcache",
	"runtime._defer":             "link fn sp pc",
	"runtime._panic":             "arg link",
	"runtime.special":            "next offset kind",
	"runtime.specialfinalizer":   "fn fint ot",
	"runtime.specialprofile":     "b",
	"runtime.specialCleanup":     "cleanup",
	"runtime.specialWeakHandle":  "handle",
	"runtime.cleanupFn":          "fn arg",
	"runtime.finBlock":           "alllink cnt fin",
	"runtime.finalizer":          "fn arg fint ot",
	"runtime.bucket":             "allnext size nstk",
	"runtime.memRecord":          "active",
	"runtime.memRecordCycle":     "allocs frees",
	"runtime.itabTableType":      "size entries",
	"runtime._func":              "entryOff nameOff args deferreturn pcsp pcfile pcln npcdata cuOffset flag nfuncdata",
	"runtime.spanInlineMarkBits": "",
	"internal/abi.ITab":          "Type",
	"internal/abi.Type":          "Size_ PtrBytes TFlag Kind_ GCData Str",
	"internal/abi.ArrayType":     "Elem Len",
	"internal/abi.StructType":    "Fields",
	"internal/abi.StructField":   "Typ Offset",
	"internal/abi.UncommonType":  "PkgPath",
	"internal/abi.ChanType":      "",
	"internal/abi.FuncType":      "",
	"internal/abi.InterfaceType": "",
	"internal/abi.MapType":       "",
	"internal/abi.PtrType":       "",
	"internal/abi.SliceType":     "",
}

// layouts reads where the fields are. All these types are in DWARF units of package runtime. What is
// behind these units, which may be hundreds of megabytes, is not even decompressed.
func (x *Exe) layouts(from *elfFile) error {
	info := from.Section(".debug_info")
	if info == nil {
		return fmt.Errorf("%s: %w", from.path, ErrStripped)
	}
	if err := x.units(from, bufio.NewReader(info.Open())); err != nil {
		return fmt.Errorf("%s: read DWARF: %w", from.path, err)
	}
	if len(x.size) == 0 {
		return fmt.Errorf("%s: %w", from.path, ErrStripped)
	}
	return x.complete()
}

// units reads units until the types are complete.
func (x *Exe) units(from *elfFile, info io.Reader) error {
	shared, err := from.sharedSections()
	if err != nil {
		return err
	}
	for x.complete() != nil {
		unit, err := readUnit(info)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		d, err := shared.dwarf(unit)
		if err != nil {
			return err
		}
		if err := x.unit(d.Reader()); err != nil {
			return err
		}
	}
	return nil
}

// readUnit reads the next unit. Its header begins with its length. The error at the end is io.EOF.
func readUnit(info io.Reader) ([]byte, error) {
	var unit bytes.Buffer
	if n, err := io.CopyN(&unit, info, 4); err != nil {
		if n > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	length := uint64(binary.LittleEndian.Uint32(unit.Bytes()))
	if length == 0xffffffff { // the length has 64 bits
		if _, err := io.CopyN(&unit, info, 8); err != nil {
			return nil, io.ErrUnexpectedEOF
		}
		length = binary.LittleEndian.Uint64(unit.Bytes()[4:])
	}
	if n, err := io.CopyN(&unit, info, int64(min(length, math.MaxInt64))); err != nil {
		return nil, fmt.Errorf("a unit of %d bytes ends after %d", length, n)
	}
	return unit.Bytes(), nil
}

// sharedSections are the sections that the entries of all units refer to, by name.
type sharedSections map[string][]byte

func (x *elfFile) sharedSections() (sharedSections, error) {
	shared := sharedSections{}
	for _, name := range []string{".debug_abbrev", ".debug_str", ".debug_line_str", ".debug_str_offsets", ".debug_addr"} {
		s := x.Section(name)
		if s == nil {
			continue
		}
		b, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		shared[name] = b
	}
	return shared, nil
}

// dwarf returns one unit as if it were the only one.
func (s sharedSections) dwarf(unit []byte) (*dwarf.Data, error) {
	d, err := dwarf.New(s[".debug_abbrev"], nil, nil, unit, nil, nil, nil, s[".debug_str"])
	for _, name := range []string{".debug_line_str", ".debug_str_offsets", ".debug_addr"} {
		if err == nil && s[name] != nil {
			err = d.AddSection(name, s[name])
		}
	}
	return d, err
}

// unit reads the types of a unit, if it is that of package runtime.
func (x *Exe) unit(r *dwarf.Reader) error {
	for first := true; ; first = false {
		e, err := r.Next()
		if err != nil || e == nil {
			return err
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		if first && name != "runtime" {
			return nil
		}
		if _, wanted := structs[name]; e.Tag == dwarf.TagStructType && wanted {
			if err := x.layout(r, e, name); err != nil {
				return err
			}
			continue
		}
		if e.Children && !first {
			r.SkipChildren()
		}
	}
}

func (x *Exe) layout(r *dwarf.Reader, e *dwarf.Entry, name string) error {
	size, _ := e.Val(dwarf.AttrByteSize).(int64)
	x.size[name] = uint64(size)
	for e.Children {
		f, err := r.Next()
		if err != nil {
			return err
		}
		if f == nil || f.Tag == 0 {
			return nil
		}
		field, _ := f.Val(dwarf.AttrName).(string)
		at, _ := f.Val(dwarf.AttrDataMemberLoc).(int64)
		x.offset[name+"."+field] = uint64(at)
		if f.Children {
			r.SkipChildren()
		}
	}
	return nil
}

// complete names what is missing: later code takes the fields for granted.
func (x *Exe) complete() error {
	for name, fields := range structs {
		if _, ok := x.size[name]; !ok && fields != "" {
			return fmt.Errorf("the runtime of %s has no type %s: this version is not known", x.GoVersion, name)
		}
		for _, f := range strings.Fields(fields) {
			if _, ok := x.offset[name+"."+f]; !ok {
				return fmt.Errorf("the runtime of %s has no field %s.%s: this version is not known", x.GoVersion, name, f)
			}
		}
	}
	return nil
}
