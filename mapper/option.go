package mapper

import (
	"context"
	"maps"
	"reflect"
	"strings"
	"unsafe"
)

// An Option changes how a Mapper is built. A Mapper's options never change afterwards. The
// functions below make options, and Options is one itself.
type Option interface{ apply(*config) }

// Options are the switches that are seldom needed. Give them to New beside the other options; the
// zero value of each is the default.
type Options struct {
	// MatchCase makes the matching of names case-sensitive. By default a field matches the field
	// with its exact name or, if there is none, a field whose name differs in case only.
	MatchCase bool
	// AllRead also checks the source: New reports every exported field that nothing reads, also in
	// a struct of which Flatten or Bind read a part. Set and After read the whole source, but this
	// does not count. To leave a source field out on purpose, use Ignore.
	AllRead bool
	// DetachStrings copies the bytes of every string. By default a string shares them, as in an
	// assignment, and so retains the larger string that it is a part of. Strings that a user's
	// function or a String method returns are copied too, unless they are behind a pointer, in a
	// slice, in a map or in an interface. The name of a time.Time's Location is not copied.
	DetachStrings bool
	// Parse maps numbers and bools to strings and back as strconv does, in base 10. A text that is
	// not such a number is an Error.
	Parse bool
	// Stringer maps types that have a String method to strings, with that method. A struct that has
	// the method only because it embeds a type must hold nothing else.
	Stringer bool
	// Assign lists types that are copied by assignment, each by a value of the type; only its type
	// counts. Use it for types whose values are immutable, such as decimal.Decimal{}. With a
	// pointer type, such as (*timestamppb.Timestamp)(nil), the result shares the value behind the
	// pointer, so neither side may change it.
	Assign []any
	// Trees copies an object that several paths of the source lead to once for each path, so that a
	// change at one place of the result does not show at another. By default it is copied once, and
	// the result shares it as the source does. More than 100,000 such copies in one call are an
	// Error.
	Trees bool
	// MaxDepth is how deep recursive types and interfaces may nest; more is an Error. 0 is 1000.
	// The stack limits the depth to about 80,000 divided by the number of types between two levels.
	// Data that nests deeper is an Error, whatever MaxDepth is.
	MaxDepth int
}

func (o Options) apply(c *config) {
	c.MatchCase = c.MatchCase || o.MatchCase
	c.AllRead = c.AllRead || o.AllRead
	c.DetachStrings = c.DetachStrings || o.DetachStrings
	c.Parse = c.Parse || o.Parse
	c.Stringer = c.Stringer || o.Stringer
	c.Trees = c.Trees || o.Trees
	for _, v := range o.Assign {
		if v == nil {
			c.complain(pair{}, "Options.Assign has a nil, which has no type: list a value of the type, such as decimal.Decimal{} or (*timestamppb.Timestamp)(nil)")
			continue
		}
		c.assigned[reflect.TypeOf(v)] = true
	}
	if o.MaxDepth > 0 {
		c.MaxDepth = o.MaxDepth
	}
}

const defaultDepth = 1000

// A config is the sum of the options of one Mapper, or of one For in it. It never changes after its
// plan is built.
type config struct {
	Options
	lenient bool
	share   bool
	flatten bool
	tag     string

	assigned   map[reflect.Type]bool
	converters map[pair]function
	overrides  []*override
	complaints []complaint // about the options themselves

	nested []nested         // For options
	scopes map[pair]*config // the configs of the For options of the Mapper
	base   *config          // the Mapper's own
	root   pair             // the Mapper's own, without pointers

	dynamic *cache // plans of the types met in interfaces
	given   map[pair]bool
}

// A complaint is a problem of options that does not depend on the types of the plan.
type complaint struct {
	pair
	why string
}

// newConfig returns the config of the Mapper for a pair without pointers.
func newConfig(root pair, opts []Option) *config {
	c := &config{
		root:       root,
		Options:    Options{MaxDepth: defaultDepth},
		assigned:   map[reflect.Type]bool{},
		converters: map[pair]function{},
		given:      map[pair]bool{},
	}
	for _, o := range opts {
		if o != nil {
			o.apply(c)
		}
	}
	c.base, c.dynamic = c, newDynamic(c)
	if len(c.nested) > 0 {
		c.scopes = map[pair]*config{}
		c.addScopes(c.nested)
	}
	return c
}

// addScopes makes the config of each For: c and the For's own options.
func (c *config) addScopes(list []nested) {
	for _, n := range list {
		if c.scopes[n.pair] != nil {
			c.complain(n.pair, "two For options are for this pair: put the options of both into one")
			continue
		}
		sub := *c
		sub.assigned, sub.converters, sub.given = maps.Clone(c.assigned), maps.Clone(c.converters), map[pair]bool{}
		sub.overrides, sub.nested, sub.complaints = c.overrides[:len(c.overrides):len(c.overrides)], nil, nil
		c.scopes[n.pair] = &sub
		for _, o := range n.opts {
			if o != nil {
				o.apply(&sub)
			}
		}
		sub.dynamic = newDynamic(&sub)
		c.complaints = append(c.complaints, sub.complaints...)
		c.addScopes(sub.nested)
	}
}

