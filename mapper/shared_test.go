package mapper_test

import (
	"fmt"
	"math"
	"reflect"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/mapper"
)

type (
	Diamond struct {
		Name        string
		Left, Right *Diamond
	}
	DiamondDTO struct {
		Left, Right *DiamondDTO
		Name        string
	}
	Fan      struct{ Kids []Fan }
	FanDTO   struct{ Kids []FanDTO }
	Book     map[string]Book
	BookDTO  map[Text]BookDTO
	Box      struct{ A, B any }
	BoxDTO   struct{ A, B *BoxDTO }
	NullKids struct {
		Kids []*NullKids
		Next struct {
			V     *NullKids
			Valid bool
		}
	}
)

// levels builds a value of n objects that have 2^n paths through them.
func levels[T any](n int, first T, next func(T) T) T {
	for range n {
		first = next(first)
	}
	return first
}

// TestDiamonds maps values of 60 objects with 2^60 paths through them. The result is as large as
// the source and shares as it does.
func TestDiamonds(t *testing.T) {
	const n = 60
	pointers := levels(n, &Diamond{}, func(d *Diamond) *Diamond { return &Diamond{"x", d, d} })
	slices := levels(n, Fan{}, func(f Fan) Fan { return Fan{[]Fan{f, f}} })
	maps := levels(n, Book{}, func(b Book) Book { return Book{"a": b, "b": b} })
	boxes := levels(n, any(Box{}), func(b any) any { return Box{b, b} })
	trees := levels(n, any("leaf"), func(v any) any { return map[string]any{"a": v, "b": []any{v, v}} })
	mixed := levels(n, &NullKids{}, func(k *NullKids) *NullKids {
		m := &NullKids{Kids: []*NullKids{k, k}}
		m.Next.V, m.Next.Valid = k, true
		return m
	})
	for name, c := range map[string]struct {
		src any
		dst reflect.Type
	}{
		"pointers":                 {pointers, reflect.TypeFor[*DiamondDTO]()},
		"pointers to their type":   {pointers, reflect.TypeFor[*Diamond]()},
		"value of pointers":        {*pointers, reflect.TypeFor[DiamondDTO]()},
		"slices":                   {slices, reflect.TypeFor[FanDTO]()},
		"maps":                     {maps, reflect.TypeFor[BookDTO]()},
		"boxes":                    {boxes.(Box), reflect.TypeFor[Box]()},
		"boxes to pointers":        {boxes.(Box), reflect.TypeFor[BoxDTO]()},
		"decoded trees":            {trees, reflect.TypeFor[map[string]any]()},
		"nulls and lists":          {mixed, reflect.TypeFor[*NullKids]()},
		"pointers in an interface": {struct{ V any }{pointers}, reflect.TypeFor[struct{ V any }]()},
	} {
		t.Run(name, func(t *testing.T) {
			src := reflect.New(reflect.TypeOf(c.src))
			src.Elem().Set(reflect.ValueOf(c.src))
			p, err := mapper.Compile(src.Type().Elem(), c.dst)
			require.NoError(t, err)
			for way, run := range map[string]func(dst, src reflect.Value) error{"kernels": p.Kernels, "reflection": p.Reflect} {
				dst := reflect.New(c.dst)
				require.NoError(t, run(dst, src), way)
				assert.LessOrEqual(t, objects(dst), 10*objects(src)+10, way)
			}
		})
	}
}

// objects counts the objects that v refers to, each once.
func objects(v reflect.Value) int {
	seen := map[[2]any]bool{}
	var walk func(v reflect.Value)
	meet := func(v reflect.Value, n int) bool {
		key := [2]any{v.Type(), fmt.Sprint(v.Pointer(), n)}
		again := seen[key]
		seen[key] = true
		return !again
	}
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() && meet(v, 0) {
				walk(v.Elem())
			}
		case reflect.Interface:
			// The value in an interface has no address here: count it by the pointers in it.
			if !v.IsNil() && (v.Elem().Kind() != reflect.Struct || meet(reflect.ValueOf(ref(0)), len(seen)) && len(seen) < 10_000) {
				walk(v.Elem())
			}
		case reflect.Slice:
			if v.Len() > 0 && meet(v, v.Len()) {
				for i := range v.Len() {
					walk(v.Index(i))
				}
			}
		case reflect.Map:
			if !v.IsNil() && meet(v, 0) {
				for it := v.MapRange(); it.Next(); {
					walk(it.Value())
				}
			}
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		}
	}
	walk(v)
	return len(seen)
}

