package mapper

import (
	"reflect"
	"strings"
)

// place resolves the selectors of all overrides. They are for the pair of the
// Mapper itself, without pointers.
func (c *compiler) place() {
	c.root = pair{pointee(c.root.src), pointee(c.root.dst)}
	for _, p := range c.cfg.repeated {
		c.problem(p.src, p.dst, "two Convert options are for this pair: remove one")
	}
	if len(c.cfg.overrides) == 0 {
		return
	}
	src, dst := newSample(c.root.src), newSample(c.root.dst)
	for i, o := range c.cfg.overrides {
		if p, err := c.resolve(o, src, dst); err != nil {
			c.problem(c.root.src, c.root.dst, "%s, option %d of those that choose fields: %v", o.kind, i+1, err)
		} else {
			c.overrides = append(c.overrides, p)
			c.checkOverlap(p)
		}
	}
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

func (c *compiler) resolve(o override, src, dst *sample) (p placed, err error) {
	p.override = o
	if p.dst, err = dst.find(o.dst); err != nil {
		return p, err
	}
	switch o.kind {
	case "Bind":
		p.src, err = src.find(o.src)
	case "Set":
		p.src = route{typ: o.fromType}
		err = c.checkSet(o)
	}
	return p, err
}

func (c *compiler) checkSet(o override) error {
	switch {
	case o.from.raw == nil:
		return reason("the function is nil")
	case o.fromType != c.root.src && o.fromType != reflect.PointerTo(c.root.src):
		return reason("the function takes " + o.fromType.String() + " and this Mapper's source is " + c.root.src.String())
	}
	return nil
}

// checkOverlap reports two options for one part: one of them would be lost.
func (c *compiler) checkOverlap(p placed) {
	for _, o := range c.overrides[:len(c.overrides)-1] {
		if strings.HasPrefix(o.dst.key+"/", p.dst.key+"/") || strings.HasPrefix(p.dst.key+"/", o.dst.key+"/") {
			c.problem(nil, p.dst.typ, "%s of %s and %s of %s choose the same memory: remove one", o.kind, o.dst.name, p.kind, p.dst.name)
		}
	}
}

// override adds the fields that Bind and Set fill to the root's node. They
// come last: what they choose may lie inside a part that maps by name.
func (c *compiler) override(n *node) {
	for _, p := range c.overrides {
		f := field{dst: p.dst, src: p.src}
		switch p.kind {
		case "Bind":
			c.within("."+p.dst.name, func() { f.node = c.pair(p.src.typ, p.dst.typ) })
		case "Set":
			f.set, f.byRef = true, p.fromType != c.root.src
			f.node = &node{op: opFunc, src: p.fromType, dst: p.dst.typ, fn: p.from}
		case "Ignore":
			continue
		}
		n.fields = append(n.fields, f)
	}
}

// isOverridden and overridesBelow ask about a part of n's destination. Only
// the root's pair has overrides.
func (c *compiler) isOverridden(n *node, part route) bool {
	found := false
	for i, p := range c.overridesOf(n) {
		if p.dst.key == part.key {
			c.overrides[i].reached = true
			found = true
		}
	}
	return found
}

func (c *compiler) overridesBelow(n *node, part route) bool {
	for _, p := range c.overridesOf(n) {
		if strings.HasPrefix(p.dst.key, part.key+"/") {
			return true
		}
	}
	return false
}

func (c *compiler) overridesOf(n *node) []placed {
	if (pair{n.src, n.dst}) != c.root {
		return nil
	}
	return c.overrides
}

// checkReached reports overrides that would have no effect.
func (c *compiler) checkReached() {
	n := c.nodes[c.root]
	for _, p := range c.overrides {
		switch {
		case n == nil || n.op != opStruct:
			c.problem(c.root.src, c.root.dst, "%s of %s has no effect: this pair is not mapped field by field", p.kind, p.dst.name)
		case p.kind == "Ignore" && !p.reached:
			c.problem(nil, p.dst.typ, "Ignore of %s has no effect: it is part of what maps as one value", p.dst.name)
		}
	}
}
