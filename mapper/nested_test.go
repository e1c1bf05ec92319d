package mapper_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/mapper"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type (
	Item struct {
		Name  string
		Cents int64
	}
	Order struct {
		ID    int64
		Buyer string
		Items []Item
		Gift  *Item
	}
	ItemDTO  struct{ Title, Price string }
	OrderDTO struct {
		ID       string
		Customer string
		Items    []ItemDTO
		Gift     *ItemDTO
	}
	Author struct {
		Name  string
		Posts []Post
	}
	Post struct {
		Title  string
		Author *Author
	}
	AuthorDTO struct {
		FullName string
		Posts    []PostDTO
	}
	PostDTO struct {
		Heading string
		Author  *AuthorDTO
	}
)

var (
	errNegative = errors.New("negative price")
	titled      = mapper.Bind(func(d *ItemDTO) *string { return &d.Title }, func(i *Item) *string { return &i.Name })
	customer    = mapper.Bind(func(d *OrderDTO) *string { return &d.Customer }, func(o *Order) *string { return &o.Buyer })
	price       = mapper.SetErr(func(d *ItemDTO) *string { return &d.Price }, priceOf)
	decimal     = mapper.Convert(func(i int64) (string, error) { return strconv.FormatInt(i, 10), nil })
)

func priceOf(i Item) (string, error) {
	if i.Cents < 0 {
		return "", errNegative
	}
	return fmt.Sprintf("%d.%02d", i.Cents/100, i.Cents%100), nil
}

var (
	order    = Order{1, "ada", []Item{{"pen", 120}}, &Item{"ink", 5}}
	orderDTO = OrderDTO{"1", "ada", []ItemDTO{{"pen", "1.20"}}, &ItemDTO{"ink", "0.05"}}
)

// TestNestedOptions renames inside a list and behind a pointer, in one Mapper.
func TestNestedOptions(t *testing.T) {
	m := mapper.Must[Order, OrderDTO](customer, decimal, titled, price)
	eachWay(t, m, func(t *testing.T, mapTo func(Order) (OrderDTO, error)) {
		got, err := mapTo(order)
		require.NoError(t, err)
		assert.Equal(t, orderDTO, got)
		_, err = mapTo(Order{Items: []Item{{}, {Cents: -1}}})
		assert.ErrorContains(t, err, "Items[1].Price: mapper_test.Item to string: ")
		assert.ErrorIs(t, err, errNegative)
	})
	_, err := mapper.New[Order, OrderDTO](customer, decimal, titled, price, titled)
	assert.ErrorContains(t, err, "Bind of Title and Bind of Title choose the same field")
}

// TestFor has two conversions of the same types, each for a different pair.
func TestFor(t *testing.T) {
	cents := mapper.Convert(func(c int64) (string, error) { return priceOf(Item{Cents: c}) })
	bound := mapper.Bind(func(d *ItemDTO) *string { return &d.Price }, func(i *Item) *int64 { return &i.Cents })
	m := mapper.Must[Order, OrderDTO](customer, decimal, mapper.For[Item, ItemDTO](titled, bound, cents))
	eachWay(t, m, func(t *testing.T, mapTo func(Order) (OrderDTO, error)) {
		got, err := mapTo(order)
		require.NoError(t, err)
		assert.Equal(t, orderDTO, got)
	})
	any, err := mapper.Must[Order, OrderDTO](customer, decimal, mapper.For[*Item, *ItemDTO](mapper.Lenient(), titled)).Map(order)
	require.NoError(t, err)
	assert.Equal(t, []ItemDTO{{Title: "pen"}}, any.Items, "Lenient for one pair")
	for why, opts := range map[string][]mapper.Option{
		"For has no effect: this Mapper maps no mapper_test.Item to a mapper_test.Item": {customer, decimal, titled, price, mapper.For[Item, Item](mapper.Lenient())},
		"two For options are for this pair":                                             {customer, decimal, titled, price, mapper.For[Item, ItemDTO](), mapper.For[Item, ItemDTO]()},
		"mapper_test.Order has no field Customer":                                       {decimal, titled, price, mapper.For[Item, ItemDTO](mapper.Lenient())},
		"Bind has no effect: this Mapper maps no mapper_test.Post to a mapper_test.PostDTO": {customer, decimal, titled, price,
			mapper.Bind(func(d *PostDTO) *string { return &d.Heading }, func(p *Post) *string { return &p.Title })},
	} {
		_, err := mapper.New[Order, OrderDTO](opts...)
		assert.ErrorContains(t, err, why)
	}
}

