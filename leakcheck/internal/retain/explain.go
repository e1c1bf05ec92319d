package retain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// Explain is the path on which most of the objects are retained. Objects that are alive without a
// path get an answer without hops. perOp is how many of them came at a time; 0 where that is not
// known.
func (s *Search) Explain(objects []int32, perOp float64) Path {
	if len(objects) == 0 {
		return Path{Answer: "nothing retains them: the dump has no object that was allocated there"}
	}
	groups := s.merge(s.Group(objects))
	if len(groups) == 0 {
		return s.orphan(objects)
	}
	p := s.GroupPath(groups[0], perOp)
	if n := s.besides(objects, groups[0]); n > 0 {
		rest := "another path retains the rest"
		switch others := len(groups) - 1; {
		case others == 0:
			rest = "no path leads to the rest"
		case others > 1:
			rest = fmt.Sprintf("%d other paths retain the rest", others)
		}
		p.Answer += fmt.Sprintf(" (this path retains %s of %s objects; %s)", figure.Number(p.Count), figure.Number(len(objects)), rest)
	}
	return p
}

// besides counts the objects that are not in a group. What is on the way to the group does not
// count: a map or a slice may have been allocated at the line that puts into it.
func (s *Search) besides(objects []int32, g Group) (n int) {
	way := make([]bool, s.h.Len())
	for _, o := range g.Objects {
		way[o] = true
	}
	for p := s.parent(g.Example); p >= 0; p = s.parent(p) {
		way[p] = true
	}
	for _, o := range objects {
		if !way[o] && s.h.keyOf(o).site != mapSite {
			n++
		}
	}
	return n
}

// Outside says what is at an address at which the heap has no object.
func (h *Heap) Outside(addr uint64) string {
	if h.inBSS(addr) || addr-h.Data.Addr < uint64(h.Data.Len) {
		if v, ok := h.static(addr&^uint64(h.PtrSize-1), 0); ok {
			return "it is part of the package variable " + v.root + ", which lives as long as the program"
		}
		return "it is part of a package variable, which lives as long as the program"
	}
	for g := range h.Goroutines {
		for _, f := range h.Goroutines[g].Frames {
			if fr := &h.Frames[f]; addr-fr.SP < uint64(fr.Len) {
				return fmt.Sprintf("it is not in the heap but on the stack of goroutine %d, a variable of %s", h.Goroutines[g].ID, symbols.Short(fr.Func))
			}
		}
	}
	return "nothing retains it: the heap has no object there"
}

// Paths are the paths on which the objects are retained, the one with most of them first, at most
// limit of them; 0 for all.
func (s *Search) Paths(objects []int32, limit int) []Path {
	var out []Path
	lost := 0
	for _, o := range objects {
		if s.rank[o] == Unreachable {
			lost++
		}
	}
	for _, g := range s.merge(s.Group(objects)) {
		if limit > 0 && len(out) == limit {
			break
		}
		out = append(out, s.GroupPath(g, 0))
	}
	if lost > 0 {
		p := s.orphan(objects)
		p.Count = lost
		out = append(out, p)
	}
	return out
}

// orphan answers for objects that no root reaches.
func (s *Search) orphan(objects []int32) Path {
	p := Path{Count: len(objects), Rank: Unreachable}
	p.Answer = "no path: it is in the heap, but nothing that the dump shows refers to it. It may be the argument of a runtime.AddCleanup, " +
		"or garbage that the next collection frees"
	if f := s.h.closureFrom(objects[0]); f != "" {
		p.Answer = "no path from a root: only the function " + f + " refers to it, and the dump does not say who holds that; probably a runtime.AddCleanup"
	}
	return p
}

// closureFrom names a function value that refers to the object and that nothing refers to.
func (h *Heap) closureFrom(target int32) string {
	for o := range int32(h.Len()) {
		to, _ := h.Edges(o)
		for _, t := range to {
			if t != target || o == target {
				continue
			}
			if f, ok := h.closure(o, hop{}); ok && h.everything().rank[o] == Unreachable {
				return f.Name
			}
		}
	}
	return ""
}

// AllocatedAt returns the objects that were sampled with this stack, innermost call first, whole or
// cut short at its outer end.
func (h *Heap) AllocatedAt(stack []heapdump.Call) []int32 {
	match := map[int32]bool{}
	for i := range h.Allocs {
		if sameStack(h.Allocs[i].Stack, stack) && !forRuntime(h.Allocs[i].Stack) {
			match[int32(i)] = true
		}
	}
	var out []int32
	for o := range int32(h.Len()) {
		if match[h.SampleOf(o)] {
			out = append(out, o)
		}
	}
	return out
}

// forRuntime reports whether the runtime made the objects for itself.
func forRuntime(stack []heapdump.Call) bool {
	return slices.ContainsFunc(stack, func(c heapdump.Call) bool { return source.ForRuntime(c.Func) })
}

// sameStack compares lines only: a dump names the function into which a call was inlined.
func sameStack(dump, stack []heapdump.Call) bool {
	dump, stack = users(dump), users(stack)
	for i, c := range stack {
		if i == len(dump) || dump[i].File != c.File || dump[i].Line != c.Line {
			return false
		}
	}
	return len(stack) > 0
}

// users drops the runtime's calls at the inner end, of which the two kinds of stacks show more or
// fewer.
func users(stack []heapdump.Call) []heapdump.Call {
	for len(stack) > 0 && (strings.HasPrefix(stack[0].Func, "runtime.") || strings.Contains(stack[0].File, "/runtime/")) {
		stack = stack[1:]
	}
	return stack
}
