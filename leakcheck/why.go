package leakcheck

import (
	"errors"
	"testing"
	"unsafe"
)

// A Path says who keeps an object alive: a chain of references that begins at a root, such as
// a package variable or a goroutine's frame, and ends at the object.
type Path struct {
	Answer        string // who keeps it, in one sentence
	Hops          []Hop  // root first, the object last
	Count         int    // how many objects like this one are kept on this path
	RetainedBytes int64  // what would be freed if they were let go
}

// A Hop is one step of a [Path]: a root, or an object that the step before refers to.
type Hop struct {
	Kind   string // "variable", "goroutine", "map", "closure", "object" and so on
	Name   string // of the variable, function or field
	Type   string // Go type, when known
	File   string // where it was allocated, or for a goroutine where it stands
	Line   int
	Source string // text of that line
}

// String returns the path as text, one hop a line.
func (p Path) String() string { return p.Answer }

var errNoPath = errors.New("no path: not yet implemented")

// WhyAlive says who else keeps *p alive. It stops the world and writes a heap dump, see
// [runtime/debug.WriteHeapDump]; never call it on a hot path.
func WhyAlive[T any](p *T) (Path, error) {
	return whyAlive(uintptr(unsafe.Pointer(p)))
}

func whyAlive(addr uintptr) (Path, error) { return Path{}, errNoPath }

// explain finds who keeps the object at each address. The addresses are uintptr, so
// that the caller does not keep the objects itself. The frames of the calling goroutine rank last.
//
// The runtime can die while it writes a dump: the verdict, with its allocation
// site, must be on the test's log and on standard error before explain is called.
func explain(t testing.TB, addrs []uintptr) ([]Path, error) { return nil, errNoPath }

// explainSites finds who keeps the objects that were allocated at each stack. A stack is that of a
// [runtime.MemProfileRecord] whose objects were allocated while MemProfileRate was 1, whole or cut short
// at its outer end. The paths of a site are grouped: many instances, one path with a count.
// The same order applies as for explain.
func explainSites(t testing.TB, sites [][]uintptr) ([]Path, error) { return nil, errNoPath }

// leakProfileFound tells that the goroutineleak profile has found a leak in this process.
// A heap dump after that would kill the process, so none is written any more.
func leakProfileFound() {}
