package goruntime

import (
	"encoding/binary"
	"strings"
)

// A mask says which words of a type are pointers.
type mask struct {
	size  uint64 // of the type
	words []uint32
}

// Kinds and flags of types.
const (
	kindArray     = 17
	kindChan      = 18
	kindFunc      = 19
	kindInterface = 20
	kindMap       = 21
	kindPointer   = 22
	kindSlice     = 23
	kindStruct    = 25
	kindMask      = 31

	flagUncommon  = 1 << 0
	flagExtraStar = 1 << 1
	flagNamed     = 1 << 2
	flagOnDemand  = 1 << 4
)

const (
	maxMasks  = 64 << 20 // words in all masks together
	maxFields = 1 << 16
)

// mask is the mask of a type that objects of this size consist of, or nil: memory that is just
// being allocated has no type yet.
func (r *Runtime) mask(typ, size uint64) *mask {
	if typ == 0 {
		return nil
	}
	if m, ok := r.masks[typ]; ok {
		return m
	}
	m := &mask{size: r.field(typ, "internal/abi.Type.Size_")}
	if m.size == 0 || m.size%8 != 0 || m.size > size {
		r.fail("the type at %#x has %d bytes, and an object of it %d: this version is not known", typ, m.size, size)
		return nil
	}
	r.addMask(m, typ, 0, 0)
	if r.maskWords += len(m.words); r.maskWords > maxMasks {
		r.fail("types with more than %d pointers", maxMasks)
	}
	r.masks[typ] = m
	return m
}

// addMask adds the pointers of a value of the type that begins at off.
func (r *Runtime) addMask(m *mask, typ, off uint64, depth int) {
	n := r.field(typ, "internal/abi.Type.PtrBytes") / 8
	if r.err != nil || n == 0 {
		return
	}
	r.maskSteps++
	if depth > 64 || r.maskSteps > maxMasks || off+n*8 > m.size || len(m.words) > maxMasks {
		r.fail("the type at %#x does not fit into itself: this version is not known", typ)
		return
	}
	data := r.field(typ, "internal/abi.Type.GCData")
	if r.u8(r.at(typ, "internal/abi.Type.TFlag"))&flagOnDemand == 0 {
		r.addBits(m, data, off, n)
		return
	}
	if built := r.u64(data); built != 0 {
		r.addBits(m, built, off, n)
		return
	}
	r.addParts(m, typ, off, depth)
}

func (r *Runtime) addBits(m *mask, data, off, n uint64) {
	b := r.bytes(data, (n+7)/8, m.size/64+1)
	for i := range n {
		if bit(b, i) {
			m.words = append(m.words, uint32(off/8+i))
		}
	}
}

// addParts does what the runtime does when the collector first meets a value of a large type: its
// mask is made of the masks of its parts.
func (r *Runtime) addParts(m *mask, typ, off uint64, depth int) {
	switch r.u8(r.at(typ, "internal/abi.Type.Kind_")) & kindMask {
	case kindArray:
		elem, n := r.field(typ, "internal/abi.ArrayType.Elem"), r.field(typ, "internal/abi.ArrayType.Len")
		size := r.field(elem, "internal/abi.Type.Size_")
		if size == 0 || n > m.size/size {
			r.fail("the type at %#x is an array of %d elements of %d bytes: this version is not known", typ, n, size)
		}
		for i := uint64(0); i < n && r.err == nil; i++ {
			r.addMask(m, elem, off+i*size, depth+1)
		}
	case kindStruct:
		fields := r.slice(r.at(typ, "internal/abi.StructType.Fields"))
		if fields.len > maxFields {
			r.fail("the type at %#x has %d fields: this version is not known", typ, fields.len)
		}
		for i := uint64(0); i < fields.len && r.err == nil; i++ {
			f := fields.at + i*r.x.size["internal/abi.StructField"]
			r.addMask(m, r.field(f, "internal/abi.StructField.Typ"), off+r.field(f, "internal/abi.StructField.Offset"), depth+1)
		}
	default:
		r.fail("the type at %#x has no pointer mask: this version is not known", typ)
	}
}

// A Type is a type that has methods which are used through an interface.
type Type struct {
	Addr, Size uint64
	Name       string
}

