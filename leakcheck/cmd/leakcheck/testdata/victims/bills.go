package main

import (
	"fmt"
	"os"
)

// A bill waits to be audited, without end.
type bill struct {
	id    int
	lines []int
}

// bills blocks goroutines that hold a bill as an argument: of the go statement, of a call in a
// closure, and of a call that is not inlined.
func bills() {
	done := make(chan bool)
	for i := range kept {
		go audit(newBill(i), done)
		o := newBill(i)
		go func() { audit(o, done) }()
		go review(newBill(i), done)
		go approve(*newBill(i), done)
	}
}

func newBill(i int) *bill { return &bill{id: i, lines: make([]int, 100)} }

func audit(o *bill, done chan bool) {
	<-done
	fmt.Fprintln(os.Stderr, o.id, o.lines)
}

//go:noinline
func review(o *bill, done chan bool) {
	<-done
	fmt.Fprintln(os.Stderr, o.id, o.lines)
}

//go:noinline
func approve(o bill, done chan bool) {
	<-done
	fmt.Fprintln(os.Stderr, o.lines)
}

// A book is what a variable of main retains.
type book struct{ pages []byte }

func shelf() map[string]*book {
	m := map[string]*book{}
	if os.Args[1] == "shelf" {
		for i := range kept {
			m[fmt.Sprint("book", i)] = &book{make([]byte, 2048)}
		}
	}
	return m
}

// A front is the first of a chain of single objects that retain the same.
type front struct {
	to *router
	at string
}

type router struct {
	desk *desk
	hits [3]int
}

type desk struct {
	guests map[string]*guest
	rooms  [5]int
}

type guest struct{ bags []byte }

var hotel *front

func guests() {
	hotel = &front{to: &router{desk: &desk{guests: map[string]*guest{}}}}
	for i := range 10 * kept {
		hotel.to.desk.guests[fmt.Sprint(i)] = &guest{make([]byte, 512)}
	}
}
