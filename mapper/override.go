package mapper

import (
	"reflect"
	"slices"
)

// A selected is an override whose selectors have run. Its routes begin at the types that it is for.
type selected struct {
	dst, src route
	err      error
	used     bool // it applies to a pair of the plan
	reached  bool // a field of the plan is at its place
	overlaps bool // it overlaps with another, which was reported
}

// A placed is an override at one place of a node: its routes begin where the node does.
type placed struct {
	*override
	*selected
	dst, src route
}

// pointee is what t leads to; a type can be a pointer to itself.
func pointee(t reflect.Type) reflect.Type {
	for range maxHops {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
	}
	return t
}

// pointees is the pair that p leads to.
func (p pair) pointees() pair { return pair{pointee(p.src), pointee(p.dst)} }

// isFor reports whether an override applies where a src is mapped to a dst.
func (o *override) isFor(src, dst reflect.Type) bool {
	return o.dst.owner == dst && (o.kind == "Ignore" || o.fromType == src || o.takesPointer(src))
}

// takesPointer reports whether a Set's function takes a pointer to the source.
func (o *override) takesPointer(src reflect.Type) bool {
	return o.kind != "Bind" && o.fromType.Kind() == reflect.Pointer && o.fromType.Elem() == src
}

// isChosen reports whether options choose fields of a pair, so that it maps field by field even if
// one of the two looks like a null. An Ignore names only the destination, and so decides only
// whether that is a null.
func (c *compiler) isChosen(src, dst reflect.Type) bool {
	return slices.ContainsFunc(c.scope(pair{src, dst}).overrides, func(o *override) bool {
		return o.isFor(src, dst) && (o.kind != "Ignore" || isNull(dst))
	})
}

// select runs the selectors of an override, once.
func (c *compiler) selected(o *override) *selected {
	if s := c.found[o]; s != nil {
		return s
	}
	s := &selected{}
	c.found[o] = s
	if o.kind == "After" {
		s.dst, s.reached = route{typ: o.dst.owner}, true
	} else {
		s.dst, s.err = c.sample(o.dst.owner).find(o.dst)
	}
	if s.err == nil && o.kind == "Bind" {
		s.src, s.err = c.sample(o.src.owner).find(o.src)
	}
	if o.kind != "Bind" && o.kind != "Ignore" && o.from.raw == nil {
		s.err = reason("its function is nil")
	}
	return s
}

func (c *compiler) sample(t reflect.Type) *sample {
	if c.samples[t] == nil {
		c.samples[t] = newSample(t)
	}
	return c.samples[t]
}

// activate adds the overrides of a pair to the overrides of the node that is being built.
func (c *compiler) activate(src, dst route) {
	if c.trial {
		return
	}
	for _, o := range c.cfg.overrides {
		s := c.selected(o)
		if o.kind == "Ignore" && o.dst.owner == src.typ && src.typ != dst.typ {
			s.used, s.reached = true, true
		}
		if !o.isFor(src.typ, dst.typ) {
			continue
		}
		s.used = true
		if s.err != nil {
			continue
		}
		p := &placed{o, s, dst.join(s.dst), src}
		if o.kind == "Bind" {
			p.src = src.join(s.src)
		}
		c.checkOverlap(p)
		c.active = append(c.active, p)
	}
}

// checkOverlap reports two options for one part, because one of them would have no effect.
func (c *compiler) checkOverlap(p *placed) {
	for _, o := range c.active {
		if o.kind == "After" || p.kind == "After" || p.overlaps || !o.dst.covers(p.dst) && !p.dst.covers(o.dst) {
			continue
		}
		p.overlaps = true
		c.problem(nil, p.dst.typ, "%s of %s and %s of %s choose the same field: remove one of them", o.kind, o.dst.name, p.kind, p.dst.name)
	}
}

