package mapper_test

import (
	"database/sql"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type Address struct {
	Street, City string
	Geo          *Geo
}

type Geo struct{ Lat, Lon float64 }

type User struct {
	ID        int64
	FirstName string
	LastName  string
	Email     string
	Address   *Address
	Scores    [3]int
	secret    string
}

type UserDTO struct {
	ID       int64
	Name     string
	Mail     string
	City     string
	Lat      float64
	Best     int
	Note     string
	internal string
}

func newUser() User {
	return User{
		ID: 1, FirstName: "Ada", LastName: "Lovelace", Email: "ada@example.com", secret: "s",
		Address: &Address{Street: "1 Road", City: "London", Geo: &Geo{51, 0}}, Scores: [3]int{7, 8, 9},
	}
}

func userOptions() []mapper.Option {
	return []mapper.Option{
		mapper.Set(func(d *UserDTO) *string { return &d.Name }, func(u User) string { return u.FirstName + " " + u.LastName }),
		mapper.Bind(func(d *UserDTO) *string { return &d.Mail }, func(u *User) *string { return &u.Email }),
		mapper.Bind(func(d *UserDTO) *string { return &d.City }, func(u *User) *string { return &u.Address.City }),
		mapper.Bind(func(d *UserDTO) *float64 { return &d.Lat }, func(u *User) *float64 { return &u.Address.Geo.Lat }),
		mapper.Bind(func(d *UserDTO) *int { return &d.Best }, func(u *User) *int { return &u.Scores[2] }),
		mapper.Ignore(func(d *UserDTO) *string { return &d.Note }),
	}
}

// eachWay runs test with the Mapper and with the other executor.
func eachWay[S, D any](t *testing.T, m *mapper.Mapper[S, D], test func(t *testing.T, mapTo func(S) (D, error))) {
	t.Run("kernels", func(t *testing.T) { test(t, m.Map) })
	t.Run("reflection", func(t *testing.T) { test(t, reflected(m)) })
}

func TestSelectors(t *testing.T) {
	eachWay(t, mapper.Must[User, UserDTO](userOptions()...), func(t *testing.T, mapTo func(User) (UserDTO, error)) {
		got, err := mapTo(newUser())
		require.NoError(t, err)
		assert.Equal(t, UserDTO{ID: 1, Name: "Ada Lovelace", Mail: "ada@example.com", City: "London", Lat: 51, Best: 9}, got)

		lost := newUser()
		lost.Address = nil
		got, err = mapTo(lost)
		require.NoError(t, err)
		assert.Equal(t, UserDTO{ID: 1, Name: "Ada Lovelace", Mail: "ada@example.com", Best: 9}, got, "nil on the way is the zero value")
	})
}

func TestSelectorsOnTheWayBack(t *testing.T) {
	m := mapper.Must[UserDTO, User](
		mapper.Bind(func(u *User) *string { return &u.Address.City }, func(d *UserDTO) *string { return &d.City }),
		mapper.Bind(func(u *User) *float64 { return &u.Address.Geo.Lat }, func(d *UserDTO) *float64 { return &d.Lat }),
		mapper.Ignore(func(u *User) *float64 { return &u.Address.Geo.Lon }),
		mapper.Ignore(func(u *User) *string { return &u.Address.Street }),
		mapper.Bind(func(u *User) *string { return &u.secret }, func(d *UserDTO) *string { return &d.internal }),
		mapper.Set(func(u *User) *string { return &u.FirstName }, func(d *UserDTO) string { return strings.Fields(d.Name)[0] }),
		mapper.Set(func(u *User) *string { return &u.LastName }, func(d *UserDTO) string { return strings.Fields(d.Name)[1] }),
		mapper.Bind(func(u *User) *string { return &u.Email }, func(d *UserDTO) *string { return &d.Mail }),
		mapper.Ignore(func(u *User) *[3]int { return &u.Scores }),
	)
	eachWay(t, m, func(t *testing.T, mapTo func(UserDTO) (User, error)) {
		got, err := mapTo(UserDTO{ID: 1, Name: "Ada Lovelace", Mail: "m", City: "London", Lat: 51, internal: "s"})
		require.NoError(t, err)
		assert.Equal(t, User{ID: 1, FirstName: "Ada", LastName: "Lovelace", Email: "m", secret: "s", Address: &Address{City: "London", Geo: &Geo{Lat: 51}}}, got)
	})
}

// TestBadOptions checks that every bad option is in the list, in one go.
func TestBadOptions(t *testing.T) {
	var foreign string
	type empty struct{}
	for name, c := range map[string]struct {
		opt mapper.Option
		why string
	}{
		"another source":      {mapper.Bind(func(d *UserDTO) *string { return &d.Mail }, func(a *Address) *string { return &a.City }), "maps no mapper_test.Address to a mapper_test.UserDTO"},
		"another destination": {mapper.Ignore(func(a *Address) *string { return &a.City }), "maps nothing to a mapper_test.Address"},
		"nil selector":        {mapper.Ignore[UserDTO, string](nil), "its function is nil"},
		"returns nil":         {mapper.Ignore(func(d *UserDTO) *string { return nil }), "returned nil"},
		"foreign pointer":     {mapper.Ignore(func(d *UserDTO) *string { return &foreign }), "a pointer to something else"},
		"fresh pointer":       {mapper.Ignore(func(d *UserDTO) *string { return new(string) }), "a pointer to something else"},
		"panics":              {mapper.Bind(func(d *UserDTO) *string { return &d.Mail }, func(u *User) *string { panic("secret") }), "panicked"},
		"zero size":           {mapper.Ignore(func(d *UserDTO) *empty { return &empty{} }), "size zero"},
		"the whole":           {mapper.Ignore(func(d *UserDTO) *UserDTO { return d }), "the whole value"},
		"Set of another type": {mapper.Set(func(d *UserDTO) *string { return &d.Mail }, func(a Address) string { return "" }), "maps no mapper_test.Address to a mapper_test.UserDTO"},
		"Set of nil":          {mapper.Set[UserDTO, string, User](func(d *UserDTO) *string { return &d.Mail }, nil), "its function is nil"},
		"Convert of nil":      {mapper.Convert[int64, int64](nil), "Convert is nil"},
		"Assign of nil":       {mapper.Options{Assign: []any{nil}}, "Options.Assign has a nil"},
		"chosen twice":        {mapper.Ignore(func(d *UserDTO) *string { return &d.Name }), "choose the same field"},
		"types that differ":   {mapper.Bind(func(d *UserDTO) *string { return &d.internal }, func(u *User) *int64 { return &u.ID }), "internal: int64 to string: numbers and bools"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mapper.Compile(reflect.TypeFor[User](), reflect.TypeFor[UserDTO](), append(userOptions(), c.opt)...)
			var build *mapper.BuildError
			require.ErrorAs(t, err, &build)
			assert.Len(t, build.Problems, 1)
			assert.Contains(t, err.Error(), c.why)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestEveryProblemIsListed(t *testing.T) {
	type src struct {
		A chan int
		B int
		C []struct{ X int }
	}
	type dst struct {
		A    chan int
		B    string
		C    []struct{ X, Y int }
		D, E int
	}
	_, err := mapper.New[src, dst](mapper.Ignore(func(d *dst) *int { return &d.E }))
	require.EqualError(t, err, `mapper: mapper_test.src to mapper_test.dst: 4 problems:
	A: chan int to chan int: a chan cannot be copied; it can be shared, if that is right. Add one of
		mapper.Options{Assign: []any{(chan int)(nil)}}
		mapper.Convert(func(s chan int) (d chan int, err error) { panic("TODO: convert it") })
	B: int to string: numbers and bools map to texts and back only if you ask for it. Add one of
		mapper.Options{Parse: true}
		mapper.Convert(func(s int) (d string, err error) { panic("TODO: convert it") })
	C[].Y: int: struct { X int } has no field Y. Add one of
		mapper.Set(func(d *struct { X int; Y int }) *int { return &d.Y }, func(s struct { X int }) int { panic("TODO: compute it") })
		mapper.Ignore(func(d *struct { X int; Y int }) *int { return &d.Y })
		mapper.Lenient() // leaves every such field as it is
	D: int: mapper_test.src has no field D. Add one of
		mapper.Set(func(d *dst) *int { return &d.D }, func(s src) int { panic("TODO: compute it") })
		mapper.Ignore(func(d *dst) *int { return &d.D })
		mapper.Lenient() // leaves every such field as it is`)
	var e *mapper.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "A", e.Path)
}

func TestMustPanics(t *testing.T) {
	defer func() {
		var build *mapper.BuildError
		require.ErrorAs(t, recover().(error), &build)
	}()
	mapper.Must[User, UserDTO]()
}

func TestLenient(t *testing.T) {
	m := mapper.Must[User, UserDTO](mapper.Lenient())
	dst := UserDTO{ID: 5, Name: "kept"}
	require.NoError(t, m.Into(&dst, ref(newUser())))
	assert.Equal(t, UserDTO{ID: 1, Name: "kept"}, dst)
	_, err := mapper.New[struct{ A int }, struct{ B int }](mapper.Lenient())
	assert.ErrorContains(t, err, "no field of the destination can be filled", "a Mapper that maps nothing is a mistake")
}

func TestMatchCase(t *testing.T) {
	type src struct{ UserID, Userid int }
	type dst struct{ UserId int }
	_, err := mapper.New[src, dst]()
	assert.ErrorContains(t, err, "has 2 fields that could fill it, UserID and Userid")
	got, err := mapper.Map[struct{ UserID int }](struct{ UserId int }{5})
	require.NoError(t, err)
	assert.Equal(t, 5, got.UserID)
	exact, err := mapper.Map[struct{ Userid int }](src{1, 2})
	require.NoError(t, err)
	assert.Equal(t, 2, exact.Userid, "the exact name comes first")
	_, err = mapper.New[struct{ UserId int }, struct{ UserID int }](mapper.Options{MatchCase: true})
	assert.ErrorContains(t, err, "return &s.UserId })")
}

func TestTag(t *testing.T) {
	type src struct {
		A int `db:"a_b,omitempty"`
		B int `db:"-"`
		C int
	}
	type dst struct {
		X int `db:"a_b"`
		B int `db:"-"`
		C int `json:"other"`
	}
	eachWay(t, mapper.Must[src, dst](mapper.Tag("db")), func(t *testing.T, mapTo func(src) (dst, error)) {
		got, err := mapTo(src{1, 2, 3})
		require.NoError(t, err)
		assert.Equal(t, dst{1, 0, 3}, got)
	})
	same, err := mapper.Must[src, src](mapper.Tag("db")).Map(src{1, 2, 3})
	require.NoError(t, err)
	assert.Equal(t, src{1, 0, 3}, same)
}

func TestFlatten(t *testing.T) {
	type Inner struct{ City, Zip string }
	type nested struct {
		ID   int
		Home *Inner
		Work Inner
	}
	type flat struct {
		ID                int
		HomeCity, Workzip string
	}
	m := mapper.Must[nested, flat](mapper.Flatten())
	eachWay(t, m, func(t *testing.T, mapTo func(nested) (flat, error)) {
		got, err := mapTo(nested{1, &Inner{"London", "N1"}, Inner{"Paris", "75"}})
		require.NoError(t, err)
		assert.Equal(t, flat{1, "London", "75"}, got)
		got, err = mapTo(nested{ID: 1})
		require.NoError(t, err)
		assert.Equal(t, flat{ID: 1}, got)
	})
	type wide struct {
		ID                                   int
		HomeCity, HomeZip, WorkCity, WorkZip string
	}
	eachWay(t, mapper.Must[wide, nested](mapper.Flatten()), func(t *testing.T, mapTo func(wide) (nested, error)) {
		got, err := mapTo(wide{1, "London", "N1", "Paris", "75"})
		require.NoError(t, err)
		assert.Equal(t, nested{1, &Inner{"London", "N1"}, Inner{"Paris", "75"}}, got)
	})
	_, err := mapper.New[flat, nested](mapper.Flatten())
	assert.ErrorContains(t, err, "Home.Zip: string: mapper_test.flat has no field HomeZip")
	assert.ErrorContains(t, err, "Work.City: string: mapper_test.flat has no field WorkCity")
}

func TestConvert(t *testing.T) {
	type item struct{ Price int }
	type itemDTO struct{ Price string }
	items := mapper.Must[item, itemDTO](mapper.Convert(func(cents int) (string, error) {
		if cents < 0 {
			return "", errors.New("negative")
		}
		return strconv.Itoa(cents) + "c", nil
	}))
	type order struct {
		Items []item
		ByID  map[int]*item
	}
	type orderDTO struct {
		Items []itemDTO
		ByID  map[int]*itemDTO
	}
	m := mapper.Must[order, orderDTO](mapper.Convert(items.Map))
	eachWay(t, m, func(t *testing.T, mapTo func(order) (orderDTO, error)) {
		got, err := mapTo(order{[]item{{5}}, map[int]*item{1: {6}, 2: nil}})
		require.NoError(t, err)
		assert.Equal(t, orderDTO{[]itemDTO{{"5c"}}, map[int]*itemDTO{1: {"6c"}, 2: nil}}, got)
		_, err = mapTo(order{Items: []item{{5}, {-5}}})
		require.EqualError(t, err, "mapper: Items[1].Price: int to string: the conversion returned a *errors.errorString; its text is left out, because it may hold values (errors.Unwrap has it)")
		assert.EqualError(t, errors.Unwrap(err), "negative")
	})
	_, err := mapper.New[order, orderDTO](mapper.Convert(items.Map), mapper.Convert(items.Map))
	assert.ErrorContains(t, err, "two Convert options")
}

func TestConvertInterfaces(t *testing.T) {
	type src struct{ Err error }
	type dst struct{ Err string }
	text := func(err error) (string, error) {
		if err == nil {
			return "", nil
		}
		return err.Error(), nil
	}
	eachWay(t, mapper.Must[src, dst](mapper.Convert(text)), func(t *testing.T, mapTo func(src) (dst, error)) {
		for want, err := range map[string]error{"": nil, "e": errors.New("e")} {
			got, failed := mapTo(src{err})
			require.NoError(t, failed)
			assert.Equal(t, want, got.Err)
		}
	})
}

func TestShare(t *testing.T) {
	type all struct {
		C chan int
		F func() int
		P *Handle
		M map[string]int
		E error
		L []int
	}
	src := all{make(chan int), func() int { return 5 }, &Handle{}, map[string]int{}, errors.New("e"), []int{1}}
	eachWay(t, mapper.Must[all, all](mapper.Share()), func(t *testing.T, mapTo func(all) (all, error)) {
		got, err := mapTo(src)
		require.NoError(t, err)
		assert.Equal(t, 5, got.F())
		got.F, src.F = nil, nil
		assert.Equal(t, src, got)
		assert.Same(t, src.P, got.P)
		assert.Same(t, &src.L[0], &got.L[0])
		src.F = func() int { return 5 }
	})
	_, err := mapper.New[Locked, Locked](mapper.Share())
	assert.ErrorContains(t, err, "a lock cannot be copied")
	_, err = mapper.New[all, all](mapper.Share(), mapper.Options{DetachStrings: true})
	assert.ErrorContains(t, err, "contradict")
}

func TestImmutable(t *testing.T) {
	type src struct {
		Addr netip.Addr
		At   time.Time
	}
	zone := time.FixedZone("x", 3600)
	in := src{netip.MustParseAddr("fe80::1%eth0"), time.Date(2026, 1, 2, 3, 4, 5, 6, zone)}
	eachWay(t, mapper.Must[src, src](), func(t *testing.T, mapTo func(src) (src, error)) {
		got, err := mapTo(in)
		require.NoError(t, err)
		assert.Equal(t, in, got)
		assert.True(t, in.Addr == got.Addr, "the zone is the same unique.Handle")
	})
}

func TestMaxDepth(t *testing.T) {
	list := (*Tree)(nil)
	for range 100 {
		list = &Tree{Kids: []*Tree{list}}
	}
	_, err := mapper.Must[Tree, Tree](mapper.Options{MaxDepth: 99}).Map(*list)
	assert.ErrorContains(t, err, "MaxDepth")
	_, err = mapper.Must[Tree, Tree](mapper.Options{MaxDepth: 100}).Map(*list)
	assert.NoError(t, err)
}

// needs64Bits skips a test whose numbers are too large for an int32 and fit an int.
func needs64Bits(t *testing.T) {
	if math.MaxInt == math.MaxInt32 {
		t.Skip("an int has 32 bits here, and the test is about those that have more")
	}
}

func TestSlice(t *testing.T) {
	needs64Bits(t)
	for name, m := range map[string]*mapper.Mapper[Point, Point32]{"checked": mapper.Must[Point, Point32]()} {
		got, err := m.Slice([]Point{{1, 2}, {3, 4}})
		require.NoError(t, err, name)
		assert.Equal(t, []Point32{{1, 2}, {3, 4}}, got)
		got, err = m.Slice(nil)
		assert.True(t, got == nil && err == nil)
		got, err = m.Slice([]Point{})
		assert.True(t, got != nil && len(got) == 0 && err == nil)
		got, err = m.Slice([]Point{{1, 2}, {3, math.MaxInt}})
		assert.Nil(t, got)
		assert.EqualError(t, err, "mapper: [1].Y: int to int32: the destination cannot hold this number exactly")
	}
	type copied struct{ Y, X int }
	many := make([]Point, 100)
	for i := range many {
		many[i] = Point{i, -i}
	}
	got, err := mapper.MapSlice[copied](many)
	require.NoError(t, err)
	for i, p := range got {
		require.Equal(t, copied{X: i, Y: -i}, p)
	}
}

func TestAppend(t *testing.T) {
	needs64Bits(t)
	m := mapper.Must[Point, Point32]()
	dst := make([]Point32, 1, 3)
	got, err := m.Append(dst, []Point{{1, 2}})
	require.NoError(t, err)
	assert.Equal(t, []Point32{{}, {1, 2}}, got)
	assert.Same(t, &dst[0], &got[0])
	got, err = m.Append(dst, []Point{{1, 2}, {math.MaxInt, 0}})
	assert.ErrorContains(t, err, "[1].X")
	assert.Equal(t, dst, got)
	assert.Equal(t, []Point32{{}, {}, {}}, dst[:3], "what was written is cleared")
}

// TestAppendInPlace appends to the memory that the source lies in.
func TestAppendInPlace(t *testing.T) {
	m := mapper.Must[Point, Point]()
	points := []Point{{1, 2}, {3, 4}}
	got, err := m.Append(points[:0], points)
	require.NoError(t, err)
	assert.Equal(t, []Point{{1, 2}, {3, 4}}, got)
	assert.Same(t, &points[0], &got[0])
}

func TestSeq(t *testing.T) {
	needs64Bits(t)
	m := mapper.Must[Point, Point32]()
	var got []Point32
	var errs []string
	for p, err := range m.Seq(slices.Values([]Point{{1, 2}, {math.MaxInt, 0}, {3, 4}})) {
		if err != nil {
			errs = append(errs, err.Error())
			assert.Zero(t, p)
			continue
		}
		got = append(got, p)
	}
	assert.Equal(t, []Point32{{1, 2}, {3, 4}}, got)
	assert.Equal(t, []string{"mapper: [1].X: int to int32: the destination cannot hold this number exactly"}, errs)

	asked := 0
	for range m.Seq(func(yield func(Point) bool) {
		for asked = 1; yield(Point{}); asked++ {
		}
	}) {
		break
	}
	assert.Equal(t, 1, asked, "it asks for one at a time, and stops")
}

func TestPatch(t *testing.T) {
	needs64Bits(t)
	type addressPatch struct{ Street, City *string }
	type patch struct {
		Name  *string
		Age   int
		Addr  *addressPatch
		Home  addressPatch
		Tags  []string
		Nick  sql.NullString
		Score *float64
		Full  string
	}
	type address struct{ Street, City string }
	type entity struct {
		Name  string
		Age   int32
		Addr  *address
		Home  address
		Tags  []string
		Nick  string
		Score *float64
		Full  string
	}
	m := mapper.Must[patch, entity](mapper.Set(func(e *entity) *string { return &e.Full }, func(p *patch) string {
		if p.Name == nil {
			return ""
		}
		return "Dr " + *p.Name
	}))
	start := func() entity {
		return entity{"Ada", 36, &address{"1 Road", "London"}, address{"2 Road", "Paris"}, []string{"a"}, "nick", ref(1.5), "full"}
	}
	for name, c := range map[string]struct {
		patch patch
		want  func(*entity)
	}{
		"nothing":             {patch{}, func(*entity) {}},
		"a pointer":           {patch{Name: ref("Eve")}, func(e *entity) { e.Name, e.Full = "Eve", "Dr Eve" }},
		"a pointer to zero":   {patch{Name: ref("")}, func(e *entity) { e.Name, e.Full = "", "Dr " }},
		"a value":             {patch{Age: 5}, func(e *entity) { e.Age = 5 }},
		"through a pointer":   {patch{Addr: &addressPatch{City: ref("Rome")}}, func(e *entity) { e.Addr.City = "Rome" }},
		"nested by value":     {patch{Home: addressPatch{Street: ref("")}}, func(e *entity) { e.Home.Street = "" }},
		"an empty slice":      {patch{Tags: []string{}}, func(e *entity) { e.Tags = []string{} }},
		"a slice":             {patch{Tags: []string{"x"}}, func(e *entity) { e.Tags = []string{"x"} }},
		"a valid null":        {patch{Nick: sql.NullString{Valid: true}}, func(e *entity) { e.Nick = "" }},
		"an invalid null":     {patch{Nick: sql.NullString{String: "x"}}, func(*entity) {}},
		"pointer to pointer":  {patch{Score: ref(0.0)}, func(e *entity) { e.Score = ref(0.0) }},
		"empty struct behind": {patch{Addr: &addressPatch{}}, func(*entity) {}},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := start(), start()
			c.want(&want)
			require.NoError(t, m.Patch(&got, &c.patch))
			assert.Equal(t, want, got)
		})
	}
	e := entity{}
	require.NoError(t, m.Patch(&e, &patch{Addr: &addressPatch{City: ref("Rome")}}))
	assert.Equal(t, &address{City: "Rome"}, e.Addr, "a nil pointer of the destination is allocated")
	err := m.Patch(&e, &patch{Age: math.MaxInt})
	assert.EqualError(t, err, "mapper: Age: int to int32: the destination cannot hold this number exactly")
	n, numbers := int64(7), mapper.Must[int, int64]()
	require.NoError(t, numbers.Patch(&n, new(int)))
	assert.Equal(t, int64(7), n, "zero is not set")
	require.NoError(t, numbers.Patch(&n, ref(8)))
	assert.Equal(t, int64(8), n)
}

func TestMapAny(t *testing.T) {
	needs64Bits(t)
	var p Point32
	require.NoError(t, mapper.MapAny(&p, Point{1, 2}))
	assert.Equal(t, Point32{1, 2}, p)
	require.NoError(t, mapper.MapAny(&p, &Point{3, 4}))
	assert.Equal(t, Point32{3, 4}, p)
	for name, c := range map[string]struct{ dst, src any }{
		"nil destination":        {nil, Point{}},
		"destination no pointer": {p, Point{}},
		"nil typed destination":  {(*Point32)(nil), Point{}},
		"nil source":             {&p, nil},
		"nil typed source":       {&p, (*Point)(nil)},
	} {
		assert.ErrorContains(t, mapper.MapAny(c.dst, c.src), "MapAny needs a pointer", name)
	}
	var build *mapper.BuildError
	assert.ErrorAs(t, mapper.MapAny(&p, "x"), &build)
	assert.ErrorContains(t, mapper.MapAny(&p, Point{X: math.MaxInt}), "X: int to int32")
}

func TestMisuseIsAnError(t *testing.T) {
	var zero *mapper.Mapper[Point, Point32]
	made := mapper.Must[Point, Point32]()
	_, err := zero.Map(Point{})
	assert.ErrorContains(t, err, "create it with New or Must")
	_, err = new(mapper.Mapper[Point, Point32]).Slice(nil)
	assert.ErrorContains(t, err, "create it with New or Must")
	_, err = zero.Append(nil, nil)
	assert.ErrorContains(t, err, "create it with New or Must")
	assert.Contains(t, zero.Plan(), "create it with New or Must")
	for _, err := range zero.Seq(slices.Values([]Point{{}})) {
		assert.ErrorContains(t, err, "create it with New or Must")
	}
	assert.EqualError(t, made.Into(nil, &Point{}), "mapper: mapper_test.Point to mapper_test.Point32: nil pointer: pass pointers to a destination and to a source")
	assert.ErrorContains(t, made.Into(&Point32{}, nil), "nil pointer")
	assert.ErrorContains(t, made.Patch(&Point32{}, nil), "nil pointer")
}

func TestPlan(t *testing.T) {
	m := mapper.Must[User, UserDTO](append(userOptions(), mapper.Lenient())...)
	assert.Equal(t, `mapper_test.User to mapper_test.UserDTO: by field
	ID <- ID: copy
	Name <- mapper_test.User: Set
	Mail <- Email: copy
	City <- Address.City: copy
	Lat <- Address.Geo.Lat: copy
	Best <- Scores[2]: copy
`, m.Plan())
	assert.Equal(t, `mapper_test.Tree to mapper_test.Tree: by field
	N <- N: copy
	Kids <- Kids: each: *mapper_test.Tree to *mapper_test.Tree: if present: mapper_test.Tree to mapper_test.Tree: by field, as above
`, mapper.Must[Tree, Tree]().Plan())
}

// TestIntoLeavesTheRest checks what Into does to a destination that is used.
func TestIntoLeavesTheRest(t *testing.T) {
	m := mapper.Must[User, UserDTO](userOptions()...)
	for name, into := range map[string]func(d *UserDTO, u *User) error{
		"kernels": m.Into,
		"reflection": func(d *UserDTO, u *User) error {
			return mapper.PlanOf(m).Reflect(reflect.ValueOf(d), reflect.ValueOf(u))
		},
	} {
		d := UserDTO{City: "old", Note: "kept", internal: "kept"}
		require.NoError(t, into(&d, &User{}), name)
		assert.Equal(t, UserDTO{Name: " ", Note: "kept", internal: "kept"}, d, name)
	}
}

// TestMapValuesAreApart fills a pointer in every value of a map. No two values may share the object
// behind it.
func TestMapValuesAreApart(t *testing.T) {
	type src struct {
		City string
		Kids map[string]src
	}
	type dst struct {
		Addr *struct{ City string }
		Kids map[string]dst
	}
	m := mapper.Must[src, dst](mapper.Bind(func(d *dst) *string { return &d.Addr.City }, func(s *src) *string { return &s.City }))
	eachWay(t, m, func(t *testing.T, mapTo func(src) (dst, error)) {
		got, err := mapTo(src{Kids: map[string]src{"a": {City: "a"}, "b": {City: "b"}}})
		require.NoError(t, err)
		assert.Equal(t, "a", got.Kids["a"].Addr.City)
		assert.Equal(t, "b", got.Kids["b"].Addr.City)
	})
}
