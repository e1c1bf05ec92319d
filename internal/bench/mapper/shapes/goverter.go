package shapes

import "time"

//go:generate go run github.com/jmattheis/goverter/cmd/goverter@v1.11.1 gen .

// Goverter is what goverter generates code for.
//
// goverter:converter
// goverter:output:file ./generated.go
// goverter:output:package github.com/leaksafe/leaksafe/internal/bench/mapper/shapes
// goverter:extend CopyTime
type Goverter interface {
	User(s User) UserDTO
	Order(s Order) OrderDTO
	Users(s []User) []UserDTO
}

// CopyTime is how goverter's code copies times.
func CopyTime(t time.Time) time.Time { return t }
