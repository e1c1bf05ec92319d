package mapper

import (
	"context"
	"iter"
	"reflect"
	"unsafe"
)

// A Mapper maps values of type S to values of type D by one plan. Create it with New or Must, once:
// in a package-level variable or in the constructor of what uses it. It is safe for concurrent use,
// never changes, and holds nothing of what it maps. When it is no longer referenced it is collected
// with its plan.
type Mapper[S, D any] struct {
	plan *plan
	flat *straight // all there is to do, if that is moves only
}

// New builds the Mapper from S to D. The error is a *BuildError, which lists everything that
// prevents it: fields of D without a source (unless Lenient), types that do not map, and options
// that do not fit. Each problem ends with lines of code that solve it. New takes ten to a hundred
// microseconds and allocates; nothing of it stays behind when the Mapper is dropped.
//
// To build the same pair at the same line again and again is misuse: the 64th time New logs one
// warning (slog, level Warn) with the line, or with the line that calls it if it stands in a
// generic function. It logs none if the Mappers are still in use, as the Mappers of one service for
// each tenant are; only a garbage collection can show that.
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
	plan, err := compile(p, newConfig(opts))
	if err != nil {
		return nil, err
	}
	builds.count(p, plan)
	return &Mapper[S, D]{plan, plan.flat}, nil
}

func pairOf[S, D any]() pair { return pair{reflect.TypeFor[S](), reflect.TypeFor[D]()} }

// Map returns what src maps to. The error is an *Error, and then the value is zero.
func (m *Mapper[S, D]) Map(src S) (dst D, err error) {
	if m != nil && m.flat != nil {
		m.flat.run(unsafe.Pointer(&dst), unsafe.Pointer(&src))
		return dst, nil
	}
	if err = m.into(context.Background(), &dst, &src); err != nil {
		var zero D
		dst = zero
	}
	return dst, err
}

// MapContext is Map with a context for the functions of ConvertContext. Whether they heed it is
// theirs: MapContext itself does not block.
func (m *Mapper[S, D]) MapContext(ctx context.Context, src S) (D, error) {
	var dst D
	if err := m.IntoContext(ctx, &dst, &src); err != nil {
		var zero D
		return zero, err
	}
	return dst, nil
}

// Into maps *src into *dst. It writes the fields that the plan fills and leaves the others as they
// are. It makes new slices, new maps and new objects for pointers. There are two exceptions, which
// it fills in place if dst has them already: what an embedded pointer of dst points to, if its
// fields are filled one by one as promoted fields, and what a pointer points to behind which Bind
// or Set chose a field. After an *Error some fields of dst may have been written.
func (m *Mapper[S, D]) Into(dst *D, src *S) error {
	if m != nil && m.flat != nil && dst != nil && src != nil {
		m.flat.run(unsafe.Pointer(dst), unsafe.Pointer(src))
		return nil
	}
	return m.into(context.Background(), dst, src)
}

// IntoContext is Into with a context for the functions of ConvertContext.
func (m *Mapper[S, D]) IntoContext(ctx context.Context, dst *D, src *S) error {
	return m.into(ctx, dst, src)
}

func (m *Mapper[S, D]) into(ctx context.Context, dst *D, src *S) error {
	if m == nil || m.plan == nil || dst == nil || src == nil {
		leak(src)
		leak(dst) // After sees what dst refers to
		return m.misused()
	}
	if onlyReflect {
		return m.plan.reflect(ctx, reflect.ValueOf(dst), reflect.ValueOf(src))
	}
	return m.plan.run(ctx, hide(unsafe.Pointer(dst)), hide(unsafe.Pointer(src)))
}

// leak does nothing, but the compiler must assume that it keeps what *src refers to. So strings and
// objects that a source refers to are never on the caller's stack, from where the result would
// refer to memory that is used again. The source itself may be on the stack: see hide.
func leak[T any](p *T) {
	if leaked.really {
		leaked.value = *p
	}
}

var leaked struct {
	really bool // never set
	value  any
}

// misused is the error of a Mapper without a plan, or of a nil pointer.
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

// Append appends what src maps to to dst and returns the longer slice. The memory behind dst is
// used if it suffices, as by the built-in append. After an *Error it returns dst as it was.
func (m *Mapper[S, D]) Append(dst []D, src []S) ([]D, error) {
	if m == nil || m.plan == nil {
		return dst, m.misused()
	}
	if p := m.plan.root; p.src == p.dst {
		// src may lie in the memory behind dst.
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

// Seq maps a stream lazily: one value each time the caller's loop asks. A value that does not map
// yields the zero value and its *Error, whose path begins with its index, and the stream goes on:
// break to stop. It keeps nothing of the values it has yielded.
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
