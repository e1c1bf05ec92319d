// Package retain finds what retains an object in a heap dump, and says it in words.
package retain

import (
	"slices"
	"strings"
	"sync"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

// A Rank orders roots: what is reachable from a lower one is not blamed on a higher one.
type Rank uint8

const (
	Declared    Rank = iota // package variables that a person declared, outside the standard library
	Program                 // the standard library's variables, and the program's goroutines
	Cleanup                 // what runtime.AddCleanup holds: the dump does not say, see cleanups
	System                  // the runtime's own goroutines
	Test                    // goroutines that run tests
	Caller                  // the goroutine that asked for the dump
	Pool                    // the free list of a sync.Pool
	Stack                   // variables on a stack whose address was taken
	CallerStack             // the same on the stack of the goroutine that asked
	Ring                    // objects with a finalizer that refer back to themselves
	Finalizer               // other objects with a finalizer
	Unreachable             // nothing
)

// A rootKind says what a root is.
type rootKind uint8

const (
	rootVariable rootKind = iota
	rootFrame
	rootContext
	rootDefer
	rootPanic
	rootFinalizer     // what an object with a finalizer refers to
	rootFinalizerFunc // the finalizer's function
	rootFinalizerQueue
	rootCleanup
	rootOther
	rootPool
)

// A root is one reference into the heap from outside.
type root struct {
	kind   rootKind
	rank   Rank
	object int32
	word   uint32            // in the segment, frame or object that holds it
	seg    *heapdump.Segment // of a variable
	index  int               // of the frame, goroutine, finalizer; or the pool's object
}

// A Heap is a dump with its roots in order.
type Heap struct {
	*heapdump.Dump
	names    Names
	roots    [Unreachable][]root
	goroot   string
	caller   int // index of the goroutine that asked for the dump, or None
	pools    map[int32]bool
	reach    *Search        // the search of this heap; nil before the first call of Search
	refs     []reference    // between variables
	mapSites []bool         // by Allocs
	inner    map[int32]bool // the runtime's own records of goroutines, threads and processors
	back     *backward
	rooted   map[int32][]int // see rootsOf
	stacks   []int32         // frames, by address
	known    []root          // what runtime.AddCleanup holds, where the dump says so
	stacked  bool            // addStacks was called
	redacted bool            // the contents of memory are not in the dump
}

// New prepares a dump for searches. names may be the zero value.
func New(d *heapdump.Dump, names Names) *Heap {
	h := &Heap{Dump: d, names: names, caller: heapdump.None, redacted: d.Redacted()}
	for i, g := range d.Goroutines {
		if g.Status == waiting && g.WaitReason == "dumping heap" { // the reason alone stays after an earlier dump
			h.caller = i
		}
		for _, f := range g.Frames {
			if d.Frames[f].Func == frozenTake {
				h.caller = i
			}
		}
	}
	h.goroot = h.findGoroot()
	h.mapSites = h.findMapSites()
	h.pools = h.findPools()
	h.inner = h.findInner()
	h.addSegment(&d.Data)
	h.addSegment(&d.BSS)
	h.addGoroutines()
	for i, o := range d.Others {
		if o.Description == heapdump.CleanupRoot && o.Object != heapdump.None {
			h.known = append(h.known, root{kind: rootCleanup, rank: Cleanup, object: o.Object})
			continue
		}
		h.add(root{kind: rootOther, rank: Program, object: o.Object, index: i})
	}
	return h
}

func (h *Heap) add(r root) {
	if r.object != heapdump.None {
		h.roots[r.rank] = append(h.roots[r.rank], r)
	}
}

func (h *Heap) addSegment(s *heapdump.Segment) {
	to, word := h.RootEdges(s.Roots)
	for i, o := range to {
		h.add(root{kind: rootVariable, rank: h.variableRank(s, word[i]), object: o, word: word[i], seg: s})
	}
}

// variableRank prefers what a person declared, and minds that package testing and leakcheck know
// the running tests.
func (h *Heap) variableRank(s *heapdump.Segment, word uint32) Rank {
	if h.names.Table == nil {
		return Program
	}
	at := s.Addr + uint64(word)*uint64(h.PtrSize)
	name := ""
	if sym, _, ok := h.names.Table.Data(at, s == &h.BSS); ok && !sym.Unnamed() {
		name = sym.Name
	} else if v, ok := h.static(at, 0); ok {
		name = v.symbol
	}
	switch {
	case harness(name):
		return Test
	case declared(name):
		return Declared
	}
	return Program
}

func (h *Heap) addGoroutines() {
	for i := range h.Goroutines {
		g := &h.Goroutines[i]
		rank := h.rankOf(i)
		h.add(root{kind: rootContext, rank: rank, object: g.Context, index: i})
		for _, f := range h.framesOf(i) {
			to, word := h.RootEdges(h.Frames[f].Roots)
			rank := rank
			if h.Frames[f].Guessed {
				rank = Stack
			}
			for k, o := range to {
				h.add(root{kind: rootFrame, rank: rank, object: o, word: word[k], index: f})
			}
		}
	}
	for _, d := range h.Defers {
		if d.Goroutine != heapdump.None {
			h.add(root{kind: rootDefer, rank: h.rankOf(d.Goroutine), object: d.Func, index: d.Goroutine})
		}
	}
	for _, p := range h.Panics {
		if p.Goroutine != heapdump.None {
			h.add(root{kind: rootPanic, rank: h.rankOf(p.Goroutine), object: p.Arg, index: p.Goroutine})
		}
	}
}

// framesOf are a goroutine's frames, without those that are only there to write the dump.
func (h *Heap) framesOf(g int) []int {
	frames := h.Goroutines[g].Frames
	if g != h.caller {
		return frames
	}
	for len(frames) > 0 && ours(h.Frames[frames[0]].Func) {
		frames = frames[1:]
	}
	return frames
}

func ours(fn string) bool {
	if strings.HasPrefix(fn, "runtime.") || strings.HasPrefix(fn, "runtime/debug.") || fn == frozenTake {
		return true
	}
	rest, ok := strings.CutPrefix(fn, "github.com/leaksafe/leaksafe/leakcheck")
	if !ok {
		return false
	}
	return strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "/internal/scope.") ||
		strings.HasPrefix(rest, "/internal/explain.") || strings.HasPrefix(rest, "/internal/ownheap.")
}

