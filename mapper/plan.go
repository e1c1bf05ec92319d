package mapper

import (
	"fmt"
	"strings"
)

var opNames = [...]string{
	opCopy: "copy", opNumber: "number, if it fits", opDetach: "copy with bytes", opBytes: "copy bytes", opFunc: "call",
	opOptional: "if present", opSlice: "each", opArray: "each", opMap: "each entry", opStruct: "by field",
	opFromInterface: "by the type it holds", opToInterface: "deep copy",
}

// Plan describes the plan, one line for each field of the destination. It is for people to read and
// for tests to compare. The format may change between versions.
func (m *Mapper[S, D]) Plan() string {
	if m == nil || m.plan == nil {
		return m.misused().Error()
	}
	var b strings.Builder
	p := printer{b: &b, seen: map[*node]bool{}}
	fmt.Fprintf(&b, "%s to %s: ", m.plan.root.src, m.plan.root.dst)
	p.node(m.plan.root, "\t")
	return b.String()
}

type printer struct {
	b    *strings.Builder
	seen map[*node]bool
}

// node ends the current line, and adds lines for the nodes inside.
func (p printer) node(n *node, indent string) {
	name := opNames[n.op]
	if n.fn.name != "" {
		name = n.fn.name
	}
	again := p.seen[n] && len(n.fields) > 0
	if again {
		name += ", as above"
	}
	p.b.WriteString(name)
	if n.elem != nil && !p.seen[n] {
		p.seen[n] = true
		fmt.Fprintf(p.b, ": %s to %s: ", n.elem.src, n.elem.dst)
		p.node(n.elem, indent)
		return
	}
	p.b.WriteString("\n")
	if again {
		return
	}
	p.seen[n] = true
	for _, f := range n.fields {
		src := f.src.name
		if f.set {
			src = f.src.typ.String()
		}
		fmt.Fprintf(p.b, "%s%s <- %s: ", indent, f.dst.name, src)
		p.node(f.node, indent+"\t")
	}
	for _, left := range n.left {
		fmt.Fprintf(p.b, "%s%s: left as it is\n", indent, left)
	}
}
