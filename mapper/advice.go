package mapper

import (
	"fmt"
	"go/token"
	"reflect"
	"slices"
	"strings"
)

// This file writes the texts of the problems in a BuildError. Each ends with alternative lines of
// Go. Such a line, pasted into the call of New, compiles and solves the problem.

// advise adds a problem whose solutions are lines of code.
func (c *compiler) advise(src, dst reflect.Type, why string, lines ...string) {
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" })
	if len(lines) == 0 {
		lines = c.linesAround()
	}
	add := "Add"
	if c.cfg.root == (pair{}) { // Map, MapSlice and MapAny take no options
		add = "Use a Mapper, made by New with"
	}
	if imports := c.imports(lines); imports != "" {
		why += ". " + imports
	}
	switch len(lines) {
	case 0:
	case 1:
		why += ". " + add + "\n\t" + lines[0]
	default:
		why += ". " + add + " one of\n\t" + strings.Join(lines, "\n\t")
	}
	c.problem(src, dst, reason(why))
}

// linesAround returns lines for the innermost pair around the current one that the caller can name.
func (c *compiler) linesAround() []string {
	for i := len(c.around) - 1; i >= 0; i-- {
		p := c.around[i]
		convert := c.convertLine(p.src, p.dst)
		switch {
		case convert == "":
		case p.src != p.dst:
			return []string{convert}
		case c.pointed[p.src]:
			return []string{c.assignLine(reflect.PointerTo(p.src)), convert}
		case !holdsLock(p.src):
			return []string{c.assignLine(p.src), convert}
		}
	}
	return nil
}

// refuse reports why a pair does not map, and what would solve it.
func (c *compiler) refuse(n *node) {
	src, dst := n.src, n.dst
	toText, fromText := dst.Kind() == reflect.String, src.Kind() == reflect.String
	switch {
	case src.Kind() == reflect.Chan || src.Kind() == reflect.Func || src.Kind() == reflect.UnsafePointer:
		share := ""
		if src == dst {
			share = c.assignLine(src)
		}
		c.advise(src, dst, aKind(src)+" cannot be copied; it can be shared, if that is right", share, c.convertLine(src, dst))
	case toText && hasText(src, stringer):
		parse := ""
		if isParsed(src) {
			parse = "mapper.Options{Parse: true} // its number as text"
		}
		c.advise(src, dst, src.String()+" has a String method, which is used only if you ask for it",
			"mapper.Options{Stringer: true}", parse, c.convertLine(src, dst))
	case toText && (losesText(src, textMarshaler) || losesText(src, stringer)):
		c.advise(src, dst, src.String()+" has its text method from a type that it embeds, so the text is not the text of the whole", c.convertLine(src, dst))
	case fromText && losesText(dst, textUnmarshaler):
		c.advise(src, dst, dst.String()+" has its method UnmarshalText from a type that it embeds, so a text does not set the whole", c.convertLine(src, dst))
	case fromText && implements(dst, stringer):
		c.advise(src, dst, dst.String()+" has a String method, but none that reads a text", c.convertLine(src, dst))
	case (toText || fromText) && (isParsed(src) || isParsed(dst)):
		c.advise(src, dst, "numbers and bools map to texts and back only if you ask for it",
			"mapper.Options{Parse: true}", c.convertLine(src, dst))
	case toText && src.Name() != "":
		c.advise(src, dst, src.String()+" has no method MarshalText", c.convertLine(src, dst))
	case fromText && dst.Name() != "":
		c.advise(src, dst, dst.String()+" has no method UnmarshalText", c.convertLine(src, dst))
	default:
		c.advise(src, dst, fmt.Sprintf("no rule maps %s to %s", aKind(src), aKind(dst)), c.convertLine(src, dst))
	}
}