// frozenTake is what the goroutine that asked for a dump waits in while the process is copied.
const frozenTake = "github.com/leaksafe/leaksafe/leakcheck/internal/frozen.Take"

func (h *Heap) rankOf(goroutine int) Rank {
	g := &h.Goroutines[goroutine]
	switch {
	case goroutine == h.caller:
		return Caller
	case g.System:
		return System
	}
	if h.testOf(goroutine) {
		return Test
	}
	return Program
}

// An arrival is an object that was reached, and the reference by which it was reached.
type arrival struct {
	object int32
	parent int32  // the object before it, or ^index of a root
	word   uint32 // of the parent, or of what holds the root
	edge   uint32 // of the parent; not of a root
}

// A Search is what was reached, rank by rank, and from where. What is read for each reference, the
// rank, takes one byte: in a large heap every look at an object is a miss of the processor's cache.
type Search struct {
	h      *Heap
	rank   []Rank    // by object
	place  []int32   // in order, by object that was reached
	order  []arrival // in the order in which they were reached: an object after the one before it
	ranks  Rank      // how many were walked
	seeds  []root
	next   int            // of order, to expand
	pooled []root         // free lists of pools that were met on the way
	rings  map[int32]bool // see ringed
	group  *grouper       // see grouper; nil before

	follow chan<- []arrival // hears of what was reached, if not nil
	untold sync.WaitGroup   // the parts of order that the follower is not done with
}

// Search walks from the roots, rank by rank, until all targets are reached. A heap has one Search,
// which goes on where it was.
func (h *Heap) Search(targets []int32) *Search {
	if h.reach == nil {
		n := h.Len()
		h.reach = &Search{h: h, rank: make([]Rank, n), place: make([]int32, n), order: make([]arrival, 0, n)}
		for i := range h.reach.rank {
			h.reach.rank[i] = Unreachable
		}
	}
	s := h.reach
	missing := func(t int32) bool { return s.rank[t] == Unreachable }
	for s.ranks < Unreachable && slices.ContainsFunc(targets, missing) {
		s.walk()
	}
	return s
}

