package retain

// A treeOrder numbers the nodes of roots and the objects below them in the order of a depth-first
// walk, and knows what dominates each. An edge counts only between objects of one rank: what leads
// to an object of a better rank does not retain it.
type treeOrder struct {
	numbering
	idom []int32 // by number; 0 for what several roots retain
	at   []int32 // by node: its number
}

func newTreeOrder(b *treeBuilder) *treeOrder {
	h, roots := b.h, int32(len(b.out))
	d := &treeOrder{at: make([]int32, roots)}
	d.numbering = numbering{number: make([]int32, h.Len()), object: []int32{-1}, parent: []int32{0}, fromRoot: []bool{false}}
	seeds := b.seedsByNode()
	children := make([][]int32, roots)
	for n := range roots {
		if p := b.out[n].Parent; p >= 0 {
			children[p] = append(children[p], n)
		}
	}
	for n := range roots {
		if b.out[n].Parent < 0 {
			d.walkRoot(b, n, 0, seeds, children)
		}
	}
	start, from := d.edgesBack(b, seeds)
	d.idom = d.numbering.idoms(start, from)
	return d
}

// seedsByNode lists what each node of a root refers to, without what a better rank reaches.
func (b *treeBuilder) seedsByNode() [][]int32 {
	out := make([][]int32, len(b.out))
	for i, r := range b.s.seeds {
		if n := b.holders[i]; b.s.rank[r.object] == r.rank {
			out[n] = append(out[n], r.object)
		}
	}
	return out
}

func (d *treeOrder) walkRoot(b *treeBuilder, node, parent int32, seeds, children [][]int32) {
	n := int32(len(d.object))
	d.at[node] = n
	d.object = append(d.object, ^node)
	d.parent = append(d.parent, parent)
	d.fromRoot = append(d.fromRoot, parent == 0)
	for _, o := range seeds[node] {
		d.walkFrom(b, o, n)
	}
	for _, c := range children[node] {
		d.walkRoot(b, c, n, seeds, children)
	}
}

func (d *treeOrder) walkFrom(b *treeBuilder, from, parent int32) {
	if d.number[from] != 0 {
		return
	}
	stack := []visit{{d.enter(from, parent), 0}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		o := d.object[top.number]
		rank := b.s.rank[o]
		to, _ := b.h.Edges(o)
		for top.edge < len(to) && (d.number[to[top.edge]] != 0 || b.s.rank[to[top.edge]] != rank) {
			top.edge++
		}
		if top.edge == len(to) {
			stack = stack[:len(stack)-1]
			continue
		}
		next := to[top.edge]
		top.edge++
		stack = append(stack, visit{d.enter(next, top.number), 0})
	}
}

// edgesBack lists, by number, what refers to each object.
func (d *treeOrder) edgesBack(b *treeBuilder, seeds [][]int32) (start, from []int32) {
	start = make([]int32, len(d.object)+1)
	d.eachRetaining(b, seeds, func(_, to int32) { start[to+1]++ })
	for i := 1; i < len(start); i++ {
		start[i] += start[i-1]
	}
	from = make([]int32, start[len(start)-1])
	next := append([]int32(nil), start...)
	d.eachRetaining(b, seeds, func(a, to int32) {
		from[next[to]] = a
		next[to]++
	})
	return start, from
}

func (d *treeOrder) eachRetaining(b *treeBuilder, seeds [][]int32, f func(from, to int32)) {
	for n := int32(1); n < int32(len(d.object)); n++ {
		o := d.object[n]
		if o < 0 {
			for _, t := range seeds[^o] {
				f(n, d.number[t])
			}
			if p := b.out[^o].Parent; p >= 0 {
				f(d.at[p], n)
			}
			continue
		}
		to, _ := b.h.Edges(o)
		for _, t := range to {
			if b.s.rank[t] == b.s.rank[o] {
				f(n, d.number[t])
			}
		}
	}
}

// dominators are those of the numbers. Numbers of roots have an object below 0.
func (d *treeOrder) dominators(h *Heap) *Dominators {
	out := &Dominators{number: d.number, object: d.object, idom: d.idom}
	out.measure(h)
	return out
}
