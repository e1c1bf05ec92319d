package main

import "fmt"

// A backlog is what a worker has not done yet.
type backlog struct {
	items [][]byte
	next  *backlog
}

// never is sent to by nobody.
var never = make(chan int)

func workers() {
	ready := make(chan bool)
	for range kept {
		go work(&backlog{items: [][]byte{make([]byte, 1024)}}, ready, secret("argument"))
	}
	for range kept {
		<-ready
	}
}

func work(b *backlog, ready chan bool, note string) {
	var local [64]byte
	copy(local[:], secret("stack"))
	ready <- true
	n := <-never
	fmt.Println(len(b.items), n, note, local)
}
