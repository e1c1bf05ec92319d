package mapper

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// A compiler builds the plan of one pair of types.
type compiler struct {
	cfg       *config
	root      pair
	nodes     map[pair]*node
	building  map[pair]bool
	overrides []placed
	path      []string // to where the compiler is
	problems  []*Error
}

// A placed override is one whose selectors have been resolved.
type placed struct {
	override
	dst, src route
	reached  bool // by a field of that place
}

// compile returns the plan for a pair, or a *BuildError with every problem.
func compile(p pair, cfg *config) (*plan, error) {
	c := &compiler{cfg: cfg, root: p, nodes: map[pair]*node{}, building: map[pair]bool{}}
	c.place()
	if cfg.share && cfg.DetachStrings {
		c.problem(p.src, p.dst, "Share and DetachStrings contradict each other: choose one")
	}
	root := c.pair(p.src, p.dst)
	c.checkReached()
	if len(c.problems) > 0 {
		return nil, &BuildError{Src: p.src, Dst: p.dst, Problems: c.problems}
	}
	for _, n := range c.nodes {
		n.kernel = newKernel(n)
	}
	return &plan{root: root, cfg: cfg}, nil
}

func (c *compiler) problem(src, dst reflect.Type, why reason, args ...any) {
	path := strings.TrimPrefix(strings.Join(c.path, ""), ".")
	if len(args) > 0 {
		why = reason(fmt.Sprintf(string(why), args...))
	}
	c.problems = append(c.problems, &Error{Path: path, Src: src, Dst: dst, Err: why})
}

// within runs do with name added to the path.
func (c *compiler) within(name string, do func()) {
	c.path = append(c.path, name)
	do()
	c.path = c.path[:len(c.path)-1]
}

// inside compiles a pair one level further in.
func (c *compiler) inside(name string, src, dst reflect.Type) (n *node) {
	c.within(name, func() { n = c.pair(src, dst) })
	return n
}

// pair returns the node for a pair, which is shared by all places of the pair
// in the plan.
func (c *compiler) pair(src, dst reflect.Type) *node {
	p := pair{src, dst}
	if n, ok := c.nodes[p]; ok {
		n.recursive = n.recursive || c.building[p]
		return n
	}
	n := &node{src: src, dst: dst, cfg: c.cfg}
	c.nodes[p] = n
	c.building[p] = true
	c.build(n)
	delete(c.building, p)
	return n
}

// build decides how a pair maps. The first rule that fits wins.
func (c *compiler) build(n *node) {
	src, dst := n.src, n.dst
	fn, converts := c.cfg.converters[pair{src, dst}]
	switch {
	case converts:
		n.op, n.fn = opFunc, fn
		if fn.raw == nil {
			c.problem(src, dst, "the function given to Convert is nil")
		}
	case c.isShared(src, dst), isImmutable(src) && sameLayout(src, dst):
		n.op = opCopy
	case src.Kind() == reflect.Interface:
		n.op = opFromInterface
		if isError(src) || isError(dst) {
			c.problem(src, dst, errIdentity)
		}
	case dst.Kind() == reflect.Interface:
		c.buildToInterface(n)
	case c.buildOptional(n), c.buildText(n), c.buildScalar(n), c.buildContainer(n):
	case c.isStructs(src, dst):
		n.op = opStruct
		c.structs(n, route{typ: src}, route{typ: dst})
		if p := (pair{src, dst}); p == c.root {
			c.override(n)
		}
	default:
		c.refuse(n)
	}
}

func (c *compiler) buildToInterface(n *node) {
	switch {
	case !n.src.Implements(n.dst):
		c.problem(n.src, n.dst, errMethods)
	case isError(n.src):
		c.problem(n.src, n.dst, errIdentity)
	default:
		n.op = opToInterface
		n.elem = c.pair(n.src, n.src)
	}
}

func (c *compiler) buildOptional(n *node) bool {
	from, src := unwrap(n.src)
	to, dst := unwrap(n.dst)
	switch {
	case from == plain && to == plain:
		return false
	case optionals(n.src) > optionals(n.dst):
		// An absent value inside a present one is absent in the destination.
		to, dst = plain, n.dst
	}
	n.op, n.from, n.to = opOptional, from, to
	if from == pointer && to == pointer && isError(n.dst) {
		c.problem(n.src, n.dst, errIdentity)
		return true
	}
	n.elem = c.pair(src, dst)
	return true
}

// buildText knows strings made of other types and other types made of strings.
func (c *compiler) buildText(n *node) bool {
	switch src, dst := n.src, n.dst; {
	case src == dst:
		return false
	case dst.Kind() == reflect.String && implements(src, textMarshaler):
		n.op, n.fn = opText, function{value: marshalText, name: "MarshalText"}
	case src.Kind() == reflect.String && reflect.PointerTo(dst).Implements(textUnmarshaler):
		n.op, n.fn = opText, function{value: unmarshalText, name: "UnmarshalText"}
	case c.cfg.Stringer && dst.Kind() == reflect.String && implements(src, stringer):
		n.op, n.fn = opText, function{value: callString, name: "String"}
	case c.cfg.Parse && dst.Kind() == reflect.String && isParsed(src):
		n.op, n.fn = opText, function{value: format, name: "strconv"}
	case c.cfg.Parse && src.Kind() == reflect.String && isParsed(dst):
		n.op, n.fn = opText, function{value: parse, name: "strconv"}
	case isBytes(src) && dst.Kind() == reflect.String, src.Kind() == reflect.String && isBytes(dst):
		n.op = opBytes
	default:
		return false
	}
	return true
}

