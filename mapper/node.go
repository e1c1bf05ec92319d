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
	opCopy     op = iota // assignment; only string bytes are shared
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
	opFromInterface // the value in an interface, by its type
	opToInterface
	opAfter // a user's function on the destination and the source
)

// A node maps one type to another. Nodes never change once a plan is built; nodes of recursive
// types form cycles.
type node struct {
	// The fields that the kernels read most come first, in one or two cache lines.
	op        op
	recursive bool                               // it is part of itself: count the depth
	many      bool                               // a call may reach it more than once: look up parts that were copied already
	keeps     bool                               // of opOptional: the value in an invalid null is mapped too
	elem      *node                              // of optionals, slices, arrays, interfaces and of a map's values
	num       func(dst, src unsafe.Pointer) bool // of opNumber
	src, dst  reflect.Type
	kernel    kernel

	from, to optional // of opOptional; from also of nulls that are copied whole
	key      *node    // of a map's keys
	fields   []field
	left     []string // fields of the destination that Lenient leaves
	fn       function // of opFunc and opAfter, and opText's way with reflection
	height   int      // the longest way from it to a recursive node, in nodes
	cfg      *config
}

// A field of a struct node fills one part of the destination.
type field struct {
	dst, src route
	node     *node
	set      bool // from a Set function: src is the whole source
	byRef    bool // and the function takes a pointer
	direct   bool // for kernels: both parts are at their offsets, without hops
}

// A plan maps one pair of types. It is safe for concurrent use.
type plan struct {
	core // of this plan
	root *node
	cfg  *config
}
