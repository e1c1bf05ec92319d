package mapper

import (
	"reflect"
	"unsafe"
)

// A pair is what a plan is made for.
type pair struct{ src, dst reflect.Type }

// An op is what a node does.
type op byte

const (
	opCopy     op = iota // assignment; nothing but string bytes is shared
	opNumber             // numbers of two kinds, if the value fits
	opDetach             // strings, with their bytes
	opText               // TextMarshaler or Stringer to string, number to string
	opBytes              // []byte to string and back
	opFunc               // Convert
	opOptional           // pointers and sql.Null*, to each other and to plain values
	opSlice              // slices and arrays to slices
	opArray              // slices and arrays to arrays
	opMap
	opStruct
	opFromInterface // what an interface holds, by its type
	opToInterface
)

// A node maps one type to another. Nodes never change once a plan is built;
// those of recursive types form cycles.
type node struct {
	op       op
	src, dst reflect.Type
	elem     *node // of optionals, slices, arrays, interfaces and of a map's values
	key      *node // of a map's keys
	fields   []field
	left     []string // fields of the destination that Lenient leaves
	cfg      *config

	fn       function                           // of opFunc, and opText's way with reflection
	num      func(dst, src unsafe.Pointer) bool // of opNumber
	from, to form                               // of opOptional

	recursive bool // it is part of itself: count the depth
	kernel    kernel
}

// A field of a struct node fills one part of the destination.
type field struct {
	dst, src route
	node     *node
	set      bool // from a Set function: src is the whole source
	byRef    bool // and the function takes a pointer
}

// A form is how an optional value says that it is absent.
type form byte

const (
	plain   form = iota // never
	pointer             // nil
	null                // as sql.Null*: a struct of a value and Valid
)

// A plan maps one pair of types. It is safe for concurrent use.
type plan struct {
	root *node
	cfg  *config
}

// unwrap tells the form of t and what is inside.
func unwrap(t reflect.Type) (form, reflect.Type) {
	switch {
	case t.Kind() == reflect.Pointer:
		return pointer, t.Elem()
	case isNull(t):
		return null, t.Field(0).Type
	}
	return plain, t
}

// optionals counts how often t is optional: a **int is, twice.
func optionals(t reflect.Type) (n int) {
	const enough = 8 // a type can be a pointer to itself
	for f, inner := unwrap(t); f != plain && n < enough; f, inner = unwrap(inner) {
		n++
	}
	return n
}

// isNull knows sql.NullString and the like, and sql.Null[T], without
// importing database/sql.
func isNull(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == "database/sql" && t.NumField() == 2 &&
		t.Field(1).Name == "Valid" && t.Field(1).Type.Kind() == reflect.Bool
}