// TestPatchDepth patches with data that nests as deep as MaxDepth, and deeper.
func TestPatchDepth(t *testing.T) {
	type chain struct {
		N    int
		Next *chain
	}
	type chainDTO struct {
		N    int
		Next *chainDTO
	}
	m := mapper.Must[chain, chainDTO](mapper.Options{MaxDepth: 10})
	var src *chain
	for n := range 10 {
		src = &chain{n + 1, src}
	}
	var dst chainDTO
	require.NoError(t, m.Patch(&dst, src))
	assert.Equal(t, 9, dst.Next.N)
	assert.ErrorContains(t, m.Patch(&dst, &chain{11, src}), "MaxDepth")
}

// TestPatchDiamonds patches with 60 objects that have 2^60 paths through them: at first nothing,
// then what the first call made.
func TestPatchDiamonds(t *testing.T) {
	src := levels(60, &Diamond{}, func(d *Diamond) *Diamond { return &Diamond{"x", d, d} })
	m := mapper.Must[Diamond, DiamondDTO]()
	var dst DiamondDTO
	require.NoError(t, m.Patch(&dst, src))
	assert.Same(t, dst.Left, dst.Right)
	assert.Equal(t, "x", dst.Left.Right.Name)
	left := dst.Left
	left.Left.Name = "old"
	require.NoError(t, m.Patch(&dst, src))
	assert.Same(t, left, dst.Left)
	assert.Same(t, left, dst.Right)
	assert.Equal(t, "x", left.Left.Name)

	// One struct of the source patches two of the destination.
	shared := &Diamond{Name: "new"}
	dst = DiamondDTO{Left: &DiamondDTO{Name: "a"}, Right: &DiamondDTO{Name: "b"}}
	require.NoError(t, m.Patch(&dst, &Diamond{Left: shared, Right: shared}))
	assert.Equal(t, DiamondDTO{Left: &DiamondDTO{Name: "new"}, Right: &DiamondDTO{Name: "new"}}, dst)
	assert.NotSame(t, dst.Left, dst.Right)

	loop := &Diamond{}
	loop.Left = loop
	dst = DiamondDTO{}
	assert.ErrorContains(t, m.Patch(&dst, loop), "the data is cyclic")

	trees := mapper.Must[Diamond, DiamondDTO](mapper.Options{Trees: true})
	dst = DiamondDTO{}
	require.NoError(t, trees.Patch(&dst, &Diamond{Left: shared, Right: shared}))
	assert.NotSame(t, dst.Left, dst.Right)
	assert.ErrorContains(t, trees.Patch(&dst, src), "leave Options.Trees out")
}

// TestSharingIsKept checks which parts the result shares, and which it does not.
func TestSharingIsKept(t *testing.T) {
	type src struct {
		A, B, C  *Point
		L, M, N  []Point
		X, Y, Z  map[string]int
		V, W     any
		P        *[]Point
		Same     []Point
		Shorter  []Point
		Detached any
	}
	p, list, table := &Point{1, 2}, []Point{{1, 2}, {3, 4}}, map[string]int{"a": 1}
	var box any = struct{ P *Point }{p}
	in := src{A: p, B: p, C: &Point{1, 2}, L: list, M: list, N: []Point{{1, 2}, {3, 4}}, X: table, Y: table, Z: map[string]int{"a": 1},
		V: box, W: box, P: &list, Same: list, Shorter: list[:1]}
	eachWay(t, mapper.Must[src, src](), func(t *testing.T, mapTo func(src) (src, error)) {
		got, err := mapTo(in)
		require.NoError(t, err)
		assert.Equal(t, in, got)
		assert.Same(t, got.A, got.B)
		assert.NotSame(t, got.A, got.C)
		assert.NotSame(t, got.A, in.A)
		assert.Same(t, &got.L[0], &got.M[0])
		assert.Same(t, &got.L[0], &(*got.P)[0])
		assert.NotSame(t, &got.L[0], &got.N[0])
		assert.NotSame(t, &got.L[0], &in.L[0])
		assert.NotSame(t, &got.L[0], &got.Shorter[0], "a part of an array is another slice")
		got.X["b"] = 2
		assert.Len(t, got.Y, 2)
		assert.Len(t, got.Z, 1)
		assert.Len(t, in.X, 1)
		grown := append(got.L, Point{5, 6})
		more := append(got.M, Point{7, 8})
		assert.Equal(t, Point{5, 6}, grown[2])
		assert.Equal(t, Point{7, 8}, more[2])
	})
}

