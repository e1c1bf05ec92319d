package mapper

import (
	"math"
	"reflect"
	"unsafe"
)

// numbers are the kinds that map to each other if the value fits exactly: an int8 cannot hold 300,
// an int cannot hold 1.5 or NaN, and a float64 cannot hold every int64.
var numbers = [...]bool{
	reflect.Int: true, reflect.Int8: true, reflect.Int16: true, reflect.Int32: true, reflect.Int64: true,
	reflect.Uint: true, reflect.Uint8: true, reflect.Uint16: true, reflect.Uint32: true, reflect.Uint64: true, reflect.Uintptr: true,
	reflect.Float32: true, reflect.Float64: true,
	reflect.UnsafePointer: false,
}

type integer interface {
	int | int8 | int16 | int32 | int64 | uint | uint8 | uint16 | uint32 | uint64 | uintptr
}

type float interface{ float32 | float64 }

// A numberFunc stores the number at src at dst and reports whether it fits.
type numberFunc = func(dst, src unsafe.Pointer) bool

// conversion returns what converts one kind of number to another.
func conversion(src, dst reflect.Kind) numberFunc {
	switch src {
	case reflect.Int:
		return fromInteger[int](dst)
	case reflect.Int8:
		return fromInteger[int8](dst)
	case reflect.Int16:
		return fromInteger[int16](dst)
	case reflect.Int32:
		return fromInteger[int32](dst)
	case reflect.Int64:
		return fromInteger[int64](dst)
	case reflect.Uint:
		return fromInteger[uint](dst)
	case reflect.Uint8:
		return fromInteger[uint8](dst)
	case reflect.Uint16:
		return fromInteger[uint16](dst)
	case reflect.Uint32:
		return fromInteger[uint32](dst)
	case reflect.Uint64:
		return fromInteger[uint64](dst)
	case reflect.Uintptr:
		return fromInteger[uintptr](dst)
	case reflect.Float32:
		return fromFloat[float32](dst)
	case reflect.Float64:
		return fromFloat[float64](dst)
	case reflect.Complex64:
		return widenComplex
	default:
		return narrowComplex
	}
}

func fromInteger[S integer](dst reflect.Kind) numberFunc {
	return [...]numberFunc{
		reflect.Int: integers[S, int], reflect.Int8: integers[S, int8], reflect.Int16: integers[S, int16],
		reflect.Int32: integers[S, int32], reflect.Int64: integers[S, int64],
		reflect.Uint: integers[S, uint], reflect.Uint8: integers[S, uint8], reflect.Uint16: integers[S, uint16],
		reflect.Uint32: integers[S, uint32], reflect.Uint64: integers[S, uint64], reflect.Uintptr: integers[S, uintptr],
		reflect.Float32: integerToFloat[S, float32], reflect.Float64: integerToFloat[S, float64],
	}[dst]
}

func fromFloat[S float](dst reflect.Kind) numberFunc {
	return [...]numberFunc{
		reflect.Int: floatToInteger[S, int], reflect.Int8: floatToInteger[S, int8], reflect.Int16: floatToInteger[S, int16],
		reflect.Int32: floatToInteger[S, int32], reflect.Int64: floatToInteger[S, int64],
		reflect.Uint: floatToInteger[S, uint], reflect.Uint8: floatToInteger[S, uint8], reflect.Uint16: floatToInteger[S, uint16],
		reflect.Uint32: floatToInteger[S, uint32], reflect.Uint64: floatToInteger[S, uint64], reflect.Uintptr: floatToInteger[S, uintptr],
		reflect.Float32: floats[S, float32], reflect.Float64: floats[S, float64],
	}[dst]
}

func integers[S, D integer](dst, src unsafe.Pointer) bool {
	s := *(*S)(src)
	d := D(s)
	*(*D)(dst) = d
	return S(d) == s && (s < 0) == (d < 0)
}

func floats[S, D float](dst, src unsafe.Pointer) bool {
	s := *(*S)(src)
	d := D(s)
	*(*D)(dst) = d
	return S(d) == s || s != s
}

func integerToFloat[S integer, D float](dst, src unsafe.Pointer) bool {
	s := *(*S)(src)
	d := D(s)
	*(*D)(dst) = d
	back, ok := exactly[S](float64(d))
	return ok && back == s
}

func floatToInteger[S float, D integer](dst, src unsafe.Pointer) bool {
	d, ok := exactly[D](float64(*(*S)(src)))
	*(*D)(dst) = d
	return ok
}

// exactly converts f to an integer. The range is checked first, because the result of converting a
// number out of range depends on the processor.
func exactly[D integer](f float64) (D, bool) {
	var zero D
	low, high := 0.0, 2*float64(uint64(1)<<(8*unsafe.Sizeof(zero)-1))
	if zero-1 < zero {
		high /= 2
		low = -high
	}
	if !(f >= low && f < high) {
		return 0, false
	}
	d := D(f)
	return d, float64(d) == f
}

func widenComplex(dst, src unsafe.Pointer) bool {
	*(*complex128)(dst) = complex128(*(*complex64)(src))
	return true
}

func narrowComplex(dst, src unsafe.Pointer) bool {
	s := *(*complex128)(src)
	d := complex64(s)
	*(*complex64)(dst) = d
	exact := func(wide float64, narrow float32) bool { return float64(narrow) == wide || math.IsNaN(wide) }
	return exact(real(s), real(d)) && exact(imag(s), imag(d))
}
