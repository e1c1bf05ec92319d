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
	cfg      *config       // the config of the current pair: the Mapper's own, or the config of a For
	root     pair          // without pointers
	nodes    map[key]*node // by pair
	made     []*node       // all
	building map[key]bool
	active   []*placed // overrides of the pairs that the node being built consists of
	samples  map[reflect.Type]*sample
	found    map[*override]*selected
	path     []string // to the current pair
	around   []pair   // the pairs around the current one, and it
	problems []*Error
	opaque   map[reflect.Type]bool // types that were reported as such
	pointed  map[reflect.Type]bool // types whose pointers map to themselves
	scoped   map[*config]bool      // configs of For that were used
	trial    bool                  // only to see whether there are problems
	home     string                // the package of the caller; "" is not known yet
	packages map[string]string     // the names of packages by import path; nil is not known yet
}

// A key identifies a node: a pair, and the options that apply there.
type key struct {
	pair
	cfg *config
}

// compile returns the plan for a pair, or a *BuildError with every problem. An inner plan is for
// values that a Mapper meets in interfaces: its options were checked when the Mapper was built.
func compile(p pair, cfg *config, inner bool) (*plan, error) {
	c := newCompiler(p, cfg)
	if !inner {
		c.checkConfig()
	}
	root := c.pair(p.src, p.dst)
	if !inner {
		c.checkUsed()
	}
	if len(c.problems) > 0 {
		return nil, &BuildError{Src: p.src, Dst: p.dst, Problems: c.problems}
	}
	for _, n := range c.made {
		n.kernel = newKernel(n)
	}
	meets := slices.ContainsFunc(c.made, func(n *node) bool { return n.op == opFromInterface })
	root.findMany(inner || meets, map[identity]*node{})
	root.measure()
	return newPlan(root, cfg), nil
}

// checkConfig reports what is wrong with the options, whatever the types are.
func (c *compiler) checkConfig() {
	for _, o := range c.cfg.complaints {
		c.complain(o)
	}
	if c.cfg.share && c.cfg.DetachStrings {
		c.problem(c.root.src, c.root.dst, "Share and DetachStrings contradict each other: choose one")
	}
}

func newCompiler(p pair, cfg *config) *compiler {
	return &compiler{
		cfg: cfg, root: p.pointees(), nodes: map[key]*node{}, building: map[key]bool{},
		samples: map[reflect.Type]*sample{}, found: map[*override]*selected{}, opaque: map[reflect.Type]bool{}, pointed: map[reflect.Type]bool{}, scoped: map[*config]bool{},
	}
}

// maps reports whether a pair maps, without options that choose fields.
func (c *compiler) maps(src, dst reflect.Type) bool {
	t := newCompiler(pair{src, dst}, c.cfg)
	t.trial = true
	t.pair(src, dst)
	return len(t.problems) == 0
}

