package retain

import (
	"debug/dwarf"
	"fmt"
	"hash/maphash"
	"regexp"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// A Tree adds up the heap by what retains it. Below a root stand the objects that only this root
// retains, and below an object what would be freed with it: it is the tree of dominators, with
// alike objects added up in one node.
type Tree struct {
	Nodes []Node // a parent comes before its children
}

// A Node is a root, a kind of object below it, or a line that allocates.
type Node struct {
	Parent int32 // or -1
	Label  string
	File   string
	Line   int
	Root   string // what kind of root this is below
	State  string // of the goroutine this is below, or ""

	Objects, Bytes int64 // that end here: without those of the nodes below
}

// Text is the label for a reader. In Label itself no slash may be, because pprof's page shows only
// what follows the last one.
func (n *Node) Text() string { return strings.ReplaceAll(n.Label, "∕", "/") }

func treeText(s string) string { return strings.ReplaceAll(s, "/", "∕") }

// TreeSite begins the label of a line that allocates.
const TreeSite = "allocated at "

// The kinds of roots.
const (
	TreeVariable  = "variable"
	TreeGoroutine = "goroutine"
	TreeTest      = "test"
	TreeTimer     = "timer"
	TreeFinalizer = "finalizer"
	TreeCleanup   = "cleanup"
	TreePool      = "sync.Pool"
	TreeStack     = "stack word"
	TreeRuntime   = "runtime"
	TreeGarbage   = "garbage"
)

// Tree computes the tree of the whole heap. Only roots of the best rank that reaches an object
// count, so that a stray word on a stack does not take an object from the variable that holds it.
func (h *Heap) Tree() *Tree {
	b := newTreeBuilder(h)
	d := newTreeOrder(b)
	b.label()
	b.place(d)
	return &Tree{Nodes: b.out}
}

// Survey groups the heap into sites, and adds it up by what retains it.
func (h *Heap) Survey() (*Census, *Tree) {
	b := newTreeBuilder(h)
	d := newTreeOrder(b)
	c := newCensus(h, b.label())
	c.retain(h, d.dominators(h))
	b.place(d)
	return c, &Tree{Nodes: b.out}
}

// line matches what a label says of the line of a goroutine.
var line = regexp.MustCompile(` \([^() ]+:\d+\)`)

// WithoutLines is the tree with nodes added up that differ in their lines only: in another build a
// function has other lines.
func (t *Tree) WithoutLines() *Tree {
	out := &Tree{}
	nodes := map[nodeName]int32{}
	at := make([]int32, len(t.Nodes))
	for i, x := range t.Nodes {
		x.Label = line.ReplaceAllString(x.Label, "")
		if strings.HasPrefix(x.Label, TreeSite) {
			x.Label, _, _ = strings.Cut(x.Label, ":")
		}
		if x.Parent >= 0 {
			x.Parent = at[x.Parent]
		}
		k := nodeName{x.Parent, x.Label}
		n, ok := nodes[k]
		if !ok {
			n = int32(len(out.Nodes))
			nodes[k], out.Nodes = n, append(out.Nodes, x)
		} else {
			out.Nodes[n].Objects += x.Objects
			out.Nodes[n].Bytes += x.Bytes
		}
		at[i] = n
	}
	return out
}

// A treeBuilder makes nodes.
type treeBuilder struct {
	h       *Heap
	s       *Search
	out     []Node
	said    []int32 // by node: its label
	nodes   map[nodeKey]int32
	labels  map[string]int32
	texts   []treeLabel
	holders []int32 // by seed: its node
	of      []int32 // by object: its label
}

type nodeKey struct{ parent, label int32 }

// A treeLabel is what is said of an object: from where it is referred to, and what it is.
type treeLabel struct {
	text string
	to   string // what the object is
	part bool   // it is an inner part of what refers to it, such as a map's table
	file string
	line int
	// The object is where the runtime keeps pending timers.
	timers bool
}

// newTreeBuilder makes the nodes of the roots.
func newTreeBuilder(h *Heap) *treeBuilder {
	b := &treeBuilder{h: h, s: h.everything(), nodes: map[nodeKey]int32{}, labels: map[string]int32{}}
	b.holders = make([]int32, len(b.s.seeds))
	goroutines := map[uint64]int32{}
	for i := range b.s.seeds {
		b.holders[i] = b.holder(&b.s.seeds[i], goroutines)
	}
	return b
}

func (b *treeBuilder) intern(l treeLabel) int32 {
	i, ok := b.labels[l.text]
	if !ok {
		i = int32(len(b.texts))
		b.labels[l.text], b.texts = i, append(b.texts, l)
	}
	return i
}

// child is the node below a parent. What repeats on the way, such as the nodes of a list, is one
// node.
func (b *treeBuilder) child(parent, label int32) int32 {
	k := nodeKey{parent, label}
	if n, ok := b.nodes[k]; ok {
		return n
	}
	n := b.repeated(parent, label)
	if n < 0 {
		l := &b.texts[label]
		x := Node{Parent: parent, Label: l.text, File: l.file, Line: l.line}
		if parent >= 0 {
			x.Root, x.State = b.out[parent].Root, b.out[parent].State
		}
		n = int32(len(b.out))
		b.out = append(b.out, x)
		b.said = append(b.said, label)
	}
	b.nodes[k] = n
	return n
}

// repeated returns the node above that has this label, or of which this is an inner part; -1 for
// none.
func (b *treeBuilder) repeated(parent, label int32) int32 {
	l := &b.texts[label]
	for at := parent; at >= 0; at = b.out[at].Parent {
		if b.said[at] == label || at == parent && l.part && b.texts[b.said[at]].to == l.to {
			return at
		}
	}
	return -1
}

// root is a node at the top.
func (b *treeBuilder) root(text, kind string) int32 {
	n := b.child(-1, b.intern(treeLabel{text: text}))
	b.out[n].Root = kind
	return n
}

// holder is the node of a root.
func (b *treeBuilder) holder(r *root, goroutines map[uint64]int32) int32 {
	h := b.h
	switch r.kind {
	case rootVariable:
		kind := TreeVariable
		if r.rank == Test {
			kind = TreeTest
		}
		if v, ok := h.static(r.seg.Addr+uint64(r.word)*uint64(h.PtrSize), 0); ok {
			return b.root(v.root+" (variable)", kind)
		}
		return b.root("package variables whose names are unknown", kind)
	case rootFrame, rootContext, rootDefer, rootPanic:
		return b.goroutine(r, goroutines)
	case rootFinalizer, rootFinalizerFunc, rootFinalizerQueue:
		name := symbols.Short(h.code(h.Finalizers[r.index].Code).Name)
		return b.root(strings.TrimSpace("finalizer "+name), TreeFinalizer)
	case rootCleanup:
		return b.root("runtime.AddCleanup", TreeCleanup)
	case rootPool:
		return b.root("sync.Pool, emptied by the next two collections", TreePool)
	}
	return b.root("the runtime", TreeRuntime)
}

// goroutine is the node of all goroutines that were created in one place and are blocked at one
// line.
func (b *treeBuilder) goroutine(r *root, known map[uint64]int32) int32 {
	h, g := b.h, b.h.goroutineOf(*r)
	frame, key := heapdump.None, h.stackKey(g)
	if r.kind == rootFrame {
		frame = r.index
	}
	if r.rank >= Test { // a test's line is that of the frame that holds
		key = maphash.Comparable(stackSeed, [3]uint64{key, uint64(frame), uint64(r.rank)})
	}
	if n, ok := known[key]; ok {
		return n
	}
	kind := TreeGoroutine
	switch {
	case r.rank >= Stack:
		kind = TreeStack
	case h.byTest(*r):
		kind = TreeTest
	}
	at := h.standing(g, frame)
	by := "goroutine " + symbols.Short(h.outermost(g))
	if c := h.creator(g); c != "" {
		by = "goroutines created by " + treeText(c)
	}
	if h.isMain(g) {
		by = "the main goroutine"
	}
	if kind == TreeStack {
		by += ", stray words on their stacks"
	}
	top := b.root(by, kind)
	in := "in " + at.shown()
	if at.File != "" {
		in += treeText(fmt.Sprintf(" (%s:%d)", h.short(at.File), at.Line))
	}
	n := b.child(top, b.intern(treeLabel{text: in + ", " + h.state(g), file: at.File, line: at.Line}))
	b.out[n].State = h.state(g)
	known[key] = n
	return n
}

var stackSeed = maphash.MakeSeed()

// stackKey is the same for goroutines that are blocked at the same line, in the same state.
func (h *Heap) stackKey(g int) uint64 {
	x := &h.Goroutines[g]
	var m maphash.Hash
	m.SetSeed(stackSeed)
	maphash.WriteComparable(&m, [3]uint64{x.CreatedPC, x.Status, uint64(h.rankOf(g))})
	m.WriteString(x.WaitReason)
	for _, f := range x.Frames {
		maphash.WriteComparable(&m, h.Frames[f].PC)
	}
	return m.Sum64()
}

// outermost is the function that a goroutine runs.
func (h *Heap) outermost(g int) string {
	frames := h.Goroutines[g].Frames
	if len(frames) == 0 {
		return "without a stack"
	}
	name := ""
	for _, f := range slices.Backward(frames) {
		if name = h.Frames[f].Func; name != "runtime.goexit" && name != "runtime.main" {
			break
		}
	}
	return name
}

// label says of every object what refers to it and what it is, from the roots on, by the shortest
// path.
func (b *treeBuilder) label() *typer {
	b.of = make([]int32, b.h.Len())
	l := labeler{typer: newTyper(b.h), b: b, words: map[wordKey]int32{}}
	l.walk(b.s, b.s.order, l.set)
	return &l.typer
}

// A labeler says of every object what refers to it and what it is.
type labeler struct {
	typer
	b     *treeBuilder
	words map[wordKey]int32
}

type wordKey struct {
	from         string
	parent, kind int32
}

func (l *labeler) set(o, parent int32, from string) {
	key := wordKey{from, 0, l.kinds[o]}
	if parent != heapdump.None {
		key.parent = l.kinds[parent]
	}
	i, ok := l.words[key]
	if !ok {
		k, parent := &l.list[key.kind], l.list[key.parent].text
		x := treeLabel{text: k.text, to: k.text, file: k.file, line: k.line, part: parent == k.text && (from == parent || from == "")}
		if from != "" && !x.part {
			x.text = from + " → " + k.text
		}
		x.timers = isTimers(k.view.typ)
		x.text = treeText(x.text)
		i = l.b.intern(x) + 1
		l.words[key] = i
	}
	l.b.of[o] = i
}

// isTimers tells the type of the arrays in which the runtime keeps pending timers.
func isTimers(t dwarf.Type) bool {
	s, ok := bare(t).(*dwarf.StructType)
	return ok && s.StructName == "runtime.timerWhen"
}

// place puts every object below what dominates it.
func (b *treeBuilder) place(d *treeOrder) {
	h := b.h
	at := make([]int32, len(d.object)) // by number: the node
	shared := b.intern(treeLabel{text: "shared with other roots"})
	sites := make([]int32, len(h.Allocs))
	for n := 1; n < len(d.object); n++ {
		o := d.object[n]
		if o < 0 {
			at[n] = ^o
			continue
		}
		label := b.of[o] - 1
		switch up := d.idom[n]; {
		case b.texts[label].timers:
			at[n] = b.root("pending timers", TreeTimer)
		case up != 0:
			at[n] = b.child(at[up], label)
		default:
			at[n] = b.child(b.child(b.holderOf(o), shared), label)
		}
		b.count(b.leaf(at[n], o, sites), o)
	}
	for o := range int32(h.Len()) {
		if b.s.rank[o] == Unreachable {
			b.count(b.leaf(b.root("garbage that the next collection frees", TreeGarbage), o, sites), o)
		}
	}
}

// holderOf is the root from which the object is reached on the shortest way.
func (b *treeBuilder) holderOf(o int32) int32 {
	p := b.s.parent(o)
	for p >= 0 {
		p = b.s.parent(p)
	}
	return b.holders[^p]
}

// leaf is the line that allocated the object, below its node, where that is known.
func (b *treeBuilder) leaf(node, o int32, sites []int32) int32 {
	i := b.h.SampleOf(o)
	if i < 0 {
		return node
	}
	if sites[i] == 0 {
		sites[i] = -1
		if c, ok := b.h.userCall(b.h.Allocs[i].Stack); ok {
			name := symbols.Short(b.h.function(heapdump.Call(c)))
			sites[i] = b.intern(treeLabel{text: fmt.Sprintf(TreeSite+"%s:%d", name, c.Line), file: c.File, line: c.Line}) + 1
		}
	}
	if sites[i] < 0 {
		return node
	}
	return b.child(node, sites[i]-1)
}

func (b *treeBuilder) count(node, o int32) {
	b.out[node].Objects++
	b.out[node].Bytes += int64(b.h.Size(o))
}

// plainExpr leaves out indexes and keys: open[…].user for open["x/y"].user, and Load(…) for the key
// of a sync.Map.
func plainExpr(e string) string {
	e = strings.ReplaceAll(e, " (key)", "\x00")
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(e); i++ {
		c := e[i]
		switch {
		case quoted && c == '\\':
			i++
		case c == '"' && depth > 0:
			quoted = !quoted
		case quoted:
		case c == '[' || c == '(':
			if depth == 0 {
				b.WriteByte(c)
			}
			depth++
		case c == ']' || c == ')':
			depth--
			if depth == 0 && e[i-1] != '(' {
				b.WriteString("…")
			}
			if depth == 0 {
				b.WriteByte(c)
			}
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return strings.ReplaceAll(b.String(), "\x00", " (key)")
}
