package symbols

import (
	"debug/dwarf"
	"fmt"
	"strings"
)

// Attributes that Go adds to DWARF, from cmd/internal/dwarf.
const (
	attrGoRuntimeType   dwarf.Attr = 0x2904
	attrGoClosureOffset dwarf.Attr = 0x2907
)

// Types is what DWARF says about an executable's types.
type Types struct {
	data      *dwarf.Data
	locations *locations
	units     []unit                        // in order
	entries   map[uint64]dwarf.Offset       // of functions, by where their code begins
	concrete  map[dwarf.Offset]dwarf.Offset // the entry with code, by the one without
	enclosing map[lineKey]string            // see Enclosing
	runtime   map[uint64]dwarf.Offset       // by runtime type, relative to runtime.types
	variables map[string]dwarf.Offset
	functions map[string]dwarf.Offset // also of generic ones, by the name that all their instances have in the process
	structs   map[string]dwarf.Offset // those behind sync.Map
	base      uint64                  // of runtime.types in the process; 0 when unknown
}

// Types reads the executable's DWARF, once.
func (t *Table) Types() (*Types, error) {
	if t.types != nil {
		return t.types, nil
	}
	data, locations, err := t.dwarf()
	if err != nil {
		return nil, fmt.Errorf("symbols: no DWARF: %w", err)
	}
	x := &Types{data: data, runtime: map[uint64]dwarf.Offset{}, variables: map[string]dwarf.Offset{}, functions: map[string]dwarf.Offset{},
		structs: map[string]dwarf.Offset{}, entries: map[uint64]dwarf.Offset{}, concrete: map[dwarf.Offset]dwarf.Offset{}, enclosing: map[lineKey]string{}, locations: locations}
	if err := x.index(); err != nil {
		return nil, fmt.Errorf("symbols: read DWARF: %w", err)
	}
	if len(x.variables) == 0 {
		return nil, fmt.Errorf("symbols: no DWARF: link without -w")
	}
	t.types = x
	return x, nil
}

func (x *Types) index() error {
	r := x.data.Reader()
	for {
		e, err := r.Next()
		if err != nil || e == nil {
			return err
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		switch e.Tag {
		case dwarf.TagCompileUnit:
			low, _ := e.Val(dwarf.AttrLowpc).(uint64)
			base, _ := e.Val(dwarf.AttrAddrBase).(int64)
			x.units = append(x.units, unit{e.Offset, low, base, r.AddressSize()})
			continue
		case dwarf.TagSubprogram:
			x.function(e, name)
		case dwarf.TagVariable:
			if t, ok := e.Val(dwarf.AttrType).(dwarf.Offset); ok {
				x.variables[name] = t
			}
		default:
			if at, ok := e.Val(attrGoRuntimeType).(uint64); ok && at != 0 {
				x.runtime[at] = e.Offset
			}
			if e.Tag == dwarf.TagStructType && strings.HasPrefix(name, "internal/sync.") {
				x.structs[name] = e.Offset
			}
		}
		if e.Children {
			r.SkipChildren()
		}
	}
}

// function notes a function. One that was inlined somewhere has its name and parameters in an entry
// without code.
func (x *Types) function(e *dwarf.Entry, name string) {
	if name != "" {
		x.functions[name] = e.Offset
	}
	if short := withoutShapes(name); short != name {
		if _, known := x.functions[short]; known {
			x.functions[short] = ambiguous
		} else {
			x.functions[short] = e.Offset
		}
	}
	low, ok := e.Val(dwarf.AttrLowpc).(uint64)
	if !ok {
		return
	}
	x.entries[low] = e.Offset
	if origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
		x.concrete[origin] = e.Offset
	}
}

// ambiguous is where functions of one name are that are instances of a generic function.
const ambiguous = ^dwarf.Offset(0)

// entry finds the entry of a function. DWARF may know a method of a generic type only by a name
// that has shapes in place of the type arguments.
func (x *Types) entry(function string) (dwarf.Offset, bool) {
	off, ok := x.functions[function]
	if !ok {
		off, ok = x.functions[without("[", function)]
	}
	return off, ok && off != ambiguous
}

// shape begins the name of what stands for a type argument in the code of a generic function: all
// pointers have one shape, so it says little of the type.
const (
	shape      = "go.shape."
	anyPointer = shape + "*uint8"
)

// Instance returns the name of the function that begins at entry, an address of the executable.
// Those of all instances of a generic function are different, as Captured and Receiver need them.
func (x *Types) Instance(entry uint64) (function string, ok bool) {
	off, ok := x.entries[entry]
	if !ok {
		return "", false
	}
	r := x.data.Reader()
	r.Seek(off)
	e, err := r.Next()
	if err != nil || e == nil {
		return "", false
	}
	if function, _ = e.Val(dwarf.AttrName).(string); function == "" {
		function = x.originName(e)
	}
	return function, function != ""
}

