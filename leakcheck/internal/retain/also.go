package retain

import (
	"fmt"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

const (
	alsoShown   = 3
	alsoVisited = 20_000 // objects that are looked at for other roots
)

// also names, nearest first, what else holds an object than the root that was found: variables that
// a person declared, and the program's goroutines.
func (s *Search) also(o int32, found root) []string {
	h := s.h
	all := h.everything()
	if s.rank[o] > Program {
		return nil
	}
	roots, back := h.rootsOf(), h.backward()
	count := map[string]int{}
	var order []string
	seen := map[int32]bool{o: true}
	counted := map[int]bool{} // goroutines: one may hold in several frames
	for queue := []int32{o}; len(queue) > 0 && len(seen) < alsoVisited; queue = queue[1:] {
		for _, i := range roots[queue[0]] {
			r := all.seeds[i]
			name := h.holderName(r, found)
			if name == "" {
				continue
			}
			if r.kind != rootVariable {
				g := h.goroutineOf(r)
				if counted[g] {
					continue
				}
				counted[g] = true
			}
			if count[name]++; count[name] == 1 {
				order = append(order, name)
			}
		}
		for _, from := range back.of(queue[0]) {
			if !seen[from] && all.rank[from] <= Program && !h.inner[from] && !h.pools[from] {
				seen[from] = true
				queue = append(queue, from)
			}
		}
	}
	return alsoWords(order, count)
}

func alsoWords(order []string, count map[string]int) (out []string) {
	for i, name := range order {
		if i == alsoShown {
			out = append(out, figure.Plural(len(order)-i, "other root"))
			break
		}
		if n := count[name]; n > 1 && strings.HasPrefix(name, "a goroutine ") {
			name = fmt.Sprintf("%s goroutines %s", figure.Number(n), strings.TrimPrefix(name, "a goroutine "))
		}
		out = append(out, name)
	}
	return out
}

// holderName says in a few words what a root is; "" for one that is not worth a line, or is the one
// that was found.
func (h *Heap) holderName(r, found root) string {
	switch r.kind {
	case rootVariable:
		if r.rank != Declared {
			return ""
		}
		name := h.variableOf(r)
		if found.kind == rootVariable && name == h.variableOf(found) {
			return ""
		}
		return "package variable " + name
	case rootFrame, rootContext, rootDefer, rootPanic:
		g, frame := h.goroutineOf(r), heapdump.None
		if r.kind == rootFrame {
			frame = r.index
		}
		switch found.kind {
		case rootFrame, rootContext, rootDefer, rootPanic:
			if h.goroutineOf(found) == g {
				return ""
			}
		}
		at := h.standing(g, frame)
		if h.standard(heapdump.Call{Func: at.Name, File: at.File}) {
			return ""
		}
		if h.isMain(g) {
			return fmt.Sprintf("the main goroutine, %s in %s (%s:%d)", h.state(g), at.shown(), h.short(at.File), at.Line)
		}
		return fmt.Sprintf("a goroutine %s in %s (%s:%d)", h.state(g), at.shown(), h.short(at.File), at.Line)
	}
	return ""
}

func (h *Heap) variableOf(r root) string {
	v, _ := h.static(r.seg.Addr+uint64(r.word)*uint64(h.PtrSize), 0)
	return v.root
}

// rootsOf lists, by object, the seeds of everything that refer to it and hold for the program.
func (h *Heap) rootsOf() map[int32][]int {
	if h.rooted != nil {
		return h.rooted
	}
	h.rooted = map[int32][]int{}
	for i, r := range h.everything().seeds {
		if r.rank <= Program {
			h.rooted[r.object] = append(h.rooted[r.object], i)
		}
	}
	return h.rooted
}