// walk reaches what the roots of the next rank retain and those before did not.
func (s *Search) walk() {
	s.untold.Wait() // what follows changes the heap
	rank := s.ranks
	s.ranks++
	switch rank {
	case Cleanup:
		s.h.roots[Cleanup] = append(slices.Clip(s.h.known), s.h.cleanups(s)...)
	case Stack:
		s.h.addStacks()
	}
	roots := s.h.roots[rank]
	switch rank {
	case Pool:
		roots = s.pooled
	case Ring, Finalizer:
		roots = s.finalizerSeeds(rank)
	}
	for _, r := range roots {
		s.see(arrival{object: r.object, parent: ^int32(len(s.seeds)), word: r.word}, rank)
		s.seeds = append(s.seeds, r)
	}
	for s.next < len(s.order) {
		from := s.next
		for s.next < len(s.order) && s.next-from < 1<<14 {
			s.expand(rank)
		}
		s.tell(s.order[from:s.next])
	}
}

// tell tells the follower that a part of order is complete.
func (s *Search) tell(part []arrival) {
	if s.follow != nil {
		s.untold.Add(1)
		s.follow <- part
	}
}

// expand follows the references of the next objects. They are some at once, because the processor
// then waits for the memory of all of them at the same time.
func (s *Search) expand(rank Rank) {
	var first, last [32]uint32
	block := s.order[s.next:min(s.next+len(first), len(s.order))]
	for i := range block {
		first[i], last[i] = s.h.EdgeRange(block[i].object)
	}
	s.next += len(block)
	for i := range block {
		to, word := s.h.EdgesIn(first[i], last[i])
		for k, t := range to {
			if s.rank[t] == Unreachable {
				s.see(arrival{t, block[i].object, word[k], first[i] + uint32(k)}, rank)
			}
		}
	}
}

func (s *Search) see(a arrival, rank Rank) {
	o := a.object
	if s.rank[o] != Unreachable || rank == Declared && s.h.inner[o] {
		return
	}
	if rank != Pool && s.h.pools[o] {
		s.pooled = append(s.pooled, root{kind: rootPool, rank: Pool, object: o, word: a.word, index: int(a.parent)})
		return
	}
	s.rank[o], s.place[o] = rank, int32(len(s.order))
	s.order = append(s.order, a)
}

// parent is the object by which an object was reached, or ^index of a root.
func (s *Search) parent(o int32) int32 { return s.order[s.place[o]].parent }

// A step is one object on a path and the word of the step before that refers to it.
type step struct {
	object int32
	word   uint32
}

// path returns the way from a root to the object, which must have been reached.
func (s *Search) path(o int32) (root, []step) {
	at := s.order[s.place[o]]
	steps := []step{{at.object, at.word}}
	for at.parent >= 0 {
		at = s.order[s.place[at.parent]]
		steps = append(steps, step{at.object, at.word})
	}
	for i, j := 0, len(steps)-1; i < j; i, j = i+1, j-1 {
		steps[i], steps[j] = steps[j], steps[i]
	}
	return s.seeds[^at.parent], steps
}

// everything is the search that reaches all that any root retains.
func (h *Heap) everything() *Search {
	s := h.Search(nil)
	for s.ranks < Unreachable {
		s.walk()
	}
	return s
}

// Forget frees what is needed to explain objects. What remains knows their addresses and sizes, and
// the census.
func (h *Heap) Forget() {
	h.Dump.Forget()
	h.reach, h.back, h.rooted, h.refs, h.pools, h.inner = nil, nil, nil, nil, nil, nil
	h.roots = [Unreachable][]root{}
}

// ObjectAt returns the object that holds the address.
func (h *Heap) ObjectAt(addr uint64) (int32, bool) {
	o := h.Find(addr)
	return o, o != heapdump.None
}
