package mapper

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// isStructs reports whether a pair maps field by field.
func (c *compiler) isStructs(src, dst reflect.Type) bool {
	_, converts := c.cfg.converters[pair{src, dst}]
	return !converts && src.Kind() == reflect.Struct && dst.Kind() == reflect.Struct &&
		!isNull(src) && !isNull(dst) && !isImmutable(src) && !isImmutable(dst)
}

// structs adds to n what maps the struct at src to the struct at dst. A struct
// nested by value adds to the node of the outermost.
func (c *compiler) structs(n *node, src, dst route) {
	if src.typ == dst.typ || c.cfg.tag == "" && sameLayout(src.typ, dst.typ) {
		c.sameFields(n, src, dst)
		return
	}
	m := &matcher{c: c, n: n, src: c.candidates(src), from: src.typ}
	m.match(dst, "", nil)
	if !m.decided && dst.typ.NumField() > 0 {
		c.problem(src.typ, dst.typ, "no field of the destination can be filled: use Convert, or Ignore it")
	}
}

// sameFields maps a struct to its own type: every field, unexported ones too.
func (c *compiler) sameFields(n *node, src, dst route) {
	if reflect.PointerTo(src.typ).Implements(locker) {
		c.problem(src.typ, dst.typ, "a lock cannot be copied: Ignore it, or use Convert")
		return
	}
	for i := range src.typ.NumField() {
		part := dst.field(i)
		if !c.isOverridden(n, part) {
			c.within("."+src.typ.Field(i).Name, func() { c.sameField(n, src.field(i), part, src.typ.Field(i)) })
		}
	}
}

func (c *compiler) sameField(n *node, src, dst route, f reflect.StructField) {
	switch {
	case c.name(f) == "-", f.Name == "_" && !reflect.PointerTo(f.Type).Implements(locker):
	case !f.IsExported() && !f.Anonymous && !c.cfg.share && refers(f.Type):
		c.problem(f.Type, f.Type, "an unexported field holds references, which only its own package can copy: Ignore it, use Share or Convert")
	default:
		c.assign(n, src, dst)
	}
}

// assign adds to n what maps one part to another.
func (c *compiler) assign(n *node, src, dst route) {
	if c.isStructs(src.typ, dst.typ) {
		c.structs(n, src, dst)
		return
	}
	if src, dst, ok := c.followed(n, src, dst); ok {
		c.structs(n, src, dst)
		return
	}
	n.fields = append(n.fields, field{src: src, dst: dst, node: c.pair(src.typ, dst.typ)})
}

// followed follows pointers to structs when a selector chose a field behind
// the destination's: its fields are then filled one by one.
func (c *compiler) followed(n *node, src, dst route) (s, d route, ok bool) {
	if dst.typ.Kind() != reflect.Pointer || !c.overridesBelow(n, dst) {
		return src, dst, false
	}
	if src.typ.Kind() == reflect.Pointer {
		src = src.deref()
	}
	dst = dst.deref()
	return src, dst, c.isStructs(src.typ, dst.typ)
}

// A candidate is a field of the source that a field of the destination could
// be filled from.
type candidate struct {
	name  string
	depth int
	route route
}

// candidates lists the exported fields of the struct at r, promoted ones too.
func (c *compiler) candidates(r route) []candidate {
	var list []candidate
	for _, f := range reflect.VisibleFields(r.structType()) {
		name := c.name(f)
		if !f.IsExported() || name == "-" {
			continue
		}
		part := r
		for _, i := range f.Index {
			part = part.field(i)
		}
		list = append(list, candidate{name, len(f.Index), part})
	}
	return list
}

// name is what a field is called: by its tag or by itself.
func (c *compiler) name(f reflect.StructField) string {
	if c.cfg.tag == "" {
		return f.Name
	}
	if name, _, _ := strings.Cut(f.Tag.Get(c.cfg.tag), ","); name != "" {
		return name
	}
	return f.Name
}

// A matcher fills the fields of one struct of the destination by name.
type matcher struct {
	c       *compiler
	n       *node
	from    reflect.Type
	src     []candidate
	decided bool // about at least one field
}

