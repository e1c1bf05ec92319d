package leakcheck

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/leaksafe/leaksafe/leakcheck/internal/explain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"

	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// A Path says what retains an object: a chain of references that begins at a root, such as a
// package variable or a goroutine's frame, and ends at the object.
type Path struct {
	Answer        string // what retains it, in one sentence
	Expr          string // the same as a Go expression, when there is one: cache.defaultStore.items["x"].buf
	Hops          []Hop  // the root first, the object last
	Count         int    // how many objects like this one are retained on this path
	RetainedBytes int64  // what would be freed with them

	// Also is what else retains it, nearest first, three at most: without this path it would still
	// be alive.
	Also []string `json:",omitempty"`
}

// A Hop is one step of a [Path]: a root, or an object that the step before refers to.
type Hop struct {
	Kind   Kind   // KindVariable, KindGoroutine, KindMap and so on
	Name   string `json:",omitempty"` // of the variable, function or field
	Type   string `json:",omitempty"` // the Go type, where it is known
	File   string `json:",omitempty"` // where it was allocated, or where a goroutine is blocked
	Line   int    `json:",omitempty"`
	Source string `json:",omitempty"` // the text of that line
}

// String returns the answer, and below it the path, one hop a line.
func (p Path) String() string {
	q := retain.Path{Answer: p.Answer, Expr: p.Expr, Count: p.Count, RetainedBytes: p.RetainedBytes, Also: p.Also}
	for _, h := range p.Hops {
		q.Hops = append(q.Hops, retain.Hop{Kind: string(h.Kind), Name: h.Name, Type: h.Type, File: h.File, Line: h.Line, Source: h.Source})
	}
	return q.Text(source.ShortFile)
}

func pathOf(q retain.Path) Path {
	p := Path{Answer: q.Answer, Expr: q.Expr, Count: q.Count, RetainedBytes: q.RetainedBytes, Also: q.Also}
	for _, h := range q.Hops {
		p.Hops = append(p.Hops, Hop{Kind(h.Kind), h.Name, h.Type, h.File, h.Line, h.Source})
	}
	return p
}

// WhyAlive says what retains *p. What only the caller references is reported as the caller's.
//
//	path, err := leakcheck.WhyAlive(p)
//	fmt.Println(path)
//
// prints, for example:
//
//	retained by package variable cache.defaultStore: cache.defaultStore.items["x"].buf
//	  variable cache.defaultStore.items
//	  → map ["x"]          cache/store.go:12  return &Store{items: map[string]*entry{}}
//	  → cache.entry .buf   cache/store.go:77  s.items[k] = &entry{key: k, buf: v}
//	  → the object: []uint8 (112 B retained)  cache/store.go:76  v := make([]byte, 100)
//
// The lines of allocations are known for objects that were allocated while [runtime.MemProfileRate]
// was 1, variables and types where the executable has symbols. Plain go test links without them:
// then the test is built once more, if the go command is on PATH.
//
// WhyAlive collects garbage and writes the whole heap to a temporary file that only this user can
// read and that is deleted at once. The heap holds whatever is in memory, passwords too. WhyAlive
// is for tests and for an operator's request, not for a hot path. Calls wait for each other.
//
// On Linux (amd64 and arm64, kernel 5.9 or later) the file is written from a frozen copy of the
// process, made as fork makes one: the program stands still for some milliseconds per 100 MB. It
// needs an executable with symbols, or a test that can be built once more, and room below the
// memory limit. Elsewhere, and where that fails, the runtime's own dump stops the world for about a
// second per 160 MB, and with Go 1.26 and 1.27 the runtime can, very rarely, die while it writes
// (dumpgs throws when a goroutine is just leaving a system call).
//
// The error says why there is no path: the dump could not be written or read. An object that
// nothing retains has a path without hops, and an Answer that says so.
func WhyAlive[T any](p *T) (Path, error) {
	if p == nil {
		return Path{}, errors.New("leakcheck: WhyAlive of a nil pointer: pass the object to look for")
	}
	atomic.StorePointer(&escaped, unsafe.Pointer(p))
	atomic.StorePointer(&escaped, nil)
	path, err := whyAlive(uintptr(unsafe.Pointer(p)))
	runtime.KeepAlive(p)
	return path, err
}

// escaped makes what WhyAlive is asked about live in the heap: an object on a stack moves when that
// grows.
var escaped unsafe.Pointer

func whyAlive(addr uintptr) (Path, error) {
	paths, err := explain.Objects(nil, "", [][]uintptr{{addr}})
	if err != nil {
		return Path{}, fmt.Errorf("leakcheck: no path: %w", err)
	}
	return pathOf(paths[0][0]), nil
}
