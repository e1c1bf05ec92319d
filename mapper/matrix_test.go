package mapper_test

import (
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type (
	ID          int64
	Text        string
	Blob        []byte
	UUID        [16]byte // with text methods, as in many libraries
	Color       int      // with String only
	Stamp       time.Time
	Pair[T any] struct {
		A T
		B []T
	}
	Point    struct{ X, Y int }
	Point32  struct{ X, Y int32 }
	Hidden   struct{ cents int64 }
	Hidden2  struct{ cents, more int64 }
	Handle   struct{ refs map[string]int }
	Base     struct{ ID int }
	Embeds   struct{ Base }
	EmbedPtr struct{ *Base }
	Flat     struct{ ID int }
	Locked   struct {
		mu sync.Mutex
		N  int
	}
	Tree struct {
		N    int
		Kids []*Tree
	}
	Loop  []Loop
	Knot  *Knot
	Web   map[string]Web
	Named interface{ Name() string }
	Dog   struct{ Title string }
	Empty struct{}
)

func (u UUID) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(u[:])), nil }

func (u *UUID) UnmarshalText(b []byte) error {
	raw, err := hex.DecodeString(string(b))
	if err != nil || len(raw) != len(u) {
		return fmt.Errorf("not a UUID: %q", b)
	}
	copy(u[:], raw)
	return nil
}

func (c Color) String() string { return [...]string{"red", "green"}[c] }
func (d Dog) Name() string     { return d.Title }

func (l *Locked) Add() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.N++
}

// ref is &v.
func ref[T any](v T) *T { return &v }

// sources has a value of every kind, and values that are known to cause problems.
func sources() map[string]any {
	cyclic := &Tree{N: 1}
	cyclic.Kids = []*Tree{cyclic}
	loop := Loop{nil}
	loop[0] = loop
	var knot Knot
	knot = &knot
	web := Web{}
	web["web"] = web
	return map[string]any{
		"Knot": Knot(new(Knot)), "Knot cyclic": knot, "Web": Web{"a": {}}, "Web cyclic": web,
		"bool": true, "int": int(-7), "int8": int8(-128), "int16": int16(300), "int32": int32(-70000), "int64": int64(math.MaxInt64),
		"int64 min": int64(math.MinInt64), "int64 small": int64(5), "named int": ID(9),
		"uint": uint(7), "uint8": uint8(255), "uint16": uint16(65535), "uint32": uint32(1 << 31), "uint64": uint64(math.MaxUint64), "uintptr": uintptr(3),
		"float32": float32(1.5), "float64": 2.25, "float64 whole": 3.0, "float64 third": 1.0 / 3, "float64 huge": 1e300, "float64 2^63": 0x1p63, "float64 -2^63": -0x1p63, "float64 2^64": 0x1p64,
		"NaN": math.NaN(), "Inf": math.Inf(-1), "negative zero": math.Copysign(0, -1),
		"complex64": complex64(1 + 2i), "complex128": complex128(0.1 + 2i),
		"string": "text", "string number": "65", "string empty": "", "named string": Text("named"), "[]byte": []byte("bytes"), "[]byte nil": []byte(nil), "named bytes": Blob("blob"),
		"string uuid": "000102030405060708090a0b0c0d0e0f", "string time": "2026-01-02T03:04:05Z",
		"[]int": []int{1, 2, 3}, "[]int nil": []int(nil), "[]int empty": []int{}, "[]int big": []int{1, math.MaxInt}, "[3]int": [3]int{1, 2, 3}, "[2]int": [2]int{1, 2}, "[0]int": [0]int{},
		"[][]string": [][]string{{"a"}, nil, {}}, "[]any": []any{1, "x", nil, []int{2}}, "[2]string": [2]string{"x", "y"},
		"map": map[string]int{"a": 1}, "map nil": map[string]int(nil), "map empty": map[string]int{}, "map int keys": map[int]string{300: "x"}, "map any": map[string]any{"k": Point{1, 2}},
		"map NaN": map[float64]int{math.NaN(): 1},
		"*int":    ref(5), "*int nil": (*int)(nil), "**int": ref(ref(5)), "*Point": &Point{1, 2}, "*Point nil": (*Point)(nil), "*string": ref("p"),
		"Point": Point{1, 2}, "Point big": Point{math.MaxInt, 2}, "Point32": Point32{1, 2}, "Hidden": Hidden{5}, "Hidden2": Hidden2{5, 6}, "Handle": Handle{map[string]int{}}, "Empty": Empty{},
		"Embeds": Embeds{Base{3}}, "EmbedPtr": EmbedPtr{&Base{3}}, "EmbedPtr nil": EmbedPtr{}, "Flat": Flat{3},
		"Pair[int]": Pair[int]{1, []int{2}}, "Pair[int8]": Pair[int8]{1, []int8{2}}, "Pair[string]": Pair[string]{"a", []string{"b"}},
		"time": time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), "Stamp": Stamp(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)), "Duration": time.Second,
		"NullString": sql.NullString{String: "s", Valid: true}, "NullString invalid": sql.NullString{}, "NullInt64": sql.NullInt64{Int64: 1 << 40, Valid: true}, "NullInt32": sql.NullInt32{Int32: 3, Valid: true},
		"NullTime": sql.NullTime{Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Valid: true}, "Null[Point]": sql.Null[Point]{V: Point{1, 2}, Valid: true},
		"UUID": UUID{1, 2, 3}, "[16]byte": [16]byte{1, 2, 3}, "Color": Color(1), "Dog": Dog{"rex"}, "*Dog": &Dog{"rex"},
		"Tree": Tree{1, []*Tree{{2, nil}, nil}}, "Tree cyclic": *cyclic, "*Tree cyclic": cyclic, "Loop": Loop{nil, {}}, "Loop cyclic": loop,
		"chan": make(chan int), "func": func() {}, "unsafe.Pointer": unsafe.Pointer(new(int)), "Locked": &Locked{N: 1},
		"error":         ref(errors.New("e")),
		"struct of any": struct{ V any }{Point{1, 2}}, "struct of any nil": struct{ V any }{}, "struct of any chan": struct{ V any }{make(chan int)}, "struct of any pointer": struct{ V any }{&Point{1, 2}},
		"struct of any error": struct{ V any }{errors.New("e")},
	}
}

