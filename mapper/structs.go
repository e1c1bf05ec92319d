package mapper

import (
	"reflect"
	"slices"
	"strings"
)

// isStructs reports whether a pair maps field by field.
func (c *compiler) isStructs(src, dst reflect.Type) bool {
	if src.Kind() != reflect.Struct || dst.Kind() != reflect.Struct || isImmutable(src) || isImmutable(dst) {
		return false
	}
	p := pair{src, dst}
	cfg := c.scope(p)
	if _, converts := cfg.converters[p]; converts || src == dst && cfg.assigned[src] {
		return false
	}
	return !isNull(src) && !isNull(dst) || c.isChosen(src, dst) || nullsByField(src, dst)
}

// nullIsFields reports whether two structs map field by field although one of them looks like a null,
// or both do and options choose fields. Pointers to them then map like the structs.
func (c *compiler) nullIsFields(src, dst reflect.Type) bool {
	from, fromNull := nullOf(src)
	to, toNull := nullOf(dst)
	switch {
	case !fromNull && !toNull, !c.isStructs(src, dst):
		return false
	case c.isChosen(src, dst):
		return true
	case fromNull && toNull:
		return false
	case fromNull:
		return !c.isStructs(pointee(from.typ), dst)
	default:
		return !c.isStructs(src, pointee(to.typ))
	}
}

// nullsByField reports whether two structs map field by field although one or both look like nulls.
// This is so for a null and its own type, which is copied whole, and for a null and a struct that
// has fields of the same names.
func nullsByField(src, dst reflect.Type) bool {
	from, fromNull := nullOf(src)
	to, toNull := nullOf(dst)
	switch {
	case fromNull && toNull:
		return sameLayout(src, dst)
	case fromNull:
		return sharesName(src, from, dst)
	default:
		return sharesName(dst, to, src)
	}
}

func sharesName(null reflect.Type, o optional, other reflect.Type) bool {
	value := null.FieldByIndex(o.value).Name
	_, ok := other.FieldByNameFunc(func(name string) bool { return strings.EqualFold(name, value) || strings.EqualFold(name, "Valid") })
	return ok
}

// isInlined reports whether the fields of a nested struct become fields of the node around it.
func (c *compiler) isInlined(src, dst reflect.Type) bool {
	p := pair{src, dst}
	return c.isStructs(src, dst) && c.scope(p) == c.cfg && (!isNull(src) || !isNull(dst) || c.isChosen(src, dst))
}

// structs adds to n the fields that map the struct at src to the struct at dst. The fields of a
// struct nested by value are added to the node of the outermost struct.
func (c *compiler) structs(n *node, src, dst route) {
	outer, around := len(c.active), c.around
	defer func() { c.around = around }()
	c.around = append(c.around, pair{src.typ, dst.typ})
	c.activate(src, dst)
	own := c.active[outer:]
	if src.typ == dst.typ || c.cfg.tag == "" && sameLayout(src.typ, dst.typ) {
		c.sameFields(n, src, dst)
	} else {
		m := &matcher{c: c, n: n, from: src, to: dst, src: c.members(src), findings: &findings{}}
		m.matchAll(dst, "", nil)
		m.report(dst, own)
	}
	c.override(n, own)
	c.active = c.active[:outer]
}

// sameFields maps a struct to its own type: every field, unexported ones too.
func (c *compiler) sameFields(n *node, src, dst route) {
	t := src.typ
	if c.refuseOpaque(t, dst) {
		return
	}
	for i := range t.NumField() {
		f, part := t.Field(i), dst.field(i)
		name, _ := c.nameOf(f)
		if c.isOverridden(part) || name == "-" || f.Name == "_" {
			continue
		}
		c.within("."+f.Name, func() { c.assign(n, src.field(i), part) })
	}
}

// opaqueFields lists the fields of a struct that cannot be copied: locks, and unexported ones that
// only the type's own package can copy.
func (c *compiler) opaqueFields(t reflect.Type, dst route) (locks, others []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _ := c.nameOf(f)
		switch {
		case name == "-" || c.isOverridden(dst.field(i)):
		case isLock(f.Type):
			locks = append(locks, f.Name)
		case c.cfg.share || t.PkgPath() == "math/big": // of big numbers, a copy of all fields is a copy of the number
		case !f.IsExported() && !f.Anonymous && f.Name != "_" && refers(f.Type):
			others = append(others, f.Name)
		}
	}
	return locks, others
}

func isLock(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && reflect.PointerTo(t).Implements(locker)
}

// assign adds to n the step that maps one part to another.
func (c *compiler) assign(n *node, src, dst route) {
	if c.isInlined(src.typ, dst.typ) {
		c.structs(n, src, dst)
		return
	}
	if src, dst, ok := c.followed(src, dst); ok {
		c.structs(n, src, dst)
		return
	}
	n.fields = append(n.fields, field{src: src, dst: dst, node: c.pair(src.typ, dst.typ)})
}

