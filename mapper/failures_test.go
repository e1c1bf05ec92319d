package mapper_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/failures.txt")

// TestFailureTexts prints every error, panic and log text of the package, for a reviewer.
//
//	go test ./mapper -run TestFailureTexts -update
func TestFailureTexts(t *testing.T) {
	var b strings.Builder
	say := func(title string, text any) { fmt.Fprintf(&b, "--- %s\n%v\n\n", title, text) }
	for _, f := range []func(say func(string, any)){buildFailures, optionFailures, valueFailures, misuseFailures} {
		f(say)
	}
	mapper.ResetSites()
	warning := logged(t, func() {
		for i := range mapper.MaxBuilds {
			mapper.Must[Point, Point32]()
			if i == mapper.MaxBuilds*3/4 {
				runtime.GC()
			}
		}
	})
	warning = regexp.MustCompile(`time=\S+ `).ReplaceAllString(warning, "")
	say("a Mapper built again and again: the log", regexp.MustCompile(`at \S+:\d+:`).ReplaceAllString(warning, "at file.go:5:"))
	const file = "testdata/failures.txt"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), b.String(), "if the new texts are right: go test ./mapper -run TestFailureTexts -update")
}

type one[T any] struct{ V T }
type other[T any] struct{ V T }

func buildFailures(say func(string, any)) {
	try := func(title string, err error) { say("New: "+title, err) }
	_, err := mapper.New[Order, OrderDTO]()
	try("missing fields and types that do not map, in a list too", err)
	_, err = mapper.New[TwoNames, TwoNamesDTO]()
	try("an ambiguous source", err)
	_, err = mapper.New[TwoNamesDTO, TwoNames]()
	try("an ambiguous destination", err)
	_, err = mapper.New[struct{ A int }, Point](mapper.Lenient())
	try("nothing in common", err)
	_, err = mapper.New[one[Color], one[string]]()
	try("an enum to text", err)
	_, err = mapper.New[one[string], one[Color]]()
	try("a text to an enum", err)
	_, err = mapper.New[one[Point], one[string]]()
	try("no text method", err)
	_, err = mapper.New[one[string], one[Point]]()
	try("no method that reads text", err)
	_, err = mapper.New[one[NullBits], one[*string]]()
	try("a null whose value is no text", err)
	_, err = mapper.New[one[money], other[money]]()
	try("a type that only its package can copy", err)
	_, err = mapper.New[one[*Locked], other[*Locked]]()
	try("a lock behind a pointer", err)
	_, err = mapper.New[one[Locked], other[Locked]]()
	try("a lock", err)
	_, err = mapper.New[one[chan int], other[chan int]]()
	try("a channel", err)
	_, err = mapper.New[one[error], other[error]]()
	try("an error", err)
	_, err = mapper.New[one[int], one[fmt.Stringer]]()
	try("an interface that is not implemented", err)
	_, err = mapper.New[one[[2]int], one[[3]int]]()
	try("arrays", err)
	_, err = mapper.New[one[bool], one[[]int]]()
	try("no rule", err)
	_, err = mapper.New[Point, struct{ X int }](mapper.Options{AllRead: true})
	try("a field that nothing reads", err)
	_, err = mapper.New[struct{ X int }, Message]()
	try("a field whose type has no exported name", err)
}

func optionFailures(say func(string, any)) {
	try := func(title string, opts ...mapper.Option) {
		_, err := mapper.New[Order, OrderDTO](append(opts, customer, decimal, titled, price)...)
		say("options: "+title, err)
	}
	try("a selector into a list", mapper.Ignore(func(d *OrderDTO) *string { return &d.Items[0].Price }))
	try("a selector of the whole", mapper.Ignore(func(d *OrderDTO) *OrderDTO { return d }))
	try("a selector that returns nil", mapper.Ignore(func(d *OrderDTO) *string { return nil }))
	try("a selector of something else", mapper.Ignore(func(d *OrderDTO) *string { return new(string) }))
	try("a selector of no place", mapper.Ignore(func(d *OrderDTO) *struct{} { return new(struct{}) }))
	try("a nil selector", mapper.Ignore[OrderDTO, *string](nil))
	try("a nil function", mapper.Set[OrderDTO, string, Order](func(d *OrderDTO) *string { return &d.ID }, nil))
	try("a nil Convert", mapper.Convert[int8, string](nil), mapper.Convert[Item, ItemDTO](nil))
	try("two Converts", decimal)
	try("two choices", mapper.Ignore(func(d *OrderDTO) *string { return &d.Customer }))
	try("a pair that is not mapped", mapper.Bind(func(d *PostDTO) *string { return &d.Heading }, func(p *Post) *string { return &p.Title }))
	try("an Ignore of another type", mapper.Ignore(func(d *PostDTO) *string { return &d.Heading }))
	try("a For of a pair that is not mapped", mapper.For[Post, PostDTO]())
	try("two For", mapper.For[Item, ItemDTO](), mapper.For[Item, ItemDTO]())
	try("two tags", mapper.Tag("json"), mapper.Tag("db"))
	try("Share and DetachStrings", mapper.Share(), mapper.Options{DetachStrings: true})
	type src struct{ N one[time.Time] }
	_, err := mapper.New[src, struct{ N one[time.Time] }](mapper.Convert(func(o one[time.Time]) (one[time.Time], error) { return o, nil }),
		mapper.Ignore(func(d *struct{ N one[time.Time] }) *time.Time { return &d.N.V }))
	say("options: an Ignore inside a part that maps as one", err)
}