// override adds the fields that Bind, Set and After fill to a node. They come after the fields that
// map by name, because they may be inside one of these.
func (c *compiler) override(n *node, own []*placed) {
	for _, after := range []bool{false, true} {
		for _, p := range own {
			if p.kind != "Ignore" && (p.kind == "After") == after {
				n.fields = append(n.fields, c.overridden(p))
			}
		}
	}
}

func (c *compiler) overridden(p *placed) field {
	f := field{dst: p.dst, src: p.src}
	switch p.kind {
	case "Bind":
		c.within("."+p.selected.dst.name, func() { f.node = c.pair(p.src.typ, p.dst.typ) })
	case "After":
		f.node = c.node(node{op: opAfter, src: p.src.typ, dst: p.dst.typ, fn: c.detached(p.from, p.dst.typ)})
	default:
		f.set, f.byRef = true, p.takesPointer(p.src.typ)
		f.node = c.node(node{op: opFunc, src: p.fromType, dst: p.dst.typ, fn: c.detached(p.from, p.dst.typ)})
	}
	return f
}

// isOverridden reports whether an option chose this part of the node being built.
func (c *compiler) isOverridden(part route) bool {
	found := false
	for _, p := range c.active {
		if p.kind != "After" && p.dst.key == part.key {
			p.reached, found = true, true
		}
	}
	return found
}

// overridesBelow reports whether an option chose something inside this part.
func (c *compiler) overridesBelow(part route) bool {
	return slices.ContainsFunc(c.active, func(p *placed) bool {
		return p.kind != "After" && p.dst.key != part.key && part.covers(p.dst)
	})
}

// checkUsed reports options that would have no effect.
func (c *compiler) checkUsed() {
	for _, n := range c.cfg.nested {
		if s := c.cfg.scopes[n.pair]; s != nil && !c.scoped[s] && !c.mayMeet(n.src, n.dst) {
			c.problem(n.src, n.dst, "For has no effect: this Mapper maps no %s to a %s. Remove it", n.src, n.dst)
		}
	}
	checked := map[*override]bool{}
	for _, cfg := range c.configs() {
		for i, o := range cfg.overrides {
			if !checked[o] {
				checked[o] = true
				c.checkOverride(o, c.selected(o), i+1)
			}
		}
	}
}

func (c *compiler) configs() []*config {
	list := []*config{c.cfg}
	for _, s := range c.cfg.scopes {
		list = append(list, s)
	}
	return list
}

// mayMeet reports whether a value in an interface may need the pair. src is nil for an Ignore,
// which names only one type. A Mapper from an interface is for MapAny and may need every pair.
// Otherwise, what goes to an interface is copied to its own type.
func (c *compiler) mayMeet(src, dst reflect.Type) bool {
	return slices.ContainsFunc(c.made, func(n *node) bool {
		switch {
		case n.op != opFromInterface:
			return false
		case n.dst.Kind() != reflect.Interface:
			return reaches(n.dst, dst, map[reflect.Type]bool{})
		}
		return n.src == c.root.src || src == nil || pointee(src) == dst
	})
}

// reaches reports whether a t may hold a part of type want.
func reaches(t, want reflect.Type, seen map[reflect.Type]bool) bool {
	if t == want {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Map:
		return reaches(t.Key(), want, seen) || reaches(t.Elem(), want, seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return reaches(t.Elem(), want, seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if reaches(t.Field(i).Type, want, seen) {
				return true
			}
		}
	}
	return false
}

// checkOverride reports what is wrong with an option. It counts the options from 1.
func (c *compiler) checkOverride(o *override, s *selected, number int) {
	src, dst := o.fromType, o.dst.owner
	switch {
	case s.err != nil:
		c.problem(src, dst, "%s, option %d of those that choose fields: %v", o.kind, number, s.err)
	case !s.used && !c.mayMeet(src, dst):
		c.unused(o)
	case !s.used:
	case o.kind == "Ignore" && !s.reached:
		c.problem(nil, s.dst.typ, "Ignore of %s has no effect: the field lies in a part that maps as one value. Ignore that part, or use Convert", s.dst.name)
	}
}