// destinations has a type of every kind, and the types of the sources.
func destinations() map[reflect.Type]bool {
	types := map[reflect.Type]bool{
		reflect.TypeFor[any](): true, reflect.TypeFor[error](): true, reflect.TypeFor[Named](): true,
		reflect.TypeFor[struct{ V Point32 }](): true, reflect.TypeFor[struct{ V Named }](): true, reflect.TypeFor[[]Point32](): true,
		reflect.TypeFor[map[int8]string](): true, reflect.TypeFor[map[string]int8](): true, reflect.TypeFor[[]int8](): true, reflect.TypeFor[[4]int8](): true,
		reflect.TypeFor[*Point32](): true, reflect.TypeFor[**Point32](): true, reflect.TypeFor[*int8](): true, reflect.TypeFor[sql.NullInt16](): true, reflect.TypeFor[[]error](): true,
	}
	for _, v := range sources() {
		types[reflect.TypeOf(v)] = true
	}
	return types
}

// TestMatrix maps every source to every destination. A cell maps, is refused when the plan is
// built, or is an Error with the types. Both executors must give the same result. Mapping the
// result back must give an equal source or an error, so that nothing is lost silently.
func TestMatrix(t *testing.T) {
	var mapped, refused, failed int
	for name, v := range sources() {
		for dst := range destinations() {
			src := reflect.New(reflect.TypeOf(v))
			src.Elem().Set(reflect.ValueOf(v))
			cell := fmt.Sprintf("%s to %s", name, dst)
			require.NotPanics(t, func() {
				p, err := mapper.Compile(src.Type().Elem(), dst, mapper.Options{MaxDepth: 50})
				if err != nil {
					refused++
					checkRefusal(t, cell, err)
					return
				}
				d, err := both(t, cell, p, dst, src)
				if err != nil {
					failed++
					var e *mapper.Error
					if assert.ErrorAs(t, err, &e, cell) {
						assert.NotNil(t, e.Dst, cell)
					}
					return
				}
				mapped++
				checkWayBack(t, cell, name, src, d)
			}, cell)
		}
	}
	t.Logf("%d cells map, %d are refused when built, %d fail with a path", mapped, refused, failed)
	assert.Greater(t, mapped, 700)
	assert.Greater(t, refused, 7000)
	assert.Greater(t, failed, 300)
}

func checkRefusal(t *testing.T, cell string, err error) {
	var build *mapper.BuildError
	require.ErrorAs(t, err, &build, cell)
	require.NotEmpty(t, build.Problems, cell)
	for _, p := range build.Problems {
		assert.NotNil(t, p.Dst, cell)
		assert.NotEmpty(t, p.Err.Error(), cell)
	}
}

// both maps with both executors and checks that they agree.
func both(t *testing.T, cell string, p mapper.Plan, dst reflect.Type, src reflect.Value) (reflect.Value, error) {
	byKernels, byReflection := reflect.New(dst), reflect.New(dst)
	kerr, rerr := p.Kernels(byKernels, src), p.Reflect(byReflection, src)
	if kerr != nil || rerr != nil {
		require.Equal(t, fmt.Sprint(rerr), fmt.Sprint(kerr), cell)
		return byKernels, kerr
	}
	require.True(t, equal(byReflection.Interface(), byKernels.Interface()), "%s: reflection %v, kernels %v", cell, byReflection.Elem(), byKernels.Elem())
	return byKernels, nil
}

// equal is reflect.DeepEqual but NaN equals NaN, as in what Printf shows.
func equal(a, b any) bool {
	return reflect.DeepEqual(a, b) || fmt.Sprintf("%#v", deref(a)) == fmt.Sprintf("%#v", deref(b))
}

func deref(v any) any { return reflect.ValueOf(v).Elem().Interface() }

// oneWay are the sources that do not map back to an equal value, by design. An absent value maps to
// a zero value, which maps back to a present one. A value taken out of an interface goes back into
// it with its new type.
var oneWay = map[string]bool{
	"*int nil": true, "*Point nil": true, "NullString invalid": true, "EmbedPtr nil": true, "[]byte nil": true, "[]int nil": true, "Tree": true,
	"Knot": true, "struct of any": true, "struct of any nil": true, "struct of any pointer": true,
}

func checkWayBack(t *testing.T, cell, name string, src, d reflect.Value) {
	back, err := mapper.Compile(d.Type().Elem(), src.Type().Elem(), mapper.Options{MaxDepth: 50})
	if err != nil || oneWay[name] {
		return
	}
	got := reflect.New(src.Type().Elem())
	if back.Kernels(got, d) == nil {
		assert.True(t, equal(src.Interface(), got.Interface()), "%s and back: %v became %v by way of %v", cell, src.Elem(), got.Elem(), d.Elem())
	}
}
