package mapper_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/require"
)

// seeds is how many seeds go test runs.
func seeds() uint16 {
	return uint16(testgate.Count(200, 600, 600))
}

// FuzzExecutors makes a pair of types and a value, and maps it with the kernels and with
// reflection: the results and the errors must be the same. If JSON can represent the value, a round
// trip through JSON must agree too.
func FuzzExecutors(f *testing.F) {
	for i := range seeds() {
		f.Add(i, uint64(i))
	}
	f.Fuzz(func(t *testing.T, types uint16, values uint64) {
		// Types made at run time are never freed, so their number is limited.
		g := generator{Rand: rand.New(rand.NewPCG(uint64(types%8192), 1)), json: true}
		src := g.structType(3)
		dst := g.like(src, 3)
		opts := []mapper.Option{mapper.Lenient(), mapper.Options{MaxDepth: 40, Parse: g.IntN(4) == 0, DetachStrings: g.IntN(4) == 0}}
		p, err := mapper.Compile(src, dst, opts...)
		if err != nil {
			return
		}
		g.Rand = rand.New(rand.NewPCG(values, 2))
		v := reflect.New(src)
		g.fill(v.Elem(), 4)
		compareExecutors(t, p, dst, v, g.json)
	})
}

func compareExecutors(t *testing.T, p mapper.Plan, dst reflect.Type, v reflect.Value, viaJSON bool) {
	byKernels, byReflection := reflect.New(dst), reflect.New(dst)
	kerr, rerr := p.Kernels(byKernels, v), p.Reflect(byReflection, v)
	if fmt.Sprint(kerr) != fmt.Sprint(rerr) {
		// Which entry of a map fails first is random.
		if kerr == nil || rerr == nil {
			t.Fatalf("%v to %v:\nkernels:    %v\nreflection: %v", v.Type().Elem(), dst, kerr, rerr)
		}
		return
	}
	if kerr != nil {
		return
	}
	if !same(byKernels.Elem(), byReflection.Elem()) {
		t.Fatalf("%v to %v, of %#v:\nkernels:    %#v\nreflection: %#v", v.Type().Elem(), dst, v.Elem(), byKernels.Elem(), byReflection.Elem())
	}
	if why := newSharing().compare(byKernels.Elem(), byReflection.Elem()); why != "" {
		t.Fatalf("%v to %v, kernels beside reflection: %s", v.Type().Elem(), dst, why)
	}
	if viaJSON {
		compareJSON(t, v, byKernels)
	}
}

// FuzzCopies maps a made type to itself. The result must equal the source, must share its parts as
// the source does, and must share nothing with the source. The check uses reflection only and knows
// nothing of plans.
func FuzzCopies(f *testing.F) {
	for i := range seeds() {
		f.Add(i, uint64(i))
	}
	f.Fuzz(func(t *testing.T, types uint16, values uint64) {
		g := generator{Rand: rand.New(rand.NewPCG(uint64(types%8192), 3))}
		typ := g.structType(3)
		p, err := mapper.Compile(typ, typ)
		if err != nil {
			t.Fatalf("%v does not map to itself: %v", typ, err)
		}
		g.Rand = rand.New(rand.NewPCG(values, 4))
		v := reflect.New(typ)
		g.fill(v.Elem(), 4)
		for name, run := range map[string]func(dst, src reflect.Value) error{"kernels": p.Kernels, "reflection": p.Reflect} {
			got := reflect.New(typ)
			if err := run(got, v); err != nil {
				t.Fatalf("%s, %v: %v", name, typ, err)
			}
			if !same(v.Elem(), got.Elem()) {
				t.Fatalf("%s, %v, of %#v: %#v", name, typ, v.Elem(), got.Elem())
			}
			s := newSharing()
			if why := s.compare(v.Elem(), got.Elem()); why != "" {
				t.Fatalf("%s, %v: %s", name, typ, why)
			}
			for part := range s.there {
				if _, both := s.back[part]; both {
					t.Fatalf("%s, %v: the result holds a %v of the source", name, typ, part.typ)
				}
			}
		}
	})
}

// A sharing pairs the pointers, slices and maps of two values of one type. Two values share their
// parts in the same way if each part of one is paired with one part of the other.
type sharing struct{ there, back map[reference]reference }

type reference struct {
	at  uintptr
	typ reflect.Type
}

func newSharing() sharing { return sharing{map[reference]reference{}, map[reference]reference{}} }