// withoutShapes is the name that an instance of a generic function has in the process: "Put[...]".
func withoutShapes(name string) string { return without("["+shape, name) }

// without drops the type arguments that begin so.
func without(begin, name string) string {
	from := strings.Index(name, begin)
	if from < 0 {
		return name
	}
	depth := 0
	for i := from; i < len(name); i++ {
		switch name[i] {
		case '[':
			depth++
		case ']':
			depth--
		}
		if depth == 0 {
			return name[:from] + "[...]" + without(begin, name[i+1:])
		}
	}
	return name
}

// Receiver returns the first parameter of a function: of a method, its receiver.
func (x *Types) Receiver(function string) (Capture, bool) {
	start, ok := x.entry(function)
	if !ok {
		return Capture{}, false
	}
	r := x.data.Reader()
	r.Seek(start)
	if e, err := r.Next(); err != nil || e == nil || !e.Children {
		return Capture{}, false
	}
	for {
		e, err := r.Next()
		if err != nil || e == nil || e.Tag == 0 {
			return Capture{}, false
		}
		if e.Tag == dwarf.TagFormalParameter {
			typ, hasType := e.Val(dwarf.AttrType).(dwarf.Offset)
			t, ok := x.at(typ, hasType)
			name, _ := e.Val(dwarf.AttrName).(string)
			return Capture{Name: name, Type: t}, ok
		}
		if e.Children {
			r.SkipChildren()
		}
	}
}

// Variable returns the type of a package variable.
func (x *Types) Variable(name string) (dwarf.Type, bool) {
	off, ok := x.variables[name]
	return x.at(off, ok)
}

// Struct returns the struct type of this name, of the package internal/sync.
func (x *Types) Struct(name string) (dwarf.Type, bool) {
	off, ok := x.structs[name]
	return x.at(off, ok)
}

// Calibrate finds where the process has its types, from some of which the name is known.
// Types are not named uniquely, so the place that most agree on wins.
func (x *Types) Calibrate(known map[uint64]string) {
	byName := map[string]uint64{}
	for rel, off := range x.runtime {
		if t, ok := x.at(off, true); ok {
			byName[Name(t)] = rel
		}
	}
	votes := map[uint64]int{}
	for addr, name := range known {
		if rel, ok := byName[Short(name)]; ok {
			votes[addr-rel]++
		}
	}
	best := 0
	for base, n := range votes {
		if n > best {
			best, x.base = n, base
		}
	}
}

// Runtime returns the type whose runtime description is at the address in the process.
func (x *Types) Runtime(addr uint64) (dwarf.Type, bool) {
	off, ok := x.runtime[addr-x.base]
	return x.at(off, ok && x.base != 0)
}

func (x *Types) at(off dwarf.Offset, ok bool) (dwarf.Type, bool) {
	if !ok {
		return nil, false
	}
	t, err := x.data.Type(off)
	return t, err == nil
}

// A Capture is a variable that a closure refers to, or a parameter.
type Capture struct {
	Name string
	Type dwarf.Type
	Off  uint64 // where in the closure
}

// Captured returns the variable that the closure of this function holds at offset off.
func (x *Types) Captured(function string, off uint64) (Capture, bool) {
	start, ok := x.entry(function)
	if !ok {
		return Capture{}, false
	}
	r := x.data.Reader()
	r.Seek(start)
	if _, err := r.Next(); err != nil {
		return Capture{}, false
	}
	for {
		e, err := r.Next()
		if err != nil || e == nil || e.Tag == 0 {
			return Capture{}, false
		}
		at, isCapture := e.Val(attrGoClosureOffset).(int64)
		typ, hasType := e.Val(dwarf.AttrType).(dwarf.Offset)
		if t, ok := x.at(typ, hasType); ok && isCapture && off >= uint64(at) && off < uint64(at)+uint64(max(t.Size(), 1)) {
			name, _ := e.Val(dwarf.AttrName).(string)
			return Capture{name, t, uint64(at)}, true
		}
		if e.Children {
			r.SkipChildren()
		}
	}
}

// Argument reports whether t is a type argument of which no more is known than that it is a
// pointer.
func Argument(t dwarf.Type) bool {
	for {
		d, ok := t.(*dwarf.TypedefType)
		if !ok {
			return false
		}
		if d.Common().Name == anyPointer {
			return true
		}
		t = d.Type
	}
}