func valueFailures(say func(string, any)) {
	try := func(title string, src any, dst reflect.Type, opts ...mapper.Option) {
		s := reflect.New(reflect.TypeOf(src))
		s.Elem().Set(reflect.ValueOf(src))
		p, err := mapper.Compile(s.Type().Elem(), dst, opts...)
		if err == nil {
			err = p.Kernels(reflect.New(dst), s)
		}
		say("Map: "+title, err)
	}
	loop := Loop{nil}
	loop[0] = loop
	deep := levels(2000, &Tree{}, func(k *Tree) *Tree { return &Tree{Kids: []*Tree{k}} })
	far := levels(100_000, &Tree{}, func(k *Tree) *Tree { return &Tree{Kids: []*Tree{k}} })
	try("a number that does not fit", struct{ List []map[string]int }{[]map[string]int{nil, {"secret": 300}}}, reflect.TypeFor[struct{ List []map[string]int8 }]())
	try("a text that is no number", "secret", reflect.TypeFor[int](), parsing)
	try("a list of another length", []int{1}, reflect.TypeFor[[2]int]())
	try("two keys that become one", map[any]int{int8(1): 1, int16(1): 2}, reflect.TypeFor[map[int]int]())
	try("a key that cannot be hashed", map[string]int{"a": 1}, reflect.TypeFor[map[any]int](), mapper.Convert(func(string) (any, error) { return []int{1}, nil }))
	try("cyclic data", loop, reflect.TypeFor[Loop]())
	try("a tree of a diamond", *levels(60, &Diamond{}, func(d *Diamond) *Diamond { return &Diamond{"x", d, d} }), reflect.TypeFor[Diamond](), mapper.Options{Trees: true})
	try("deep data", *deep, reflect.TypeFor[Tree]())
	try("data too deep for the stack", *far, reflect.TypeFor[Tree](), mapper.Options{MaxDepth: 1 << 30})
	try("a null with more than a value", NullStamp{Inf: 1, Valid: true}, reflect.TypeFor[*time.Time]())
	try("an error in an interface", one[any]{errors.New("secret")}, reflect.TypeFor[one[any]]())
	try("a type in an interface that does not implement the destination", one[any]{Point{}}, reflect.TypeFor[one[Named]]())
	try("a type in an interface that does not map", one[any]{make(chan int)}, reflect.TypeFor[one[any]]())
	try("a list in an interface whose elements do not map", one[any]{[]Item{{}}}, reflect.TypeFor[one[[]Point]]())
	try("a converter that fails", "secret", reflect.TypeFor[time.Time]())
	try("a converter whose error is safe", 1, reflect.TypeFor[string](), mapper.Convert(func(int) (string, error) {
		return "", fmt.Errorf("secret: %w", safeError("bad status"))
	}))
}

func misuseFailures(say func(string, any)) {
	_, err := mapper.Map[ItemDTO](Item{})
	say("the function Map: missing fields", err)
	var none *mapper.Mapper[Point, Point32]
	_, err = none.MapContext(context.Background(), Point{})
	say("misuse: a nil Mapper", err)
	say("misuse: a nil destination", mapper.Must[Point, Point32]().Into(nil, &Point{}))
	say("misuse: MapAny without a pointer", mapper.MapAny(Point{}, Point{}))
	defer func() { say("misuse: the panic of Must", recover()) }()
	mapper.Must[one[bool], one[int]]()
}
