package main

import (
	"os"
	"strconv"
)

// A node is half of what a large service holds: small objects that refer to each other.
type node struct {
	left, right *node
	account     *account
	rank        int
}

var tree []*node

// large holds as many megabytes as the environment says, half of them bytes and half objects with
// pointers.
func large() {
	mb, _ := strconv.Atoi(os.Getenv("MEGABYTES"))
	var last *node
	for range mb {
		for range 256 {
			a := &account{pages: make([]byte, 2048-64)}
			for range 63 {
				last = &node{left: last, account: a}
			}
			tree = append(tree, last)
			last = nil
		}
	}
}
