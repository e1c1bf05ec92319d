package mapper_test

import (
	"database/sql"
	"database/sql/driver"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Types with the shapes that libraries give to nulls.
type (
	NullUUID struct { // as google/uuid
		UUID  UUID
		Valid bool
	}
	NullText    struct{ sql.NullString } // as guregu/null
	NullWrapped struct{ NullText }
	DeletedAt   sql.NullTime // as gorm
	NullBits    struct {     // as pgtype.UUID: only the whole has a text
		Bytes [16]byte
		Valid bool
	}
	infinity  int8
	NullStamp struct { // as pgtype.Timestamptz
		Time  time.Time
		Inf   infinity
		Valid bool
	}
	ValidFirst struct {
		Valid bool
		N     int
	}
	Coupon struct { // no null, but two fields
		Code  string
		Valid bool
	}
	CouponDTO struct {
		Code  *string
		Valid bool
	}
	EmbeddedTime struct { // the value is embedded, and so is its text method
		time.Time
		Valid bool
	}
	Sourced struct { // more than a null, with the null's text method
		NullUUID
		Source string
	}
	Referring struct{ *NullUUID }
	Ledger    struct { // no null: the embedded struct has fields of its own
		Point
		Valid bool
	}
	Limits struct { // no null: it is no driver.Valuer
		Low, High int
		Valid     bool
	}
)

func (n NullUUID) MarshalText() ([]byte, error) {
	if !n.Valid {
		return []byte("null"), nil
	}
	return n.UUID.MarshalText()
}
func (n NullText) MarshalText() ([]byte, error)  { return []byte(n.NullString.String), nil }
func (n NullBits) String() string                { return "bits" }
func (n NullStamp) Value() (driver.Value, error) { return n.Time, nil }

// TestNulls maps nulls of every shape, present and absent. An absent value becomes nil, not Valid,
// or zero, and never a text.
func TestNulls(t *testing.T) {
	moment := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	stringer := []mapper.Option{mapper.Options{Stringer: true}}
	for name, c := range map[string]struct {
		src, want any
		opts      []mapper.Option
	}{
		"absent uuid to pointer to text":      {NullUUID{}, (*string)(nil), nil},
		"absent uuid to text":                 {NullUUID{}, "", nil},
		"absent uuid to pointer":              {NullUUID{}, (*UUID)(nil), nil},
		"uuid to text":                        {NullUUID{UUID{1}, true}, "01000000000000000000000000000000", nil},
		"text to uuid":                        {"01000000000000000000000000000000", NullUUID{UUID{1}, true}, nil},
		"nil text to uuid":                    {(*string)(nil), NullUUID{}, nil},
		"absent embedded null":                {NullText{}, (*string)(nil), nil},
		"embedded null":                       {NullText{sql.NullString{String: "x", Valid: true}}, ref("x"), nil},
		"null embedded twice":                 {NullWrapped{NullText{sql.NullString{String: "x", Valid: true}}}, "x", nil},
		"pointer to embedded null":            {"x", NullWrapped{NullText{sql.NullString{String: "x", Valid: true}}}, nil},
		"pointer to a null":                   {&NullText{}, (*string)(nil), nil},
		"defined null":                        {DeletedAt{}, (*time.Time)(nil), nil},
		"defined null, valid":                 {DeletedAt{moment, true}, moment, nil},
		"defined null to its base":            {DeletedAt{moment, true}, sql.NullTime{Time: moment, Valid: true}, nil},
		"defined null to itself":              {DeletedAt{moment, true}, DeletedAt{moment, true}, nil},
		"null to another null":                {NullText{sql.NullString{String: "x", Valid: true}}, sql.Null[Text]{V: "x", Valid: true}, nil},
		"generic null":                        {sql.Null[time.Time]{}, (*time.Time)(nil), nil},
		"null of a pointer":                   {sql.Null[*int]{V: ref(5), Valid: true}, ref(int8(5)), nil},
		"absent null of a pointer":            {sql.Null[*int]{V: ref(5)}, (*int8)(nil), nil},
		"Valid first":                         {ValidFirst{true, 5}, ref(int8(5)), nil},
		"to Valid first":                      {5, ValidFirst{true, 5}, nil},
		"text of the whole":                   {NullBits{Valid: true}, "bits", stringer},
		"absent text of the whole":            {NullBits{}, (*string)(nil), stringer},
		"absent text of the whole, plain":     {NullBits{}, "", stringer},
		"with a modifier":                     {NullStamp{Time: moment, Valid: true}, &moment, nil},
		"with a modifier, absent":             {NullStamp{Inf: 1}, (*time.Time)(nil), nil},
		"with a modifier to itself":           {NullStamp{Time: moment, Inf: 1, Valid: true}, NullStamp{Time: moment, Inf: 1, Valid: true}, nil},
		"to one with a modifier":              {moment, NullStamp{Time: moment, Valid: true}, nil},
		"a struct of its shape keeps all":     {Coupon{"x", false}, CouponDTO{ref("x"), false}, nil},
		"a struct of its shape to itself":     {Coupon{"x", false}, Coupon{"x", false}, nil},
		"a struct of its shape, by field":     {Coupon{"x", false}, struct{ Code string }{"x"}, nil},
		"a struct of its shape, from field":   {struct{ Code string }{"x"}, struct{ Code string }{"x"}, nil},
		"more than a value and Valid":         {Limits{1, 2, false}, struct{ High, Low int }{2, 1}, nil},
		"absent embedded value to text":       {EmbeddedTime{}, "", nil},
		"absent embedded value to a pointer":  {EmbeddedTime{}, (*string)(nil), nil},
		"embedded value":                      {EmbeddedTime{moment, true}, ref("2026-01-02T03:04:05.000000006Z"), nil},
		"embedded value to its own":           {EmbeddedTime{moment, true}, &moment, nil},
		"to an embedded value":                {&moment, EmbeddedTime{moment, true}, nil},
		"an embedded struct and Valid":        {Ledger{Point{1, 2}, false}, Point32{1, 2}, nil},
		"null of a struct":                    {sql.Null[Point]{V: Point{1, 2}, Valid: true}, &Point32{1, 2}, nil},
		"a Convert of the whole":              {NullBits{Valid: true}, ref("converted"), []mapper.Option{mapper.Convert(func(NullBits) (string, error) { return "converted", nil })}},
		"a Convert of the whole, absent":      {NullBits{}, (*string)(nil), []mapper.Option{mapper.Convert(func(NullBits) (string, error) { return "converted", nil })}},
		"a Convert of the value inside":       {NullText{sql.NullString{String: "x", Valid: true}}, ref(int8(1)), []mapper.Option{mapper.Convert(func(string) (int8, error) { return 1, nil })}},
		"a Convert of a value inside, absent": {NullText{}, (*int8)(nil), []mapper.Option{mapper.Convert(func(string) (int8, error) { return 1, nil })}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapBoth(t, c.src, reflect.TypeOf(c.want), c.opts...)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	_, err := mapBoth(t, struct {
		Code string
		Set  bool
	}{"x", true}, reflect.TypeFor[string]())
	require.Error(t, err, "only a field Valid makes a null")
	for _, src := range []any{Sourced{}, Referring{}, struct{ Sourced }{}} {
		_, err = mapBoth(t, src, reflect.TypeFor[string]())
		assert.ErrorContains(t, err, "mapper.Convert(", "%T has the text method of a null that it embeds", src)
	}
	_, err = mapBoth(t, NullStamp{Inf: 1, Valid: true}, reflect.TypeFor[*time.Time]())
	assert.ErrorContains(t, err, "more than one value in it")
	_, err = mapBoth(t, sql.Null[int]{V: math.MaxInt, Valid: true}, reflect.TypeFor[sql.Null[int8]]())
	assert.ErrorContains(t, err, "cannot hold this number")
	got, err := mapBoth(t, sql.Null[int]{V: math.MaxInt}, reflect.TypeFor[sql.Null[int8]]())
	assert.Equal(t, sql.Null[int8]{}, got, "the value in an invalid sql.Null is not data")
	assert.NoError(t, err)
	_, err = mapBoth(t, NullBits{}, reflect.TypeFor[string]())
	assert.ErrorContains(t, err, "mapper_test.NullBits to string: mapper_test.NullBits has a String method")
}

// TestNullsByField has options for fields of a struct that looks like a null.
func TestNullsByField(t *testing.T) {
	type dto struct {
		Kode  string
		Valid bool
	}
	m := mapper.Must[Coupon, dto](mapper.Bind(func(d *dto) *string { return &d.Kode }, func(c *Coupon) *string { return &c.Code }))
	eachWay(t, m, func(t *testing.T, mapTo func(Coupon) (dto, error)) {
		got, err := mapTo(Coupon{"x", false})
		require.NoError(t, err)
		assert.Equal(t, dto{"x", false}, got)
	})
	type list struct{ All []Coupon }
	type listDTO struct{ All []dto }
	lists := mapper.Must[list, listDTO](mapper.Bind(func(d *dto) *string { return &d.Kode }, func(c *Coupon) *string { return &c.Code }))
	got, err := lists.Map(list{[]Coupon{{"x", false}}})
	require.NoError(t, err)
	assert.Equal(t, listDTO{[]dto{{"x", false}}}, got)
}

// TestNullsByFieldBehindPointers has pointers on one or both sides to a struct that looks like a null
// and maps by field.
func TestNullsByFieldBehindPointers(t *testing.T) {
	type code struct{ Code string }
	type dto struct {
		Kode  string
		Valid bool
	}
	type user struct{ User, Mail string }
	type nullUser struct { // a null, although users have a field User
		User  user
		Valid bool
	}
	kode := mapper.Bind(func(d *dto) *string { return &d.Kode }, func(c *Coupon) *string { return &c.Code })
	in := Coupon{"x", false}
	for name, c := range map[string]struct {
		src, want any
		opts      []mapper.Option
	}{
		"both":                     {&in, &code{"x"}, nil},
		"both, in a list":          {[]*Coupon{&in, nil}, []*code{{"x"}, nil}, nil},
		"the source":               {&in, code{"x"}, nil},
		"the destination":          {in, &code{"x"}, nil},
		"nil":                      {(*Coupon)(nil), (*code)(nil), nil},
		"to a null, both":          {&code{"x"}, &Coupon{"x", false}, []mapper.Option{mapper.Lenient()}},
		"to a null, the source":    {&code{"x"}, Coupon{"x", false}, []mapper.Option{mapper.Lenient()}},
		"a Bind, both":             {&in, &dto{"x", false}, []mapper.Option{kode}},
		"a Bind, the source":       {&in, dto{"x", false}, []mapper.Option{kode}},
		"a Bind, the destination":  {in, &dto{"x", false}, []mapper.Option{kode}},
		"a null to itself":         {sql.NullString{}, (*sql.NullString)(nil), nil},
		"a null of a struct":       {nullUser{user{"u", "m"}, true}, &user{"u", "m"}, nil},
		"a null of a struct, nil":  {&nullUser{user{"u", "m"}, false}, (*user)(nil), nil},
		"to a null of a struct":    {&user{"u", "m"}, nullUser{user{"u", "m"}, true}, nil},
		"Ignore is for the value":  {sql.Null[Point]{V: Point{1, 2}, Valid: true}, Point32{X: 1}, []mapper.Option{mapper.Ignore(func(p *Point32) *int32 { return &p.Y })}},
		"Ignore is for a null too": {code{"x"}, Coupon{Code: "x"}, []mapper.Option{mapper.Ignore(func(c *Coupon) *bool { return &c.Valid })}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapBoth(t, c.src, reflect.TypeOf(c.want), c.opts...)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

// TestPatchNulls patches with nulls of other shapes than database/sql's.
func TestPatchNulls(t *testing.T) {
	type patch struct {
		N  NullText
		At DeletedAt
		S  NullStamp
	}
	type entity struct {
		N  string
		At DeletedAt
		S  NullStamp
	}
	m := mapper.Must[patch, entity]()
	moment := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	old := entity{"old", DeletedAt{moment, true}, NullStamp{moment, 1, true}}
	e := old
	require.NoError(t, m.Patch(&e, &patch{}))
	assert.Equal(t, old, e)
	require.NoError(t, m.Patch(&e, &patch{At: DeletedAt{Time: time.Unix(0, 0)}, S: NullStamp{Inf: 2}}))
	assert.Equal(t, old, e, "an invalid null is not set, whatever is left in it")
	require.NoError(t, m.Patch(&e, &patch{N: NullText{sql.NullString{Valid: true}}, At: DeletedAt{Valid: true}, S: NullStamp{Valid: true}}))
	assert.Equal(t, entity{"", DeletedAt{Valid: true}, NullStamp{Valid: true}}, e, "a valid one is set as a whole")
}

// TestPatchIntoNulls patches structs that are in nulls: what is not set stays, and the null is there
// from then on. A null of the same type, B, is set as a whole.
func TestPatchIntoNulls(t *testing.T) {
	type user struct{ Name, Mail string }
	type nullUser struct {
		User  user
		Valid bool
	}
	type patch struct {
		A *user
		B nullUser
		C user
	}
	type entity struct{ A, B, C nullUser }
	m := mapper.Must[patch, entity]()
	old := nullUser{user{"old", "m"}, true}
	for name, row := range map[string]struct {
		patch     patch
		old, want entity
	}{
		"nothing": {patch{}, entity{A: old, B: old, C: old}, entity{A: old, B: old, C: old}},
		"a field": {patch{&user{Name: "u"}, nullUser{user{Name: "v"}, true}, user{Name: "w"}}, entity{A: old, B: old, C: old},
			entity{nullUser{user{"u", "m"}, true}, nullUser{user{"v", ""}, true}, nullUser{user{"w", "m"}, true}}},
		"into an absent one": {patch{&user{Name: "u"}, nullUser{user{Name: "v"}, true}, user{Name: "w"}}, entity{},
			entity{nullUser{user{"u", ""}, true}, nullUser{user{"v", ""}, true}, nullUser{user{"w", ""}, true}}},
		"an empty one": {patch{A: &user{}, B: nullUser{Valid: true}}, entity{}, entity{A: nullUser{Valid: true}, B: nullUser{Valid: true}}},
	} {
		got := row.old
		require.NoError(t, m.Patch(&got, &row.patch), name)
		assert.Equal(t, row.want, got, name)
	}
}

// TestAbsentReplaces maps absent values to a destination that has values.
func TestAbsentReplaces(t *testing.T) {
	type src struct {
		Ptr, ToNull *int
		Null        sql.NullInt64
		ToPtr       sql.NullInt64
		List        []int
		Map         map[string]int
		Any         any
	}
	type dst struct {
		Ptr    *int32
		ToNull sql.NullInt64
		Null   sql.Null[int64]
		ToPtr  *int
		List   []int32
		Map    map[string]int32
		Any    any
	}
	m := mapper.Must[src, dst]()
	eachWay(t, m, func(t *testing.T, mapTo func(src) (dst, error)) {
		got, err := mapTo(src{})
		require.NoError(t, err)
		assert.Zero(t, got)
	})
	p := mapper.PlanOf(m)
	for name, run := range map[string]func(dst, src reflect.Value) error{"kernels": p.Kernels, "reflection": p.Reflect} {
		five := int32(5)
		got := dst{&five, sql.NullInt64{Int64: 5, Valid: true}, sql.Null[int64]{V: 5, Valid: true}, ref(5), []int32{5}, map[string]int32{"a": 5}, 5}
		require.NoError(t, run(reflect.ValueOf(&got), reflect.ValueOf(&src{})), name)
		assert.Zero(t, got, name)
	}
}

// TestNullsReplaceAll maps a value to a null that has more fields than a value and Valid: what an
// older value left there must go.
func TestNullsReplaceAll(t *testing.T) {
	type src struct{ A, B *time.Time }
	type dst struct{ A, B NullStamp }
	moment := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	p := mapper.PlanOf(mapper.Must[src, dst]())
	for name, run := range map[string]func(dst, src reflect.Value) error{"kernels": p.Kernels, "reflection": p.Reflect} {
		got := dst{NullStamp{time.Unix(0, 0), 1, true}, NullStamp{time.Unix(0, 0), 1, true}}
		require.NoError(t, run(reflect.ValueOf(&got), reflect.ValueOf(&src{A: &moment})), name)
		assert.Equal(t, dst{A: NullStamp{Time: moment, Valid: true}}, got, name)
	}
}
