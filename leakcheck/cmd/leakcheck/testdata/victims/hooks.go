package main

import "fmt"

// An upload is what a hook captured.
type upload struct {
	name string
	data []byte
}

// A registry runs hooks at the end, which never comes.
type registry struct{ atExit []func() }

// exits points to memory that only the compiler has a name for.
var exits = &registry{}

func (r *registry) add(f func()) { r.atExit = append(r.atExit, f) }

func hooks() {
	for i := range kept {
		u := &upload{secret("upload"), make([]byte, 1024+i)}
		exits.add(func() { fmt.Println(u.name, len(u.data)) })
	}
}
