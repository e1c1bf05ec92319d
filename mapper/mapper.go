package mapper

import (
	"context"
	"iter"
	"reflect"
	"unsafe"
)

// A Mapper maps values of type S to values of type D by one plan. Create it once, with New or Must,
// in a package-level variable or in the constructor of its owner. It is safe for concurrent use,
// never changes, and retains none of the values that it maps. When it is no longer referenced it is
// collected with its plan.
type Mapper[S, D any] struct{ core }

// New builds the Mapper from S to D. The error is a *BuildError, which lists all problems: fields
// of D without a source (unless Lenient), types that do not map, and options that do not fit. Each
// problem ends with lines of code that solve it. New takes ten to a hundred microseconds and
// allocates. When the Mapper is no longer referenced, all of its memory is freed.
//
// Building the same pair at the same line again and again is misuse. Every 64 times, if a garbage
// collection has run, New looks whether the Mappers are still in use. If most are not, it logs one
// warning (slog, level Warn) with that line; if the line is in a generic function, with the line
// that calls the function. So there is no warning for a Mapper in the service of each tenant. Tests
// and subtests are counted apart from each other.
func New[S, D any](opts ...Option) (*Mapper[S, D], error) {
	return build[S, D](opts)
}

// Must is New for package-level variables: it panics with the *BuildError.
func Must[S, D any](opts ...Option) *Mapper[S, D] {
	m, err := build[S, D](opts)
	if err != nil {
		panic(err)
	}
	return m
}

func build[S, D any](opts []Option) (*Mapper[S, D], error) {
	p := pairOf[S, D]()
	plan, err := compile(p, newConfig(p.pointees(), opts), false)
	if err != nil {
		return nil, err
	}
	builds.count(p, plan)
	return &Mapper[S, D]{plan.core}, nil
}

func pairOf[S, D any]() pair { return pair{reflect.TypeFor[S](), reflect.TypeFor[D]()} }

// Map returns what src maps to. The error is an *Error, and then the value is zero.
func (m *Mapper[S, D]) Map(src S) (dst D, err error) {
	err = into(unsafe.Pointer(m), (*mapCall[S, D])(m), unsafe.Pointer(&dst), unsafe.Pointer(&src))
	return
}

// A mapCall is a Mapper whose Map was called.
type mapCall[S, D any] Mapper[S, D]

func (m *mapCall[S, D]) misused() error { return (*Mapper[S, D])(m).misused() }

// failed sets the result of a Map that failed to zero.
func (m *mapCall[S, D]) failed(dst unsafe.Pointer) { *(*D)(dst) = *new(D) }

// MapContext is Map with a context, which it passes to the functions of ConvertContext. MapContext
// itself does not block and does not check the context.
func (m *Mapper[S, D]) MapContext(ctx context.Context, src S) (D, error) {
	var dst D
	if err := m.IntoContext(ctx, &dst, &src); err != nil {
		var zero D
		return zero, err
	}
	return dst, nil
}

// Into maps *src into *dst. It writes the fields that the plan fills and leaves the others
// unchanged. It makes new slices, new maps and new objects for pointers, with two exceptions. If
// dst has them already, it fills in place the struct behind an embedded pointer whose fields are
// filled as promoted fields, and the struct behind a pointer in which Bind or Set chose a field. dst
// may be src, but must not lie inside what src refers to. After an *Error some fields of dst may
// have been written.
func (m *Mapper[S, D]) Into(dst *D, src *S) error {
	return into(unsafe.Pointer(m), m, unsafe.Pointer(dst), unsafe.Pointer(src))
}

// slowInto is into for plans that are more than moves, and for misuse.
func (c *core) slowInto(m interface{ misused() error }, dst, src unsafe.Pointer) error {
	if c == nil || c.plan == nil || dst == nil || src == nil {
		return m.misused()
	}
	err := c.plan.mapTo(context.Background(), dst, src)
	if err != nil {
		if call, ok := m.(interface{ failed(dst unsafe.Pointer) }); ok {
			call.failed(hide(dst))
		}
	}
	return err
}

