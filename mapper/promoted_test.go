package mapper_test

import (
	"database/sql/driver"
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Types that embed a type with text methods.
type (
	Happening struct { // the text methods are of the time only
		time.Time
		Name string
	}
	Amount struct { // what else there is need not be exported
		UUID
		currency string
	}
	Around  struct{ Happening }
	Behind  struct{ *time.Time }
	Wrapped struct{ time.Time }
	Twice   struct{ Wrapped }
	Marked  struct {
		_ [0]func()
		NoCopy
		Wrapped
		_ int
	}
	NoCopy    struct{}
	Anything  struct{ encoding.TextMarshaler }
	Tagged    struct{ Marker }
	TaggedInt struct {
		Marker
		N int
	}
	Marker struct{}
	Shown  struct { // String is its own, and MarshalText is not
		time.Time
		Name string
	}
	Spoken struct {
		Color
		N int
	}
	ByHand struct { // declares both
		time.Time
		Name string
	}
	AroundByHand   struct{ ByHand }
	Generic[T any] struct {
		UUID
		V T
	}
	GenericByHand[T any] struct {
		UUID
		V T
	}
	Small struct { // so small that the compiler copies its method to where it is called
		Constant
		N int
	}
	Constant      struct{ B byte }
	SmallByHand   struct{ Constant }
	SmallerByHand struct {
		Constant
		N int
	}
	Cents int64
	Range struct { // no null, because it is a driver.Valuer only through Cents
		Cents
		High  int64
		Valid bool
	}
	RangeByHand struct {
		Cents
		High  int64
		Valid bool
	}
)

func (Marker) MarshalText() ([]byte, error) { return []byte("mark"), nil }
func (s Shown) String() string              { return s.Name }
func (b ByHand) MarshalText() ([]byte, error) {
	return []byte(b.Name + "@" + b.Format(time.DateOnly)), nil
}
func (b *ByHand) UnmarshalText(text []byte) error {
	name, day, _ := strings.Cut(string(text), "@")
	at, err := time.Parse(time.DateOnly, day)
	b.Name, b.Time = name, at
	return err
}
func (g GenericByHand[T]) MarshalText() ([]byte, error) { return fmt.Append(nil, g.V), nil }
func (g *GenericByHand[T]) UnmarshalText(b []byte) error {
	_, err := fmt.Sscan(string(b), &g.V)
	return err
}
func (Constant) String() string                      { return "constant" }
func (Constant) MarshalText() ([]byte, error)        { return nil, nil }
func (s SmallerByHand) String() string               { return s.Constant.String() }
func (s SmallerByHand) MarshalText() ([]byte, error) { return s.Constant.MarshalText() }
func (c Cents) Value() (driver.Value, error)         { return int64(c), nil }
func (r RangeByHand) Value() (driver.Value, error)   { return r.Cents.Value() }

// TestPromotedText maps structs that embed a type with text methods to texts and back. Where the
// struct holds something else, the text would not be the text of the whole.
func TestPromotedText(t *testing.T) {
	moment := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	const text, id = "2026-01-02T00:00:00Z", "01000000000000000000000000000000"
	str := mapper.Options{Stringer: true}
	for name, c := range map[string]struct {
		src, want any
		opts      []mapper.Option
	}{
		"nothing else":                   {Wrapped{moment}, text, nil},
		"nothing else, back":             {text, Wrapped{moment}, nil},
		"nothing else, twice":            {&Twice{Wrapped{moment}}, ref(text), nil},
		"nothing else, twice, back":      {text, &Twice{Wrapped{moment}}, nil},
		"what else has no size":          {Marked{Wrapped: Wrapped{moment}}, text, nil},
		"what else has no size, back":    {text, Marked{Wrapped: Wrapped{moment}}, nil},
		"nothing at all":                 {Tagged{}, "mark", nil},
		"nothing else, String":           {struct{ Color }{1}, "green", []mapper.Option{str}},
		"its own methods":                {ByHand{moment, "x"}, "x@2026-01-02", nil},
		"its own methods, back":          {"x@2026-01-02", ByHand{moment, "x"}, nil},
		"its own methods, in another":    {AroundByHand{ByHand{moment, "x"}}, "x@2026-01-02", nil},
		"its own methods, generic":       {GenericByHand[int]{V: 5}, "5", nil},
		"its own methods, generic, back": {"5", GenericByHand[int]{V: 5}, nil},
		"its own String":                 {Shown{moment, "x"}, "x", []mapper.Option{str}},
		"its own methods, inlined":       {SmallerByHand{N: 5}, "", nil},
		"of a type defined on it":        {[]Wrapped{{moment}}, []string{text}, nil},
		"by field":                       {Happening{moment, "x"}, struct{ Name, Time string }{"x", text}, nil},
		"by a Convert":                   {Happening{moment, "x"}, "x", []mapper.Option{mapper.Convert(func(h Happening) (string, error) { return h.Name, nil })}},
		"a null's value":                 {EmbeddedTime{moment, true}, text, []mapper.Option{str}},
		"its own Value":                  {RangeByHand{Cents: 5, Valid: true}, ref(int64(5)), nil},
		"not its own Value, by field":    {Range{5, 6, false}, struct{ High, Cents int64 }{6, 5}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mapBoth(t, c.src, reflect.TypeOf(c.want), c.opts...)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	for name, c := range map[string]struct{ src, dst any }{
		"another field":             {Happening{}, ""},
		"another field, back":       {"", Happening{}},
		"an unexported field":       {Amount{}, ""},
		"an unexported field, back": {"", Amount{}},
		"a pointer":                 {&Happening{}, ref("")},
		"a pointer, back":           {ref(""), &Happening{}},
		"in another":                {Around{}, ""},
		"in another, back":          {"", Around{}},
		"in a list":                 {[]Happening{}, []string{}},
		"keys of a map":             {map[string]int{}, map[Amount]int{}},
		"a pointer that can be nil": {Behind{}, ""},
		"no pointer to fill":        {"", Behind{}},
		"an interface":              {Anything{}, ""},
		"from a type of size zero":  {TaggedInt{}, ""},
		"String":                    {Spoken{}, ""},
		"String and MarshalText": {struct {
			Shown
			N int
		}{}, ""},
		"a lock": {&struct {
			sync.Mutex
			time.Time
		}{}, ref("")},
		"a generic type":           {Generic[int]{}, ""},
		"a generic type, back":     {"", Generic[int]{}},
		"a method that is inlined": {Small{}, ""},
		"a type without a name": {struct {
			ByHand
			N int
		}{}, ""},
		"a null whose value embeds it": {struct {
			Happening
			Valid bool
		}{}, ""},
		"no null, and Value of a field": {Range{}, ref(int64(0))},
	} {
		for _, opts := range [][]mapper.Option{nil, {str}} {
			_, err := mapper.Compile(reflect.TypeOf(c.src), reflect.TypeOf(c.dst), opts...)
			assert.ErrorContains(t, err, "1 problem", name)
		}
	}
	_, err := mapper.New[Happening, string](str)
	assert.ErrorContains(t, err, "mapper_test.Happening to string: mapper_test.Happening has its text method from a type that it embeds, so the text is not the text of the whole. Add\n\t\tmapper.Convert(func(s Happening) (d string, err error)")
	_, err = mapper.New[string, Amount]()
	assert.ErrorContains(t, err, "mapper_test.Amount has its method UnmarshalText from a type that it embeds, so a text does not set the whole. Add\n\t\tmapper.Convert(func(s string) (d Amount, err error)")
	_, err = mapper.New[Shown, string]()
	assert.ErrorContains(t, err, "mapper.Options{Stringer: true}", "a String method of its own")
	_, err = mapper.Map[any](Happening{moment, "x"})
	assert.NoError(t, err)
	_ = Amount{}.currency
}