// TestSlicesOfOneArray has slices that begin at one element and differ in length: as many as make
// collisions in the table certain.
func TestSlicesOfOneArray(t *testing.T) {
	all := make([]*Point, 200)
	for i := range all {
		all[i] = &Point{i, -i}
	}
	var in [][]*Point
	for i := range all {
		in = append(in, all[:i+1], all[:i+1])
	}
	eachWay(t, mapper.Must[[][]*Point, [][]*Point32](), func(t *testing.T, mapTo func([][]*Point) ([][]*Point32, error)) {
		got, err := mapTo(in)
		require.NoError(t, err)
		for i, list := range got {
			require.Len(t, list, len(in[i]))
			for j, p := range list {
				require.Equal(t, &Point32{int32(j), int32(-j)}, p)
			}
			require.Same(t, &got[i/2*2][0], &list[0], "slices of one length are one slice")
		}
	})
}

// TestSharedByOptions reaches one object where different options apply. Each makes its own copy.
func TestSharedByOptions(t *testing.T) {
	type plain struct{ P *Item }
	type loud struct{ P *Item }
	type dto struct{ P *struct{ Name string } }
	type src struct {
		A, B plain
		C, D loud
	}
	type dst struct{ A, B, C, D dto }
	m := mapper.Must[src, dst](mapper.For[loud, dto](mapper.Convert(func(s string) (string, error) { return s + "!", nil })))
	p := &Item{Name: "x"}
	eachWay(t, m, func(t *testing.T, mapTo func(src) (dst, error)) {
		got, err := mapTo(src{plain{p}, plain{p}, loud{p}, loud{p}})
		require.NoError(t, err)
		assert.Equal(t, "x", got.A.P.Name)
		assert.Equal(t, "x!", got.C.P.Name)
		assert.Same(t, got.A.P, got.B.P)
		assert.Same(t, got.C.P, got.D.P)
	})
}

// TestTrees copies shared parts once for each path, up to a bound.
func TestTrees(t *testing.T) {
	testgate.NoRace(t)
	trees := mapper.Options{Trees: true}
	type src struct {
		A, B *Point
		L, M []*Point
	}
	p := &Point{1, 2}
	list := []*Point{p}
	eachWay(t, mapper.Must[src, src](trees), func(t *testing.T, mapTo func(src) (src, error)) {
		got, err := mapTo(src{p, p, list, list})
		require.NoError(t, err)
		assert.Equal(t, src{p, p, list, list}, got)
		assert.NotSame(t, got.A, got.B)
		assert.NotSame(t, got.L[0], got.A)
		assert.NotSame(t, &got.L[0], &got.M[0])
	})
	d := levels(60, &Diamond{}, func(d *Diamond) *Diamond { return &Diamond{"x", d, d} })
	_, err := mapBoth(t, *d, reflect.TypeFor[Diamond](), trees)
	assert.ErrorContains(t, err, "leave Options.Trees out")
	d.Right = d
	_, err = mapBoth(t, Diamond{Right: d}, reflect.TypeFor[Diamond](), trees)
	assert.ErrorContains(t, err, "Trees")
	d.Left = nil
	_, err = mapBoth(t, *d, reflect.TypeFor[Diamond](), trees)
	assert.ErrorContains(t, err, "cyclic")
}

