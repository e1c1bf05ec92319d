package retain

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A key says which objects are of one kind: the allocation site, or failing that the size.
type key struct {
	site int32
	size uint64
}

// mapSite stands for all that a map is made of: it grows at sites that differ.
const mapSite = -2

func (h *Heap) keyOf(o int32) key {
	site := h.SampleOf(o)
	switch {
	case site < 0:
		return key{site: -1, size: h.Size(o)}
	case h.mapSites[site]:
		return key{site: mapSite}
	}
	return key{site: site}
}

func (h *Heap) findMapSites() []bool {
	out := make([]bool, len(h.Allocs))
	for i := range h.Allocs {
		_, group := kindOfAlloc(h.Allocs[i].Stack)
		out[i] = group == "map"
	}
	return out
}

// A Group is many objects on one path.
type Group struct {
	Objects []int32
	Example int32 // the one with the shortest path
}

// Group puts objects together whose paths differ only in which instance of each kind they go
// through, and in how often they go round a loop of kinds. The largest group comes first, of equal
// ones the one nearest to its root. Objects that were not reached form none.
func (s *Search) Group(objects []int32) []Group {
	g := s.grouper()
	byID := map[int32]*Group{}
	for _, o := range objects {
		if s.rank[o] == Unreachable {
			continue
		}
		id := g.id(o)
		b := byID[id]
		if b == nil {
			b = &Group{Example: o}
			byID[id] = b
		} else if g.depth[o] < g.depth[b.Example] {
			b.Example = o
		}
		b.Objects = append(b.Objects, o)
	}
	out := make([]Group, 0, len(byID))
	for _, b := range byID {
		out = append(out, *b)
	}
	slices.SortFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(len(b.Objects), len(a.Objects)), cmp.Compare(g.depth[a.Example], g.depth[b.Example]), cmp.Compare(a.Example, b.Example))
	})
	return out
}

// A signature is a kind, reached from another.
type signature struct {
	parent int32 // or -1 and the root
	root   rootID
	key    key
}

type rootID struct {
	kind rootKind
	word uint32 // in a segment
	data bool
	code uint64
	by   uint64 // what created the goroutine
}

type grouper struct {
	s     *Search
	of    []int32 // by object: its signature + 1, or 0
	depth []int32 // by object with a signature: the objects on its path
	up    []int32 // scratch of id
	ids   map[signature]int32
	list  []signature
	count []int32 // by signature: how many objects have it
	seen  []int32 // the objects with a signature
}

// grouper is empty. There is one for a search, because its arrays are as long as the heap: the one
// that was returned before must not be used any more.
func (s *Search) grouper() *grouper {
	g := s.group
	if g == nil {
		n := s.h.Len()
		g = &grouper{s: s, of: make([]int32, n), depth: make([]int32, n), ids: map[signature]int32{}}
		s.group = g
	}
	for _, o := range g.seen {
		g.of[o] = 0
	}
	g.seen = g.seen[:0]
	clear(g.count)
	return g
}

// id numbers the signature of an object; it walks up to what is known, then down.
func (g *grouper) id(o int32) int32 {
	g.up = g.up[:0]
	for at := o; g.of[at] == 0; at = g.s.parent(at) {
		g.up = append(g.up, at)
		if g.s.parent(at) < 0 {
			break
		}
	}
	for _, at := range slices.Backward(g.up) {
		g.depth[at] = 1
		if p := g.s.parent(at); p >= 0 {
			g.depth[at] += g.depth[p]
		}
		id := g.intern(at)
		g.of[at] = id + 1
		g.seen = append(g.seen, at)
		g.count[id]++
	}
	return g.of[o] - 1
}

func (g *grouper) intern(o int32) int32 {
	sig := signature{parent: -1, key: g.s.h.keyOf(o)}
	if p := g.s.parent(o); p >= 0 {
		sig.parent = g.of[p] - 1
		// Met before on this path: a list, or a ring of kinds.
		for at := sig.parent; at >= 0; at = g.list[at].parent {
			if g.list[at].key == sig.key {
				return at
			}
		}
	} else {
		r := g.s.seeds[^p]
		sig.root = g.rootOf(r)
	}
	id, ok := g.ids[sig]
	if !ok {
		id = int32(len(g.list))
		g.ids[sig] = id
		g.list = append(g.list, sig)
		g.count = append(g.count, 0)
	}
	return id
}

// rootOf tells roots apart, but not goroutines of one go statement that wait at the same line.
func (g *grouper) rootOf(r root) rootID {
	h := g.s.h
	switch r.kind {
	case rootVariable:
		return rootID{kind: r.kind, word: r.word, data: r.seg == &h.Data}
	case rootFrame:
		return rootID{kind: r.kind, code: h.Frames[r.index].PC, by: h.Goroutines[h.goroutineOf(r)].CreatedPC}
	case rootFinalizer, rootFinalizerFunc, rootFinalizerQueue:
		return rootID{kind: r.kind, code: h.Finalizers[r.index].Code}
	}
	return rootID{kind: r.kind}
}

// merge puts groups together whose paths read the same. Without allocation stacks, the parts of one
// map look like different things. Of groups of one size that with the shortest path comes first.
func (s *Search) merge(groups []Group) []Group {
	const named = 64 // the largest
	at := map[string]int{}
	var out []Group
	var texts []string
	for _, g := range groups[:min(len(groups), named)] {
		text := s.Path(g.Example).shape()
		if k, ok := at[text]; ok {
			out[k].Objects = append(out[k].Objects, g.Objects...)
			continue
		}
		at[text] = len(out)
		out, texts = append(out, g), append(texts, text)
	}
	order := make([]int, len(out))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(len(out[b].Objects), len(out[a].Objects)), cmp.Compare(strings.Count(texts[a], "\n"), strings.Count(texts[b], "\n")),
			strings.Compare(texts[a], texts[b]))
	})
	sorted := make([]Group, 0, len(groups))
	for _, i := range order {
		sorted = append(sorted, out[i])
	}
	return append(sorted, groups[min(len(groups), named):]...)
}

var instance = regexp.MustCompile(`\[[^\]]*\]|[0-9]+|".*"|…`)

// shape is the path without what tells instances apart.
func (p Path) shape() string {
	var b strings.Builder
	for _, h := range p.Hops {
		if h.Kind == "…" {
			continue
		}
		b.WriteString(instance.ReplaceAllString(h.Kind+" "+h.Type+" "+h.Name, ""))
		if _, by, ok := strings.Cut(h.Name, ", created by "); ok && h.Kind == "goroutine" {
			b.WriteString(by) // with its line
		}
		if h.Type == "" && h.Kind != "map" && h.Kind != "sync.Map" {
			fmt.Fprintf(&b, " %s:%d", h.File, h.Line)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// GroupPath is the path of a group, with its count and what it retains. perOp is how many of the
// objects came at a time; 0 where that is not known.
func (s *Search) GroupPath(g Group, perOp float64) Path {
	before, ok := s.container(g, perOp)
	p := s.pathTo(g.Example, before)
	if !ok {
		p.Grew = 0
	}
	p.Count = len(g.Objects)
	p.RetainedBytes = s.h.Retained(g.Objects)
	return p
}