// match goes through the fields of the struct at dst, whose names in the
// source begin with prefix. Chain holds the types it is inside of.
func (m *matcher) match(dst route, prefix string, chain []reflect.Type) {
	t := dst.structType()
	chain = append(slices.Clip(chain), t)
	for i := range t.NumField() {
		f, part := t.Field(i), dst.field(i)
		if f.Name == "_" {
			continue
		}
		if m.c.isOverridden(m.n, part) || m.c.name(f) == "-" {
			m.decided = true
			continue
		}
		// An unexported field only its own package can choose, with Bind or Set.
		if f.IsExported() || f.Anonymous {
			m.c.within("."+f.Name, func() { m.field(f, part, prefix, chain) })
		}
	}
}

func (m *matcher) field(f reflect.StructField, dst route, prefix string, chain []reflect.Type) {
	c, name := m.c, prefix+m.c.name(f)
	inner := dst.structType()
	opens := inner != nil && !slices.Contains(chain, inner)
	if src, found := m.find(name, f.Type); found && f.IsExported() {
		m.decided = true
		c.assign(m.n, src, dst)
		return
	}
	switch {
	case f.Anonymous && opens:
		m.match(dst, prefix, chain)
	case !f.IsExported():
	case opens && c.cfg.flatten && m.hasPrefix(name):
		m.match(dst, name, chain)
	case opens && c.overridesBelow(m.n, dst):
		m.decided = true
		(&matcher{c: c, n: m.n, from: m.from}).match(dst, "", chain)
	case c.cfg.lenient:
		m.n.left = append(m.n.left, dst.name)
	default:
		c.problem(nil, f.Type, "%s has no field for it%s: Bind, Set or Ignore it, or use Lenient", m.from, m.near(name))
	}
}

// find returns the source field of a name: of the exact name before one that
// differs in case, and of the outermost struct before a promoted one.
func (m *matcher) find(name string, dst reflect.Type) (route, bool) {
	best := m.best(func(s string) bool { return s == name })
	if len(best) == 0 && !m.c.cfg.MatchCase {
		best = m.best(func(s string) bool { return strings.EqualFold(s, name) })
	}
	if len(best) == 0 && m.c.cfg.flatten {
		best = m.c.flattened(m.src, name)
	}
	if len(best) == 0 {
		return route{}, false
	}
	if len(best) > 1 {
		m.c.problem(m.from, dst, "both %s and %s could fill it: choose one with Bind", best[0].route.name, best[1].route.name)
	}
	return best[0].route, true
}

// best returns the candidates that match, of the least depth.
func (m *matcher) best(matches func(string) bool) []candidate {
	var best []candidate
	for _, s := range m.src {
		switch {
		case !matches(s.name):
		case len(best) == 0 || s.depth < best[0].depth:
			best = []candidate{s}
		case s.depth == best[0].depth:
			best = append(best, s)
		}
	}
	return best
}

// flattened finds AddressCity as the field City of a field Address.
func (c *compiler) flattened(src []candidate, name string) []candidate {
	var found []candidate
	for _, s := range src {
		rest, ok := c.cutPrefix(name, s.name)
		switch {
		case ok && rest == "":
			found = append(found, s)
		case ok && s.route.structType() != nil:
			found = append(found, c.flattened(c.candidates(s.route), rest)...)
		}
	}
	return found
}

func (c *compiler) cutPrefix(name, prefix string) (rest string, ok bool) {
	if len(name) < len(prefix) {
		return "", false
	}
	head := name[:len(prefix)]
	return name[len(prefix):], head == prefix || !c.cfg.MatchCase && strings.EqualFold(head, prefix)
}

func (m *matcher) hasPrefix(name string) bool {
	return slices.ContainsFunc(m.src, func(s candidate) bool {
		rest, ok := m.c.cutPrefix(s.name, name)
		return ok && rest != ""
	})
}

// near names a source field that was perhaps meant.
func (m *matcher) near(name string) string {
	for _, s := range m.src {
		if m.c.cfg.MatchCase && strings.EqualFold(s.name, name) {
			return fmt.Sprintf(" (its %s differs in case)", s.name)
		}
	}
	return ""
}

// structType is the struct that r leads to, perhaps by a last pointer, or nil.
func (r route) structType() reflect.Type {
	t := r.typ
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}
