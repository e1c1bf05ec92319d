// The race detector makes reading the second build five times as slow, and an example cannot skip.

//go:build !race

package leakcheck_test

import (
	"fmt"

	"github.com/leaksafe/leaksafe/leakcheck"
)

type session struct{ user string }

var loggedIn = map[string]*session{}

func ExampleWhyAlive() {
	s := &session{user: "ada"}
	loggedIn[s.user] = s
	path, err := leakcheck.WhyAlive(s)
	if err != nil {
		fmt.Println(err)
		return
	}
	// fmt.Println(path) prints all of it, and begins with:
	// retained by package variable leakcheck_test.loggedIn: leakcheck_test.loggedIn["ada"]
	fmt.Println(path.Hops[0].Kind, "to", path.Hops[len(path.Hops)-1].Kind)
	// Output: variable to object
}