// TestMutualPairs maps two types that contain each other, each with a renamed field.
func TestMutualPairs(t *testing.T) {
	names := []mapper.Option{
		mapper.Bind(func(d *AuthorDTO) *string { return &d.FullName }, func(a *Author) *string { return &a.Name }),
		mapper.Bind(func(d *PostDTO) *string { return &d.Heading }, func(p *Post) *string { return &p.Title }),
	}
	authors, posts := mapper.Must[Author, AuthorDTO](names...), mapper.Must[Post, PostDTO](names...)
	eachWay(t, authors, func(t *testing.T, mapTo func(Author) (AuthorDTO, error)) {
		got, err := mapTo(Author{"Ada", []Post{{"t", &Author{Name: "Eve"}}}})
		require.NoError(t, err)
		assert.Equal(t, AuthorDTO{"Ada", []PostDTO{{"t", &AuthorDTO{FullName: "Eve"}}}}, got)
		ada := Author{Name: "Ada"}
		ada.Posts = []Post{{"t", &ada}}
		_, err = mapTo(ada)
		assert.ErrorContains(t, err, "cyclic")
	})
	got, err := posts.Map(Post{"t", &Author{Name: "Eve"}})
	require.NoError(t, err)
	assert.Equal(t, PostDTO{"t", &AuthorDTO{FullName: "Eve"}}, got)
}

// TestInlinedOptions has options for a struct nested by value, and for a field inside it.
func TestInlinedOptions(t *testing.T) {
	type place struct{ Town, Zip string }
	type placeDTO struct{ City, Zip, Note string }
	type src struct {
		Home, Work place
		Any        any
	}
	type dst struct {
		Home, Work placeDTO
		Any        any
	}
	m := mapper.Must[src, dst](
		mapper.Bind(func(d *placeDTO) *string { return &d.City }, func(p *place) *string { return &p.Town }),
		mapper.Set(func(d *placeDTO) *string { return &d.Note }, func(p *place) string { return p.Town + "!" }),
		mapper.After(func(d *placeDTO, p place) error { d.Zip += "-" + p.Zip; return nil }),
		mapper.Ignore(func(d *dst) *string { return &d.Work.Zip }),
		mapper.After(func(d *dst, s src) error { d.Home.Note += d.Work.City; return nil }),
	)
	eachWay(t, m, func(t *testing.T, mapTo func(src) (dst, error)) {
		got, err := mapTo(src{place{"Rome", "1"}, place{"Oslo", "2"}, place{"Bern", "3"}})
		require.NoError(t, err)
		assert.Equal(t, dst{placeDTO{"Rome", "1-1", "Rome!Oslo"}, placeDTO{"Oslo", "-2", "Oslo!"}, place{"Bern", "3"}}, got)
	})
	d := dst{Work: placeDTO{Zip: "kept"}}
	require.NoError(t, m.Into(&d, &src{Work: place{"Oslo", "2"}}))
	assert.Equal(t, "kept-2", d.Work.Zip)
	var far placeDTO
	require.NoError(t, m.MapAny(&far, place{"Rome", "1"}), "a nested pair alone, by the same options")
	assert.Equal(t, placeDTO{"Rome", "1-1", "Rome!"}, far)
}

