package mapper

import "reflect"

// A form is how an optional value says that it is absent.
type form byte

const (
	plain   form = iota // never
	pointer             // nil
	null                // a struct of a value and Valid
)

// An optional is a type that can say that it is absent: its form and what is inside.
type optional struct {
	form form
	typ  reflect.Type // of the value inside

	// Of a null only.
	value, valid     []int // where the value and Valid lie, as reflect.StructField.Index
	valueAt, validAt uintptr
	rest             []part // other fields, which must be zero when the value inside is taken out
}

// A part is a piece of a struct: its index for reflection, its place in memory.
type part struct {
	index    []int
	off, len uintptr
}

// optionalOf returns the form of t and the type inside.
func optionalOf(t reflect.Type) optional {
	if t.Kind() == reflect.Pointer {
		return optional{form: pointer, typ: t.Elem()}
	}
	if o, ok := nullOf(t); ok {
		return o
	}
	return optional{typ: t}
}

// optionals counts how many times t is optional: **int is optional twice.
func optionals(t reflect.Type) (n int) {
	const enough = 8 // a type can be a pointer to itself
	for o := optionalOf(t); o.form != plain && n < enough; o = optionalOf(o.typ) {
		n++
	}
	return n
}

// nullOf recognises nulls by their shape, in any package: a struct of a value and Valid bool, as
// sql.NullString, sql.Null[T], uuid.NullUUID, pgtype.Text and gorm.DeletedAt are, or a struct that
// embeds nothing but one, as null.String is. A driver.Valuer may have more fields that are numbers
// or bools, as pgtype.Timestamptz and pgtype.Numeric have: they must be zero where the value is
// taken out.
func nullOf(t reflect.Type) (optional, bool) {
	if t.Kind() != reflect.Struct {
		return optional{}, false
	}
	if t.NumField() == 1 && t.Field(0).Anonymous {
		o, ok := nullOf(t.Field(0).Type)
		o.value, o.valid = append([]int{0}, o.value...), append([]int{0}, o.valid...)
		for i := range o.rest {
			o.rest[i].index = append([]int{0}, o.rest[i].index...)
		}
		return o, ok
	}
	o := optional{form: null}
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Name == "Valid" && f.Type.Kind() == reflect.Bool && !f.Anonymous:
			o.valid, o.validAt = f.Index, f.Offset
		case o.typ == nil && f.IsExported() && (!f.Anonymous || isValue(f.Type)):
			o.typ, o.value, o.valueAt = f.Type, f.Index, f.Offset
		case f.IsExported() && isParsed(f.Type):
			o.rest = append(o.rest, part{f.Index, f.Offset, f.Type.Size()})
		default:
			return optional{}, false
		}
	}
	return o, o.valid != nil && o.typ != nil && (len(o.rest) == 0 || isValuer(t))
}

func isNull(t reflect.Type) bool {
	_, ok := nullOf(t)
	return ok
}

// isValue reports whether a type is one value, such as a time or a number, and not a struct whose
// fields a struct that embeds it has too.
func isValue(t reflect.Type) bool {
	return t.Kind() != reflect.Struct && t.Kind() != reflect.Pointer || isImmutable(t) || hasText(t, textMarshaler)
}

// isValuer recognises a driver.Valuer by its method, without importing database/sql/driver.
func isValuer(t reflect.Type) bool {
	m, ok := valueMethod(t)
	return ok && declares(t, valueMethod) && m.Type.NumIn() == 1 && m.Type.NumOut() == 2 &&
		m.Type.Out(0).PkgPath() == "database/sql/driver" && m.Type.Out(1) == errorType
}

// keepsInvalid reports whether the value of an invalid null is mapped too. A struct such as {Code
// string; Valid bool} may not be a null but two ordinary fields, and neither may be lost.
func (o optional) keepsInvalid(src reflect.Type, to optional, dst reflect.Type) bool {
	const sql = "database/sql"
	return o.form == null && to.form == null && len(o.rest)+len(to.rest) == 0 &&
		(src.PkgPath() != sql || dst.PkgPath() != sql) &&
		src.FieldByIndex(o.value).Name == dst.FieldByIndex(to.value).Name
}

// inside returns what is inside an optional, if it is present.
func (o *optional) inside(v reflect.Value) (inner reflect.Value, ok bool) {
	switch o.form {
	case pointer:
		return v.Elem(), !v.IsNil()
	case null:
		return v.FieldByIndex(o.value), v.FieldByIndex(o.valid).Bool()
	}
	return v, true
}

// usesRest reports whether v is more than the value inside it.
func (o *optional) usesRest(v reflect.Value) bool {
	for _, p := range o.rest {
		if !v.FieldByIndex(p.index).IsZero() {
			return true
		}
	}
	return false
}
