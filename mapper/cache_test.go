package mapper_test

import (
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/mapper"
)

// madeTypes makes struct types at run time, with their pointer types. Such types are never freed,
// so a test makes them before it looks at the heap.
func madeTypes(n int) []reflect.Type {
	types := make([]reflect.Type, n)
	for i := range types {
		types[i] = reflect.StructOf([]reflect.StructField{
			{Name: "N", Type: reflect.TypeFor[int]()},
			{Name: fmt.Sprintf("Field%d", i), Type: reflect.TypeFor[string]()},
		})
		reflect.PointerTo(types[i])
	}
	return types
}

// mapMade maps a value of a made type to a static type.
func mapMade(t testing.TB, typ reflect.Type) {
	src := reflect.New(typ)
	src.Elem().Field(0).SetInt(5)
	var dst struct{ N int8 }
	if err := mapper.MapAny(&dst, src.Interface()); err != nil || dst.N != 5 {
		t.Fatalf("MapAny = %v, %v", dst, err)
	}
}

// TestMadeTypes maps far more types made at run time than the cache holds. The cache stays within
// its bound and counts the evictions, and the heap grows by less than 1 MiB.
func TestMadeTypes(t *testing.T) {
	n := 4 * mapper.MaxPlans
	if testgate.Long() {
		n = 100_000
	}
	types := madeTypes(n)
	for _, typ := range types[:2*mapper.MaxPlans] {
		mapMade(t, typ)
	}
	before, stats := heap(), mapper.Stats()
	for _, typ := range types {
		mapMade(t, typ)
	}
	assert.Less(t, heap()-before, int64(1<<20))
	after := mapper.Stats()
	assert.Equal(t, mapper.MaxPlans, after.Limit)
	assert.Equal(t, after.Limit, after.Plans)
	assert.GreaterOrEqual(t, after.Evictions-stats.Evictions, uint64(n-after.Limit))
	assert.GreaterOrEqual(t, after.Misses-stats.Misses, uint64(n-after.Limit))
}

// TestCacheKeepsWhatIsUsed uses one pair again and again among many that are used once.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	types := madeTypes(3 * mapper.MaxPlans)
	mapMade(t, types[0])
	before := mapper.Stats()
	for _, typ := range types[1:] {
		mapMade(t, typ)
		mapMade(t, types[0])
	}
	after := mapper.Stats()
	assert.Equal(t, uint64(len(types)-1), after.Hits-before.Hits)
	assert.Equal(t, uint64(len(types)-1), after.Misses-before.Misses)
}

// TestTypesInInterfaces meets more types in an interface than one Mapper keeps plans for.
func TestTypesInInterfaces(t *testing.T) {
	m := mapper.Must[struct{ V any }, struct{ V any }]()
	for round := range 2 {
		for _, typ := range madeTypes(3 * mapper.MaxDynamic) {
			src := reflect.New(typ).Elem()
			src.Field(0).SetInt(int64(round))
			got, err := m.Map(struct{ V any }{src.Interface()})
			require.NoError(t, err)
			require.Equal(t, src.Interface(), got.V)
		}
		assert.Equal(t, mapper.MaxDynamic, mapper.DynamicPlans(m))
	}
}

// Account is the name of two types, in two scopes: a cache by name would give one the plan of the
// other.
func TestCacheIsNotByName(t *testing.T) {
	type Account struct{ ID, Secret int }
	type Public struct{ ID int }
	got, err := mapper.Map[Public](Account{1, 2})
	require.NoError(t, err)
	assert.Equal(t, Public{1}, got)
	func() {
		type Account struct{ Secret, ID int }
		type Public struct{ ID int }
		got, err := mapper.Map[Public](Account{2, 1})
		require.NoError(t, err)
		assert.Equal(t, Public{1}, got)
	}()
}

// TestManyGoroutines uses one Mapper, builds others, and asks for one new pair from 64 goroutines
// at once: no race, and one plan.
func TestManyGoroutines(t *testing.T) {
	type src struct{ A, B any }
	type dst struct{ A, B any }
	shared := mapper.Must[Deep, Deep2]()
	want := must(shared.Map(*newDeep()))
	before := mapper.Stats()
	var wg sync.WaitGroup
	start := make(chan struct{})
	for g := range 64 {
		wg.Go(func() {
			<-start
			got, err := mapper.Map[dst](src{g, Point{g, g}})
			assert.NoError(t, err)
			assert.Equal(t, dst{g, Point{g, g}}, got)
			for range 20 {
				got, err := shared.Map(*newDeep())
				assert.NoError(t, err)
				assert.Equal(t, want, got)
			}
			_, err = mapper.Compile(reflect.TypeFor[User](), reflect.TypeFor[UserDTO](), userOptions()...)
			assert.NoError(t, err)
		})
	}
	close(start)
	wg.Wait()
	assert.Equal(t, uint64(1), mapper.Stats().Misses-before.Misses, "one plan for all")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type numbered[T any] struct{ N T }

// TestPlansWithoutALock finds plans in slots, also those that share one, and after an eviction.
func TestPlansWithoutALock(t *testing.T) {
	check := func() {
		for range 3 {
			mapsTo[int8](t, 1)
			mapsTo[int16](t, 1)
			mapsTo[int32](t, 1)
			mapsTo[int64](t, 1)
			mapsTo[uint8](t, 1)
			mapsTo[uint16](t, 1)
			mapsTo[uint32](t, 1)
			mapsTo[float32](t, 1)
			mapsTo[float64](t, 1)
			mapsTo[[]int](t, []int{1})
		}
	}
	check()
	for i := range 2 * mapper.MaxPlans { // evict all
		dst := reflect.New(reflect.ArrayOf(i%(mapper.MaxPlans+50), reflect.TypeFor[uint64]()))
		_ = mapper.MapAny(dst.Interface(), make([]uint64, i%(mapper.MaxPlans+50)))
	}
	check()
}

func mapsTo[T any](t *testing.T, v T) {
	got, err := mapper.Map[struct{ N T }](numbered[T]{v})
	require.NoError(t, err)
	require.Equal(t, struct{ N T }{v}, got)
	list, err := mapper.MapSlice[struct{ N T }]([]numbered[T]{{v}})
	require.NoError(t, err)
	require.Equal(t, []struct{ N T }{{v}}, list)
	_, err = mapper.Map[struct{ M chan T }](numbered[T]{v})
	require.Error(t, err)
}