// TestAfter has an After that fails, one that retains its pointer, and one that runs in Patch.
func TestAfter(t *testing.T) {
	type src struct{ Low, High int }
	type dst struct{ Low, High, Span int }
	var kept *dst
	m := mapper.Must[src, dst](mapper.Ignore(func(d *dst) *int { return &d.Span }), mapper.After(func(d *dst, s src) error {
		kept = d
		if d.Span = d.High - d.Low; d.Span < 0 {
			return errNegative
		}
		return nil
	}))
	eachWay(t, m, func(t *testing.T, mapTo func(src) (dst, error)) {
		got, err := mapTo(src{1, 3})
		require.NoError(t, err)
		assert.Equal(t, dst{1, 3, 2}, got)
		kept.Low = 99
		assert.Equal(t, dst{1, 3, 2}, got, "the pointer that After retains points to a copy")
		_, err = mapTo(src{3, 1})
		assert.ErrorIs(t, err, errNegative)
		assert.ErrorContains(t, err, "mapper: mapper_test.src to mapper_test.dst: the conversion returned")
	})
	d := dst{1, 3, 2}
	require.NoError(t, m.Patch(&d, &src{High: 9}))
	assert.Equal(t, dst{1, 9, 8}, d)
	d.Span = 0
	require.NoError(t, m.Patch(&d, &src{}))
	assert.Equal(t, dst{1, 9, 8}, d, "After runs although nothing is set")
	list, err := mapper.Must[[]src, []dst](mapper.Lenient(), mapper.After(func(d *dst, s src) error { d.Span = 1; return nil })).Map([]src{{1, 2}})
	require.NoError(t, err)
	assert.Equal(t, []dst{{1, 2, 1}}, list)
	_, err = mapper.New[src, dst](mapper.Lenient(), mapper.After[src, dst](nil))
	assert.ErrorContains(t, err, "After, option 1 of those that choose fields: its function is nil")
}

type isKind interface{ isKind() }

type Message struct {
	Name string
	Kind isKind // as a oneof: the type has no exported name
}

type Number struct{ N int }

func (Number) isKind() {}

// TestUnnamedTypes ignores and sets a field whose type the caller cannot name.
func TestUnnamedTypes(t *testing.T) {
	type src struct{ N int }
	m := mapper.Must[src, Message](
		mapper.Set(func(m *Message) *string { return &m.Name }, func(src) string { return "n" }),
		mapper.Ignore(func(m *Message) any { return &m.Kind }),
		mapper.After(func(m *Message, s src) error { m.Kind = Number(s); return nil }))
	eachWay(t, m, func(t *testing.T, mapTo func(src) (Message, error)) {
		got, err := mapTo(src{5})
		require.NoError(t, err)
		assert.Equal(t, Message{"n", Number{5}}, got)
	})
	_, err := mapper.New[src, Message](mapper.Lenient(), mapper.Ignore(func(m *Message) any { return m.Kind }))
	assert.ErrorContains(t, err, "must return the address of a field")
}

// TestContext gives a context to converters.
func TestContext(t *testing.T) {
	type ctxKey struct{}
	type src struct{ N []int }
	type dst struct{ N []string }
	m := mapper.Must[src, dst](mapper.ConvertContext(func(ctx context.Context, n int) (string, error) {
		lang, _ := ctx.Value(ctxKey{}).(string)
		return fmt.Sprint(lang, n), ctx.Err()
	}))
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "en"))
	got, err := m.MapContext(ctx, src{[]int{1}})
	require.NoError(t, err)
	assert.Equal(t, dst{[]string{"en1"}}, got)
	plain, err := m.Map(src{[]int{1}})
	require.NoError(t, err)
	assert.Equal(t, dst{[]string{"1"}}, plain)
	cancel()
	assert.ErrorIs(t, m.IntoContext(ctx, &got, &src{[]int{1}}), context.Canceled)
	_, err = mapper.New[src, dst](mapper.ConvertContext[int, string](nil))
	assert.ErrorContains(t, err, "the function given to Convert is nil")
}

// TestAllRead reports source fields that nothing reads.
func TestAllRead(t *testing.T) {
	type inner struct{ A, B int }
	type src struct {
		ID, Secret string
		Named      string
		In         inner
		Flat       inner
		Audit
		unexported int
	}
	type dst struct {
		ID, Other string
		In        struct{ A int }
		FlatA     int
		By        string
	}
	opts := []mapper.Option{mapper.Options{AllRead: true}, mapper.Flatten(),
		mapper.Bind(func(d *dst) *string { return &d.Other }, func(s *src) *string { return &s.Named })}
	_, err := mapper.New[src, dst](opts...)
	for _, path := range []string{"Secret", "In.B", "Flat.B", "Audit.Name"} {
		assert.ErrorContains(t, err, path+": ")
	}
	var build *mapper.BuildError
	require.ErrorAs(t, err, &build)
	assert.Len(t, build.Problems, 4, "%v", err)
	_, err = mapper.New[src, dst](append(opts,
		mapper.Ignore(func(s *src) *string { return &s.Secret }),
		mapper.Ignore(func(s *inner) *int { return &s.B }),
		mapper.Ignore(func(s *src) *int { return &s.Flat.B }),
		mapper.Ignore(func(s *src) *string { return &s.Audit.Name }))...)
	assert.NoError(t, err)
	type place struct{ City, Zip string }
	_, err = mapper.New[struct{ At *place }, struct{ City string }](mapper.Options{AllRead: true},
		mapper.Bind(func(d *struct{ City string }) *string { return &d.City }, func(s *struct{ At *place }) *string { return &s.At.City }))
	assert.ErrorContains(t, err, "At.Zip: string to struct { City string }: nothing reads field At.Zip")
	_ = src{}.unexported
}

