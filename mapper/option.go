package mapper

import (
	"reflect"
	"unsafe"
)

// An Option changes how a Mapper is built. A Mapper's options are frozen when
// it is built. Options are made by the functions below, and Options is itself
// one.
type Option interface{ apply(*config) }

// Options are the switches that are seldom needed. Give them to New beside the
// others; the zero value of each is the default.
type Options struct {
	// MatchCase tells names apart by case. By default a field finds the one
	// of its exact name and, failing that, one that differs in case only.
	MatchCase bool
	// DetachStrings copies the bytes of every string. By default a string
	// shares them, as assignment does, and so keeps whatever bigger string
	// it was cut from.
	DetachStrings bool
	// Parse maps numbers and bools to strings and back as strconv does, in
	// base 10. A text that is no such number is an Error.
	Parse bool
	// Stringer maps what has a String method to strings with it.
	Stringer bool
	// MaxDepth is how deep recursive types and interfaces may nest before
	// the value counts as cyclic, which is an Error; 0 is 1000.
	MaxDepth int
}

func (o Options) apply(c *config) {
	c.MatchCase = c.MatchCase || o.MatchCase
	c.DetachStrings = c.DetachStrings || o.DetachStrings
	c.Parse = c.Parse || o.Parse
	c.Stringer = c.Stringer || o.Stringer
	if o.MaxDepth > 0 {
		c.MaxDepth = o.MaxDepth
	}
}

const defaultDepth = 1000

// A config is what the options of one Mapper add up to. It never changes once
// its plan is built.
type config struct {
	Options
	lenient bool
	share   bool
	flatten bool
	tag     string

	converters map[pair]function
	repeated   []pair // converters given twice
	overrides  []override
	dynamic    *cache // plans of the types met in interfaces
}

func newConfig(opts []Option) *config {
	c := &config{Options: Options{MaxDepth: defaultDepth}}
	for _, o := range opts {
		if o != nil {
			o.apply(c)
		}
	}
	// A type met in an interface maps by the same options, but those that
	// choose fields are for the Mapper's own pair.
	inner := *c
	inner.overrides, inner.repeated = nil, nil
	inner.dynamic = newCache(maxDynamic, &inner)
	c.dynamic = inner.dynamic
	return c
}

type option func(*config)

func (o option) apply(c *config) { o(c) }

// Lenient leaves destination fields that have no source as they are. By
// default each of them is a problem that New reports.
func Lenient() Option {
	return option(func(c *config) { c.lenient = true })
}

// Tag gives fields the names in their struct tag key, up to the first comma,
// on both sides. The name "-" takes a field out of the mapping; a field
// without the tag keeps its name.
func Tag(key string) Option {
	return option(func(c *config) { c.tag = key })
}

// Flatten lets a field AddressCity match the field City of a field Address, in
// both directions. A nil pointer on the way in the source leaves the zero
// value.
func Flatten() Option {
	return option(func(c *config) { c.flatten = true })
}

// Share lets the result share memory with the source where both have the same
// type: slices, maps, pointers, interfaces, channels and functions are assigned
// and not copied. A result that shares keeps its source alive and changes with
// it. By default a Mapper copies deeply.
func Share() Option {
	return option(func(c *config) { c.share = true })
}

// A function is a user's function from one type to another, in the two forms
// that the two executors need. Both copy what they read: no pointer into the
// caller's memory reaches the user.
type function struct {
	raw   func(dst, src unsafe.Pointer) error
	value func(dst, src reflect.Value) error
	name  string // of what it is, for Plan
}

func functionOf[A, B any](f func(A) (B, error), name string) function {
	return function{
		raw: func(dst, src unsafe.Pointer) error {
			b, err := f(*(*A)(src))
			if err == nil {
				*(*B)(dst) = b
			}
			return err
		},
		value: func(dst, src reflect.Value) error {
			b, err := f(*src.Addr().Interface().(*A))
			if err == nil {
				*dst.Addr().Interface().(*B) = b
			}
			return err
		},
		name: name,
	}
}

// Convert maps every A to a B with f, at every depth of the plan, instead of
// what the package would do. Its error becomes an Error with the path. To map
// a nested pair with a Mapper of its own, give its method:
//
//	mapper.Convert(addressMapper.Map)
//
// f may be called by many goroutines at once.
func Convert[A, B any](f func(A) (B, error)) Option {
	p := pair{reflect.TypeFor[A](), reflect.TypeFor[B]()}
	return option(func(c *config) {
		if c.converters == nil {
			c.converters = map[pair]function{}
		}
		if _, again := c.converters[p]; again {
			c.repeated = append(c.repeated, p)
		}
		fn := functionOf(f, "Convert")
		if f == nil {
			fn = function{}
		}
		c.converters[p] = fn
	})
}

// An override replaces what the names of fields would decide about one field
// of the destination.
type override struct {
	kind     string // the option's name, for problems
	dst      selector
	src      selector     // of Bind
	from     function     // of Set
	fromType reflect.Type // S or *S, of Set
}

// Bind fills one field of the destination from a field of the source of another
// name or type; the two types map by the rules of the package. Selectors
// return the address of a field, of the struct itself or of one nested in it:
//
//	mapper.Bind(func(d *UserDTO) *string { return &d.City }, func(u *User) *string { return &u.Address.City })
//
// They run once, when the Mapper is built, on a value whose pointers are
// allocated, to learn the field's place. When a pointer on the way to the
// source field is nil, the destination becomes its zero value.
func Bind[D, F, S, G any](dst func(*D) *F, src func(*S) *G) Option {
	o := override{kind: "Bind", dst: selectorOf(dst), src: selectorOf(src)}
	return option(func(c *config) { c.overrides = append(c.overrides, o) })
}

// Set fills one field of the destination with what from computes out of the
// whole source. A is the source type S or *S. With S nothing is allocated
// beyond what from itself does. With *S each call allocates a copy of the
// source, because from could keep the pointer. from may be called by many
// goroutines at once.
func Set[D, F, A any](dst func(*D) *F, from func(A) F) Option {
	o := override{kind: "Set", dst: selectorOf(dst), fromType: reflect.TypeFor[A]()}
	if from != nil {
		o.from = functionOf(func(a A) (F, error) { return from(a), nil }, "Set")
	}
	return option(func(c *config) { c.overrides = append(c.overrides, o) })
}

// Ignore leaves one field of the destination as it is.
func Ignore[D, F any](dst func(*D) *F) Option {
	o := override{kind: "Ignore", dst: selectorOf(dst)}
	return option(func(c *config) { c.overrides = append(c.overrides, o) })
}