func (c *compiler) refuseError(src, dst reflect.Type) {
	assign := ""
	if src == dst && src.Kind() == reflect.Pointer {
		assign = c.assignLine(src)
	}
	c.advise(src, dst, "a copy of an error is another error to errors.Is, so errors are not copied", assign, "mapper.Share() // also shares all else that has the same type on both sides", c.convertLine(src, dst))
}

// refuseOpaque reports, once, a type that cannot be copied.
func (c *compiler) refuseOpaque(t reflect.Type, dst route) bool {
	locks, others := c.opaqueFields(t, dst)
	var why, ignore string
	switch {
	case isLock(t):
		why = "a lock cannot be copied: the copy of a locked one stays locked"
	case len(locks) > 0:
		why = "a lock cannot be copied, and its field " + locks[0] + " is one"
	case len(others) > 0:
		why = "only its own package can copy it, because its field " + others[0] + " is unexported and refers to memory"
	default:
		return false
	}
	if c.opaque[t] {
		return true
	}
	c.opaque[t] = true
	assign := ""
	switch {
	case t != dst.typ: // the type does not map to itself
	case !holdsLock(t):
		assign, why = c.assignLine(t), why+". If its values never change once they are made, assign them"
	case c.pointed[t]:
		assign, why = c.assignLine(reflect.PointerTo(t)), why+". If nobody changes it once it is made, share the pointer to it"
	}
	for _, name := range append(locks, others...) {
		if line := c.ignoreLine(dst.typ, name); line != "" && name != "_" && !isLock(t) {
			ignore = strings.TrimPrefix(ignore+", "+line, ", ")
		}
	}
	c.advise(t, dst.typ, why, assign, c.convertLine(t, dst.typ), ignore)
	return true
}

