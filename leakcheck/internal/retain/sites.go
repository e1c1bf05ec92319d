package retain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// A Site is all objects that come from one place, or failing that have one type, or one size and layout.
type Site struct {
	By       string // "site", "type" or "layout"
	Name     string
	File     string `json:",omitempty"`
	Line     int    `json:",omitempty"`
	Source   string `json:",omitempty"`
	Count    int
	Bytes    int64  // of the objects themselves
	Retained int64  // what would be freed with them
	Distance int    // of the nearest one from a root; 0 for garbage
	Allocs   uint64 `json:",omitempty"` // since the process started, as far as they were sampled
	Frees    uint64 `json:",omitempty"`

	Objects []int32 `json:"-"`
}

// NeverFreed tells sites of which no object was ever freed. Only sampled sites know.
func (s *Site) NeverFreed() bool {
	return s.Allocs > 1 && s.Frees == 0
}

// Sites groups the heap, the largest retained size first.
func (h *Heap) Sites() []*Site {
	c := newCensus(h)
	byName := map[string]*Site{}
	siteOf := make([]*Site, h.Len())
	buckets := map[int32]bool{}
	for o := range int32(h.Len()) {
		s := c.siteOf(o)
		known := byName[s.By+s.Name]
		if known == nil {
			known = &s
			byName[s.By+s.Name] = known
		}
		siteOf[o] = known
		known.take(c, o, buckets)
	}
	c.retain(siteOf)
	out := make([]*Site, 0, len(byName))
	for _, s := range byName {
		s.Source = h.source(s.File, s.Line)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Site) int {
		return cmp.Or(cmp.Compare(b.Retained, a.Retained), cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Name, b.Name))
	})
	return out
}

func (s *Site) take(c *census, o int32, buckets map[int32]bool) {
	h := c.h
	s.Count++
	s.Bytes += int64(h.Size(o))
	s.Objects = append(s.Objects, o)
	if d := int(c.depth[o]); d > 0 && (s.Distance == 0 || d < s.Distance) {
		s.Distance = d
	}
	if b := h.SampleOf(o); b >= 0 && !buckets[b] {
		buckets[b] = true
		s.Allocs += h.Allocs[b].Allocs
		s.Frees += h.Allocs[b].Frees
	}
}

// A census knows every object's type and distance.
type census struct {
	h     *Heap
	depth []int32  // 1 for what a root refers to, 0 for garbage
	typ   []string // "" when unknown
}

func newCensus(h *Heap) *census {
	c := &census{h: h, depth: make([]int32, h.Len()), typ: make([]string, h.Len())}
	views := make([]view, 0)
	if h.names.Types != nil {
		views = make([]view, h.Len())
	}
	var queue []int32
	for _, r := range h.everything().seeds {
		if c.depth[r.object] == 0 {
			c.depth[r.object] = 1
			queue = append(queue, r.object)
			c.see(views, r.object, c.rootLink(r))
		}
	}
	for len(queue) > 0 {
		o := queue[0]
		queue = queue[1:]
		to, word := h.Edges(o)
		for i, t := range to {
			if c.depth[t] != 0 {
				continue
			}
			c.depth[t] = c.depth[o] + 1
			queue = append(queue, t)
			if len(views) > 0 {
				c.see(views, t, h.follow(h.Addr(o), views[o], uint64(word[i])*uint64(h.PtrSize)))
			}
		}
	}
	return c
}

func (c *census) rootLink(r root) link {
	if r.kind == rootVariable {
		if v, ok := c.h.static(r.seg.Addr+uint64(r.word)*uint64(c.h.PtrSize), 0); ok {
			return v.link
		}
	}
	return link{}
}

func (c *census) see(views []view, o int32, via link) {
	h := c.h
	if len(views) == 0 {
		return
	}
	views[o] = h.target(via, o)
	if views[o].typ == nil {
		if f, ok := h.closure(o, hop{}); ok {
			c.typ[o] = "closure " + symbols.Short(f.Name)
			return
		}
	}
	c.typ[o] = h.typeName(views[o], via)
}

// siteOf says where the object belongs.
func (c *census) siteOf(o int32) Site {
	h := c.h
	if a := h.Alloc(o); a != nil {
		if call, ok := h.userCall(a.Stack); ok {
			return Site{By: "site", Name: h.place(call), File: call.File, Line: call.Line}
		}
		return Site{By: "site", Name: "the runtime"}
	}
	if c.typ[o] != "" {
		return Site{By: "type", Name: c.typ[o]}
	}
	return Site{By: "layout", Name: h.layout(o)}
}

// layout describes an object by its size and the words that may hold pointers.
func (h *Heap) layout(o int32) string {
	size := Bytes(int64(h.Size(o)))
	switch words, more := h.PointerWords(o); {
	case more:
		return size + " with more than 8 pointers"
	case len(words) == 0:
		return size + " without pointers"
	default:
		return fmt.Sprintf("%s with pointers in words %s", size, strings.Trim(fmt.Sprint(words), "[]"))
	}
}

// retain adds up for every site what its objects dominate, each byte once: an object below another of its site is
// already counted.
func (c *census) retain(siteOf []*Site) {
	d := c.h.Dominators()
	open := map[*Site]int{}
	d.eachSubtree(func(o int32) {
		s := siteOf[o]
		if open[s] == 0 {
			s.Retained += d.Retained(o)
		}
		open[s]++
	}, func(o int32) { open[siteOf[o]]-- })
}

// ObjectsOfType returns the objects that are known to be of the type, by its short name.
func (h *Heap) ObjectsOfType(name string) []int32 {
	c := newCensus(h)
	var out []int32
	for o := range int32(h.Len()) {
		if c.typ[o] == name || c.typ[o] == strings.TrimPrefix(name, "*") {
			out = append(out, o)
		}
	}
	return out
}

// ObjectsAllocatedIn returns the sampled objects whose allocation stack has a call whose function contains the name.
func (h *Heap) ObjectsAllocatedIn(function string) []int32 {
	match := make([]bool, len(h.Allocs))
	for i, a := range h.Allocs {
		match[i] = slices.ContainsFunc(a.Stack, func(c heapdump.Call) bool {
			return strings.Contains(c.Func, function) || strings.Contains(symbols.Short(h.function(c)), function)
		})
	}
	var out []int32
	for o := range int32(h.Len()) {
		if i := h.SampleOf(o); i >= 0 && match[i] {
			out = append(out, o)
		}
	}
	return out
}
