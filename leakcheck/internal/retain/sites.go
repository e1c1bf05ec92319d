package retain

import (
	"cmp"
	"debug/dwarf"
	"fmt"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// A Site is all objects that come from one place, or failing that have one type, or one size and
// layout.
type Site struct {
	By       string // "site", "type" or "layout"
	Name     string
	File     string `json:",omitempty"`
	Line     int    `json:",omitempty"`
	Source   string `json:",omitempty"`
	Count    int
	Bytes    int64  // of the objects themselves
	Retained int64  // what would be freed with them; 0 when all are garbage
	Allocs   uint64 `json:",omitempty"` // since the process started, counting those that were sampled
	Frees    uint64 `json:",omitempty"`
	Index    int    `json:"-"` // in its census: sites are numbered from 0

	// Of a chain of single objects, each of which retains little but the next one, one stands for
	// all: the innermost that the program declared. Below are those above it. Others are Led.
	Below []string `json:",omitempty"`
	Led   bool     `json:",omitempty"`

	own bool // the program declares the type, or has the line
}

// NeverFreed tells sites of which no object was ever freed. Only sampled sites know.
func (s *Site) NeverFreed() bool {
	return s.Allocs > 1 && s.Frees == 0
}

// A Census is the heap, grouped into sites.
type Census struct {
	Sites []*Site // the largest retained size first

	of  []int32 // by object: an index of all
	all []*Site // as they were met
}

// Of returns the site of object o.
func (c *Census) Of(o int32) *Site { return c.all[c.of[o]] }

// Sites groups the heap, the largest retained size first.
func (h *Heap) Sites() []*Site { return h.Census().Sites }

// Census groups the heap.
func (h *Heap) Census() *Census {
	c, _ := h.Survey()
	return c
}

func newCensus(h *Heap, t *typer) *Census {
	g := siteFinder{h: h, t: t, bySample: make([]int32, len(h.Allocs)), byKind: make([]int32, len(t.list)), byLayout: map[uint64]int32{}, byName: map[string]int32{}}
	c := &Census{of: make([]int32, h.Len())}
	for o := range int32(h.Len()) {
		i := g.find(o)
		c.of[o] = i
		g.all[i].Count++
		g.all[i].Bytes += int64(h.Size(o))
	}
	c.all, t.kinds = g.all, nil // which are large, and no longer needed
	return c
}

// A siteFinder says where objects belong. It remembers, plus one, the site of each allocation
// stack, kind and layout.
type siteFinder struct {
	h        *Heap
	t        *typer
	all      []*Site
	bySample []int32
	byKind   []int32
	byLayout map[uint64]int32
	byName   map[string]int32
}

func (g *siteFinder) find(o int32) int32 {
	h := g.h
	if b := h.SampleOf(o); b >= 0 {
		if g.bySample[b] == 0 {
			g.bySample[b] = g.add(g.sampled(&h.Allocs[b])) + 1
			s := g.all[g.bySample[b]-1]
			s.Allocs += h.Allocs[b].Allocs
			s.Frees += h.Allocs[b].Frees
		}
		return g.bySample[b] - 1
	}
	if k := g.t.kinds[o]; g.t.list[k].known {
		if g.byKind[k] == 0 {
			g.byKind[k] = g.add(Site{By: "type", Name: g.t.list[k].text, own: ownType(g.t.list[k].view.typ)}) + 1
		}
		return g.byKind[k] - 1
	}
	k := h.Size(o)<<24 | uint64(h.Layout(o))&(1<<24-1)
	i, ok := g.byLayout[k]
	if !ok {
		i = g.add(Site{By: "layout", Name: h.layout(o)})
		g.byLayout[k] = i
	}
	return i
}

func (g *siteFinder) sampled(a *heapdump.Alloc) Site {
	call, ok := g.h.userCall(a.Stack)
	if !ok {
		return Site{By: "site", Name: "the runtime"}
	}
	name := g.h.place(call)
	if own, ok := g.h.ownCall(a.Stack); ok {
		name = g.h.place(own) + ", in " + name
		call = own
	}
	return Site{By: "site", Name: name, File: call.File, Line: call.Line, Source: g.h.source(call.File, call.Line), own: !g.h.standard(heapdump.Call(call))}
}

func (g *siteFinder) add(s Site) int32 {
	i, ok := g.byName[s.By+s.Name]
	if !ok {
		i = int32(len(g.all))
		g.byName[s.By+s.Name] = i
		s.Index = int(i)
		g.all = append(g.all, &s)
	}
	return i
}

// layout describes an object by its size and the words that may hold pointers.
func (h *Heap) layout(o int32) string {
	size := figure.Bytes(int64(h.Size(o)))
	switch words, more := h.PointerWords(o); {
	case more:
		return size + " with more than 8 pointers"
	case len(words) == 0:
		return size + " without pointers"
	default:
		return fmt.Sprintf("%s with pointers in words %s", size, strings.Trim(fmt.Sprint(words), "[]"))
	}
}

// retain adds up for every site what its objects dominate, each byte once: an object below another
// of its site is already counted.
func (c *Census) retain(h *Heap, d *Dominators) {
	open := make([]int32, len(c.all))
	d.eachSubtree(func(o int32) {
		if o < 0 {
			return
		}
		i := c.of[o]
		if open[i] == 0 {
			c.all[i].Retained += d.Retained(o)
		}
		open[i]++
	}, func(o int32) {
		if o >= 0 {
			open[c.of[o]]--
		}
	})
	c.chains(h, d)
	c.Sites = slices.Clone(c.all)
	slices.SortFunc(c.Sites, func(a, b *Site) int {
		return cmp.Or(cmp.Compare(b.Retained, a.Retained), cmp.Compare(b.Bytes, a.Bytes), strings.Compare(a.Name, b.Name))
	})
}

// sameRetained is the share of what an object retains that makes the next one retain the same.
const sameRetained = 0.95

// chains finds the chains of single objects.
func (c *Census) chains(h *Heap, d *Dominators) {
	next, led := map[int32]int32{}, map[int32]bool{}
	for o := range int32(h.Len()) {
		if c.Of(o).Count != 1 {
			continue
		}
		if p, ok := d.Dominator(o); ok && p >= 0 && c.Of(p).Count == 1 && float64(d.Retained(o)) >= sameRetained*float64(d.Retained(p)) {
			next[p], led[o] = o, true
		}
	}
	for o := range next {
		if !led[o] {
			c.chain(o, next)
		}
	}
}

// chain marks the sites of the objects from o on.
func (c *Census) chain(o int32, next map[int32]int32) {
	chain := []*Site{c.Of(o)}
	for {
		n, ok := next[o]
		if !ok {
			break
		}
		o = n
		chain = append(chain, c.Of(o))
	}
	shown := len(chain) - 1
	for i := shown; i >= 0; i-- {
		if chain[i].own {
			shown = i
			break
		}
	}
	for i, s := range chain {
		if s.Led = i != shown; i < shown {
			chain[shown].Below = append(chain[shown].Below, s.Name)
		}
	}
}

// ownType tells types that are declared outside the standard library.
func ownType(t dwarf.Type) bool {
	for {
		switch u := t.(type) {
		case *dwarf.PtrType:
			t = u.Type
		case *dwarf.ArrayType:
			t = u.Type
		case *dwarf.StructType:
			return declared(strings.TrimLeft(u.StructName, "[]*"))
		case nil:
			return false
		default:
			return declared(u.Common().Name)
		}
	}
}

// ObjectsOfType returns the objects that are known to be of the type, by its name with its
// package's or, where that is the only one, without. An error names types that are called nearly
// so.
func (h *Heap) ObjectsOfType(name string) ([]int32, error) {
	t := newTyper(h)
	t.walkEverything()
	count := map[string]int{}
	for o := range int32(h.Len()) {
		if k := &t.list[t.kinds[o]]; k.known {
			count[k.text]++
		}
	}
	text, similar := typeCalled(name, count)
	if text == "" {
		err := fmt.Errorf("no object is known to be of type %s", name)
		if len(similar) > 0 {
			err = fmt.Errorf("%w: is it %s?", err, strings.Join(similar, " or "))
		}
		return nil, err
	}
	var out []int32
	for o := range int32(h.Len()) {
		if k := &t.list[t.kinds[o]]; k.known && k.text == text {
			out = append(out, o)
		}
	}
	return out, nil
}

const similarShown = 5

// typeCalled is the one of the known types that is meant by a name, or types that may be meant.
func typeCalled(name string, count map[string]int) (typ string, similar []string) {
	name = symbols.Spelled(name)
	short := symbols.Short(name) // without directories
	for _, n := range []string{name, strings.TrimPrefix(name, "*"), short, strings.TrimPrefix(short, "*")} {
		if count[n] > 0 {
			return n, nil
		}
	}
	bare := strings.TrimPrefix(short, "*")
	last := bare[strings.LastIndexByte(bare, '.')+1:]
	for k := range count {
		generic, _, _ := strings.Cut(k, "[") // empty for a slice
		if plain := generic[strings.LastIndexByte(generic, '.')+1:]; strings.EqualFold(plain, last) && !strings.ContainsAny(generic, " (") {
			similar = append(similar, k)
		}
	}
	slices.SortFunc(similar, func(a, b string) int { return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b)) })
	if len(similar) == 1 && strings.HasSuffix(similar[0], "."+name) {
		return similar[0], nil
	}
	return "", similar[:min(len(similar), similarShown)]
}

// ObjectsAllocatedIn returns the sampled objects whose allocation stack has a call whose function
// contains the name.
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