// compare returns where the values, which are the same, differ in what they share.
func (s sharing) compare(a, b reflect.Value) string {
	switch a.Kind() {
	case reflect.Struct:
		if a.Type() == reflect.TypeFor[time.Time]() {
			return ""
		}
		for i := range a.NumField() {
			if why := s.compare(a.Field(i), b.Field(i)); why != "" {
				return a.Type().Field(i).Name + "." + why
			}
		}
	case reflect.Interface:
		if !a.IsNil() {
			return s.compare(a.Elem(), b.Elem())
		}
	case reflect.Array:
		return s.elements(a, b)
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return s.reference(a, b)
	}
	return ""
}

func (s sharing) reference(a, b reflect.Value) string {
	if a.IsNil() || a.Kind() == reflect.Slice && a.Len() == 0 || a.Kind() != reflect.Map && a.Type().Elem().Size() == 0 {
		return "" // values without a size may have one address
	}
	from, to := reference{a.Pointer(), a.Type()}, reference{b.Pointer(), b.Type()}
	there, known := s.there[from]
	back, knownBack := s.back[to]
	if known != knownBack || known && (there != to || back != from) {
		return fmt.Sprintf("%v: shared on one side only", a.Type())
	}
	if known {
		return ""
	}
	s.there[from], s.back[to] = to, from
	switch a.Kind() {
	case reflect.Pointer:
		return s.compare(a.Elem(), b.Elem())
	case reflect.Slice:
		return s.elements(a, b)
	}
	for it := a.MapRange(); it.Next(); {
		if why := s.compare(it.Value(), b.MapIndex(it.Key())); why != "" {
			return why
		}
	}
	return ""
}

func (s sharing) elements(a, b reflect.Value) string {
	for i := range a.Len() {
		if why := s.compare(a.Index(i), b.Index(i)); why != "" {
			return why
		}
	}
	return ""
}

func compareJSON(t *testing.T, v, got reflect.Value) {
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return
	}
	want := reflect.New(got.Type().Elem())
	if json.Unmarshal(text, want.Interface()) != nil {
		return
	}
	// As text: JSON has one null for a nil pointer and a pointer to a nil map.
	wantText, _ := json.Marshal(want.Interface())
	gotText, err := json.Marshal(got.Interface())
	if err != nil || string(gotText) != string(wantText) {
		t.Fatalf("%v to %v, of %s:\nmapper: %s, %v\nJSON:   %s", v.Type().Elem(), got.Type().Elem(), text, gotText, err, wantText)
	}
}

// same is reflect.DeepEqual, but NaN is NaN.
func same(a, b reflect.Value) bool {
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() || a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			if v := b.MapIndex(it.Key()); !v.IsValid() || !same(it.Value(), v) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}

// A generator makes types and values out of random numbers.
type generator struct {
	*rand.Rand
	json bool // JSON can represent everything made so far

	// What fill made, to be used again: pointers, slices and maps by their types.
	made map[reflect.Type][]reflect.Value
	all  []reflect.Value // the same, and interfaces
}

// again sets v to a pointer, slice or map that was made before, sometimes.
func (g *generator) again(v reflect.Value) bool {
	if list := g.made[v.Type()]; len(list) > 0 && g.IntN(2) == 0 {
		v.Set(list[g.IntN(len(list))])
		return true
	}
	return false
}

// keep remembers a finished pointer, slice or map. An unfinished one would make cycles.
func (g *generator) keep(v reflect.Value) {
	if g.made == nil {
		g.made = map[reflect.Type][]reflect.Value{}
	}
	fixed := reflect.New(v.Type()).Elem()
	fixed.Set(v)
	g.made[v.Type()] = append(g.made[v.Type()], fixed)
	g.all = append(g.all, fixed)
}

// Two recursive types with different fields, for generated types.
type (
	Ring struct {
		N    int16
		Next *Ring
		All  []Ring
		By   map[string]*Ring
	}
	RingDTO struct {
		All  []RingDTO
		By   map[string]RingDTO
		Next *RingDTO
		N    int8
	}
)

var leaves = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
	reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](), reflect.TypeFor[uintptr](),
	reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[string](), reflect.TypeFor[Text](), reflect.TypeFor[ID](),
	reflect.TypeFor[UUID](), reflect.TypeFor[Point](), reflect.TypeFor[Point32](), reflect.TypeFor[Ring](), reflect.TypeFor[RingDTO](),
	// JSON represents these differently, or not at all.
	reflect.TypeFor[[]byte](), reflect.TypeFor[complex64](), reflect.TypeFor[complex128](), reflect.TypeFor[time.Time](), reflect.TypeFor[any](), reflect.TypeFor[sql.NullString](), reflect.TypeFor[sql.NullInt64](),
	// Nulls of other packages, by their shape.
	reflect.TypeFor[NullUUID](), reflect.TypeFor[NullText](), reflect.TypeFor[DeletedAt](), reflect.TypeFor[ValidFirst](), reflect.TypeFor[sql.Null[*Point]](), reflect.TypeFor[Coupon](), reflect.TypeFor[CouponDTO](),
}

