package mapper

import (
	"reflect"
	"slices"
	"strings"
)

// A member is a field of a struct by its name: a field of its own, or one that is promoted from an
// embedded struct. The rules are Go's, with names by tag as in encoding/json. The outermost field
// of a name hides the others. At the same depth the field with a tag hides the others. Otherwise
// the name is ambiguous, and Go promotes none of these fields. An embedded struct that has a name in
// its tag is a field of that name, even if its type is not exported.
type member struct {
	name   string
	depth  int
	tagged bool
	field  reflect.StructField
	route  route
	others []route // ambiguous: the other fields of this name
}

// members lists the members of the struct that r leads to, the outermost first.
func (c *compiler) members(r route) []member {
	var list []member
	seen := map[reflect.Type]bool{r.structType(): true}
	level := []route{r}
	for depth := 0; len(level) > 0; depth++ {
		var found []member
		var next []route
		for _, at := range level {
			found, next = c.fieldsOf(at, depth, found, next)
		}
		list = append(list, dominant(found, list)...)
		level = slices.DeleteFunc(next, func(at route) bool { return seen[at.structType()] })
		for _, at := range level {
			seen[at.structType()] = true
		}
	}
	return list
}

// fieldsOf adds the fields of one struct to found, and to next what it embeds.
func (c *compiler) fieldsOf(at route, depth int, found []member, next []route) ([]member, []route) {
	t := at.structType()
	for i := range t.NumField() {
		f := t.Field(i)
		name, tagged := c.nameOf(f)
		if name == "-" {
			continue
		}
		part := at.field(i)
		if f.Anonymous && !tagged && part.structType() != nil {
			next = append(next, part)
		}
		if f.IsExported() || f.Anonymous && tagged && part.structType() != nil {
			found = append(found, member{name, depth, tagged, f, part, nil})
		}
	}
	return found, next
}

// dominant keeps for each name the member that Go promotes, or one member that is marked as
// ambiguous.
func dominant(found, outer []member) []member {
	var list []member
	for _, m := range found {
		if slices.ContainsFunc(outer, func(o member) bool { return o.name == m.name }) {
			continue
		}
		i := slices.IndexFunc(list, func(o member) bool { return o.name == m.name })
		switch {
		case i < 0:
			list = append(list, m)
		case m.tagged && !list[i].tagged:
			list[i] = m
		case m.tagged == list[i].tagged:
			list[i].others = append(list[i].others, m.route)
		}
	}
	return list
}

// nameOf returns the name of a field: from its tag, or its own.
func (c *compiler) nameOf(f reflect.StructField) (name string, tagged bool) {
	if c.cfg.tag == "" {
		return f.Name, false
	}
	if name, _, _ := strings.Cut(f.Tag.Get(c.cfg.tag), ","); name != "" {
		return name, true
	}
	return f.Name, false
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
