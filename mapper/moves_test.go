package mapper_test

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestManyMoves maps structs with the same fields in the opposite order, so that no two fields are
// moved as one: for each kind of move fewer and more fields than one link of the chain holds.
func TestManyMoves(t *testing.T) {
	kinds := []reflect.Type{
		reflect.TypeFor[string](), reflect.TypeFor[int64](), reflect.TypeFor[time.Time](), reflect.TypeFor[bool](), reflect.TypeFor[float32](), reflect.TypeFor[int16](),
		reflect.TypeFor[[16]byte](), reflect.TypeFor[[32]byte](), reflect.TypeFor[[200]byte](), reflect.TypeFor[*int](), reflect.TypeFor[any](), reflect.TypeFor[[]int](), reflect.TypeFor[[3]string](),
	}
	for _, each := range []int{1, 2, 4, 5, 9} {
		var fields []reflect.StructField
		for i := range each {
			for k, kind := range kinds {
				fields = append(fields, reflect.StructField{Name: "F" + string(rune('A'+i)) + string(rune('A'+k)), Type: kind})
			}
		}
		src := reflect.StructOf(fields)
		slices.Reverse(fields)
		dst := reflect.StructOf(fields)
		p, err := mapper.Compile(src, dst, mapper.Share())
		require.NoError(t, err)
		v, got := reflect.New(src), reflect.New(dst)
		for i := range v.Elem().NumField() {
			setMark(v.Elem().Field(i), i+1)
		}
		require.NoError(t, p.Kernels(got, v))
		for _, f := range fields {
			assert.Equal(t, v.Elem().FieldByName(f.Name).Interface(), got.Elem().FieldByName(f.Name).Interface(), "%d of each kind, %s", each, f.Type)
		}
		manyMovesInList(t, src, dst)
	}
}

// manyMovesInList does the same for a list, which other loops move: more elements than a block has.
func manyMovesInList(t *testing.T, src, dst reflect.Type) {
	p, err := mapper.Compile(reflect.SliceOf(src), reflect.SliceOf(dst), mapper.Share())
	require.NoError(t, err)
	list, got := reflect.New(reflect.SliceOf(src)), reflect.New(reflect.SliceOf(dst))
	list.Elem().Set(reflect.MakeSlice(list.Type().Elem(), 70, 70))
	for i := range 70 {
		for f := range src.NumField() {
			setMark(list.Elem().Index(i).Field(f), 1000*i+f+1)
		}
	}
	require.NoError(t, p.Kernels(got, list))
	for i := range 70 {
		for f := range src.NumField() {
			name := src.Field(f).Name
			require.Equal(t, list.Elem().Index(i).Field(f).Interface(), got.Elem().Index(i).FieldByName(name).Interface(), "element %d, %s", i, src.Field(f).Type)
		}
	}
}

// setMark sets v to a value that tells its field from the others.
func setMark(v reflect.Value, mark int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(time.Duration(mark).String())
	case reflect.Int16, reflect.Int64:
		v.SetInt(int64(mark))
	case reflect.Uint8:
		v.SetUint(uint64(mark%255 + 1))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float32:
		v.SetFloat(float64(mark))
	case reflect.Struct:
		v.Set(reflect.ValueOf(time.Unix(int64(mark), 0)))
	case reflect.Array:
		for i := range v.Len() {
			setMark(v.Index(i), mark+i)
		}
	case reflect.Pointer:
		v.Set(reflect.ValueOf(&mark))
	case reflect.Interface:
		v.Set(reflect.ValueOf(mark))
	case reflect.Slice:
		v.Set(reflect.ValueOf([]int{mark}))
	}
}

// TestListsOfNothing maps a list whose elements take no memory, so that its length has no bound, to
// elements that do. It panics, as make does, and writes nothing.
func TestListsOfNothing(t *testing.T) {
	type row struct{ A, B int64 }
	m := mapper.Must[[]struct{}, []row](mapper.Convert(func(struct{}) (row, error) { return row{}, nil }))
	got, err := m.Map(make([]struct{}, 3))
	require.NoError(t, err)
	assert.Equal(t, make([]row, 3), got)
	for _, length := range []int{math.MaxInt, math.MaxInt/8 + 1, math.MaxInt/8 + 3} {
		assert.Panics(t, func() {
			rows, _ := m.Map(make([]struct{}, length))
			t.Log(len(rows), "rows")
		}, "%d elements", length)
	}
}

// TestNewLists checks the lists that kernels make: their length and their capacity, which must not
// be more than their memory, for elements of every content.
func TestNewLists(t *testing.T) {
	type lists struct {
		Numbers []int16
		Pairs   [][2]int64
		Texts   []string
		Ptrs    []*int
		Maps    []map[string]int
		Mixed   []struct{ S []string }
	}
	in := lists{[]int16{1, 2, 3}, [][2]int64{{1, 2}}, []string{"a", "b", "c"}, []*int{ref(1), nil, ref(3)}, []map[string]int{nil, {"a": 1}}, []struct{ S []string }{{[]string{"x"}}}}
	type copies lists // another type, so that it is mapped and not assigned
	got, err := mapBoth(t, in, reflect.TypeFor[copies]())
	require.NoError(t, err)
	list := got.(copies)
	assert.Equal(t, in, lists(list))
	assert.Equal(t, []int{3, 1, 3, 3, 2}, []int{cap(list.Numbers), cap(list.Pairs), cap(list.Texts), cap(list.Ptrs), cap(list.Maps)})
}