const jsonLeaves = 23

func (g *generator) leaf() reflect.Type {
	i := g.IntN(len(leaves))
	g.json = g.json && i < jsonLeaves
	return leaves[i]
}

func (g *generator) typ(depth int) reflect.Type {
	if depth == 0 {
		return g.leaf()
	}
	switch g.IntN(9) {
	case 0:
		return g.structType(depth - 1)
	case 1, 2:
		return reflect.SliceOf(g.typ(depth - 1))
	case 3:
		return reflect.ArrayOf(g.IntN(5), g.typ(depth-1))
	case 4:
		return reflect.MapOf([]reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[int8](), reflect.TypeFor[uint64]()}[g.IntN(3)], g.typ(depth-1))
	case 5:
		return reflect.PointerTo(g.typ(depth - 1))
	}
	return g.leaf()
}

func (g *generator) structType(depth int) reflect.Type {
	fields := make([]reflect.StructField, 1+g.IntN(12))
	for i := range fields {
		fields[i] = reflect.StructField{Name: string(rune('A' + i)), Type: g.typ(depth)}
	}
	return reflect.StructOf(fields)
}

// like makes a type that t may map to.
func (g *generator) like(t reflect.Type, depth int) reflect.Type {
	if depth == 0 || t.NumMethod() > 0 || t.PkgPath() != "" {
		return g.likeLeaf(t)
	}
	switch t.Kind() {
	case reflect.Struct:
		return g.likeStruct(t, depth)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return g.likeLeaf(t)
		}
		return reflect.SliceOf(g.like(t.Elem(), depth-1))
	case reflect.Array:
		if g.IntN(2) == 0 {
			return reflect.SliceOf(g.like(t.Elem(), depth-1))
		}
		return reflect.ArrayOf(t.Len(), g.like(t.Elem(), depth-1))
	case reflect.Map:
		return reflect.MapOf(t.Key(), g.like(t.Elem(), depth-1))
	case reflect.Pointer:
		if g.IntN(2) == 0 {
			return g.like(t.Elem(), depth-1)
		}
		return reflect.PointerTo(g.like(t.Elem(), depth-1))
	}
	return g.likeLeaf(t)
}

func (g *generator) likeLeaf(t reflect.Type) reflect.Type {
	switch n := g.IntN(12); {
	case n > 8 && g.null(&t):
		g.json = false
		return t
	case n == 0:
		return reflect.PointerTo(t)
	case n == 1:
		g.json = false
		return reflect.TypeFor[any]()
	case n == 2 && t == reflect.TypeFor[Ring]():
		return reflect.TypeFor[RingDTO]()
	case n == 3 && t == reflect.TypeFor[Point]():
		return reflect.TypeFor[Point32]()
	case n < 7 && (reflect.Zero(t).CanInt() || reflect.Zero(t).CanUint() || reflect.Zero(t).CanFloat()):
		return leaves[1+g.IntN(13)]
	}
	return t
}

// null changes a null to its value or to a pointer to it, and a string to a null.
func (g *generator) null(t *reflect.Type) bool {
	switch *t {
	case reflect.TypeFor[NullUUID]():
		*t = []reflect.Type{reflect.TypeFor[UUID](), reflect.TypeFor[*UUID](), reflect.TypeFor[*string](), reflect.TypeFor[sql.Null[UUID]]()}[g.IntN(4)]
	case reflect.TypeFor[NullText](), reflect.TypeFor[sql.NullString]():
		*t = []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[*string](), reflect.TypeFor[**string](), reflect.TypeFor[sql.NullString](), reflect.TypeFor[any]()}[g.IntN(5)]
	case reflect.TypeFor[DeletedAt]():
		*t = []reflect.Type{reflect.TypeFor[time.Time](), reflect.TypeFor[*time.Time](), reflect.TypeFor[sql.NullTime]()}[g.IntN(3)]
	case reflect.TypeFor[ValidFirst]():
		*t = []reflect.Type{reflect.TypeFor[int8](), reflect.TypeFor[*int64](), reflect.TypeFor[sql.NullInt64]()}[g.IntN(3)]
	case reflect.TypeFor[sql.Null[*Point]]():
		*t = []reflect.Type{reflect.TypeFor[*Point32](), reflect.TypeFor[Point](), reflect.TypeFor[sql.Null[Point]]()}[g.IntN(3)]
	case reflect.TypeFor[Coupon]():
		*t = reflect.TypeFor[CouponDTO]()
	case reflect.TypeFor[string]():
		*t = []reflect.Type{reflect.TypeFor[NullText](), reflect.TypeFor[sql.NullString](), reflect.TypeFor[sql.Null[string]]()}[g.IntN(3)]
	default:
		return false
	}
	return true
}

