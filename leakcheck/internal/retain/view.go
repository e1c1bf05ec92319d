package retain

import (
	"debug/dwarf"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// A view is what is known of an object's type: from delta on it holds one value of the type, or
// many.
type view struct {
	typ   dwarf.Type // nil when unknown
	delta uint64
	many  bool
	name  string // of the type, when only that is known
}

// A link is how a value refers to the next object.
type link struct {
	expr    string     // what to append to the expression for the value
	typ     dwarf.Type // of the reference, nil when unknown
	addr    uint64     // where it is
	opaque  bool       // the expression ends here
	many    bool       // it leads to an array
	stepped bool       // it is in a slot before the start of a slice
	cut     bool       // it is in a slot after the end of a slice
	near    bool       // it leads delta bytes into the object; otherwise the pointer must be read
	plain   bool       // the word before it is no itab
	delta   uint64
}

// follow finds the reference at offset off of the memory at addr, seen as v.
func (h *Heap) follow(addr uint64, v view, off uint64) link {
	if v.typ != nil && v.many && off < v.delta {
		return h.steppedOver(addr, v, off)
	}
	if v.typ == nil || off < v.delta {
		return link{addr: addr + off, opaque: true}
	}
	rel, size := off-v.delta, uint64(max(v.typ.Size(), 1))
	at, expr := addr+v.delta, ""
	if v.many {
		i := rel / size
		at, rel, expr = at+i*size, rel%size, "["+strconv.FormatUint(i, 10)+"]"
	}
	if rel >= size {
		return link{addr: addr + off, opaque: true}
	}
	if isMapPart(v.typ) {
		expr = ""
	}
	l := h.field(v.typ, at, rel)
	l.expr = expr + l.expr
	return l
}

// steppedOver finds the reference in an element before the first one of a slice: of a queue that
// was resliced.
func (h *Heap) steppedOver(addr uint64, v view, off uint64) link {
	size := uint64(max(v.typ.Size(), 1))
	start := v.delta - (v.delta-off+size-1)/size*size
	l := h.field(v.typ, addr+start, off-start)
	l.expr, l.stepped, l.opaque = "(a slot before its start)", true, true
	return l
}

// field finds the reference at offset off of a value of type t.
func (h *Heap) field(t dwarf.Type, at, off uint64) link {
	switch u := bare(t).(type) {
	case *dwarf.StructType:
		if isReference(u) {
			return link{typ: t, addr: at}
		}
		return h.member(u, at, off)
	case *dwarf.ArrayType:
		size := uint64(max(u.Type.Size(), 1))
		l := h.field(u.Type, at+off/size*size, off%size)
		l.expr = fmt.Sprintf("[%d]%s", off/size, l.expr)
		return l
	}
	return link{typ: t, addr: at}
}

func (h *Heap) member(s *dwarf.StructType, at, off uint64) link {
	for _, f := range s.Field {
		start := uint64(f.ByteOffset)
		if off < start || off-start >= uint64(max(f.Type.Size(), 0)) {
			continue
		}
		l := h.field(f.Type, at+start, off-start)
		if h.library(s, f, at+start, &l) {
			return l
		}
		switch {
		case isGroup(s) && f.Name == "slots":
			l.expr = h.slot(f, at+start, off-start) + afterSlot(l.expr)
		case isGroup(s) && (f.Name == "elems" || f.Name == "keys"):
			l.expr = h.splitSlot(s, f, at, off-start) + afterElem(l.expr, f.Name)
		case isMapPart(s):
			l.expr = ""
		default:
			l.expr = "." + f.Name + l.expr
		}
		return l
	}
	return link{addr: at + off, opaque: true}
}

// slot is the map key of the slot at offset off of a group's slots: ["x"].
func (h *Heap) slot(slots *dwarf.StructField, at, off uint64) string {
	array, ok := bare(slots.Type).(*dwarf.ArrayType)
	if !ok {
		return "[…]"
	}
	slot, ok := bare(array.Type).(*dwarf.StructType)
	if !ok || len(slot.Field) == 0 || slot.ByteSize <= 0 {
		return "[…]"
	}
	size := uint64(slot.ByteSize)
	return "[" + h.value(slot.Field[0].Type, at+off/size*size) + "]"
}

// splitSlot is the map key of the element at offset off of a group that keeps keys and elements
// apart, as under GOEXPERIMENT=mapsplitgroup.
func (h *Heap) splitSlot(group *dwarf.StructType, array *dwarf.StructField, at, off uint64) string {
	a, ok := bare(array.Type).(*dwarf.ArrayType)
	keys, isArray := bare(fieldType(group, "keys")).(*dwarf.ArrayType)
	if !ok || !isArray {
		return "[…]"
	}
	i := off / uint64(max(a.Type.Size(), 1))
	return "[" + h.value(keys.Type, at+uint64(offsetOf(group, "keys"))+i*uint64(max(keys.Type.Size(), 0))) + "]"
}

// afterElem drops the index in the array of elements or keys.
func afterElem(expr, array string) string {
	if array == "keys" {
		return " (key)"
	}
	_, rest, _ := strings.Cut(expr, "]")
	return rest
}

// afterSlot drops [3].elem, which is the map's own business.
func afterSlot(expr string) string {
	_, rest, ok := strings.Cut(expr, ".elem")
	if !ok {
		return " (key)"
	}
	return rest
}

// value prints a map key: "x", 7, app.key{"x", 7}, or an array of 16 bytes as a UUID. What has a
// pointer in it, or is long, is "…".
func (h *Heap) value(t dwarf.Type, at uint64) string { return h.nested(t, at, 0) }

// deepestValue bounds what is in each other: in a damaged dump an interface may hold itself.
const deepestValue = 8

// nested prints a value that is in depth others.
func (h *Heap) nested(t dwarf.Type, at uint64, depth int) string {
	if h.redacted || depth > deepestValue {
		return "…"
	}
	b, err := h.memory(at, int(min(max(t.Size(), 0), 64)))
	if t.Size() > 0 && (err != nil || int64(len(b)) < t.Size()) {
		return "…"
	}
	switch u := bare(t).(type) {
	case *dwarf.StructType:
		switch {
		case isString(u):
			return h.text(h.Word(b), h.Word(b[h.PtrSize:]))
		case isInterface(u):
			if t, ok := h.names.Types.Runtime(h.concrete(h.Word(b))); ok {
				return h.nested(t, h.Word(b[h.PtrSize:]), depth+1)
			}
			return "…"
		}
		var parts []string
		for _, f := range u.Field {
			if f.Name != "_" {
				parts = append(parts, h.nested(f.Type, at+uint64(f.ByteOffset), depth+1))
			}
		}
		return composite(t, parts)
	case *dwarf.ArrayType:
		switch {
		case isByte(u.Type):
			return inHex(b)
		case u.Count > 64: // of elements without a size
			return "…"
		}
		var parts []string
		for i := range max(u.Count, 0) {
			parts = append(parts, h.nested(u.Type, at+uint64(i*u.Type.Size()), depth+1))
		}
		return composite(t, parts)
	case *dwarf.IntType:
		return strconv.FormatInt(signed(b), 10)
	case *dwarf.UintType, *dwarf.UcharType:
		return strconv.FormatUint(unsigned(b), 10)
	case *dwarf.BoolType:
		return strconv.FormatBool(b[0] != 0)
	}
	return "…"
}

// composite prints a struct or an array of these parts.
func composite(t dwarf.Type, parts []string) string {
	name := symbols.Name(t)
	if strings.HasPrefix(name, "struct {") {
		name = ""
	}
	text := name + "{" + strings.Join(parts, ", ") + "}"
	if slices.Contains(parts, "…") || len(text) > 3*keyShown {
		return "…"
	}
	return text
}

// inHex prints bytes, 16 of them as a UUID.
func inHex(b []byte) string {
	if len(b) == 16 {
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	return fmt.Sprintf("%x", b)
}

func unsigned(b []byte) (v uint64) {
	for i := min(len(b), 8) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

func signed(b []byte) int64 {
	bits := 64 - 8*min(len(b), 8)
	return int64(unsigned(b)<<bits) >> bits
}

const keyShown = 32

// memory reads what is at an address: constants are in the executable, not in the dump.
func (h *Heap) memory(addr uint64, n int) ([]byte, error) {
	b, err := h.Memory(addr, n)
	if err != nil {
		if b, ok := h.stackMemory(addr, n); ok {
			return b, nil
		}
	}
	if err != nil && h.names.Table != nil {
		if c, ok := h.names.Table.Constant(addr, n); ok {
			return c, nil
		}
	}
	return b, err
}

// text reads a string.
func (h *Heap) text(addr, n uint64) string {
	b, err := h.memory(addr, int(min(n, keyShown)))
	if err != nil && n > 0 {
		return "…"
	}
	if n > keyShown {
		return strconv.Quote(string(b)) + "…"
	}
	return strconv.Quote(string(b))
}

// target is the view of the object that a link leads to.
func (h *Heap) target(l link, o int32) view {
	if s, ok := bare(l.typ).(*dwarf.StructType); ok && isInterface(s) {
		b, err := h.memory(l.addr, 2*h.PtrSize)
		if err != nil || len(b) < 2*h.PtrSize {
			return view{}
		}
		delta := h.Word(b[h.PtrSize:]) - h.Addr(o)
		if delta >= h.Size(o) { // it is the type that leads here: one that reflect made
			return view{}
		}
		return h.boxed(h.Word(b), delta)
	}
	delta := l.delta
	if !l.near {
		b, err := h.memory(l.addr, h.PtrSize)
		if err != nil {
			return view{}
		}
		delta = h.Word(b) - h.Addr(o)
	}
	if l.typ == nil {
		return h.guess(l, o, delta)
	}
	return h.referent(l, delta)
}

// referent is the view of what a reference of known type leads to, delta bytes into it.
func (h *Heap) referent(l link, delta uint64) view {
	if symbols.Argument(l.typ) {
		return view{delta: delta}
	}
	switch t := bare(l.typ).(type) {
	case *dwarf.PtrType:
		v := h.pointee(t, l.addr, delta)
		v.many = v.many || l.many
		return v
	case *dwarf.StructType:
		if elem, ok := sliceElem(t); ok {
			return view{typ: elem, delta: delta, many: true}
		}
		switch {
		case isInterface(t):
			return h.dynamic(l.addr, delta)
		case isString(t):
			return view{name: "string", delta: delta}
		}
	}
	return view{delta: delta}
}

// pointee minds that a small map's directory pointer leads to its only group.
func (h *Heap) pointee(p *dwarf.PtrType, at, delta uint64) view {
	if t, ok := h.trieNode(p.Type, at); ok {
		return view{typ: t, delta: delta}
	}
	directory, ok := bare(p.Type).(*dwarf.PtrType)
	if !ok {
		return view{typ: known(p.Type), delta: delta, many: isGroup(bare(p.Type))}
	}
	table, ok := bare(directory.Type).(*dwarf.StructType)
	if !ok || !strings.HasPrefix(table.StructName, "table<") {
		return view{typ: p.Type, delta: delta}
	}
	if b, err := h.memory(at+uint64(h.PtrSize), h.PtrSize); err != nil || h.Word(b) != 0 {
		return view{typ: p.Type, delta: delta, many: true}
	}
	return view{typ: groupOf(table), delta: delta}
}

// groupOf is the type behind table.groups.data.
func groupOf(table *dwarf.StructType) dwarf.Type {
	for _, f := range table.Field {
		ref, ok := bare(f.Type).(*dwarf.StructType)
		if !ok || f.Name != "groups" || len(ref.Field) == 0 {
			continue
		}
		if p, ok := bare(ref.Field[0].Type).(*dwarf.PtrType); ok {
			return p.Type
		}
	}
	return nil
}

// dynamic is the view of what the interface at addr leads to, delta bytes into it.
func (h *Heap) dynamic(addr, delta uint64) view {
	b, err := h.memory(addr, h.PtrSize)
	if err != nil {
		return view{}
	}
	return h.boxed(h.Word(b), delta)
}

// concrete is the address of the type that an interface holds. Its first word leads to a table of
// methods, or to the type itself.
func (h *Heap) concrete(word uint64) uint64 {
	if typ, ok := h.Itab(word); ok {
		return typ
	}
	return word
}

// boxed is the view of what an interface with this type word holds.
func (h *Heap) boxed(word, delta uint64) view {
	typ := h.concrete(word)
	if h.names.Types != nil {
		if t, ok := h.names.Types.Runtime(typ); ok {
			inner := only(t)
			if p, ok := inner.(*dwarf.PtrType); ok {
				return view{typ: known(p.Type), delta: delta}
			}
			if _, ok := inner.(*dwarf.FuncType); ok {
				return view{delta: delta}
			}
			return view{typ: t, delta: delta}
		}
	}
	if t, ok := h.Type(typ); ok {
		name := symbols.Short(t.Name)
		if deref, ok := strings.CutPrefix(name, "*"); ok {
			name = deref
		}
		return view{name: name, delta: delta}
	}
	return view{delta: delta}
}

// only is what a value of type t consists of: an interface holds a struct of nothing but a pointer
// as it holds that pointer.
func only(t dwarf.Type) dwarf.Type {
	switch u := bare(t).(type) {
	case *dwarf.StructType:
		if len(u.Field) == 1 && !isReference(u) {
			return only(u.Field[0].Type)
		}
	case *dwarf.ArrayType:
		if u.Count == 1 {
			return only(u.Type)
		}
	}
	return bare(t)
}

// guess looks for the type without any types: an interface's first word, or the type that the
// allocator writes before large objects with pointers.
func (h *Heap) guess(l link, o int32, delta uint64) view {
	if l.plain {
		return h.headed(o, delta)
	}
	if b, err := h.memory(l.addr-uint64(h.PtrSize), h.PtrSize); err == nil {
		if _, ok := h.Itab(h.Word(b)); ok {
			return h.boxed(h.Word(b), delta)
		}
	}
	return h.headed(o, delta)
}

const mallocHeader = 8

// headed reads the type that the allocator writes before objects of more than 512 bytes with
// pointers, 128 where pointers have 4 bytes.
func (h *Heap) headed(o int32, delta uint64) view {
	word := uint64(h.PtrSize)
	if to, _ := h.Edges(o); h.names.Types == nil || len(to) == 0 || h.Size(o) <= word*word*8 || h.Size(o) > 32<<10 {
		return view{delta: delta}
	}
	b, err := h.Contents(o, 0, h.PtrSize)
	if err != nil {
		return view{delta: delta}
	}
	if t, ok := h.names.Types.Runtime(h.Word(b)); ok {
		return view{typ: t, delta: mallocHeader, many: true}
	}
	return view{delta: delta}
}

// known is nil for types that say nothing.
func known(t dwarf.Type) dwarf.Type {
	switch bare(t).(type) {
	case nil, *dwarf.VoidType, *dwarf.UnspecifiedType, *dwarf.FuncType:
		return nil
	}
	return t
}

func bare(t dwarf.Type) dwarf.Type {
	for {
		d, ok := t.(*dwarf.TypedefType)
		if !ok {
			return t
		}
		t = d.Type
	}
}

func isInterface(s *dwarf.StructType) bool {
	return s.StructName == "runtime.iface" || s.StructName == "runtime.eface"
}

// isReference tells values of the language that are structs only to DWARF.
func isReference(s *dwarf.StructType) bool {
	_, slice := sliceElem(s)
	return slice || isString(s) || isInterface(s)
}

// isString tells strings, of any name.
func isString(s *dwarf.StructType) bool {
	if !hasFields(s, "str", "len") {
		return false
	}
	p, ok := bare(s.Field[0].Type).(*dwarf.PtrType)
	return ok && isByte(p.Type)
}

func isByte(t dwarf.Type) bool {
	_, ok := bare(t).(*dwarf.UintType)
	return ok && t.Size() == 1
}

// sliceElem is the type of the elements of a slice, of any name.
func sliceElem(s *dwarf.StructType) (dwarf.Type, bool) {
	if !hasFields(s, "array", "len", "cap") {
		return nil, false
	}
	p, ok := bare(s.Field[0].Type).(*dwarf.PtrType)
	if !ok {
		return nil, false
	}
	switch bare(p.Type).(type) {
	case nil, *dwarf.VoidType, *dwarf.UnspecifiedType: // runtime.slice
		return nil, false
	}
	return p.Type, true
}

func hasFields(s *dwarf.StructType, names ...string) bool {
	return slices.EqualFunc(s.Field, names, func(f *dwarf.StructField, name string) bool { return f.Name == name })
}

// isChan tells channels, of any name.
func isChan(t dwarf.Type) bool {
	p, ok := bare(t).(*dwarf.PtrType)
	if !ok {
		return false
	}
	s, ok := bare(p.Type).(*dwarf.StructType)
	return ok && strings.HasPrefix(s.StructName, "hchan<")
}

func isGroup(t dwarf.Type) bool {
	s, ok := t.(*dwarf.StructType)
	return ok && strings.Contains(s.StructName, "map.group[")
}

// isMapPart tells what a map is made of.
func isMapPart(t dwarf.Type) bool {
	t = bare(t)
	if p, ok := t.(*dwarf.PtrType); ok {
		t = bare(p.Type)
	}
	s, ok := t.(*dwarf.StructType)
	if !ok {
		return false
	}
	for _, prefix := range []string{"map<", "table<", "groupReference<"} {
		if strings.HasPrefix(s.StructName, prefix) {
			return true
		}
	}
	return isGroup(s)
}
