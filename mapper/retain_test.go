package mapper_test

import (
	"reflect"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/mapper"
)

// A Deep has a reference of every shape. Big marks what would be retained.
type Deep struct {
	Ptr    *Big
	Slice  []Big
	Ptrs   []*Big
	Map    map[string]*Big
	Nested struct{ Ptr **Big }
	Any    any
	Bytes  []byte
	Array  [2]*Big
}

type Big struct {
	N    int
	Name string
	data [64]byte
}

// Deep2 is another type with the same fields, so that the plan goes by name.
type Deep2 struct {
	Ptr    *Big
	Slice  []Big
	Ptrs   []*Big
	Map    map[string]*Big
	Nested struct{ Ptr **Big }
	Any    any
	Bytes  []byte
	Array  [2]*Big
}

func newDeep() *Deep {
	big := func() *Big { return &Big{N: 1, Name: "x"} }
	return &Deep{
		Ptr: big(), Slice: []Big{{N: 1}}, Ptrs: []*Big{big()}, Map: map[string]*Big{"k": big()},
		Nested: struct{ Ptr **Big }{ref(big())}, Any: []*Big{big()}, Bytes: make([]byte, 128), Array: [2]*Big{big(), big()},
	}
}

// parts picks each object that d refers to.
var parts = map[string]func(d *Deep) *Big{
	"pointer":           func(d *Deep) *Big { return d.Ptr },
	"slice":             func(d *Deep) *Big { return &d.Slice[0] },
	"slice of pointers": func(d *Deep) *Big { return d.Ptrs[0] },
	"map":               func(d *Deep) *Big { return d.Map["k"] },
	"nested pointers":   func(d *Deep) *Big { return *d.Nested.Ptr },
	"interface":         func(d *Deep) *Big { return d.Any.([]*Big)[0] },
	"bytes":             func(d *Deep) *Big { return (*Big)(unsafe.Pointer(&d.Bytes[0])) },
	"array":             func(d *Deep) *Big { return d.Array[1] },
}

// kept keeps results alive, outside of every test.
var kept sync.Map

// keep keeps v until t ends.
func keep(t testing.TB, v any) {
	kept.Store(t, v)
	t.Cleanup(func() { kept.Delete(t) })
}

// TestNothingRetained keeps the result and drops the source. Every part of the source must be
// collected.
func TestNothingRetained(t *testing.T) {
	m := mapper.Must[Deep, Deep2]()
	for name, part := range parts {
		t.Run(name, func(t *testing.T) { retain(t, part, m.Map) })
		t.Run(name+" by reflection", func(t *testing.T) { retain(t, part, reflected(m)) })
		t.Run(name+" with a plan kept", func(t *testing.T) { retain(t, part, mapper.Map[Deep2, Deep]) })
	}
}

// TestShareRetains is the leaky counterpart: the same check finds the parts that Share retains.
// Each takes two seconds, so only the long proofs check all shapes.
func TestShareRetains(t *testing.T) {
	m := mapper.Must[Deep, Deep2](mapper.Share())
	for name, part := range parts {
		for way, mapTo := range map[string]func(Deep) (Deep2, error){"kernels": m.Map, "reflection": reflected(m)} {
			if name == "array" || !testgate.Long() && name != "pointer" {
				continue // array elements are shared in the same way as "pointer"
			}
			t.Run(name+" by "+way, func(t *testing.T) {
				t.Parallel()
				leakcheck.MustDetect(t, func(t testing.TB) { retain(t, part, mapTo) })
			})
		}
	}
}

func retain(t testing.TB, part func(*Deep) *Big, mapTo func(Deep) (Deep2, error)) {
	leakcheck.Collected(t, func() *Big {
		src := newDeep()
		dst, err := mapTo(*src)
		if err != nil {
			t.Errorf("Map: %v", err)
		}
		keep(t, &dst)
		return part(src)
	})
}

