package mapper_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/mapper"
)

type Account struct {
	ID          int64
	First, Last string
	Mail        string
	Balance     int64 // cents
	Password    string
}

type AccountDTO struct {
	ID      int32  `json:"id"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	Balance string `json:"balance"`
}

// accounts is built once, when the program starts.
var accounts = mapper.Must[Account, AccountDTO](
	mapper.Set(func(d *AccountDTO) *string { return &d.Name }, func(a Account) string { return a.First + " " + a.Last }),
	mapper.Bind(func(d *AccountDTO) *string { return &d.Email }, func(a *Account) *string { return &a.Mail }),
	mapper.Convert(func(cents int64) (string, error) { return fmt.Sprintf("%d.%02d", cents/100, cents%100), nil }),
)

// An entity becomes a DTO with a computed field.
func ExampleMapper() {
	dto, err := accounts.Map(Account{ID: 7, First: "Ada", Last: "Lovelace", Mail: "ada@example.com", Balance: 1205, Password: "secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = json.NewEncoder(os.Stdout).Encode(dto)
	fmt.Print(accounts.Plan())
	// Output:
	// {"id":7,"name":"Ada Lovelace","email":"ada@example.com","balance":"12.05"}
	// mapper_test.Account to mapper_test.AccountDTO: by field
	// 	ID <- ID: number, if it fits
	// 	Balance <- Balance: Convert
	// 	Name <- mapper_test.Account: Set
	// 	Email <- Mail: copy
}

// A PATCH handler changes only the fields that the request sets.
func ExampleMapper_Patch() {
	type accountPatch struct{ First, Last, Mail *string }
	patches := mapper.Must[accountPatch, Account](mapper.Lenient())

	account := Account{ID: 7, First: "Ada", Last: "Byron", Mail: "ada@example.com"}
	var patch accountPatch
	if err := json.Unmarshal([]byte(`{"last": "Lovelace", "mail": ""}`), &patch); err != nil {
		fmt.Println(err)
	}
	if err := patches.Patch(&account, &patch); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%+v\n", account)
	// Output: {ID:7 First:Ada Last:Lovelace Mail: Balance:0 Password:}
}

// The rows of a query are mapped one by one, as the caller asks for them.
func ExampleMapper_Seq() {
	rows := func() iter.Seq[Account] { // as from a cursor
		return slices.Values([]Account{{ID: 1, First: "Ada", Last: "Byron"}, {ID: 1 << 40}, {ID: 3, First: "Eve", Last: "Ray"}})
	}
	for dto, err := range accounts.Seq(rows()) {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(dto.ID, dto.Name)
	}
	// Output:
	// 1 Ada Byron
	// mapper: [1].ID: int64 to int32: the destination cannot hold this number exactly
	// 3 Eve Ray
}

func ExampleMapper_Slice() {
	dtos, err := accounts.Slice([]Account{{ID: 1, First: "Ada"}, {ID: 2, First: "Eve"}})
	fmt.Println(len(dtos), err)
	// Output: 2 <nil>
}

// Every problem is listed at once, when the Mapper is built.
func ExampleBuildError() {
	_, err := mapper.New[Account, AccountDTO]()
	var build *mapper.BuildError
	if errors.As(err, &build) {
		fmt.Println(len(build.Problems))
	}
	fmt.Println(err)
	// Output:
	// 3
	// mapper: mapper_test.Account to mapper_test.AccountDTO: 3 problems:
	// 	Balance: int64 to string: numbers and bools map to texts and back only if you ask for it. Add one of
	// 		mapper.Options{Parse: true}
	// 		mapper.Convert(func(s int64) (d string, err error) { panic("TODO: convert it") })
	// 	Name: string: mapper_test.Account has no field Name. Add one of
	// 		mapper.Set(func(d *AccountDTO) *string { return &d.Name }, func(s Account) string { panic("TODO: compute it") })
	// 		mapper.Ignore(func(d *AccountDTO) *string { return &d.Name })
	// 		mapper.Lenient() // leaves every such field as it is
	// 	Email: string: mapper_test.Account has no field Email. Add one of
	// 		mapper.Bind(func(d *AccountDTO) *string { return &d.Email }, func(s *Account) *string { return &s.Mail })
	// 		mapper.Ignore(func(d *AccountDTO) *string { return &d.Email })
	// 		mapper.Lenient() // leaves every such field as it is
}

// An Error has the path and the types, and no value.
func ExampleError() {
	type order struct{ Items []struct{ Count int } }
	type orderDTO struct{ Items []struct{ Count int8 } }
	_, err := mapper.Map[orderDTO](order{Items: []struct{ Count int }{{5}, {500}}})
	var e *mapper.Error
	if errors.As(err, &e) {
		fmt.Println(e.Path)
	}
	fmt.Println(err)
	// Output:
	// Items[1].Count
	// mapper: Items[1].Count: int to int8: the destination cannot hold this number exactly
}

// A nested pair is mapped by a Mapper of its own.
func ExampleConvert() {
	type page struct{ Accounts []Account }
	type pageDTO struct{ Accounts []AccountDTO }
	pages := mapper.Must[page, pageDTO](mapper.Convert(accounts.Map))
	dto, err := pages.Map(page{[]Account{{ID: 1, First: "Ada", Last: "Lovelace"}}})
	fmt.Println(dto.Accounts[0].Name, err)
	// Output: Ada Lovelace <nil>
}

// Option: names by tag, text into numbers, fields that may stay unset.
func ExampleOption() {
	type row struct {
		UserID string `db:"user_id"`
	}
	type user struct {
		ID   int `db:"user_id"`
		Note string
	}
	users := mapper.Must[row, user](mapper.Tag("db"), mapper.Lenient(), mapper.Options{Parse: true})
	u, err := users.Map(row{"42"})
	fmt.Println(u.ID, err)
	// Output: 42 <nil>
}

// The strings of a record that is a part of a large file do not retain the file.
func ExampleOptions() {
	type record struct{ Key, Value string }
	detach := mapper.Must[record, record](mapper.Options{DetachStrings: true})
	file := strings.Repeat("key=value\n", 1<<16)
	key, value, _ := strings.Cut(file[:9], "=")
	r, err := detach.Map(record{key, value})
	fmt.Println(r, err)
	// Output: {key value} <nil>
}

func ExampleFlatten() {
	type Address struct{ City string }
	type person struct{ Address *Address }
	type personDTO struct{ AddressCity string }
	flat := mapper.Must[person, personDTO](mapper.Flatten())
	dto, err := flat.Map(person{&Address{"London"}})
	fmt.Println(dto.AddressCity, err)
	// Output: London <nil>
}

func ExampleMapAny() {
	var dst any = new(Point32)
	var src any = Point{1, 2}
	fmt.Println(mapper.MapAny(dst, src), *dst.(*Point32))
	// Output: <nil> {1 2}
}

func ExampleCacheStats() {
	_, _ = mapper.Map[Point32](Point{1, 2})
	s := mapper.Stats()
	fmt.Println(s.Plans > 0, s.Plans <= s.Limit)
	// Output: true true
}

// A field inside a list has another name: Bind says by its types that it is for the items.
func ExampleBind_list() {
	orders := mapper.Must[Order, OrderDTO](
		mapper.Bind(func(d *OrderDTO) *string { return &d.Customer }, func(o *Order) *string { return &o.Buyer }),
		mapper.Bind(func(d *ItemDTO) *string { return &d.Title }, func(i *Item) *string { return &i.Name }),
		mapper.SetErr(func(d *ItemDTO) *string { return &d.Price }, priceOf),
		mapper.Options{Parse: true})
	dto, err := orders.Map(Order{ID: 1, Buyer: "ada", Items: []Item{{"pen", 120}}})
	fmt.Println(dto.ID, dto.Customer, dto.Items, err)
	// Output: 1 ada [{pen 1.20}] <nil>
}

// Two conversions of the same types: one for the whole Mapper, one inside the items.
func ExampleFor() {
	orders := mapper.Must[Order, OrderDTO](
		mapper.Bind(func(d *OrderDTO) *string { return &d.Customer }, func(o *Order) *string { return &o.Buyer }),
		mapper.Options{Parse: true},
		mapper.For[Item, ItemDTO](
			mapper.Bind(func(d *ItemDTO) *string { return &d.Title }, func(i *Item) *string { return &i.Name }),
			mapper.Bind(func(d *ItemDTO) *string { return &d.Price }, func(i *Item) *int64 { return &i.Cents }),
			mapper.Convert(func(cents int64) (string, error) { return priceOf(Item{Cents: cents}) })))
	dto, err := orders.Map(Order{ID: 1, Buyer: "ada", Items: []Item{{"pen", 120}}})
	fmt.Println(dto.ID, dto.Customer, dto.Items, err)
	// Output: 1 ada [{pen 1.20}] <nil>
}

// After checks the whole value, and sets a field that depends on several others.
func ExampleAfter() {
	type span struct{ From, To int }
	type spanDTO struct{ From, To, Days int }
	spans := mapper.Must[span, spanDTO](
		mapper.Ignore(func(d *spanDTO) *int { return &d.Days }),
		mapper.After(func(d *spanDTO, _ span) error {
			if d.Days = d.To - d.From; d.Days < 0 {
				return errors.New("it ends before it begins")
			}
			return nil
		}))
	fmt.Println(spans.Map(span{3, 10}))
	_, err := spans.Map(span{10, 3})
	fmt.Println(errors.Unwrap(err))
	// Output:
	// {3 10 7} <nil>
	// it ends before it begins
}