func (c *config) complain(p pair, why string) { c.complaints = append(c.complaints, complaint{p, why}) }

type option func(*config)

func (o option) apply(c *config) { o(c) }

// Lenient leaves destination fields without a source unchanged. By default New reports each of them
// as a problem.
func Lenient() Option {
	return option(func(c *config) { c.lenient = true })
}

// Tag gives fields the names in their struct tag key, up to the first comma, on both sides. The
// name "-" takes a field out of the mapping; a field without the tag keeps its name. As in
// encoding/json, an embedded struct that has a name in its tag is an ordinary field.
func Tag(key string) Option {
	return option(func(c *config) {
		if c.tag != "" && c.tag != key {
			c.complain(pair{}, "two Tag options name the keys "+c.tag+" and "+key+": a Mapper reads one. Remove one, and Bind the fields that it named")
		}
		c.tag = key
	})
}

// Flatten lets a field AddressCity match the field City of a field Address, in both directions. If
// a pointer in the source path is nil, the destination field becomes zero.
func Flatten() Option {
	return option(func(c *config) { c.flatten = true })
}

// Share lets the result share memory with the source where both have the same type: slices, maps,
// pointers, interfaces, channels and functions are assigned and not copied. A result that shares
// retains its source and changes with it. By default a Mapper copies deeply.
func Share() Option {
	return option(func(c *config) { c.share = true })
}

// A nested holds the arguments of a For.
type nested struct {
	pair
	opts []Option
}

// For adds opts to the Mapper's own options wherever the Mapper maps an S to a D. They also apply
// inside that pair, down to the pair of another For or of the Mapper itself. Bind, Set, SetErr,
// After and Ignore need no For, because the types of their functions name the pair. For is for the
// other options:
//
//	mapper.For[Item, ItemDTO](mapper.Lenient(), mapper.Convert(formatCents))
func For[S, D any](opts ...Option) Option {
	p := pairOf[S, D]().pointees()
	return option(func(c *config) { c.nested = append(c.nested, nested{p, opts}) })
}

// A function is a user's function from one type to another, in the two forms that the two executors
// need. Both copy what they read, so the user's function gets no pointer into the caller's memory.
type function struct {
	raw   func(ctx context.Context, dst, src unsafe.Pointer) error
	value func(ctx context.Context, dst, src reflect.Value) error
	name  string // as Plan shows it
}

func functionOf[A, B any](f func(context.Context, A) (B, error), name string) function {
	return function{
		raw: func(ctx context.Context, dst, src unsafe.Pointer) error {
			b, err := f(ctx, *(*A)(src))
			if err == nil {
				*(*B)(dst) = b
			}
			return err
		},
		value: func(ctx context.Context, dst, src reflect.Value) error {
			b, err := f(ctx, *src.Addr().Interface().(*A))
			if err == nil {
				*dst.Addr().Interface().(*B) = b
			}
			return err
		},
		name: name,
	}
}

// detached returns f with the strings in its result copied. offsets are the offsets of these
// strings.
func (f function) detached(offsets []uintptr) function {
	raw, value := f.raw, f.value
	f.raw = func(ctx context.Context, dst, src unsafe.Pointer) error {
		err := raw(ctx, dst, src)
		detachAt(dst, offsets, err)
		return err
	}
	f.value = func(ctx context.Context, dst, src reflect.Value) error {
		err := value(ctx, dst, src)
		detachAt(dst.Addr().UnsafePointer(), offsets, err)
		return err
	}
	return f
}

func detachAt(p unsafe.Pointer, offsets []uintptr, err error) {
	if err != nil {
		return
	}
	for _, off := range offsets {
		s := (*string)(unsafe.Add(p, off))
		*s = strings.Clone(*s)
	}
}

// Convert maps every A to a B with f, at every depth of the plan, instead of by the package's
// rules. An error of f becomes an Error with the path. To map a nested pair with another Mapper,
// pass that Mapper's method. Cyclic data that passes through such a method overflows the stack and
// ends the process, so use Bind and For for types that contain each other:
//
//	mapper.Convert(addressMapper.Map)
//
// f may be called by many goroutines at once.
func Convert[A, B any](f func(A) (B, error)) Option {
	if f == nil {
		return convert[A, B](function{})
	}
	return convert[A, B](functionOf(func(_ context.Context, a A) (B, error) { return f(a) }, "Convert"))
}