const maxItabs = 1 << 22

// Interfaces calls itab for each table of methods, and typ for each type before its first table.
func (r *Runtime) Interfaces(typ func(Type) error, itab func(addr, typ uint64) error) error {
	seen := map[uint64]bool{}
	table := r.u64(r.variable("runtime.itabTable"))
	n := r.field(table, "runtime.itabTableType.size")
	if n > maxItabs {
		r.fail("a table of %d interfaces", n)
	}
	r.itabs = map[uint64]uint64{}
	for i := uint64(0); i < n && r.err == nil; i++ {
		addr := r.u64(r.at(table, "runtime.itabTableType.entries") + 8*i)
		if addr == 0 {
			continue
		}
		t := r.field(addr, "internal/abi.ITab.Type")
		r.itabs[addr] = t
		if !seen[t] {
			seen[t] = true
			if err := typ(r.typeAt(t)); err != nil {
				return err
			}
		}
		if err := itab(addr, t); err != nil {
			return err
		}
	}
	return r.take()
}

func (r *Runtime) typeAt(addr uint64) Type {
	t := Type{Addr: addr, Size: r.field(addr, "internal/abi.Type.Size_"), Name: r.typeName(addr)}
	if r.take() != nil {
		t.Name = "?" // of a type that reflect made, say
	}
	return t
}

// typeName is the type's name with the whole path of its package.
func (r *Runtime) typeName(addr uint64) string {
	flags := r.u8(r.at(addr, "internal/abi.Type.TFlag"))
	name := r.nameAt(addr, uint64(r.u32(r.at(addr, "internal/abi.Type.Str"))))
	if flags&flagExtraStar != 0 {
		name = strings.TrimPrefix(name, "*")
	}
	if flags&flagNamed == 0 || flags&flagUncommon == 0 {
		return name
	}
	more := addr + r.typeSize(r.u8(r.at(addr, "internal/abi.Type.Kind_"))&kindMask)
	off := uint64(r.u32(r.at(more, "internal/abi.UncommonType.PkgPath")))
	if off == 0 {
		return name
	}
	path := r.nameAt(addr, off)
	if r.err != nil || path == "" {
		return name
	}
	return path + "." + afterPackage(name)
}

// afterPackage cuts pkg. off a name; there may be dots in the arguments of a generic type.
func afterPackage(name string) string {
	end := len(name)
	if i := strings.IndexByte(name, '['); i >= 0 {
		end = i
	}
	return name[strings.LastIndexByte(name[:end], '.')+1:]
}

// typeSize is how much of a type's description stands before its methods.
func (r *Runtime) typeSize(kind uint8) uint64 {
	name := map[uint8]string{kindArray: "ArrayType", kindChan: "ChanType", kindFunc: "FuncType", kindInterface: "InterfaceType",
		kindMap: "MapType", kindPointer: "PtrType", kindSlice: "SliceType", kindStruct: "StructType"}[kind]
	if size, ok := r.x.size["internal/abi."+name]; ok {
		return size
	}
	return r.x.size["internal/abi.Type"]
}

// nameAt reads a name of the module that the type is in: a byte of flags, the length, and the text.
func (r *Runtime) nameAt(typ, off uint64) string {
	for i := range r.modules {
		m := &r.modules[i]
		if typ < m.types || typ >= m.etypes || off >= m.etypes-m.types {
			continue
		}
		at := m.types + off + 1
		n, width := binary.Uvarint(r.small(at, 4))
		if width <= 0 {
			return ""
		}
		return string(r.bytes(at+uint64(width), n, maxName))
	}
	r.fail("no module has the type at %#x", typ)
	return ""
}

// IsType tells whether an address is one of a type or of a table of methods, as interfaces hold it.
func (r *Runtime) IsType(addr uint64) bool {
	if _, ok := r.itabs[addr]; ok {
		return true
	}
	if addr%8 != 0 {
		return false
	}
	for i := range r.modules {
		if m := &r.modules[i]; addr >= m.types && addr < m.etypes {
			return true
		}
	}
	return false
}

// IsFunction tells whether an address is where a function begins, as closures hold it.
func (r *Runtime) IsFunction(addr uint64) bool { return r.inCode(addr) }