// TestListSharesAcrossElements maps a slice whose elements refer to one object.
func TestListSharesAcrossElements(t *testing.T) {
	type src struct{ P *Point }
	type dst struct{ P *Point32 }
	p := &Point{1, 2}
	m := mapper.Must[src, dst]()
	got, err := m.Slice([]src{{p}, {p}, {&Point{1, 2}}})
	require.NoError(t, err)
	assert.Same(t, got[0].P, got[1].P)
	assert.NotSame(t, got[0].P, got[2].P)
	again, err := m.Map(src{p})
	require.NoError(t, err)
	assert.NotSame(t, got[0].P, again.P, "one call shares nothing with another")
}

// TestHostileInput maps an input of 1 MB whose parts lead to the same large objects again and
// again.
func TestHostileInput(t *testing.T) {
	type src struct {
		Texts []string
		Bytes [][]byte
		Ptrs  []*[1 << 18]byte
		Any   []any
	}
	type dst struct {
		Texts []string
		Bytes []string
		Ptrs  []*[1 << 18]byte
		Any   []any
	}
	const n = 1 << 14
	text, big := string(make([]byte, 1<<18)), new([1 << 18]byte)
	var box any = *big
	var in src
	for range n {
		in.Texts = append(in.Texts, text)
		in.Bytes = append(in.Bytes, big[:])
		in.Ptrs = append(in.Ptrs, big)
		in.Any = append(in.Any, box)
	}
	m := mapper.Must[src, dst](mapper.Options{DetachStrings: true})
	var err error
	least := allocated(func() { _, err = m.Map(in) })
	require.NoError(t, err)
	assert.Less(t, least, uint64(10<<20))
}