// ConvertContext is Convert for a function that takes a context: the context of MapContext or
// IntoContext, and context.Background in other calls.
func ConvertContext[A, B any](f func(context.Context, A) (B, error)) Option {
	if f == nil {
		return convert[A, B](function{})
	}
	return convert[A, B](functionOf(f, "Convert"))
}

func convert[A, B any](f function) Option {
	p := pair{reflect.TypeFor[A](), reflect.TypeFor[B]()}
	return option(func(c *config) {
		if c.given[p] {
			c.complain(p, "two Convert options are for this pair: remove one")
		}
		c.given[p] = true
		c.converters[p] = f
	})
}

// An override replaces the matching by name for one field of a destination, or adds a step for a
// pair of types.
type override struct {
	kind     string       // the option's name, for problems
	dst      selector     // of all but After; Ignore may have one of a source
	src      selector     // of Bind
	from     function     // of Set and After
	fromType reflect.Type // S or *S, of Set and After
}

func (o *override) option() Option {
	return option(func(c *config) { c.overrides = append(c.overrides, o) })
}

// Bind fills one field of the destination from a field of the source of another name or type; the
// two types map by the rules of the package. Selectors return the address of a field, of the struct
// itself or of one nested in it:
//
//	mapper.Bind(func(d *UserDTO) *string { return &d.City }, func(u *User) *string { return &u.Address.City })
//
// Bind applies wherever an S is mapped to a D: to the Mapper's own pair, and to pairs inside it,
// such as the elements of a list. The selectors run once, when the Mapper is built, on a value with
// all pointers allocated, to find the field. If a pointer in the path to the source field is nil,
// the destination field becomes zero.
func Bind[D, F, S, G any](dst func(*D) *F, src func(*S) *G) Option {
	o := &override{kind: "Bind", dst: selectorOf(dst), src: selectorOf(src), fromType: reflect.TypeFor[S]()}
	return o.option()
}

// Set fills one field of the destination with the result of from, which gets the whole source. A is
// the source type S or *S. Like Bind, Set applies wherever an S is mapped to a D. With S nothing is
// allocated beyond what from itself allocates. With *S each call allocates a copy of the source,
// because from could retain the pointer. from may be called by many goroutines at once.
func Set[D, F, A any](dst func(*D) *F, from func(A) F) Option {
	if from == nil {
		return set[D, F, A](dst, "Set", function{})
	}
	return set[D, F, A](dst, "Set", functionOf(func(_ context.Context, a A) (F, error) { return from(a), nil }, "Set"))
}

// SetErr is Set with a function that can fail. Its error becomes an Error with the path.
func SetErr[D, F, A any](dst func(*D) *F, from func(A) (F, error)) Option {
	if from == nil {
		return set[D, F, A](dst, "SetErr", function{})
	}
	return set[D, F, A](dst, "SetErr", functionOf(func(_ context.Context, a A) (F, error) { return from(a) }, "SetErr"))
}

func set[D, F, A any](dst func(*D) *F, kind string, f function) Option {
	o := &override{kind: kind, dst: selectorOf(dst), from: f, fromType: reflect.TypeFor[A]()}
	return o.option()
}

// After runs f wherever an S has been mapped to a D, after the other fields are filled. Use it to
// set fields that no other option can set, such as a field whose type has no exported name, or to
// check the whole value. An error of f becomes an Error with the path. f works on a copy of the
// destination, which each call allocates, so f may retain the pointer. Patch calls f too. Name
// fields that only f fills in an Ignore.
func After[S, D any](f func(d *D, s S) error) Option {
	o := &override{kind: "After", dst: selector{owner: reflect.TypeFor[D]()}, fromType: reflect.TypeFor[S]()}
	if f == nil {
		return o.option()
	}
	o.from = function{
		raw: func(_ context.Context, dst, src unsafe.Pointer) error {
			d := *(*D)(dst)
			err := f(&d, *(*S)(src))
			if err == nil {
				*(*D)(dst) = d
			}
			return err
		},
		value: func(_ context.Context, dst, src reflect.Value) error {
			d := *dst.Addr().Interface().(*D)
			err := f(&d, *src.Addr().Interface().(*S))
			if err == nil {
				*dst.Addr().Interface().(*D) = d
			}
			return err
		},
		name: "After",
	}
	return o.option()
}

// Ignore leaves one field of a destination unchanged, wherever the Mapper fills a T. The function
// returns the field's address, as a pointer or, if the field's type has no exported name, as an
// any:
//
//	mapper.Ignore(func(v *structpb.Value) any { return &v.Kind })
//
// For a field of a source, it tells Options.AllRead that the field is not read on purpose.
func Ignore[T, P any](field func(*T) P) Option {
	o := &override{kind: "Ignore", dst: pickerOf(field)}
	return o.option()
}