// reflected is m.Map with the other executor.
func reflected[S, D any](m *mapper.Mapper[S, D]) func(S) (D, error) {
	return func(s S) (d D, err error) {
		err = mapper.PlanOf(m).Reflect(reflect.ValueOf(&d), reflect.ValueOf(&s))
		return d, err
	}
}

// TestErrorRetainsNothing keeps an Error instead.
func TestErrorRetainsNothing(t *testing.T) {
	m := mapper.Must[struct{ P *Big }, struct{ P *struct{ N int8 } }]()
	leakcheck.Collected(t, func() *Big {
		big := &Big{N: 1 << 20}
		_, err := m.Map(struct{ P *Big }{big})
		assert.EqualError(t, err, "mapper: P.N: int to int8: the destination cannot hold this number exactly")
		keep(t, err)
		return big
	})
}

type line struct {
	Text  string
	Words []string
	Index map[string]string
	Any   any
}

// cut returns strings cut from 1 MiB, and the address of the megabyte.
func cut() (line, *[1 << 20]byte) {
	buffer := new([1 << 20]byte)
	copy(buffer[:], "cut from a megabyte")
	all := unsafe.String(&buffer[0], len(buffer))
	word := all[:3]
	return line{Text: word, Words: []string{word}, Index: map[string]string{word: word}, Any: word}, buffer
}

// TestDetachStrings keeps lines whose strings were cut from a megabyte. The leaky counterpart
// retains the megabyte.
func TestDetachStrings(t *testing.T) {
	t.Parallel()
	keepLine(t, mapper.Must[line, line](mapper.Options{DetachStrings: true}).Map)
	keepLine(t, reflected(mapper.Must[line, line](mapper.Options{DetachStrings: true})))
	leakcheck.MustDetect(t, func(t testing.TB) { keepLine(t, mapper.Must[line, line]().Map) })
}

func keepLine(t testing.TB, mapTo func(line) (line, error)) {
	leakcheck.Collected(t, func() *[1 << 20]byte {
		src, buffer := cut()
		dst, err := mapTo(src)
		require.NoError(t, err)
		assert.Equal(t, src, dst)
		keep(t, &dst)
		return buffer
	})
}

// TestSourceChanges changes every part of the source after mapping. The result must not change, and
// with Share it must change.
func TestSourceChanges(t *testing.T) {
	scribble := func(s *Deep) {
		s.Ptr.N, s.Slice[0].N, s.Ptrs[0].N, s.Map["k"].N, (*s.Nested.Ptr).N, s.Any.([]*Big)[0].N, s.Bytes[0], s.Array[0].N = 9, 9, 9, 9, 9, 9, 9, 9
		s.Map["new"] = &Big{N: 9}
	}
	want := mapper.Must[Deep, Deep2]()
	for name, mapTo := range map[string]func(Deep) (Deep2, error){"kernels": want.Map, "reflection": reflected(want)} {
		src, expected := newDeep(), newDeep()
		got, err := mapTo(*src)
		require.NoError(t, err)
		scribble(src)
		assert.Equal(t, Deep2{expected.Ptr, expected.Slice, expected.Ptrs, expected.Map, expected.Nested, expected.Any, expected.Bytes, expected.Array}, got, name)
	}
	shared := mapper.Must[Deep, Deep2](mapper.Share())
	for name, mapTo := range map[string]func(Deep) (Deep2, error){"kernels": shared.Map, "reflection": reflected(shared)} {
		src := newDeep()
		got, err := mapTo(*src)
		require.NoError(t, err)
		scribble(src)
		assert.Equal(t, Deep2{src.Ptr, src.Slice, src.Ptrs, src.Map, src.Nested, src.Any, src.Bytes, src.Array}, got, name)
	}
}

// overlaps reports whether part shares the bytes of whole.
func overlaps(whole, part string) bool {
	at, from := uintptr(unsafe.Pointer(unsafe.StringData(part))), uintptr(unsafe.Pointer(unsafe.StringData(whole)))
	return at >= from && at < from+uintptr(len(whole))
}