func (c *compiler) complain(o complaint) {
	if o.src == nil {
		o.pair = c.root
	}
	c.problem(o.src, o.dst, reason(o.why))
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

// inside compiles a pair one level deeper.
func (c *compiler) inside(name string, src, dst reflect.Type) (n *node) {
	c.within(name, func() { n = c.pair(src, dst) })
	return n
}

// pair returns the node for a pair, which is shared by all places of the pair in the plan.
func (c *compiler) pair(src, dst reflect.Type) *node {
	p := pair{src, dst}
	before, active, around := c.cfg, c.active, c.around
	defer func() { c.cfg, c.active, c.around = before, active, around }()
	c.cfg, c.active, c.around = c.scope(p), nil, append(c.around, p)
	k := key{p, c.cfg}
	if n, ok := c.nodes[k]; ok {
		n.recursive = n.recursive || c.building[k]
		return n
	}
	n := c.node(node{src: src, dst: dst})
	c.nodes[k] = n
	c.building[k] = true
	c.build(n)
	delete(c.building, k)
	return n
}

// node returns a new node of the plan.
func (c *compiler) node(n node) *node {
	n.cfg = c.cfg
	c.made = append(c.made, &n)
	return &n
}

// scope returns the options for a pair: the options of its For, or of the pair around it.
func (c *compiler) scope(p pair) *config {
	switch s := c.cfg.scopes[p]; {
	case s != nil:
		c.scoped[s] = true
		return s
	case p == c.cfg.root:
		return c.cfg.base
	}
	return c.cfg
}

// build decides how a pair maps. The first rule that fits wins.
func (c *compiler) build(n *node) {
	src, dst := n.src, n.dst
	switch {
	case c.buildConvert(n):
	case c.isAssigned(src, dst), c.isShared(src, dst), isImmutable(src) && sameLayout(src, dst):
		n.op = opCopy
	case src.Kind() == reflect.Interface:
		n.op = opFromInterface
		if isError(src) || isError(dst) {
			c.refuseError(src, dst)
		}
	case dst.Kind() == reflect.Interface:
		c.buildToInterface(n)
	case c.isStructs(src, dst):
		c.buildStructs(n)
	case c.buildOptional(n), c.buildText(n), c.buildScalar(n), c.buildContainer(n):
	default:
		c.refuse(n)
	}
}

func (c *compiler) buildConvert(n *node) bool {
	fn, ok := c.cfg.converters[pair{n.src, n.dst}]
	if !ok {
		return false
	}
	n.op, n.fn = opFunc, c.detached(fn, n.dst)
	if fn.raw == nil {
		c.problem(n.src, n.dst, "the function given to Convert is nil")
	}
	return true
}

// detached makes a user's function copy the strings that it returns, if DetachStrings says so.
func (c *compiler) detached(fn function, result reflect.Type) function {
	if at := stringsIn(result, 0, nil); c.cfg.DetachStrings && len(at) > 0 && fn.raw != nil {
		return fn.detached(at)
	}
	return fn
}

// stringsIn lists the offsets of the strings in a t that are not behind a reference.
func stringsIn(t reflect.Type, off uintptr, list []uintptr) []uintptr {
	switch t.Kind() {
	case reflect.String:
		return append(list, off)
	case reflect.Struct:
		for i := range t.NumField() {
			list = stringsIn(t.Field(i).Type, off+t.Field(i).Offset, list)
		}
	case reflect.Array:
		for i := range uintptr(t.Len()) {
			list = stringsIn(t.Elem(), off+i*t.Elem().Size(), list)
		}
	}
	return list
}

// isAssigned reports whether Options.Assign names the type.
func (c *compiler) isAssigned(src, dst reflect.Type) bool { return src == dst && c.cfg.assigned[src] }

// buildStructs maps field by field. A null that is copied whole remembers that it is one, for
// Patch.
func (c *compiler) buildStructs(n *node) {
	n.op = opStruct
	if o, ok := nullOf(n.src); ok && isNull(n.dst) && !c.isChosen(n.src, n.dst) {
		n.from = o
	}
	c.structs(n, route{typ: n.src}, route{typ: n.dst})
}

func (c *compiler) buildToInterface(n *node) {
	switch {
	case !n.src.Implements(n.dst):
		c.advise(n.src, n.dst, fmt.Sprintf("%s does not implement %s", n.src, n.dst), c.convertLine(n.src, n.dst))
	case isError(n.src):
		c.refuseError(n.src, n.dst)
	default:
		n.op = opToInterface
		n.elem = c.pair(n.src, n.src)
	}
}

func (c *compiler) buildOptional(n *node) bool {
	from, to := optionalOf(n.src), optionalOf(n.dst)
	switch {
	case from.form == plain && to.form == plain:
		return false
	case to.form == pointer && c.nullIsFields(n.src, to.typ):
		from = optional{typ: n.src}
	case from.form == pointer && c.nullIsFields(from.typ, n.dst):
		to = optional{typ: n.dst}
	case from.form == pointer && to.form == pointer && c.nullIsFields(from.typ, to.typ):
	case optionals(n.src) > optionals(n.dst):
		// An absent value inside a present one is absent in the destination.
		to = optional{typ: n.dst}
	}
	n.op, n.from, n.to = opOptional, from, to
	n.keeps = from.keepsInvalid(n.src, to, n.dst)
	if from.form == pointer && to.form == pointer && isError(n.dst) {
		c.refuseError(n.src, n.dst)
		return true
	}
	if from.form == pointer && n.src == n.dst {
		c.pointed[from.typ] = true
	}
	if from.form == null && c.buildOfWhole(n, from.typ, to.typ) {
		return true
	}
	n.elem = c.pair(from.typ, to.typ)
	return true
}

// buildOfWhole maps a null as a whole, and not the value inside it, if a Convert says so or if only
// the null has a method that makes a text. It is called only for a present value, because the text
// form of an absent value is not data.
func (c *compiler) buildOfWhole(n *node, value, dst reflect.Type) bool {
	_, converts := c.cfg.converters[pair{n.src, dst}]
	if !converts && (dst.Kind() != reflect.String || !hasText(n.src, textMarshaler) && !hasText(n.src, stringer) || c.maps(value, dst)) {
		return false
	}
	n.from.value, n.from.valueAt, n.from.rest, n.keeps = nil, 0, nil, false
	n.elem = c.node(node{src: n.src, dst: dst})
	if !converts && !c.isText(n.src, dst) {
		c.refuse(n.elem)
	} else if !c.buildConvert(n.elem) {
		c.buildText(n.elem)
	}
	return true
}

// isText reports whether a method of src makes texts.
func (c *compiler) isText(src, dst reflect.Type) bool {
	return dst.Kind() == reflect.String && (hasText(src, textMarshaler) || c.cfg.Stringer && hasText(src, stringer))
}

// buildText builds nodes that make strings from other types, and other types from strings.
func (c *compiler) buildText(n *node) bool {
	switch src, dst := n.src, n.dst; {
	case src == dst:
		return false
	case dst.Kind() == reflect.String && hasText(src, textMarshaler):
		n.op, n.fn = opText, function{value: marshalText, name: "MarshalText"}
	case src.Kind() == reflect.String && hasText(dst, textUnmarshaler):
		n.op, n.fn = opText, function{value: unmarshalText, name: "UnmarshalText"}
	case c.cfg.Stringer && dst.Kind() == reflect.String && hasText(src, stringer):
		n.op, n.fn = opText, function{value: callString, name: "String"}
		if c.cfg.DetachStrings {
			n.fn.value = cloneString
		}
	case c.cfg.Parse && dst.Kind() == reflect.String && isParsed(src):
		n.op, n.fn = opText, function{value: format, name: "strconv"}
	case c.cfg.Parse && src.Kind() == reflect.String && isParsed(dst):
		n.op, n.fn = opText, function{value: parse, name: "strconv"}
	case areBytes(src, dst), areBytes(dst, src):
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
		c.advise(src, dst, "the arrays have different lengths", c.convertLine(src, dst))
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

// isError reports whether t is an error type, whose values are compared by identity.
func isError(t reflect.Type) bool {
	return (t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer) && t.Implements(errorType)
}

// isImmutable reports whether a type refers only to memory that never changes: a time.Time with its
// Location, types defined on it, unique.Handle, and compiled regular expressions.
func isImmutable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		return sameLayout(t, timeType) || t.PkgPath() == "unique"
	case reflect.Pointer:
		return t == reflect.TypeFor[*time.Location]() || t.Elem().PkgPath() == "regexp" && t.Elem().Name() == "Regexp"
	}
	return false
}

// isShared reports whether Share assigns a reference. The fields of structs and the elements of
// arrays are decided one by one.
func (c *compiler) isShared(src, dst reflect.Type) bool {
	switch src.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return c.cfg.share && sameLayout(src, dst)
	}
	return false
}

// sameLayout reports whether assigning the bits of a src to a dst does the same as Go's conversion.
func sameLayout(src, dst reflect.Type) bool {
	return src == dst || src.Kind() == dst.Kind() && src.Kind() != reflect.Interface && src.ConvertibleTo(dst)
}

func isBasic(k reflect.Kind) bool {
	return numbers[k] || isComplex(k) || k == reflect.Bool || k == reflect.String
}

func isComplex(k reflect.Kind) bool { return k == reflect.Complex64 || k == reflect.Complex128 }

func isParsed(t reflect.Type) bool { return numbers[t.Kind()] || t.Kind() == reflect.Bool }

func isList(t reflect.Type) bool { return t.Kind() == reflect.Slice || t.Kind() == reflect.Array }

// areBytes reports whether a list of bytes is the bytes of a text. It is not if its type has a String
// method: the text of a net.HardwareAddr is not its bytes.
func areBytes(list, text reflect.Type) bool {
	return list.Kind() == reflect.Slice && list.Elem().Kind() == reflect.Uint8 && text.Kind() == reflect.String && !implements(list, stringer)
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