// followed follows pointers to structs when a selector chose a field behind the destination's: its
// fields are then filled one by one.
func (c *compiler) followed(src, dst route) (s, d route, ok bool) {
	if dst.typ.Kind() != reflect.Pointer || !c.overridesBelow(dst) {
		return src, dst, false
	}
	if src.typ.Kind() == reflect.Pointer {
		src = src.deref()
	}
	dst = dst.deref()
	return src, dst, c.isStructs(src.typ, dst.typ)
}

// A matcher fills the fields of one struct of the destination by name.
type matcher struct {
	c       *compiler
	n       *node
	from    route    // the source
	to      route    // the destination
	src     []member // the source's fields
	visible map[string]*member
	*findings
}

// findings are what the matchers of one pair found.
type findings struct {
	decided   bool // at least one field was decided
	read      []route
	missing   []missing
	suggested []route // source fields suggested for missing fields
}

// A missing is a field of the destination that nothing fills, or an ambiguous one.
type missing struct {
	path  []string
	name  string // the name that the source should have
	route route
	whose *member // if it is ambiguous
}

// matchAll is match for a struct whose fields have names of their own, not by promotion.
func (m matcher) matchAll(dst route, prefix string, chain []reflect.Type) {
	m.visible = map[string]*member{}
	for _, v := range m.c.members(dst) {
		m.visible[v.route.key] = &v
		for _, other := range v.others {
			m.visible[other.key] = &v
		}
	}
	m.match(dst, prefix, chain)
}

// match goes through the fields of the struct at dst, whose names in the source begin with prefix.
// chain holds the types around it.
func (m *matcher) match(dst route, prefix string, chain []reflect.Type) {
	t := dst.structType()
	chain = append(slices.Clip(chain), t)
	for i := range t.NumField() {
		f, part := t.Field(i), dst.field(i)
		name, _ := m.c.nameOf(f)
		if f.Name == "_" {
			continue
		}
		if m.c.isOverridden(part) || name == "-" {
			m.decided = true
			continue
		}
		// Only its own package can choose an unexported field, with Bind or Set.
		if f.IsExported() || f.Anonymous {
			m.c.within("."+f.Name, func() { m.field(f, part, prefix, chain) })
		}
	}
}

func (m *matcher) field(f reflect.StructField, dst route, prefix string, chain []reflect.Type) {
	c := m.c
	name, tagged := c.nameOf(f)
	name = prefix + name
	who := m.visible[dst.key]
	inner := dst.structType()
	opens := inner != nil && !slices.Contains(chain, inner)
	if who != nil && who.others == nil {
		if src, found := m.find(name, dst); found {
			m.decided = true
			m.read = append(m.read, src)
			c.assign(m.n, src, dst)
			return
		}
	}
	switch {
	case f.Anonymous && !tagged && opens:
		m.match(dst, prefix, chain)
	case who == nil: // unexported, or hidden by an outer field of its name
	case opens && c.cfg.flatten && m.hasPrefix(name):
		m.matchAll(dst, name, chain)
	case opens && c.overridesBelow(dst):
		m.decided = true
		matcher{c: c, n: m.n, from: m.from, to: m.to, findings: m.findings}.matchAll(dst, "", chain)
	case c.cfg.lenient:
		m.n.left = append(m.n.left, dst.name)
	default:
		m.missing = append(m.missing, missing{slices.Clone(c.path), name, dst, who})
	}
}

// find returns the source field of a name: of the exact name before one that differs in case, and
// of the outermost struct before a promoted one.
func (m *matcher) find(name string, dst route) (route, bool) {
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
	same := best[0].others
	for _, b := range best[1:] {
		same = append(same, b.route)
	}
	if len(same) > 0 {
		m.ambiguousSource(best[0].route, same, dst)
	}
	return best[0].route, true
}

// best returns the members that match, of the least depth.
func (m *matcher) best(matches func(string) bool) []member {
	var best []member
	for _, s := range m.src {
		switch {
		case !matches(s.name):
		case len(best) == 0 || s.depth < best[0].depth:
			best = []member{s}
		case s.depth == best[0].depth:
			best = append(best, s)
		}
	}
	return best
}

// flattened finds AddressCity as the field City of a field Address.
func (c *compiler) flattened(src []member, name string) []member {
	var found []member
	for _, s := range src {
		rest, ok := c.cutPrefix(name, s.name)
		switch {
		case ok && rest == "":
			found = append(found, s)
		case ok && s.route.structType() != nil:
			found = append(found, c.flattened(c.members(s.route), rest)...)
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
	return slices.ContainsFunc(m.src, func(s member) bool {
		rest, ok := m.c.cutPrefix(s.name, name)
		return ok && rest != ""
	})
}