// CallLine returns the line of a function at which it calls the one that was inlined at the
// address. The file is the function's own.
func (x *Types) CallLine(function string, pc uint64) (int, bool) {
	start, ok := x.entry(function)
	if !ok {
		return 0, false
	}
	r := x.data.Reader()
	r.Seek(start)
	if _, err := r.Next(); err != nil {
		return 0, false
	}
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil || e == nil {
			return 0, false
		}
		switch {
		case e.Tag == 0:
			depth--
		case e.Tag == dwarf.TagInlinedSubroutine:
			if line, ok := e.Val(dwarf.AttrCallLine).(int64); ok && x.covers(e, pc) {
				return int(line), true
			}
			r.SkipChildren()
		case e.Children:
			depth++
		}
	}
	return 0, false
}

// Inlined returns the function whose code is at pc, if it was inlined into the function that begins
// at entry: the innermost of those that were. Both addresses are the executable's.
func (x *Types) Inlined(entry, pc uint64) (function string, ok bool) {
	start, known := x.entries[entry]
	if !known {
		return "", false
	}
	r := x.data.Reader()
	r.Seek(start)
	if e, err := r.Next(); err != nil || e == nil || !e.Children {
		return "", false
	}
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil || e == nil {
			return "", false
		}
		switch {
		case e.Tag == 0:
			depth--
			continue
		case e.Tag == dwarf.TagInlinedSubroutine:
			if !x.covers(e, pc) {
				r.SkipChildren()
				continue
			}
			if name := x.originName(e); name != "" {
				function, ok = name, true
			}
		}
		if e.Children {
			depth++
		}
	}
	return function, ok
}

// originName is the name of an entry that stands for another one.
func (x *Types) originName(e *dwarf.Entry) string {
	origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
	if !ok {
		return ""
	}
	r := x.data.Reader()
	r.Seek(origin)
	o, err := r.Next()
	if err != nil || o == nil {
		return ""
	}
	name, _ := o.Val(dwarf.AttrName).(string)
	return name
}

// Enclosing returns the function whose line it is, where that was inlined into a function:
// runtime/heapdump.go names allocations by the latter only.
func (x *Types) Enclosing(function, file string, line int) (string, bool) {
	off, ok := x.entry(function)
	if !ok {
		return "", false
	}
	k := lineKey{function, file, line}
	if name, ok := x.enclosing[k]; ok {
		return name, name != ""
	}
	name := ""
	for _, code := range x.codeOf(off) {
		if pc, ok := x.pcOf(code, file, line); ok {
			name, _ = x.Inlined(code[0], pc)
			break
		}
	}
	x.enclosing[k] = name
	return name, name != ""
}

type lineKey struct {
	function, file string
	line           int
}

// codeOf is where the code of a function is: that of the entry, or of the one that stands for it.
func (x *Types) codeOf(off dwarf.Offset) (out [][2]uint64) {
	if at, ok := x.concrete[off]; ok {
		off = at
	}
	r := x.data.Reader()
	r.Seek(off)
	e, err := r.Next()
	if err != nil || e == nil {
		return nil
	}
	out, err = x.data.Ranges(e)
	if err != nil {
		return nil
	}
	return out
}

// pcOf finds code of a line.
func (x *Types) pcOf(code [2]uint64, file string, line int) (uint64, bool) {
	r := x.data.Reader()
	cu, err := r.SeekPC(code[0])
	if err != nil {
		return 0, false
	}
	lr, err := x.data.LineReader(cu)
	if err != nil || lr == nil {
		return 0, false
	}
	var e dwarf.LineEntry
	if lr.SeekPC(code[0], &e) != nil {
		return 0, false
	}
	for e.Address < code[1] {
		if e.Line == line && e.File != nil && e.File.Name == file && !e.EndSequence {
			return e.Address, true
		}
		if lr.Next(&e) != nil {
			break
		}
	}
	return 0, false
}

func (x *Types) covers(e *dwarf.Entry, pc uint64) bool {
	ranges, err := x.data.Ranges(e)
	if err != nil {
		return false
	}
	for _, r := range ranges {
		if pc >= r[0] && pc < r[1] {
			return true
		}
	}
	return false
}

// aliases are the names that Go programs use.
var aliases = strings.NewReplacer(anyPointer, "*…", shape, "", "[]uint8", "[]byte", "interface {}", "any")

// Name is the Go name of a type, with its package's last element only.
func Name(t dwarf.Type) string { return Spelled(name(t)) }

// Spelled is the name of a type as [Name] writes it.
func Spelled(name string) string { return aliases.Replace(name) }

func name(t dwarf.Type) string {
	switch t := t.(type) {
	case *dwarf.PtrType:
		if name := t.Common().Name; name != "" {
			return Short(name)
		}
		return "*" + Name(t.Type)
	case *dwarf.StructType:
		return Short(t.StructName)
	case *dwarf.ArrayType:
		return fmt.Sprintf("[%d]%s", t.Count, Name(t.Type))
	case *dwarf.FuncType:
		return "func"
	case nil, *dwarf.VoidType:
		return "unsafe.Pointer"
	}
	return Short(t.Common().Name)
}
