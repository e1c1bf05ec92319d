// Command mapper measures the package mapper beside mapping by hand, the code
// that goverter generates, copier, mapstructure and a round trip through JSON.
//
//	go run -C internal/bench ./mapper [-round 2ms]
//	go run -C internal/bench ./mapper nested # only the tables with this in their title
package main

import (
	"encoding/json"
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/jinzhu/copier"
	"github.com/leaksafe/leaksafe/internal/bench/mapper/shapes"
	"github.com/leaksafe/leaksafe/internal/bench/side"
	"github.com/leaksafe/leaksafe/mapper"
)

var (
	users  = mapper.Must[shapes.User, shapes.UserDTO]()
	orders = mapper.Must[shapes.Order, shapes.OrderDTO]()
)

func main() {
	// In long rounds the new memory is not in the processor's caches, which costs all contenders
	// the same and hides their differences.
	round := flag.Duration("round", 2*time.Millisecond, "how long a round is")
	flag.Parse()
	// The collector runs between rounds only. During a round it would compete with the measured
	// code, which is the main source of noise.
	debug.SetGCPercent(-1)
	for _, t := range []struct {
		title string
		cases []side.Case
	}{
		{"flat, in place", flat(shapes.NewUser())},
		{"flat, by value", byValue(shapes.NewUser())},
		{"nested with 20 items, in place", nested(shapes.NewOrder())},
		{"slice of 1000 flat", thousand(shapes.NewUsers(1000))},
	} {
		runtime.KeepAlive(user)
		if !strings.Contains(t.title, flag.Arg(0)) {
			continue
		}
		side.Table(os.Stdout, t.title, side.Compare(t.cases, side.Options{Rounds: 300, Round: *round, Progress: side.Progress()}))
	}
}

// flat and nested write into one destination again and again. goverter's code works by value only.
// These functions are not inlined in main: main would then be so large that the compiler inlines no
// calls in it.
//
//go:noinline
func flat(s shapes.User) []side.Case {
	var d shapes.UserDTO
	return append([]side.Case{
		{Name: "by hand", Run: func(n int) {
			for range n {
				shapes.UserInto(&d, &s)
			}
		}},
		{Name: "leaksafe Into", Run: func(n int) {
			for range n {
				check(users.Into(&d, &s))
			}
		}},
	}, peers(&d, &s)...)
}

//go:noinline
func nested(s shapes.Order) []side.Case {
	var d shapes.OrderDTO
	g := &shapes.GoverterImpl{}
	return append([]side.Case{
		{Name: "by hand", Run: func(n int) {
			for range n {
				shapes.OrderInto(&d, &s)
			}
		}},
		{Name: "leaksafe Into", Run: func(n int) {
			for range n {
				check(orders.Into(&d, &s))
			}
		}},
		{Name: "goverter", Run: func(n int) {
			for range n {
				d = g.Order(s)
			}
		}},
	}, peers(&d, &s)...)
}

func peers[S, D any](d *D, s *S) []side.Case {
	return []side.Case{
		{Name: "copier", Run: func(n int) {
			for range n {
				check(copier.CopyWithOption(d, s, copier.Option{DeepCopy: true}))
			}
		}},
		{Name: "mapstructure", Run: func(n int) {
			for range n {
				check(mapstructure.Decode(s, d))
			}
		}},
		{Name: "encoding/json", Run: func(n int) {
			for range n {
				b, err := json.Marshal(s)
				check(err)
				check(json.Unmarshal(b, d))
			}
		}},
	}
}

// The sinks keep results from being optimised away.
var (
	user shapes.UserDTO
	list []shapes.UserDTO
)

//go:noinline
func byValue(s shapes.User) []side.Case {
	g := &shapes.GoverterImpl{}
	return []side.Case{
		{Name: "by hand", Run: func(n int) {
			for range n {
				user = shapes.UserByValue(s)
			}
		}},
		{Name: "leaksafe Map", Run: func(n int) {
			for range n {
				user, _ = users.Map(s)
			}
		}},
		{Name: "leaksafe mapper.Map", Run: func(n int) {
			for range n {
				user, _ = mapper.Map[shapes.UserDTO](s)
			}
		}},
		{Name: "goverter", Run: func(n int) {
			for range n {
				user = g.User(s)
			}
		}},
	}
}

//go:noinline
func thousand(s []shapes.User) []side.Case {
	g := &shapes.GoverterImpl{}
	return []side.Case{
		{Name: "by hand", Run: func(n int) {
			for range n {
				list = shapes.UserSlice(s)
			}
		}},
		{Name: "leaksafe Slice", Run: func(n int) {
			for range n {
				list, _ = users.Slice(s)
			}
		}},
		{Name: "goverter", Run: func(n int) {
			for range n {
				list = g.Users(s)
			}
		}},
		{Name: "copier", Run: func(n int) {
			for range n {
				list = nil
				check(copier.CopyWithOption(&list, &s, copier.Option{DeepCopy: true}))
			}
		}},
		{Name: "mapstructure", Run: func(n int) {
			for range n {
				list = nil
				check(mapstructure.Decode(s, &list))
			}
		}},
		{Name: "encoding/json", Run: func(n int) {
			for range n {
				b, err := json.Marshal(s)
				check(err)
				list = nil
				check(json.Unmarshal(b, &list))
			}
		}},
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