// allocated returns the least bytes that are allocated while run runs, of a few times: other
// goroutines of the test's process allocate too.
func allocated(run func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// TestOverlapIsBounded maps sources of 1 MB whose parts overlap: a program can make them, and
// copies of all parts would take gigabytes.
func TestOverlapIsBounded(t *testing.T) {
	testgate.NoRace(t)
	type parts struct {
		Slices [][]int64
		Ptrs   []*[1 << 14]int64
		Texts  []string
		Any    []any
	}
	type copies struct {
		Slices [][]int64
		Ptrs   []*[1 << 14]int64
		Texts  [][]byte
		Any    []any
	}
	const n = 1 << 14
	ints, text := make([]int64, 1<<15), string(make([]byte, 1<<18))
	for name, add := range map[string]func(p *parts, i int){
		"slices":     func(p *parts, i int) { p.Slices = append(p.Slices, ints[i:i+n]) },
		"pointers":   func(p *parts, i int) { p.Ptrs = append(p.Ptrs, (*[1 << 14]int64)(ints[i:])) },
		"texts":      func(p *parts, i int) { p.Texts = append(p.Texts, text) },
		"interfaces": func(p *parts, i int) { p.Any = append(p.Any, ints[i:i+n]) },
	} {
		var in parts
		for i := range n {
			add(&in, i)
		}
		p, err := mapper.Compile(reflect.TypeFor[parts](), reflect.TypeFor[copies]())
		require.NoError(t, err)
		for executor, run := range map[string]func(dst, src reflect.Value) error{"kernels": p.Kernels, "reflection": p.Reflect} {
			limit := uint64(10 << 20)
			if executor == "reflection" { // it also makes garbage for each element, under -race most
				limit *= 2
			}
			least := allocated(func() { err = run(reflect.ValueOf(new(copies)), reflect.ValueOf(&in)) })
			assert.ErrorContains(t, err, "overlap", "%s, %s", name, executor)
			assert.Less(t, least, limit, "%s, %s", name, executor)
		}
	}
}

// TestPartsWithoutOverlap maps many megabytes that do not overlap, and some that do a little: a
// slice and pointers to its elements, a list and its rows, one object mapped to many types.
func TestPartsWithoutOverlap(t *testing.T) {
	testgate.Seconds(t)
	type rows struct {
		All  []int64
		Rows [][]int64
		Ptrs []*[8]int64
		Text []string
		Keys []string
	}
	type copies struct {
		All  []int32
		Rows [][]int32
		Ptrs []*[8]int32
		Text []string
		Keys [][]byte
	}
	in := rows{All: make([]int64, 1<<19)}
	text := string(make([]byte, 1<<20))
	for i := 0; i < len(in.All); i += 8 {
		in.Rows = append(in.Rows, in.All[i:i+8])
		in.Ptrs = append(in.Ptrs, (*[8]int64)(in.All[i:]))
	}
	for i := 0; i < len(text); i += 256 {
		in.Text, in.Keys = append(in.Text, text[i:i+256]), append(in.Keys, text[i:i+256])
	}
	got, _ := mapBoth(t, in, reflect.TypeFor[copies](), mapper.Options{DetachStrings: true})
	assert.Len(t, got.(copies).Rows, len(in.Rows))

	type many struct{ A, B, C, D, E, F []*[1 << 16]int64 }
	type types struct {
		A []*[1 << 16]int32
		B []*[1 << 16]uint32
		C []*[1 << 16]int16
		D []*[1 << 16]uint16
		E []*[1 << 16]int8
		F []*[1 << 16]uint8
	}
	one := []*[1 << 16]int64{new([1 << 16]int64), new([1 << 16]int64), new([1 << 16]int64)}
	_, err := mapBoth(t, many{one, one, one, one, one, one}, reflect.TypeFor[types]())
	require.NoError(t, err)

	long := make([]int64, 1<<18)
	_, err = mapBoth(t, [][]int64{long[:2], long[1:]}, reflect.TypeFor[[][]int32]())
	require.NoError(t, err, "a short part that overlaps the start of a long one")
}

// TestCyclesAreErrors finds each cycle where it closes.
func TestCyclesAreErrors(t *testing.T) {
	d := &Diamond{}
	d.Left, d.Right = &Diamond{}, d
	b := &Box{}
	b.A = b
	fan := Fan{make([]Fan, 1)}
	fan.Kids[0] = fan
	for path, src := range map[string]any{"Right.Right": *d, "A.A": *b, "Kids[0].Kids": fan} {
		_, err := mapBoth(t, src, reflect.TypeOf(src))
		require.ErrorContains(t, err, "the data is cyclic", path)
		assert.ErrorContains(t, err, "mapper: "+path+": ")
	}
}

// TestDepthIsBounded nests deeper than any stack, with a MaxDepth that allows it.
func TestDepthIsBounded(t *testing.T) {
	testgate.Seconds(t)
	type list struct{ Next *list }
	type listDTO struct{ Next *listDTO }
	type held struct{ Next any }
	type wide struct { // many nodes from one level to the next
		M map[string][][1]*wide
	}
	var l *list
	var h any
	w := &wide{}
	for range 1_000_000 {
		l, h = &list{l}, held{h}
	}
	for range 100_000 {
		w = &wide{map[string][][1]*wide{"a": {{w}}}}
	}
	deep := mapper.Options{MaxDepth: 1 << 30}
	for dst, src := range map[reflect.Type]any{reflect.TypeFor[listDTO](): *l, reflect.TypeFor[held](): h, reflect.TypeFor[wide](): *w} {
		_, err := mapBoth(t, src, dst, deep)
		assert.ErrorContains(t, err, "deeper than the stack allows", "%s", dst)
	}
	var short *list
	for range 20_000 {
		short = &list{short}
	}
	_, err := mapBoth(t, *short, reflect.TypeFor[listDTO](), deep)
	assert.NoError(t, err)
	_, err = mapBoth(t, *short, reflect.TypeFor[listDTO]())
	assert.ErrorContains(t, err, "Options.MaxDepth")
}

type (
	Shape  interface{ Area() int }
	Square struct {
		Side *int
		Wide [4]int
	}
	Circle struct{ Side, Other *Point }
	Knoll  struct {
		Next *Knoll
		Any  any
	}
)

func (s Square) Area() int { return *s.Side }
func (c Circle) Area() int { return int(c.Side.X) }

// TestSharingThroughInterfaces maps objects that are met both inside and outside of interfaces, and
// inside interfaces of several types.
func TestSharingThroughInterfaces(t *testing.T) {
	type src struct {
		P      *Point
		V, W   any
		L      []Point
		VL     any
		M      map[string]int
		VM     any
		C      any
		S      Shape
		List   []any
		Behind **Point
	}
	p, list, table := &Point{1, 2}, []Point{{1, 2}, {3, 4}}, map[string]int{"a": 1}
	in := src{P: p, V: p, W: &p, L: list, VL: list, M: table, VM: table, C: Circle{p, p}, S: Circle{Side: p}, List: []any{p, list, Circle{Side: p}}, Behind: &p}
	eachWay(t, mapper.Must[src, src](), func(t *testing.T, mapTo func(src) (src, error)) {
		got, err := mapTo(in)
		require.NoError(t, err)
		assert.Equal(t, in, got)
		assert.NotSame(t, in.P, got.P)
		assert.Same(t, got.P, got.V.(*Point))
		assert.Same(t, got.P, *got.W.(**Point))
		assert.Same(t, got.Behind, got.W.(**Point))
		assert.Same(t, got.P, got.C.(Circle).Side)
		assert.Same(t, got.P, got.C.(Circle).Other)
		assert.Same(t, got.P, got.S.(Circle).Side)
		assert.Same(t, got.P, got.List[0].(*Point))
		assert.Same(t, &got.L[0], &got.List[1].([]Point)[0])
		assert.Same(t, got.P, got.List[2].(Circle).Side)
		assert.Same(t, &got.L[0], &got.VL.([]Point)[0])
		got.M["b"] = 2
		assert.Len(t, got.VM, 2)
		assert.Len(t, in.M, 1)
	})
	// A cycle through an interface is found where it closes.
	r := &Knoll{}
	r.Any = r
	_, err := mapBoth(t, Knoll{Next: r}, reflect.TypeFor[Knoll]())
	require.ErrorContains(t, err, "the data is cyclic")
	assert.ErrorContains(t, err, "mapper: Next.Any: ")
}

// TestSharingIgnoresNames maps one object by pointers, slices and maps of several names.
func TestSharingIgnoresNames(t *testing.T) {
	type (
		toPoint *Point
		points  []Point
		table   map[string]int
		src     struct {
			A toPoint
			B *Point
			C points
			D []Point
			E table
			F map[string]int
		}
		dst struct {
			A *Point
			B toPoint
			C []Point
			D points
			E map[string]int
			F table
		}
	)
	p, l, m := &Point{1, 2}, []Point{{3, 4}}, map[string]int{"a": 1}
	eachWay(t, mapper.Must[src, dst](), func(t *testing.T, mapTo func(src) (dst, error)) {
		got, err := mapTo(src{p, p, l, l, m, m})
		require.NoError(t, err)
		assert.Equal(t, dst{p, p, l, l, m, m}, got)
		assert.Same(t, got.A, (*Point)(got.B))
		assert.Same(t, &got.C[0], &got.D[0])
		got.E["b"] = 2
		assert.Len(t, got.F, 2)
		assert.Len(t, m, 1)
	})
	// What the same memory is mapped to counts: here a struct, a pointer and a null of it.
	type many struct{ A, B, C any }
	type each struct {
		A Point
		B *Point
		C struct {
			V     *Point
			Valid bool
		}
	}
	var box any = Square{Side: new(int)}
	_, err := mapBoth(t, many{box, box, box}, reflect.TypeFor[struct {
		A Square
		B *Square
		C struct {
			V     Square
			Valid bool
		}
	}]())
	require.NoError(t, err)
	_, err = mapBoth(t, many{p, p, p}, reflect.TypeFor[each]())
	require.NoError(t, err)
}

// TestForInsideInterfaces: the options of the Mapper's own pair apply again inside a For, also
// through an interface.
func TestForInsideInterfaces(t *testing.T) {
	type inner struct{ V any }
	type outer struct {
		N  int
		In inner
	}
	p, err := mapper.Compile(reflect.TypeFor[outer](), reflect.TypeFor[outer](),
		mapper.Convert(func(n int) (int, error) { return n + 1, nil }),
		mapper.For[inner, inner](mapper.Convert(func(n int) (int, error) { return n + 10, nil })))
	require.NoError(t, err)
	src := outer{1, inner{outer{1, inner{1}}}}
	d, err := both(t, "", p, reflect.TypeFor[outer](), reflect.ValueOf(&src))
	require.NoError(t, err)
	assert.Equal(t, outer{2, inner{outer{2, inner{11}}}}, d.Elem().Interface())
}

// TestFailuresInsideInterfaces checks the errors for types that are met in interfaces: all
// problems, their paths, and lines that are written as in the caller's package.
func TestFailuresInsideInterfaces(t *testing.T) {
	type part struct{ A, B int }
	type partDTO struct{ A, C int }
	type src struct{ V any }
	type dst struct{ V []partDTO }
	_, err := mapBoth(t, src{[]part{{1, 2}}}, reflect.TypeFor[dst]())
	require.EqualError(t, err, "mapper: V: []mapper_test.part to []mapper_test.partDTO: 1 problem:\n"+
		"\t[].C: int: mapper_test.part has no field C. Add one of\n"+
		"\t\tmapper.Bind(func(d *partDTO) *int { return &d.C }, func(s *part) *int { return &s.B })\n"+
		"\t\tmapper.Ignore(func(d *partDTO) *int { return &d.C })\n"+
		"\t\tmapper.Lenient() // leaves every such field as it is")
	// The lines solve the problem, although the Mapper does not meet the types before it runs.
	bind := mapper.Bind(func(d *partDTO) *int { return &d.C }, func(s *part) *int { return &s.B })
	got, err := mapBoth(t, src{[]part{{1, 2}}}, reflect.TypeFor[dst](), bind)
	require.NoError(t, err)
	assert.Equal(t, dst{[]partDTO{{1, 2}}}, got)
	got, err = mapBoth(t, src{[]part{{1, 2}}}, reflect.TypeFor[dst](), mapper.Ignore(func(d *partDTO) *int { return &d.C }))
	require.NoError(t, err)
	assert.Equal(t, dst{[]partDTO{{1, 0}}}, got)
	got, err = mapBoth(t, src{[]part{{1, 2}}}, reflect.TypeFor[dst](), mapper.For[part, partDTO](mapper.Lenient()))
	require.NoError(t, err)
	assert.Equal(t, dst{[]partDTO{{1, 0}}}, got)
	double := mapper.After(func(d *part, _ part) error { d.A *= 2; return nil })
	got, err = mapBoth(t, src{[]part{{1, 2}}}, reflect.TypeFor[src](), double)
	require.NoError(t, err)
	assert.Equal(t, src{[]part{{2, 2}}}, got)
	var p partDTO
	require.NoError(t, mapper.Must[any, any](bind).MapAny(&p, part{1, 2}))
	assert.Equal(t, partDTO{1, 2}, p)
	// Where no value in an interface can need the pair, the option is a mistake.
	_, err = mapper.New[src, src](bind)
	require.ErrorContains(t, err, "Bind has no effect")
	_, err = mapper.New[src, dst](double)
	require.ErrorContains(t, err, "After has no effect")
	_, err = mapper.New[src, src](mapper.For[part, partDTO]())
	require.ErrorContains(t, err, "For has no effect")

	_, err = mapper.Map[partDTO](part{})
	assert.ErrorContains(t, err, "has no field C. Use a Mapper, made by New with one of\n\t\tmapper.Bind(func(d *partDTO) *int {")
	_, err = mapper.MapSlice[partDTO]([]part{})
	assert.ErrorContains(t, err, "Use a Mapper")
	assert.ErrorContains(t, mapper.MapAny(&partDTO{}, part{}), "Use a Mapper")
}

// TestOneBoxForTwoInterfaces maps one boxed value to fields of two interface types, and to a
// struct.
func TestOneBoxForTwoInterfaces(t *testing.T) {
	side := 3
	var box any = Square{Side: &side}
	type src struct {
		A, B any
		C    Shape
		D, E any
	}
	type dst struct {
		A    any
		B, C Shape
		D    Square
		E    *Square
	}
	want := dst{box, box.(Shape), box.(Shape), box.(Square), &Square{Side: &side}}
	got, err := mapBoth(t, src{box, box, box.(Shape), box, box}, reflect.TypeFor[dst]())
	require.NoError(t, err)
	assert.Equal(t, want, got)
	d := got.(dst)
	assert.Equal(t, 3, d.B.Area()+d.C.Area()-d.A.(Shape).Area())
	assert.Same(t, d.A.(Square).Side, d.B.(Square).Side)
	assert.Same(t, d.A.(Square).Side, d.D.Side)
}
