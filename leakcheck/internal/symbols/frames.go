package symbols

import (
	"debug/dwarf"
	"encoding/binary"
	"strings"
)

// Sections of DWARF that package debug/dwarf does not read: where variables are, by code address.
type locations struct {
	lists []byte // .debug_loclists
	addr  []byte // .debug_addr
}

// A Variable is a variable of a function, or a part of one.
type Variable struct {
	Name string
	Type dwarf.Type
	Off  uint64 // where in the variable
}

// FrameVariable returns the variable of a function that is on the stack off bytes from the frame's
// canonical address, which is where the caller's frame begins, when the function is at pc. Both
// addresses are the executable's; entry is that of the function.
func (x *Types) FrameVariable(entry, pc uint64, off int64) (Variable, bool) {
	start, ok := x.entries[entry]
	if !ok || x.locations == nil {
		return Variable{}, false
	}
	r := x.data.Reader()
	r.Seek(start)
	e, err := r.Next()
	if err != nil || e == nil || !e.Children {
		return Variable{}, false
	}
	var unnamed Variable // the compiler's own, which a variable may share its place with
	found := false
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil || e == nil {
			return unnamed, found
		}
		switch {
		case e.Tag == 0:
			depth--
			continue
		case e.Tag == dwarf.TagVariable || e.Tag == dwarf.TagFormalParameter:
			v, ok := x.variableAt(e, pc, off)
			if ok && !strings.HasPrefix(v.Name, ".") {
				return v, true
			}
			if ok && !found {
				unnamed, found = Variable{Type: v.Type, Off: v.Off}, true
			}
		}
		if e.Children {
			depth++
		}
	}
	return unnamed, found
}

// variableAt tells whether a variable is at a place of the stack.
func (x *Types) variableAt(e *dwarf.Entry, pc uint64, off int64) (Variable, bool) {
	var expr []byte
	switch v := e.Val(dwarf.AttrLocation).(type) {
	case []byte:
		expr = v
	case int64:
		expr = x.locations.at(x.unitOf(e.Offset), v, pc)
	}
	if len(expr) == 0 {
		return Variable{}, false
	}
	if origin, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
		or := x.data.Reader()
		or.Seek(origin)
		o, err := or.Next()
		if err != nil || o == nil {
			return Variable{}, false
		}
		e = o
	}
	typ, hasType := e.Val(dwarf.AttrType).(dwarf.Offset)
	t, ok := x.at(typ, hasType)
	if !ok {
		return Variable{}, false
	}
	at, ok := within(expr, t.Size(), off)
	name, _ := e.Val(dwarf.AttrName).(string)
	return Variable{name, t, at}, ok
}

// Operations of DWARF expressions that Go's compiler writes for what is on the stack.
const (
	opReg0    = 0x50
	opReg31   = 0x6f
	opFbreg   = 0x91
	opPiece   = 0x93
	opCallCFA = 0x9c
)

// within tells where in a variable of this size and location a place of the stack is.
func within(expr []byte, size, off int64) (at uint64, ok bool) {
	var done int64 // bytes of the variable in the pieces so far
	place, onStack := int64(0), false
	for len(expr) > 0 {
		op := expr[0]
		expr = expr[1:]
		switch {
		case op >= opReg0 && op <= opReg31:
			onStack = false
		case op == opCallCFA:
			place, onStack = 0, true
		case op == opFbreg:
			v, n := sleb(expr)
			if n <= 0 {
				return 0, false
			}
			expr = expr[n:]
			place, onStack = v, true
		case op == opPiece:
			n, k := binary.Uvarint(expr)
			if k <= 0 || n > 1<<30 {
				return 0, false
			}
			expr = expr[k:]
			if onStack && off >= place && off-place < int64(n) {
				return uint64(done + off - place), true
			}
			done, onStack = done+int64(n), false
		default:
			return 0, false
		}
	}
	if onStack && off >= place && off-place < max(size, 1) {
		return uint64(done + off - place), true
	}
	return 0, false
}

// sleb is a signed number in DWARF's form, and its length.
func sleb(b []byte) (v int64, n int) {
	for shift := uint(0); n < len(b) && shift < 64; {
		c := b[n]
		n++
		v |= int64(c&0x7f) << shift
		shift += 7
		if c < 0x80 {
			if c&0x40 != 0 && shift < 64 {
				v |= -1 << shift
			}
			return v, n
		}
	}
	return 0, 0
}

// A unit is what lists of locations need from their compilation unit.
type unit struct {
	start    dwarf.Offset
	low      uint64
	addrBase int64
	addrSize int
}

// unitOf returns the compilation unit around an entry.
func (x *Types) unitOf(off dwarf.Offset) unit {
	lo, hi := 0, len(x.units)
	for lo < hi {
		if mid := (lo + hi) / 2; x.units[mid].start <= off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return unit{}
	}
	return x.units[lo-1]
}

// at is the location that a list of .debug_loclists gives for a code address.
func (l *locations) at(u unit, list int64, pc uint64) []byte {
	if list < 0 || list > int64(len(l.lists)) {
		return nil
	}
	c := leb{l.lists[list:]}
	base := u.low
	for {
		var lo, hi uint64
		switch c.byte() { // DW_LLE_…
		case 1: // base_addressx
			base = l.address(u, c.uint())
			continue
		case 4: // offset_pair
			lo = base + c.uint()
			hi = base + c.uint()
		case 2: // startx_endx
			lo = l.address(u, c.uint())
			hi = l.address(u, c.uint())
		case 3: // startx_length
			lo = l.address(u, c.uint())
			hi = lo + c.uint()
		case 5: // default_location
			hi = 1<<64 - 1
		default:
			return nil
		}
		expr := c.bytes(c.uint())
		if pc >= lo && pc < hi {
			return expr
		}
	}
}

func (l *locations) address(u unit, i uint64) uint64 {
	size := uint64(u.addrSize)
	at := uint64(u.addrBase) + i*size
	switch {
	case i > uint64(len(l.addr)) || at+size > uint64(len(l.addr)):
		return 0
	case size == 4:
		return uint64(binary.LittleEndian.Uint32(l.addr[at:]))
	}
	return binary.LittleEndian.Uint64(l.addr[at:])
}

// A leb reads numbers in DWARF's form; after the end it reads zeros, which end a list.
type leb struct{ b []byte }

func (c *leb) byte() byte {
	if len(c.b) == 0 {
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *leb) uint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.b = nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *leb) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.b = nil
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}
