package mapper

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// method returns src as an I. It copies src, because the method is the user's and must not get a
// pointer to the caller's memory.
func method[I any](src reflect.Value) I {
	if src.Type().Implements(reflect.TypeFor[I]()) {
		return src.Interface().(I)
	}
	fresh := reflect.New(src.Type())
	fresh.Elem().Set(src)
	return fresh.Interface().(I)
}

func marshalText(_ context.Context, dst, src reflect.Value) error {
	text, err := method[encoding.TextMarshaler](src).MarshalText()
	if err == nil {
		dst.SetString(string(text))
	}
	return err
}

func unmarshalText(_ context.Context, dst, src reflect.Value) error {
	fresh := reflect.New(dst.Type())
	err := fresh.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(src.String()))
	if err == nil {
		dst.Set(fresh.Elem())
	}
	return err
}

func callString(_ context.Context, dst, src reflect.Value) error {
	dst.SetString(method[fmt.Stringer](src).String())
	return nil
}

// cloneString is callString for Options.DetachStrings: the method may return a part of src.
func cloneString(_ context.Context, dst, src reflect.Value) error {
	dst.SetString(strings.Clone(method[fmt.Stringer](src).String()))
	return nil
}

func format(_ context.Context, dst, src reflect.Value) error {
	switch {
	case src.CanInt():
		dst.SetString(strconv.FormatInt(src.Int(), 10))
	case src.CanUint():
		dst.SetString(strconv.FormatUint(src.Uint(), 10))
	case src.CanFloat():
		dst.SetString(strconv.FormatFloat(src.Float(), 'g', -1, src.Type().Bits()))
	default:
		dst.SetString(strconv.FormatBool(src.Bool()))
	}
	return nil
}

func parse(_ context.Context, dst, src reflect.Value) error {
	err := parseInto(dst, src.String())
	switch {
	case errors.Is(err, strconv.ErrRange):
		return errRange
	case err != nil:
		return errSyntax
	}
	return nil
}

func parseInto(dst reflect.Value, text string) error {
	switch {
	case dst.CanInt():
		i, err := strconv.ParseInt(text, 10, dst.Type().Bits())
		dst.SetInt(i)
		return err
	case dst.CanUint():
		u, err := strconv.ParseUint(text, 10, dst.Type().Bits())
		dst.SetUint(u)
		return err
	case dst.CanFloat():
		f, err := strconv.ParseFloat(text, dst.Type().Bits())
		dst.SetFloat(f)
		return err
	default:
		b, err := strconv.ParseBool(text)
		dst.SetBool(b)
		return err
	}
}