// A money is a value type whose field only its own package can copy.
type money struct{ cents *big.Int }

// TestAssign maps value types to themselves by assignment.
func TestAssign(t *testing.T) {
	type src struct {
		Price money
		Tax   *money
		Lines []money
		By    map[string]money
		Re    *regexp.Regexp
		Zone  *time.Location
	}
	type dst struct {
		Zone  *time.Location
		Re    *regexp.Regexp
		By    map[string]money
		Lines []money
		Tax   *money
		Price money
	}
	_, err := mapper.New[src, dst]()
	var build *mapper.BuildError
	require.ErrorAs(t, err, &build)
	require.Len(t, build.Problems, 1, "the type is reported once: %v", err)
	assert.Equal(t, "By[*]", build.Problems[0].Path)
	assert.ErrorContains(t, err, "mapper.Options{Assign: []any{money{}}}")
	m := mapper.Must[src, dst](mapper.Options{Assign: []any{money{}}})
	five := money{big.NewInt(5)}
	in := src{five, &five, []money{five}, map[string]money{"a": five}, regexp.MustCompile("x"), time.UTC}
	eachWay(t, m, func(t *testing.T, mapTo func(src) (dst, error)) {
		got, err := mapTo(in)
		require.NoError(t, err)
		assert.Equal(t, dst{in.Zone, in.Re, in.By, in.Lines, in.Tax, in.Price}, got)
		assert.Same(t, five.cents, got.Price.cents)
		assert.NotSame(t, in.Tax, got.Tax)
	})
	shared := mapper.Must[src, dst](mapper.Options{Assign: []any{money{}, (*money)(nil)}})
	got, err := shared.Map(in)
	require.NoError(t, err)
	assert.Same(t, in.Tax, got.Tax)
}

// TestAssignedToAnother maps assigned types to other types: those are no assignments.
func TestAssignedToAnother(t *testing.T) {
	type point struct{ X, Y int }
	type swapped struct{ Y, X int }
	type src struct {
		A, B point
		C, D *point
	}
	type dst struct {
		A point
		B swapped
		C *point
		D *swapped
	}
	m := mapper.Must[src, dst](mapper.Options{Assign: []any{point{}, (*point)(nil)}})
	eachWay(t, m, func(t *testing.T, mapTo func(src) (dst, error)) {
		in := src{point{1, 2}, point{3, 4}, &point{5, 6}, &point{7, 8}}
		got, err := mapTo(in)
		require.NoError(t, err)
		assert.Equal(t, dst{in.A, swapped{X: 3, Y: 4}, in.C, &swapped{X: 7, Y: 8}}, got)
		assert.Same(t, in.C, got.C)
	})
}

// TestBigNumbers checks that big numbers are copied, not shared, because they are mutable.
func TestBigNumbers(t *testing.T) {
	type src struct {
		I big.Int
		P *big.Int
		R *big.Rat
		F *big.Float
	}
	in := src{*big.NewInt(1 << 40), big.NewInt(-7), big.NewRat(3, 7), big.NewFloat(1.5)}
	eachWay(t, mapper.Must[src, src](), func(t *testing.T, mapTo func(src) (src, error)) {
		got, err := mapTo(in)
		require.NoError(t, err)
		assert.Equal(t, in.R.String()+in.F.String()+in.P.String()+in.I.String(), got.R.String()+got.F.String()+got.P.String()+got.I.String())
		got.P.Add(got.P, big.NewInt(1))
		got.I.SetBit(&got.I, 0, 1)
		assert.Equal(t, "-7", in.P.String())
		assert.Equal(t, "1099511627776", in.I.String())
	})
}