func (c *compiler) buildScalar(n *node) bool {
	src, dst := n.src.Kind(), n.dst.Kind()
	switch {
	case src == dst && src == reflect.String && c.cfg.DetachStrings:
		n.op = opDetach
	case src == dst && isBasic(src):
		n.op = opCopy
	case numbers[src] && numbers[dst], isComplex(src) && isComplex(dst):
		n.op, n.num = opNumber, conversion(src, dst)
	default:
		return false
	}
	return true
}

func (c *compiler) buildContainer(n *node) bool {
	src, dst := n.src, n.dst
	switch {
	case isList(src) && isList(dst):
		c.buildList(n)
	case src.Kind() == reflect.Map && dst.Kind() == reflect.Map:
		n.op = opMap
		n.key = c.inside("[*]", src.Key(), dst.Key())
		n.elem = c.inside("[*]", src.Elem(), dst.Elem())
	default:
		return false
	}
	return true
}

func (c *compiler) buildList(n *node) {
	src, dst := n.src, n.dst
	if src.Kind() == reflect.Array && dst.Kind() == reflect.Array && src.Len() != dst.Len() {
		c.problem(src, dst, "arrays of different lengths: use Convert")
		return
	}
	n.op = opSlice
	if dst.Kind() == reflect.Array {
		n.op = opArray
	}
	n.elem = c.inside("[]", src.Elem(), dst.Elem())
	if n.op == opArray && n.elem.op == opCopy && sameLayout(src, dst) && (bytesOnly(src) || src.Len() <= maxElements) {
		n.op = opCopy
	}
}

// refuse says why a pair does not map, and what would help.
func (c *compiler) refuse(n *node) {
	src, dst := n.src.Kind(), n.dst.Kind()
	textual := numbers[src] || src == reflect.Bool || numbers[dst] || dst == reflect.Bool
	switch {
	case src == reflect.Chan || src == reflect.Func || src == reflect.UnsafePointer:
		c.problem(n.src, n.dst, "a %s cannot be copied: Ignore it, use Share to assign it to its own type, or Convert", src)
	case (src == reflect.String || dst == reflect.String) && textual:
		c.problem(n.src, n.dst, "text and numbers map with Options{Parse: true} only, or use Convert")
	case dst == reflect.String:
		c.problem(n.src, n.dst, "the source has no MarshalText method (a String method counts with Options{Stringer: true}): use Convert")
	case src == reflect.String:
		c.problem(n.src, n.dst, "the destination has no UnmarshalText method: use Convert")
	default:
		c.problem(n.src, n.dst, "no rule maps a %s to a %s: use Convert", src, dst)
	}
}

var (
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	stringer        = reflect.TypeFor[fmt.Stringer]()
	locker          = reflect.TypeFor[sync.Locker]()
	errorType       = reflect.TypeFor[error]()
	timeType        = reflect.TypeFor[time.Time]()
)

// implements reports whether t or *t has the methods.
func implements(t, methods reflect.Type) bool {
	return t.Implements(methods) || reflect.PointerTo(t).Implements(methods)
}

// isError knows types whose values are told apart by identity.
func isError(t reflect.Type) bool {
	return (t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer) && t.Implements(errorType)
}

// isImmutable knows structs whose pointers are to what never changes: a
// time.Time's Location, also in types made from it, and what unique.Make made.
func isImmutable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && (sameLayout(t, timeType) || t.PkgPath() == "unique")
}

// isShared reports whether Share assigns a reference. What structs and arrays
// hold is decided one by one.
func (c *compiler) isShared(src, dst reflect.Type) bool {
	switch src.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return c.cfg.share && sameLayout(src, dst)
	}
	return false
}

// sameLayout reports whether assigning the bits of a src to a dst is what the
// language's conversion does.
func sameLayout(src, dst reflect.Type) bool {
	return src == dst || src.Kind() == dst.Kind() && src.Kind() != reflect.Interface && src.ConvertibleTo(dst)
}

func isBasic(k reflect.Kind) bool {
	return numbers[k] || isComplex(k) || k == reflect.Bool || k == reflect.String
}

func isComplex(k reflect.Kind) bool { return k == reflect.Complex64 || k == reflect.Complex128 }

func isParsed(t reflect.Type) bool { return numbers[t.Kind()] || t.Kind() == reflect.Bool }

func isList(t reflect.Type) bool { return t.Kind() == reflect.Slice || t.Kind() == reflect.Array }

func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

// refers reports whether a value of type t holds references besides strings.
func refers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		return !isImmutable(t) && slices.ContainsFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool {
			return len(f.Index) == 1 && refers(f.Type)
		})
	case reflect.Array:
		return t.Len() > 0 && refers(t.Elem())
	}
	return !isBasic(t.Kind())
}
