package retain

// Dominators says, for every object that is reachable, through which other object every path to it
// goes. What an object dominates is freed with it.
type Dominators struct {
	number []int32 // by object: its number, in the order of a depth-first walk from 1, or 0 when unreachable
	object []int32 // by number; 0 is the root of everything
	idom   []int32 // by number
	size   []int64 // by number: what it retains
}

// Dominators are computed with the algorithm known as semi-NCA (Georgiadis, "Linear-Time Algorithms
// for Dominators and Related Problems", 2005).
func (h *Heap) Dominators() *Dominators {
	w := newNumbering(h)
	d := &Dominators{number: w.number, object: w.object, idom: w.dominate(h)}
	d.measure(h)
	return d
}

// measure adds up what each object retains.
func (d *Dominators) measure(h *Heap) {
	d.size = make([]int64, len(d.object))
	for i := len(d.object) - 1; i > 0; i-- {
		if o := d.object[i]; o >= 0 {
			d.size[i] += int64(h.Size(o))
		}
		d.size[d.idom[i]] += d.size[i]
	}
}

// Retained is what would be freed with the object, itself included; 0 when it is garbage.
func (d *Dominators) Retained(o int32) int64 {
	if d.number[o] == 0 {
		return 0
	}
	return d.size[d.number[o]]
}

// Dominator is the object that every path to o goes through last; false when there is none but the
// roots.
func (d *Dominators) Dominator(o int32) (int32, bool) {
	n := d.number[o]
	if n == 0 || d.idom[n] == 0 {
		return 0, false
	}
	return d.object[d.idom[n]], true
}

// eachSubtree walks the tree of dominators: enter is called for an object before what it dominates,
// leave after that.
func (d *Dominators) eachSubtree(enter, leave func(o int32)) {
	n := int32(len(d.object))
	first, next := make([]int32, n), make([]int32, n)
	for i := n - 1; i > 0; i-- {
		next[i], first[d.idom[i]] = first[d.idom[i]], i
	}
	var path []int32
	for at := first[0]; at != 0; {
		enter(d.object[at])
		path = append(path, at)
		at = first[at]
		for at == 0 && len(path) > 0 {
			top := path[len(path)-1]
			path = path[:len(path)-1]
			leave(d.object[top])
			at = next[top]
		}
	}
}

// A numbering is a depth-first walk.
type numbering struct {
	number   []int32
	object   []int32
	parent   []int32 // by number
	fromRoot []bool  // by number: a root refers to it
}

func newNumbering(h *Heap) *numbering {
	w := &numbering{number: make([]int32, h.Len()), object: []int32{-1}, parent: []int32{0}, fromRoot: []bool{false}}
	seeds := h.everything().seeds
	for _, r := range seeds {
		w.walk(h, r.object)
	}
	for _, r := range seeds {
		w.fromRoot[w.number[r.object]] = true
	}
	return w
}

// A visit is an object whose edges are being walked.
type visit struct {
	number int32
	edge   int
}

func (w *numbering) walk(h *Heap, from int32) {
	if w.number[from] != 0 {
		return
	}
	stack := []visit{{w.enter(from, 0), 0}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		to, _ := h.Edges(w.object[top.number])
		for top.edge < len(to) && w.number[to[top.edge]] != 0 {
			top.edge++
		}
		if top.edge == len(to) {
			stack = stack[:len(stack)-1]
			continue
		}
		next := to[top.edge]
		top.edge++
		stack = append(stack, visit{w.enter(next, top.number), 0})
	}
}

func (w *numbering) enter(o, parent int32) int32 {
	n := int32(len(w.object))
	w.number[o] = n
	w.object = append(w.object, o)
	w.parent = append(w.parent, parent)
	w.fromRoot = append(w.fromRoot, false)
	return n
}

// before lists, by number, who refers to each object.
func (w *numbering) before(h *Heap) (start []int32, from []int32) {
	start = make([]int32, len(w.object)+1)
	w.eachEdge(h, func(_, to int32) { start[to+1]++ })
	for i := 1; i < len(start); i++ {
		start[i] += start[i-1]
	}
	from = make([]int32, start[len(start)-1])
	next := append([]int32(nil), start...)
	w.eachEdge(h, func(a, b int32) {
		from[next[b]] = a
		next[b]++
	})
	return start, from
}

func (w *numbering) eachEdge(h *Heap, f func(from, to int32)) {
	for n := int32(1); n < int32(len(w.object)); n++ {
		to, _ := h.Edges(w.object[n])
		for _, o := range to {
			f(n, w.number[o])
		}
	}
}

func (w *numbering) dominate(h *Heap) []int32 {
	return w.idoms(w.before(h))
}

// idoms finds what dominates each number: from[start[i]:start[i+1]] refer to i.
func (w *numbering) idoms(start, from []int32) []int32 {
	n := int32(len(w.object))
	f := forest{up: append([]int32(nil), w.parent...), label: make([]int32, n)}
	semi := make([]int32, n)
	for i := range f.label {
		f.label[i] = int32(i)
	}
	for i := n - 1; i > 0; i-- {
		s := w.parent[i]
		if w.fromRoot[i] {
			s = 0
		}
		for _, p := range from[start[i]:start[i+1]] {
			s = min(s, f.least(p, i))
		}
		semi[i], f.label[i] = s, s
	}
	idom := make([]int32, n)
	for i := int32(1); i < n; i++ {
		d := w.parent[i]
		for d > semi[i] {
			d = idom[d]
		}
		idom[i] = d
	}
	return idom
}

// A forest finds the least label on the way up, and shortens the way for the next time.
type forest struct {
	up, label []int32
	stack     []int32
}

// least looks at v and those above it whose number is more than last.
func (f *forest) least(v, last int32) int32 {
	if v <= last {
		return v
	}
	f.stack = f.stack[:0]
	for f.up[v] > last {
		f.stack = append(f.stack, v)
		v = f.up[v]
	}
	for i := len(f.stack) - 1; i >= 0; i-- {
		u := f.stack[i]
		f.label[u] = min(f.label[u], f.label[v])
		f.up[u] = f.up[v]
		v = u
	}
	return f.label[v]
}
