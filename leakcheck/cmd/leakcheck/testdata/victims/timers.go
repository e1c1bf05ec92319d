package main

import (
	"fmt"
	"runtime"
	"time"
)

// An order times out in a day.
type order struct {
	lines []string
	total int
}

// A parcel is retained by a cleanup.
type parcel struct{ label string }

var tracked *[64]byte

func timers() {
	for i := range kept {
		o := &order{lines: []string{secret("order")}, total: i}
		time.AfterFunc(24*time.Hour, func() { fmt.Println(o.lines, o.total) })
	}
	tracked = new([64]byte)
	runtime.AddCleanup(tracked, func(p *parcel) { fmt.Println(p.label) }, &parcel{secret("parcel")})
	runtime.SetFinalizer(tracked, func(*[64]byte) {})
}