// likeStruct puts the fields in another order and drops some.
func (g *generator) likeStruct(t reflect.Type, depth int) reflect.Type {
	var fields []reflect.StructField
	for _, i := range g.Perm(t.NumField()) {
		if g.IntN(10) > 0 {
			fields = append(fields, reflect.StructField{Name: t.Field(i).Name, Type: g.like(t.Field(i).Type, depth-1)})
		}
	}
	return reflect.StructOf(fields)
}

// fill sets v to a random value; depth bounds recursive types.
func (g *generator) fill(v reflect.Value, depth int) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(g.Int64N(1<<33), 0).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(g.Uint64() >> g.IntN(64)))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		v.SetUint(g.Uint64() >> g.IntN(64))
	case reflect.Float32, reflect.Float64:
		v.SetFloat([]float64{0, 1.5, -3, 200, 1 << 20, 1e300, math.NaN(), math.Inf(1)}[g.IntN(8)])
	case reflect.Complex64, reflect.Complex128:
		v.SetComplex(complex(float64(g.IntN(9)), 0.1))
	case reflect.String:
		v.SetString([]string{"", "7", "text", "000102030405060708090a0b0c0d0e0f", "1e3"}[g.IntN(5)] + []string{"", "", fmt.Sprint(g.Uint32())}[g.IntN(3)])
	case reflect.Interface:
		g.fillInterface(v)
	default:
		g.fillContainer(v, depth)
	}
}

func (g *generator) fillInterface(v reflect.Value) {
	t := leaves[g.IntN(22)]
	switch n := g.IntN(4); {
	case n == 0 || t.Kind() == reflect.Interface:
	case n == 1 && len(g.all) > 0:
		v.Set(g.all[g.IntN(len(g.all))])
	default:
		held := reflect.New(t).Elem()
		g.fill(held, 1)
		v.Set(held)
		g.all = append(g.all, reflect.ValueOf(held.Interface()))
	}
}

func (g *generator) fillContainer(v reflect.Value, depth int) {
	n := g.IntN(4)
	if depth == 0 {
		n = 0
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			g.fill(v.Field(i), depth)
		}
	case reflect.Array:
		for i := range v.Len() {
			g.fill(v.Index(i), depth)
		}
	case reflect.Pointer:
		if n > 0 && !g.again(v) {
			v.Set(reflect.New(v.Type().Elem()))
			g.fill(v.Elem(), depth-1)
			g.keep(v)
		}
	case reflect.Slice:
		if n > 0 && !g.again(v) {
			v.Set(reflect.MakeSlice(v.Type(), n-1, n))
			for i := range n - 1 {
				g.fill(v.Index(i), depth-1)
			}
			g.keep(v)
		}
	case reflect.Map:
		if n > 0 && !g.again(v) {
			v.Set(reflect.MakeMap(v.Type()))
			for range n - 1 {
				key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				g.fill(key, 0)
				g.fill(elem, depth-1)
				v.SetMapIndex(key, elem)
			}
			g.keep(v)
		}
	}
}

// TestSharingCheckFindsDifferences is the negative control of FuzzCopies: a Mapper that copies for
// each path, and one that shares with its source.
func TestSharingCheckFindsDifferences(t *testing.T) {
	p := &Point{1, 2}
	v := [2]*Point{p, p}
	trees, err := mapper.Must[[2]*Point, [2]*Point](mapper.Options{Trees: true}).Map(v)
	require.NoError(t, err)
	require.Contains(t, newSharing().compare(reflect.ValueOf(v), reflect.ValueOf(trees)), "shared on one side only")
	shares, err := mapper.Must[[2]*Point, [2]*Point](mapper.Share()).Map(v)
	require.NoError(t, err)
	s := newSharing()
	require.Empty(t, s.compare(reflect.ValueOf(v), reflect.ValueOf(shares)))
	for part := range s.there {
		require.Contains(t, s.back, part)
	}
}