// holdsLock reports whether a struct must not be copied, as go vet sees it.
func holdsLock(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return holdsLock(t.Elem())
	case reflect.Struct:
		if isLock(t) {
			return true
		}
		for i := range t.NumField() {
			if holdsLock(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// ambiguousSource reports that several fields of the source could fill one of the destination.
func (m *matcher) ambiguousSource(first route, others []route, dst route) {
	all := append([]route{first}, others...)
	names, lines := make([]string, len(all)), make([]string, len(all))
	for i, r := range all {
		names[i] = relative(m.from, r)
		lines[i] = m.c.bindLine(m.to.typ, relative(m.to, dst), m.from, r)
	}
	m.c.advise(m.from.typ, dst.typ, fmt.Sprintf("%s has %d fields that could fill it, %s, and none comes before the others",
		m.from.typ, len(all), strings.Join(names, " and ")), lines...)
}

// report adds a problem for each field of the destination that nothing fills and, if AllRead says
// so, for each of the source that nothing reads.
func (m *matcher) report(dst route, own []*placed) {
	c := m.c
	for _, p := range own {
		m.decided = m.decided || p.kind != "Ignore"
		if p.kind == "Bind" {
			m.read = append(m.read, p.src)
		}
	}
	before := c.path
	seen := map[*member]bool{}
	for _, miss := range m.missing {
		c.path = miss.path
		switch {
		case miss.whose == nil || miss.whose.others == nil:
			m.reportMissing(dst, miss)
		case !seen[miss.whose]:
			seen[miss.whose] = true
			m.reportAmbiguous(dst, miss)
		}
	}
	c.path = before
	if !m.decided && len(m.missing) == 0 && dst.typ.NumField() > 0 {
		c.advise(m.from.typ, dst.typ, "no field of the destination can be filled", c.convertLine(m.from.typ, dst.typ))
	}
	if c.cfg.AllRead {
		m.reportUnread(dst)
	}
}

func (m *matcher) reportMissing(dst route, miss missing) {
	c, field := m.c, relative(dst, miss.route)
	bind := ""
	if from, ok := m.suggest(miss); ok {
		bind = c.bindLine(dst.typ, field, m.from, from)
	}
	set := ""
	if bind == "" {
		set = c.setLine(dst.typ, field, m.from.typ, miss.route.typ)
	}
	c.advise(nil, miss.route.typ, fmt.Sprintf("%s has no field %s", m.from.typ, miss.name), bind, set, c.ignoreLine(dst.typ, field),
		m.lenientLine())
}

// lenientLine is no solution if nothing else of the destination is filled either.
func (m *matcher) lenientLine() string {
	if !m.decided {
		return ""
	}
	return "mapper.Lenient() // leaves every such field as it is"
}

func (m *matcher) reportAmbiguous(dst route, miss missing) {
	all := append([]route{miss.whose.route}, miss.whose.others...)
	names := make([]string, len(all))
	lines := make([]string, len(all))
	for i, r := range all {
		names[i] = relative(dst, r)
		line := m.c.ignoreLine(dst.typ, names[i])
		if src := m.best(func(s string) bool { return s == miss.name }); i == 0 && len(src) == 1 && src[0].others == nil {
			line = m.c.bindLine(dst.typ, names[i], m.from, src[0].route)
		}
		lines[i] = line
	}
	imports := m.c.imports(lines)
	if imports != "" {
		imports += ". "
	}
	m.c.problem(nil, miss.route.typ, reason(fmt.Sprintf("%s has %d fields %s, %s, and Go promotes none of them. %sBind or Ignore each, for example\n\t%s",
		dst.typ, len(all), miss.whose.name, strings.Join(names, " and "), imports, strings.Join(lines, ",\n\t"))))
}

func (m *matcher) reportUnread(dst route) { m.unread(m.src, dst) }

// unread reports the members that nothing reads. Where only a part of a struct is read, it looks
// into the struct.
func (m *matcher) unread(members []member, dst route) {
	c := m.c
	for _, s := range members {
		embeds := s.field.Anonymous && !s.tagged && s.route.structType() != nil
		switch {
		case embeds || c.isIgnored(m.from, s.route) || slices.ContainsFunc(m.read, func(r route) bool { return r.covers(s.route) }):
			continue
		case slices.ContainsFunc(m.read, s.route.covers):
			if s.route.structType() != nil {
				m.unread(c.members(s.route), dst)
			}
			continue
		}
		name := relative(m.from, s.route)
		c.within("."+name, func() {
			c.advise(s.route.typ, dst.typ, fmt.Sprintf("nothing reads field %s of %s, and Options.AllRead is set", name, m.from.typ), c.ignoreLine(m.from.typ, name))
		})
	}
}

// isIgnored reports whether Ignore names a field of the source.
func (c *compiler) isIgnored(src, part route) bool {
	for _, o := range c.cfg.overrides {
		if o.kind != "Ignore" || o.dst.owner != src.typ {
			continue
		}
		if s := c.selected(o); s.err == nil && src.join(s.dst).key == part.key {
			return true
		}
	}
	return false
}

// suggest finds a source field that may have been meant: nothing else reads it, and it maps. Of
// several it returns the one with the most similar name, if any is similar.
func (m *matcher) suggest(miss missing) (best route, ok bool) {
	if m.c.trial {
		return best, false
	}
	least, candidates := 0, 0
	for _, s := range m.src {
		if s.others != nil || s.field.Anonymous || slices.ContainsFunc(append(m.read, m.suggested...), func(r route) bool { return r.covers(s.route) }) {
			continue
		}
		if !m.c.maps(s.route.typ, miss.route.typ) {
			continue
		}
		candidates++
		if d := distance(plainName(s.name), plainName(miss.name)); candidates == 1 || d < least {
			best, least = s.route, d
		}
	}
	if candidates != 1 && 2*least > len(miss.name) {
		return best, false
	}
	m.suggested = append(m.suggested, best)
	return best, candidates > 0
}

func plainName(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }

// distance is how many letters must be inserted, removed or replaced to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// unused reports an option whose pair of types is not in the plan.
func (c *compiler) unused(o *override) {
	what := fmt.Sprintf("%s has no effect: this Mapper maps nothing to a %s field by field. It maps %s to %s; write the functions for a pair inside it",
		o.kind, o.dst.owner, c.root.src, c.root.dst)
	if o.kind != "Ignore" {
		src := o.fromType
		what = fmt.Sprintf("%s has no effect: this Mapper maps no %s to a %s field by field. It maps %s to %s; write the functions for a pair inside it",
			o.kind, src, o.dst.owner, c.root.src, c.root.dst)
	}
	c.problem(o.fromType, o.dst.owner, reason(what))
}

// relative returns the path from a struct to a field inside it, as in an expression.
func relative(base, field route) string {
	return strings.TrimPrefix(strings.TrimPrefix(field.name, base.name), ".")
}

// The lines of code. Each is empty if a type in it has no name where the caller is.

func (c *compiler) bindLine(dst reflect.Type, field string, from, src route) string {
	d, ok := c.spell(dst)
	s, ok2 := c.spell(from.typ)
	f, ok3 := c.spell(c.typeAt(dst, field))
	g, ok4 := c.spell(src.typ)
	if !ok || !ok2 || !ok3 || !ok4 {
		return ""
	}
	return fmt.Sprintf("mapper.Bind(func(d *%s) *%s { return &d.%s }, func(s *%s) *%s { return &s.%s })", d, f, field, s, g, relative(from, src))
}

func (c *compiler) setLine(dst reflect.Type, field string, src, typ reflect.Type) string {
	d, ok := c.spell(dst)
	s, ok2 := c.spell(src)
	f, ok3 := c.spell(typ)
	if !ok || !ok2 || !ok3 {
		return ""
	}
	return fmt.Sprintf(`mapper.Set(func(d *%s) *%s { return &d.%s }, func(s %s) %s { panic("TODO: compute it") })`, d, f, field, s, f)
}

func (c *compiler) ignoreLine(owner reflect.Type, field string) string {
	d, ok := c.spell(owner)
	if !ok || !c.isVisible(owner, field) {
		return ""
	}
	f, ok := c.spell(c.typeAt(owner, field))
	if !ok {
		return fmt.Sprintf("mapper.Ignore(func(d *%s) any { return &d.%s })", d, field)
	}
	return fmt.Sprintf("mapper.Ignore(func(d *%s) *%s { return &d.%s })", d, f, field)
}

func (c *compiler) convertLine(src, dst reflect.Type) string {
	s, ok := c.spell(src)
	d, ok2 := c.spell(dst)
	if !ok || !ok2 {
		return ""
	}
	return fmt.Sprintf(`mapper.Convert(func(s %s) (d %s, err error) { panic("TODO: convert it") })`, s, d)
}

func (c *compiler) assignLine(t reflect.Type) string {
	name, ok := c.spell(t)
	if !ok {
		return ""
	}
	zero := name + "{}"
	if t.Kind() != reflect.Struct {
		zero = "(" + name + ")(nil)"
	}
	return fmt.Sprintf("mapper.Options{Assign: []any{%s}}", zero)
}

// typeAt is the type of the field that an expression such as Base.Name leads to.
func (c *compiler) typeAt(t reflect.Type, field string) reflect.Type {
	for _, name := range strings.Split(field, ".") {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		f, ok := t.FieldByName(name)
		if !ok {
			return t
		}
		t = f.Type
	}
	return t
}

// isVisible reports whether the caller may write the fields' names.
func (c *compiler) isVisible(owner reflect.Type, field string) bool {
	for _, name := range strings.Split(field, ".") {
		if !token.IsExported(name) && owner.PkgPath() != c.caller() {
			return false
		}
	}
	return true
}

// aKind is the kind of a type, with its article.
func aKind(t reflect.Type) string {
	kind := t.Kind().String()
	if strings.HasPrefix(kind, "int") || t.Kind() == reflect.Array || t.Kind() == reflect.UnsafePointer {
		return "an " + kind
	}
	return "a " + kind
}