// TestMapAnyByOptions maps types known at run time by a Mapper's options, from a bounded cache.
func TestMapAnyByOptions(t *testing.T) {
	m := mapper.Must[Order, OrderDTO](customer, decimal, titled, price)
	var got OrderDTO
	require.NoError(t, m.MapAny(&got, &order))
	assert.Equal(t, orderDTO, got)
	var item ItemDTO
	require.NoError(t, m.MapAny(&item, order.Items[0]))
	assert.Equal(t, orderDTO.Items[0], item)
	var text string
	require.NoError(t, m.MapAny(&text, int64(5)))
	assert.Equal(t, "5", text)
	assert.ErrorContains(t, m.MapAny(nil, order), "MapAny needs a pointer")
	assert.ErrorContains(t, (*mapper.Mapper[Order, OrderDTO])(nil).MapAny(&got, order), "create it with New or Must")
	for i := range 200 {
		dst := reflect.New(reflect.ArrayOf(i, reflect.TypeFor[int]()))
		require.NoError(t, m.MapAny(dst.Interface(), make([]int, i)))
	}
	assert.LessOrEqual(t, mapper.DynamicPlans(m), mapper.MaxDynamic)
}

// A safeError declares that its text holds no values.
type safeError string

func (e safeError) Error() string { return string(e) }
func (safeError) Safe() bool      { return true }

// TestSafeErrors checks that only errors that declare their text safe have it shown.
func TestSafeErrors(t *testing.T) {
	m := mapper.Must[struct{ S string }, struct{ S Text }](mapper.Convert(func(s string) (Text, error) {
		return "", fmt.Errorf("%w: %q", safeError("bad status"), s)
	}))
	_, err := m.Map(struct{ S string }{"secret"})
	assert.EqualError(t, err, "mapper: S: string to mapper_test.Text: bad status")
	assert.ErrorIs(t, err, safeError("bad status"))
}

// A said has a String method that returns a part of it.
type said struct{ text string }

func (s said) String() string { return s.text[1:] }

// TestDetachedResults copies the strings that a user's function returns, and String methods.
func TestDetachedResults(t *testing.T) {
	type pairOf struct {
		A Text
		B [2]string
	}
	type src struct {
		S, N string
		T    said
	}
	type dst struct {
		S pairOf
		N string
		T string
	}
	s := string([]byte("a long text to cut from"))
	m := mapper.Must[src, dst](mapper.Options{DetachStrings: true, Stringer: true},
		mapper.Convert(func(s string) (pairOf, error) { return pairOf{Text(s), [2]string{s, s[1:]}}, nil }),
		mapper.Set(func(d *dst) *string { return &d.N }, func(s src) string { return s.N }))
	eachWay(t, m, func(t *testing.T, mapTo func(src) (dst, error)) {
		got, err := mapTo(src{s, s, said{s}})
		require.NoError(t, err)
		assert.Equal(t, dst{pairOf{Text(s), [2]string{s, s[1:]}}, s, s[1:]}, got)
		for _, text := range []string{string(got.S.A), got.S.B[0], got.S.B[1], got.N, got.T} {
			assert.False(t, overlaps(s, text))
		}
	})
	plain, err := mapper.Must[src, dst](mapper.Options{Stringer: true}, mapper.Convert(func(s string) (pairOf, error) { return pairOf{A: Text(s)}, nil }), mapper.Lenient()).Map(src{s, s, said{s}})
	require.NoError(t, err)
	assert.True(t, overlaps(s, string(plain.S.A)), "the same check sees what is not detached")
	assert.True(t, overlaps(s, plain.T))
}

// TestDetachedTexts copies the strings that an After sets, and long strings that several paths may
// lead to.
func TestDetachedTexts(t *testing.T) {
	type src struct{ Texts []string }
	type dst struct {
		Texts []Text
		First string
	}
	m := mapper.Must[src, dst](mapper.Options{DetachStrings: true}, mapper.Ignore(func(d *dst) *string { return &d.First }),
		mapper.After(func(d *dst, s src) error { d.First = s.Texts[0]; return nil }))
	for _, length := range []int{10, 1000} {
		s := string(make([]byte, length))
		eachWay(t, m, func(t *testing.T, mapTo func(src) (dst, error)) {
			got, err := mapTo(src{[]string{s, s}})
			require.NoError(t, err)
			assert.Equal(t, dst{[]Text{Text(s), Text(s)}, s}, got)
			for _, text := range []string{string(got.Texts[0]), string(got.Texts[1]), got.First} {
				assert.False(t, overlaps(s, text), "%d bytes", length)
			}
		})
	}
}
