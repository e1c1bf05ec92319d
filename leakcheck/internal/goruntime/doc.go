// Package goruntime reads the state of a Go runtime from the memory of another process: which
// objects its heap holds and where they have pointers, its goroutines with their frames, its
// package variables, finalizers and heap profile.
//
// Where the fields of the runtime's structs are is read from the DWARF of the executable, by name,
// so that a renamed field ends with an error that names it. What the fields mean was read from the
// source of Go 1.26 and 1.27. [Runtime.Verify] refuses a process in which known objects are not
// found where they must be.
//
// Nothing that the memory says is trusted: it may be changing, damaged, or made up. Every number is
// checked before memory is reserved for it or a loop runs over it.
package goruntime
