// Package explain asks a heap dump of this process what retains objects.
package explain

import (
	"slices"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// Objects finds what retains the objects of each set of addresses: all paths of set i, at least
// one, those that only a test retains last. The addresses are uintptr, so that the caller does not
// keep the objects itself. The frames of the goroutine that took the dump rank last. t may be nil.
// verdict is what is known already: the runtime prints it if it dies while it writes the dump.
func Objects(t testing.TB, verdict string, sets [][]uintptr) ([][]retain.Path, error) {
	d, err := takeDump(t, verdict)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return objects(d, sets), nil
}

func objects(d *ownheap.Dump, sets [][]uintptr) [][]retain.Path {
	var all []int32
	objects := make([][]int32, len(sets))
	paths := make([][]retain.Path, len(sets))
	for i, addrs := range sets {
		for _, a := range addrs {
			if o, ok := d.ObjectAt(uint64(a)); ok {
				objects[i] = append(objects[i], o)
			} else {
				paths[i] = append(paths[i], retain.Path{Answer: d.Outside(uint64(a)), Count: 1})
			}
		}
		all = append(all, objects[i]...)
	}
	s := d.Search(all)
	for i := range sets {
		for _, byTest := range []bool{false, true} {
			some := slices.DeleteFunc(slices.Clone(objects[i]), func(o int32) bool { return s.HeldByTest(o) != byTest })
			paths[i] = append(paths[i], s.Paths(some, 0)...)
		}
	}
	return paths
}

// Sites finds what retains the objects that were allocated at each stack, innermost call first:
// path i is that of most of the objects of site i, with their count and what they retain. The
// objects must have been allocated while [runtime.MemProfileRate] was 1; the stack may be cut short
// at its outer end. The same order applies as for Objects. perOp is how many objects a site gains
// at a time, 0 where that is not known.
func Sites(t testing.TB, verdict string, sites [][]source.Frame, perOp []float64) ([]retain.Path, error) {
	d, err := takeDump(t, verdict)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return allocatedAt(d, sites, perOp), nil
}

func allocatedAt(d *ownheap.Dump, sites [][]source.Frame, perOp []float64) []retain.Path {
	var all []int32
	objects := make([][]int32, len(sites))
	for i, stack := range sites {
		calls := make([]heapdump.Call, len(stack))
		for n, f := range stack {
			calls[n] = heapdump.Call{Func: f.Func, File: f.File, Line: f.Line}
		}
		objects[i] = d.AllocatedAt(calls)
		all = append(all, objects[i]...)
	}
	s := d.Search(all)
	paths := make([]retain.Path, len(sites))
	for i, os := range objects {
		paths[i] = s.Explain(os, perOp[i])
	}
	return paths
}