// IntoContext is Into with a context for the functions of ConvertContext.
func (m *Mapper[S, D]) IntoContext(ctx context.Context, dst *D, src *S) error {
	if m == nil || m.plan == nil || dst == nil || src == nil {
		return m.misused()
	}
	return m.plan.mapTo(ctx, unsafe.Pointer(dst), unsafe.Pointer(src))
}

// mapTo maps *src to *dst, by the executor that the build tag chose.
func (p *plan) mapTo(ctx context.Context, dst, src unsafe.Pointer) error {
	leak(dst) // After gets what dst refers to
	leak(src)
	if onlyReflect {
		return p.reflect(ctx, reflect.NewAt(p.root.dst, dst), reflect.NewAt(p.root.src, src))
	}
	return p.run(ctx, hide(dst), hide(src))
}

// leak does nothing, but the compiler must assume that it retains everything that *p refers to. So
// strings and objects that a source refers to are never on the caller's stack: otherwise the result
// could refer to stack memory that is reused. The source itself may be on the stack, see hide.
func leak(p unsafe.Pointer) {
	if leaked.really {
		leaked.value = *(*unsafe.Pointer)(p)
	}
}

var leaked struct {
	really bool // never set
	value  unsafe.Pointer
}

// misused returns the error for a Mapper without a plan, or for a nil pointer.
func (m *Mapper[S, D]) misused() error {
	p := pairOf[S, D]()
	if m == nil || m.plan == nil {
		return &Error{Src: p.src, Dst: p.dst, Err: errUnmade}
	}
	return &Error{Src: p.src, Dst: p.dst, Err: errNil}
}

// Slice maps every element. Nil gives nil, empty gives empty. After an *Error, whose path begins
// with the index, the result is nil.
func (m *Mapper[S, D]) Slice(src []S) ([]D, error) {
	if m == nil || m.plan == nil {
		return nil, m.misused()
	}
	if src == nil {
		return nil, nil
	}
	dst := make([]D, len(src))
	if err := m.fill(dst, src); err != nil {
		return nil, err
	}
	return dst, nil
}

// Append maps src, appends the results to dst and returns the extended slice. Like the built-in
// append it uses the capacity of dst if it suffices. After an *Error it returns dst unchanged.
func (m *Mapper[S, D]) Append(dst []D, src []S) ([]D, error) {
	if m == nil || m.plan == nil {
		return dst, m.misused()
	}
	if p := m.plan.root; p.src == p.dst {
		// src may be in the memory behind dst.
		mapped, err := m.Slice(src)
		return append(dst, mapped...), err
	}
	n := len(dst)
	grown := append(dst, make([]D, len(src))...)
	if err := m.fill(grown[n:], src); err != nil {
		clear(grown[n:])
		return dst, err
	}
	return grown, nil
}

func (m *Mapper[S, D]) fill(dst []D, src []S) error {
	if m.flat != nil && len(src) > 0 {
		m.plan.root.kernel.moves.runAll(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]),
			unsafe.Sizeof(dst[0]), unsafe.Sizeof(src[0]), uintptr(len(src)))
		return nil
	}
	if onlyReflect {
		return m.plan.reflectList(reflect.ValueOf(dst), reflect.ValueOf(src))
	}
	return m.plan.runList(unsafe.Pointer(unsafe.SliceData(dst)), unsafe.Pointer(unsafe.SliceData(src)), len(src))
}

// Seq maps a stream lazily, one value for each iteration of the caller's loop. A value that does
// not map yields the zero value and an *Error whose path begins with its index. The stream then
// continues; break to stop it. Seq retains none of the values that it has yielded.
func (m *Mapper[S, D]) Seq(src iter.Seq[S]) iter.Seq2[D, error] {
	return func(yield func(D, error) bool) {
		i := 0
		for s := range src {
			d, err := m.Map(s)
			if err != nil {
				err = atIndex(err, i)
			}
			if !yield(d, err) {
				return
			}
			i++
		}
	}
}
