// Package shapes has the types that the mappers are measured on, the mapping
// by hand, and goverter's.
package shapes

import "time"

// A User is the flat shape: ten fields. The DTO has them in another order, as is common when an API
// and its table change separately.
type User struct {
	ID      int64
	Name    string
	Email   string
	Phone   string
	Age     int
	Active  bool
	Score   float64
	Created time.Time
	Logins  int64
	Role    string
}

type UserDTO struct {
	ID      int64
	Role    string
	Name    string
	Active  bool
	Email   string
	Age     int
	Phone   string
	Created time.Time
	Score   float64
	Logins  int64
}

// An Order is the nested shape: structs, a pointer, a slice of twenty items.
type Order struct {
	ID       int64
	Customer User
	Ship     *Address
	Items    []Item
	Tags     []string
	Note     string
}

type OrderDTO struct {
	ID       int64
	Customer UserDTO
	Ship     *AddressDTO
	Items    []ItemDTO
	Tags     []string
	Note     string
}

type Address struct{ Street, City, Zip string }

type AddressDTO struct{ Street, City, Zip string }

type Item struct {
	SKU   string
	Name  string
	Count int
	Price float64
}

type ItemDTO struct {
	SKU   string
	Name  string
	Price float64
	Count int
}

// NewUser, NewOrder and NewUsers return filled values.
func NewUser() User {
	return User{
		ID: 1, Name: "Ada Lovelace", Email: "ada@example.com", Phone: "+44 20 7946 0000", Age: 36, Active: true,
		Score: 9.5, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Logins: 12, Role: "admin",
	}
}

func NewOrder() Order {
	o := Order{ID: 7, Customer: NewUser(), Ship: &Address{"1 Road", "London", "N1"}, Tags: []string{"new", "gift"}, Note: "ring twice"}
	for i := range 20 {
		o.Items = append(o.Items, Item{SKU: "sku", Name: "thing", Count: i, Price: float64(i)})
	}
	return o
}

func NewUsers(n int) []User {
	users := make([]User, n)
	for i := range users {
		users[i] = NewUser()
	}
	return users
}
