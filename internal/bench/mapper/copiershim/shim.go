// Package copier has copier's functions on top of package mapper, so that copier's own tests can be
// run against it: see TestCopiersOwnTests.
package copier

import (
	"errors"
	"reflect"
	"time"

	"github.com/leaksafe/leaksafe/mapper"
)

// The types that copier's tests name in converters.
const (
	String  string  = ""
	Bool    bool    = false
	Int     int     = 0
	Float32 float32 = 0
	Float64 float64 = 0
)

// Option has copier's options. Only those that a Mapper can have at run time have an effect.
type Option struct {
	IgnoreEmpty, CaseSensitive, DeepCopy, Must bool
	Converters                                 []TypeConverter
	FieldNameMapping                           []FieldNameMapping
}

type TypeConverter struct {
	SrcType, DstType any
	Fn               func(src any) (dst any, err error)
}

type FieldNameMapping struct {
	SrcType, DstType any
	Mapping          map[string]string
}

var (
	ErrInvalidCopyDestination        = errors.New("copy destination must be non-nil and addressable")
	ErrInvalidCopyFrom               = errors.New("copy from must be non-nil and addressable")
	ErrMapKeyNotMatch                = errors.New("map's key type doesn't match")
	ErrNotSupported                  = errors.New("not supported")
	ErrFieldNameTagStartNotUpperCase = errors.New("copier field name tag must be start upper case")
)

func Copy(to, from any) error { return CopyWithOption(to, from, Option{}) }

var (
	deep   = mapper.Must[any, any](mapper.Lenient(), mapper.Tag("copier"), mapper.Options{Trees: true})
	byCase = mapper.Must[any, any](mapper.Lenient(), mapper.Tag("copier"), mapper.Options{MatchCase: true})
)

// shallow returns the Mapper for copier's default: what a field of the source points to is copied,
// and what is below that is assigned.
func shallow(src reflect.Value) *mapper.Mapper[any, any] {
	return mapper.Must[any, any](mapper.Lenient(), mapper.Tag("copier"), mapper.Options{Assign: parts(src)})
}

// parts lists a value of each type that Assign has to name.
func parts(src reflect.Value) (list []any) {
	for src = reflect.Indirect(src); src.Kind() == reflect.Slice && src.Len() > 0; {
		src = reflect.Indirect(src.Index(0))
	}
	if src.Kind() != reflect.Struct {
		return nil
	}
	for i := range src.NumField() {
		f := src.Field(i)
		switch {
		case src.Type().Field(i).Anonymous:
			list = append(list, parts(f)...)
		case f.Kind() == reflect.Interface && !f.IsNil() && f.CanInterface():
			list = append(list, f.Interface())
		case f.Kind() == reflect.Pointer:
			list = append(list, reflect.Zero(f.Type().Elem()).Interface())
		case f.Kind() != reflect.Interface:
			list = append(list, reflect.Zero(f.Type()).Interface())
		}
	}
	return list
}

func CopyWithOption(to, from any, opt Option) error {
	dst, src := reflect.ValueOf(to), reflect.ValueOf(from)
	if dst.Kind() != reflect.Pointer || dst.IsNil() {
		return ErrInvalidCopyDestination
	}
	if !src.IsValid() || src.Kind() == reflect.Pointer && src.IsNil() {
		return ErrInvalidCopyFrom
	}
	src = reflect.Indirect(src)
	m := shallow(src)
	switch {
	case opt.CaseSensitive:
		m = byCase
	case len(opt.Converters) > 0:
		m = converting(opt.Converters)
	case opt.DeepCopy:
		m = deep
	}
	for dst.Elem().Kind() == reflect.Pointer { // copier fills what pointers to pointers lead to
		if dst.Elem().IsNil() {
			dst.Elem().Set(reflect.New(dst.Elem().Type().Elem()))
		}
		dst = dst.Elem()
	}
	if dst.Elem().Kind() == reflect.Slice && src.Kind() == reflect.Struct {
		return one(m, dst.Elem(), src)
	}
	if dst.Elem().Kind() == reflect.Slice && src.Kind() == reflect.Slice && !src.IsNil() {
		return list(m, dst.Elem(), src)
	}
	return m.MapAny(dst.Interface(), addressed(src).Interface())
}

// converting supports only the converters whose types are named here or registered: the compiler
// checks a Mapper's functions, while copier checks its functions at run time.
func converting(list []TypeConverter) *mapper.Mapper[any, any] {
	opts := []mapper.Option{mapper.Lenient(), mapper.Tag("copier")}
	for _, c := range list {
		if option := options[[2]reflect.Type{reflect.TypeOf(c.SrcType), reflect.TypeOf(c.DstType)}]; option != nil {
			opts = append(opts, option(c.Fn))
		}
	}
	return mapper.Must[any, any](opts...)
}

var options = map[[2]reflect.Type]func(func(any) (any, error)) mapper.Option{
	{reflect.TypeFor[time.Time](), reflect.TypeFor[string]()}: convert[time.Time, string],
	{reflect.TypeFor[string](), reflect.TypeFor[int]()}:       convert[string, int],
	{reflect.TypeFor[string](), reflect.TypeFor[string]()}:    convert[string, string],
	{reflect.TypeFor[string](), reflect.TypeFor[*string]()}:   convert[string, *string],
}

// Register makes the shim know converters from A to B.
func Register[A, B any]() {
	options[[2]reflect.Type{reflect.TypeFor[A](), reflect.TypeFor[B]()}] = convert[A, B]
}

func convert[A, B any](f func(any) (any, error)) mapper.Option {
	return mapper.Convert(func(a A) (b B, err error) {
		v, err := f(a)
		if err == nil {
			b, _ = v.(B)
		}
		return b, err
	})
}

// one copies a struct to a slice, as its element.
func one(m *mapper.Mapper[any, any], dst, src reflect.Value) error {
	elem := reflect.New(dst.Type().Elem())
	if err := m.MapAny(elem.Interface(), addressed(src).Interface()); err != nil {
		return err
	}
	dst.Set(reflect.Append(dst, elem.Elem()))
	return nil
}

// list copies a slice element by element: the array of the list itself is never shared.
func list(m *mapper.Mapper[any, any], dst, src reflect.Value) error {
	dst.Set(reflect.MakeSlice(dst.Type(), src.Len(), src.Len()))
	for i := range src.Len() {
		if err := m.MapAny(dst.Index(i).Addr().Interface(), addressed(src.Index(i)).Interface()); err != nil {
			return err
		}
	}
	return nil
}

// addressed returns a pointer to a copy: MapAny follows one.
func addressed(v reflect.Value) reflect.Value {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p
}
