package retain

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// A static is a place in a package variable that refers to something.
type static struct {
	symbol  string // of the variable
	root    string // the variable
	name    string // the same, with fields
	typ     string // of the variable
	link    link
	partial bool // which field is unknown
}

// static names a place in the segments of variables. What a variable is initialized to point to is
// there too: it has no name, or one of the compiler's. It is named by the variable that points to
// it.
func (h *Heap) static(at uint64, depth int) (static, bool) {
	if h.names.Table == nil || depth > 4 {
		return static{}, false
	}
	sym, off, ok := h.names.Table.Data(at, h.inBSS(at))
	if ok && !sym.Unnamed() {
		return h.named(sym, off, at), true
	}
	for _, r := range h.pointersTo(at - off) { // off is 0 where no symbol is known
		v, ok := h.static(r.from, depth+1)
		if !ok {
			continue
		}
		v.link = h.follow(r.to, h.referent(v.link, 0), at-r.to)
		v.partial = v.partial || v.link.opaque
		v.name += v.link.expr
		return v, true
	}
	if ok && depth == 0 {
		return h.named(sym, off, at), true
	}
	return static{}, false
}

func (h *Heap) named(sym symbols.Symbol, off, at uint64) static {
	name := symbols.Short(sym.Name)
	v := static{symbol: sym.Name, root: name, name: name, link: link{addr: at, opaque: true}}
	if h.names.Types != nil {
		if t, ok := h.names.Types.Variable(sym.Name); ok {
			v.typ = symbols.Name(t)
			v.link = h.follow(at-off, view{typ: t}, off)
			v.name += v.link.expr
		}
	}
	if v.partial = v.link.typ == nil && off > 0; v.partial {
		v.name += fmt.Sprintf("+%d", off)
	}
	return v
}

func (h *Heap) inBSS(at uint64) bool { return at-h.BSS.Addr < uint64(h.BSS.Len) }

const largestStatic = 64 << 10

// A reference is a word of a variable that refers to other variables' memory.
type reference struct{ to, from uint64 }

const fewPointers = 4

// pointersTo finds pointers in variables to the unnamed memory around at. All lead to where that
// memory starts. They are a few at most.
func (h *Heap) pointersTo(at uint64) []reference {
	refs := h.references()
	end := sort.Search(len(refs), func(i int) bool { return refs[i].to > at })
	if end == 0 || at-refs[end-1].to >= largestStatic {
		return nil
	}
	start := refs[end-1].to
	// A symbol in between would mean that start is something else's.
	for a := start; a < at; a += uint64(h.PtrSize) {
		if _, _, known := h.names.Table.Data(a, h.inBSS(a)); known {
			return nil
		}
	}
	first := sort.Search(end, func(i int) bool { return refs[i].to >= start })
	return refs[first:min(end, first+fewPointers)]
}

// references are the pointers from variables to variables, by where they lead.
func (h *Heap) references() []reference {
	if h.refs != nil {
		return h.refs
	}
	h.refs = []reference{}
	for _, s := range []*heapdump.Segment{&h.Data, &h.BSS} {
		b, err := h.SegmentContents(s, 0, int(s.Len))
		if err != nil {
			return nil
		}
		for off := 0; off+h.PtrSize <= len(b); off += h.PtrSize {
			if w := h.Word(b[off:]); w-h.Data.Addr < uint64(h.Data.Len) || w-h.BSS.Addr < uint64(h.BSS.Len) {
				h.refs = append(h.refs, reference{w, s.Addr + uint64(off)})
			}
		}
	}
	slices.SortFunc(h.refs, func(a, b reference) int { return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.from, b.from)) })
	return h.refs
}
