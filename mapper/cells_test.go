package mapper_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var parsing = mapper.Options{Parse: true, Stringer: true}

// These have their methods on the pointer, so they are called on a copy.
type (
	ByPointer      struct{ N int }
	NamedByPointer int
)

func (p *ByPointer) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "text %d", p.N), nil }
func (n *NamedByPointer) String() string          { return fmt.Sprintf("name %d", int(*n)) }

// TestCells checks the results, cell by cell.
func TestCells(t *testing.T) {
	moment := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for name, c := range map[string]struct {
		src, want any
		opts      []mapper.Option
	}{
		"int widens":                           {int8(-5), int64(-5), nil},
		"int narrows if it fits":               {int64(127), int8(127), nil},
		"int to uint if it fits":               {int(200), uint8(200), nil},
		"uint64 to int64 if it fits":           {uint64(math.MaxInt64), int64(math.MaxInt64), nil},
		"int to float, exact":                  {int64(1 << 53), float64(1 << 53), nil},
		"min int64 to float32, exact":          {int64(math.MinInt64), float32(-0x1p63), nil},
		"float to int, whole":                  {3.0, 3, nil},
		"float to uint64 above MaxInt64":       {0x1p63, uint64(1 << 63), nil},
		"float64 to float32, exact":            {1.5, float32(1.5), nil},
		"infinity stays":                       {math.Inf(1), float32(math.Inf(1)), nil},
		"named number to its base":             {ID(4), int64(4), nil},
		"duration to int64":                    {time.Second, int64(1e9), nil},
		"complex narrows if it fits":           {complex128(1 + 2i), complex64(1 + 2i), nil},
		"string to bytes":                      {"\xff\x00ab", []byte("\xff\x00ab"), nil},
		"bytes to string":                      {[]byte("\xff\x00ab"), "\xff\x00ab", nil},
		"empty string to bytes, not nil":       {"", []byte{}, nil},
		"bytes with a String method":           {net.HardwareAddr{1, 2}, "01:02", []mapper.Option{parsing}},
		"bytes with a text method":             {net.IP{1, 2, 3, 4}, "1.2.3.4", nil},
		"named bytes to named string":          {Blob("b"), Text("b"), nil},
		"nil slice stays nil":                  {[]int(nil), []int8(nil), nil},
		"empty slice stays empty":              {[]int{}, []int8{}, nil},
		"nil map stays nil":                    {map[string]int(nil), map[string]int8(nil), nil},
		"empty map stays empty":                {map[string]int{}, map[string]int8{}, nil},
		"keys convert too":                     {map[int]string{7: "x"}, map[int8]string{7: "x"}, nil},
		"slice to array of its length":         {[]int{1, 2}, [2]int8{1, 2}, nil},
		"array to slice":                       {[2]int{1, 2}, []int8{1, 2}, nil},
		"slices in slices":                     {[][]int{{1}, nil, {}}, [][]int8{{1}, nil, {}}, nil},
		"value to pointer":                     {5, ref(int8(5)), nil},
		"pointer to value":                     {ref(5), int8(5), nil},
		"nil pointer to zero":                  {(*int)(nil), int8(0), nil},
		"nil pointer stays nil":                {(*int)(nil), (*int8)(nil), nil},
		"pointer to pointer to pointer":        {ref(ref(5)), ref(5), nil},
		"nil in a pointer to nil":              {ref((*int)(nil)), (*int8)(nil), nil},
		"invalid null in a pointer to nil":     {&sql.NullString{}, (*string)(nil), nil},
		"nil to pointer to pointer":            {(*int)(nil), (**int8)(nil), nil},
		"valid null to value":                  {sql.NullString{String: "s", Valid: true}, "s", nil},
		"invalid null to nil":                  {sql.NullString{String: "left over"}, (*string)(nil), nil},
		"text by a method of the pointer":      {ByPointer{7}, "text 7", nil},
		"text of a name by a pointer's method": {NamedByPointer(7), "name 7", []mapper.Option{parsing}},
		"value to null":                        {"", sql.NullString{Valid: true}, nil},
		"nil to invalid null":                  {(*string)(nil), sql.NullString{}, nil},
		"null to null of another size":         {sql.NullInt64{Int64: 5, Valid: true}, sql.NullInt16{Int16: 5, Valid: true}, nil},
		"null of a struct":                     {sql.Null[Point]{V: Point{1, 2}, Valid: true}, Point32{1, 2}, nil},
		"null time":                            {sql.NullTime{Time: moment, Valid: true}, ref(moment), nil},
		"time to its own kind":                 {moment, Stamp(moment), nil},
		"time to text":                         {moment, "2026-01-02T03:04:05.000000006Z", nil},
		"text to time":                         {"2026-01-02T03:04:05.000000006Z", moment, nil},
		"uuid to text":                         {UUID{1, 2}, "01020000000000000000000000000000", nil},
		"text to uuid":                         {"01020000000000000000000000000000", UUID{1, 2}, nil},
		"uuid to bytes":                        {UUID{1, 2}, [16]byte{1, 2}, nil},
		"int to text, asked for":               {-65, "-65", []mapper.Option{parsing}},
		"uint to text, asked for":              {uint8(65), Text("65"), []mapper.Option{parsing}},
		"float32 to text, shortest":            {float32(0.1), "0.1", []mapper.Option{parsing}},
		"bool to text, asked for":              {true, "true", []mapper.Option{parsing}},
		"text to int, asked for":               {"-65", int8(-65), []mapper.Option{parsing}},
		"text to uint, asked for":              {"65", uint(65), []mapper.Option{parsing}},
		"text to float, asked for":             {"0.1", float32(0.1), []mapper.Option{parsing}},
		"text to bool, asked for":              {"true", true, []mapper.Option{parsing}},
		"String method, asked for":             {Color(1), "green", []mapper.Option{parsing}},
		"unexported fields of the same type":   {Hidden{5}, Hidden{5}, nil},
		"embedded to flat":                     {Embeds{Base{3}}, Flat{3}, nil},
		"flat to embedded":                     {Flat{3}, Embeds{Base{3}}, nil},
		"embedded pointer to flat":             {EmbedPtr{&Base{3}}, Flat{3}, nil},
		"nil embedded pointer to flat":         {EmbedPtr{}, Flat{}, nil},
		"flat to embedded pointer":             {Flat{3}, EmbedPtr{&Base{3}}, nil},
		"generic types":                        {Pair[int]{1, []int{2}}, Pair[int8]{1, []int8{2}}, nil},
		"recursive types":                      {Tree{1, []*Tree{{2, nil}, nil}}, Tree{1, []*Tree{{2, nil}, nil}}, nil},
		"a struct in an interface":             {struct{ V any }{Point{1, 2}}, struct{ V Point32 }{Point32{1, 2}}, nil},
		"a pointer in an interface":            {struct{ V any }{&Point{1, 2}}, struct{ V Point32 }{Point32{1, 2}}, nil},
		"interface to interface":               {struct{ V any }{[]any{1, Dog{"x"}}}, struct{ V any }{[]any{1, Dog{"x"}}}, nil},
		"a value to an interface it satisfies": {struct{ V Dog }{Dog{"x"}}, struct{ V Named }{Dog{"x"}}, nil},
		"interface to a smaller interface":     {struct{ V any }{Dog{"x"}}, struct{ V Named }{Dog{"x"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapBoth(t, c.src, reflect.TypeOf(c.want), c.opts...)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	_, err := mapBoth(t, net.HardwareAddr{1, 2}, reflect.TypeFor[string]())
	assert.ErrorContains(t, err, "net.HardwareAddr has a String method, which is used only if you ask for it")
	_, err = mapBoth(t, "01:02", reflect.TypeFor[net.HardwareAddr](), parsing)
	assert.ErrorContains(t, err, "net.HardwareAddr has a String method, but none that reads a text")
}

// mapBoth maps src to a dst with both executors and checks that they agree.
func mapBoth(t *testing.T, src any, dst reflect.Type, opts ...mapper.Option) (any, error) {
	t.Helper()
	s := reflect.New(reflect.TypeOf(src))
	s.Elem().Set(reflect.ValueOf(src))
	p, err := mapper.Compile(s.Type().Elem(), dst, opts...)
	if err != nil {
		return nil, err
	}
	d, err := both(t, t.Name(), p, dst, s)
	if err != nil {
		return nil, err
	}
	return d.Elem().Interface(), nil
}

// TestErrors checks errors while mapping: the path, the reason, and that the text has no value of
// the source.
func TestErrors(t *testing.T) {
	loop := Loop{nil}
	loop[0] = loop
	cyclic := map[string]any{}
	cyclic["self"] = cyclic
	for name, c := range map[string]struct {
		src  any
		dst  reflect.Type
		path string
		why  string
		opts []mapper.Option
	}{
		"int too big":              {[]int{1, 987654321}, reflect.TypeFor[[]int8](), "[1]", "exactly", nil},
		"int too small":            {struct{ A int }{-987654321}, reflect.TypeFor[struct{ A int8 }](), "A", "exactly", nil},
		"negative to uint":         {-987654321, reflect.TypeFor[uint64](), "", "exactly", nil},
		"uint64 to int64":          {uint64(math.MaxUint64), reflect.TypeFor[int64](), "", "exactly", nil},
		"fraction to int":          {987654321.5, reflect.TypeFor[int](), "", "exactly", nil},
		"NaN to int":               {math.NaN(), reflect.TypeFor[int](), "", "exactly", nil},
		"infinity to int":          {math.Inf(1), reflect.TypeFor[int64](), "", "exactly", nil},
		"2^63 to int64":            {0x1p63, reflect.TypeFor[int64](), "", "exactly", nil},
		"2^64 to uint64":           {0x1p64, reflect.TypeFor[uint64](), "", "exactly", nil},
		"-1 to uint64":             {-1.0, reflect.TypeFor[uint64](), "", "exactly", nil},
		"float too big":            {1e300, reflect.TypeFor[float32](), "", "exactly", nil},
		"float that rounds":        {0.1, reflect.TypeFor[float32](), "", "exactly", nil},
		"int that rounds":          {int64(math.MaxInt64), reflect.TypeFor[float64](), "", "exactly", nil},
		"uint that rounds":         {uint64(math.MaxUint64), reflect.TypeFor[float64](), "", "exactly", nil},
		"complex that rounds":      {complex(1, 0.1), reflect.TypeFor[complex64](), "", "exactly", nil},
		"slice to shorter array":   {[]int{1, 2, 3}, reflect.TypeFor[[2]int](), "", "length", nil},
		"slice to longer array":    {[]int{1}, reflect.TypeFor[[2]int](), "", "length", nil},
		"keys that become one":     {map[any]int{int8(1): 1, int16(1): 2}, reflect.TypeFor[map[int]int](), "", "two keys", nil},
		"key out of range":         {map[int]string{987654321: "x"}, reflect.TypeFor[map[int8]string](), "[*]", "exactly", nil},
		"map value out of range":   {map[string]int{"secret": 987654321}, reflect.TypeFor[map[string]int8](), "[*]", "exactly", nil},
		"bad uuid":                 {[]string{"secret"}, reflect.TypeFor[[]UUID](), "[0]", "*errors.errorString", nil},
		"bad time":                 {struct{ At string }{"secret"}, reflect.TypeFor[struct{ At time.Time }](), "At", "*time.ParseError", nil},
		"bad number":               {"secret", reflect.TypeFor[int](), "", "not a number", []mapper.Option{parsing}},
		"number text out of range": {"987654321", reflect.TypeFor[int8](), "", "exactly", []mapper.Option{parsing}},
		"chan in an interface":     {struct{ V any }{make(chan int)}, reflect.TypeFor[struct{ V any }](), "V", "chan cannot be copied", nil},
		"wrong type in interface":  {struct{ V any }{"secret"}, reflect.TypeFor[struct{ V int }](), "V", "Parse", nil},
		"no method in interface":   {struct{ V any }{Point{}}, reflect.TypeFor[struct{ V Named }](), "V", "does not implement", nil},
		"error in interface":       {struct{ V any }{errors.New("secret")}, reflect.TypeFor[struct{ V any }](), "V", "another error", nil},
		"cyclic slice":             {loop, reflect.TypeFor[Loop](), "[0]", "the data is cyclic", nil},
		"cyclic map of interfaces": {cyclic, reflect.TypeFor[map[string]any](), "[*]", "the data is cyclic", nil},
		"deep interfaces":          {map[string]any{"a": map[string]any{"a": map[string]any{"a": 1}}}, reflect.TypeFor[map[string]any](), "[*][*][*]", "MaxDepth", []mapper.Option{mapper.Options{MaxDepth: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mapBoth(t, c.src, c.dst, c.opts...)
			var e *mapper.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.path, e.Path)
			assert.Contains(t, err.Error(), c.why)
			assert.NotContains(t, err.Error(), "secret")
			assert.NotContains(t, err.Error(), "987654321")
		})
	}
}

// TestRefused checks what New refuses, and that it says why.
func TestRefused(t *testing.T) {
	type D[T any] struct{ F T }
	for name, c := range map[string]struct {
		src, dst reflect.Type
		why      string
	}{
		"chan":                  {reflect.TypeFor[D[chan int]](), reflect.TypeFor[D[chan int]](), "F: chan int to chan int: a chan cannot be copied"},
		"func":                  {reflect.TypeFor[D[func()]](), reflect.TypeFor[D[func()]](), "a func cannot be copied"},
		"int to string":         {reflect.TypeFor[D[int]](), reflect.TypeFor[D[string]](), "Options{Parse: true}"},
		"string to int":         {reflect.TypeFor[D[string]](), reflect.TypeFor[D[int]](), "Options{Parse: true}"},
		"bool to int":           {reflect.TypeFor[D[bool]](), reflect.TypeFor[D[int]](), "no rule maps a bool to an int"},
		"struct to string":      {reflect.TypeFor[D[Point]](), reflect.TypeFor[D[string]](), "no method MarshalText"},
		"string to struct":      {reflect.TypeFor[D[string]](), reflect.TypeFor[D[Point]](), "no method UnmarshalText"},
		"array lengths":         {reflect.TypeFor[D[[2]int]](), reflect.TypeFor[D[[3]int]](), "different lengths"},
		"unexported references": {reflect.TypeFor[D[Handle]](), reflect.TypeFor[D[Handle]](), "F: mapper_test.Handle to mapper_test.Handle: only its own package can copy it, because its field refs"},
		"nothing to set":        {reflect.TypeFor[D[Hidden]](), reflect.TypeFor[D[Hidden2]](), "no field of the destination can be filled"},
		"lock":                  {reflect.TypeFor[D[Locked]](), reflect.TypeFor[D[Locked]](), "F: mapper_test.Locked to mapper_test.Locked: a lock cannot be copied, and its field mu is one"},
		"error":                 {reflect.TypeFor[D[error]](), reflect.TypeFor[D[error]](), "another error"},
		"method is missing":     {reflect.TypeFor[D[Point]](), reflect.TypeFor[D[Named]](), "does not implement"},
		"deep inside":           {reflect.TypeFor[[]map[string]D[int]](), reflect.TypeFor[[]map[string]D[string]](), "[][*].F: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mapper.Compile(c.src, c.dst)
			var build *mapper.BuildError
			require.ErrorAs(t, err, &build)
			assert.Contains(t, err.Error(), c.why)
		})
	}
}
