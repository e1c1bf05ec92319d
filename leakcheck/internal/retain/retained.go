package retain

// A bitset is a set of objects.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) has(o int32) bool { return b[o>>6]&(1<<(o&63)) != 0 }

func (b bitset) add(o int32) { b[o>>6] |= 1 << (o & 63) }

// Retained returns what would be freed if all references to these objects were cut: what can be
// reached from them, but not from a root without them.
func (h *Heap) Retained(objects []int32) int64 {
	all := h.everything()
	set := newBitset(h.Len())            // what the objects reach, themselves included
	reached := make([]int32, 0, h.Len()) // what is not used of it costs nothing in a large heap
	for _, o := range objects {
		if !set.has(o) {
			set.add(o)
			reached = append(reached, o)
		}
	}
	cut := len(reached)
	for i := 0; i < len(reached); i++ {
		to, _ := h.Edges(reached[i])
		for _, t := range to {
			if !set.has(t) {
				set.add(t)
				reached = append(reached, t)
			}
		}
	}
	alive := newBitset(h.Len()) // those of them that something else reaches
	for _, o := range reached[:cut] {
		alive.add(o) // not to be entered
	}
	var stack []int32
	see := func(t int32) {
		if set.has(t) && !alive.has(t) {
			alive.add(t)
			stack = append(stack, t)
		}
	}
	for _, r := range all.seeds {
		see(r.object)
	}
	if cut < len(reached) {
		for o := range int32(h.Len()) {
			if set.has(o) || all.rank[o] == Unreachable {
				continue
			}
			to, _ := h.Edges(o)
			for _, t := range to {
				see(t)
			}
		}
	}
	for len(stack) > 0 {
		o := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		to, _ := h.Edges(o)
		for _, t := range to {
			see(t)
		}
	}
	var bytes int64
	for i, o := range reached {
		if all.rank[o] != Unreachable && (i < cut || !alive.has(o)) {
			bytes += int64(h.Size(o))
		}
	}
	return bytes
}

// A backward lists what refers to each object.
type backward struct {
	start []uint32
	from  []int32
}

func (h *Heap) backward() *backward {
	if h.back != nil {
		return h.back
	}
	b := &backward{start: make([]uint32, h.Len()+1), from: make([]int32, h.NumEdges())}
	for o := range int32(h.Len()) {
		to, _ := h.Edges(o)
		for _, t := range to {
			b.start[t+1]++
		}
	}
	for i := 1; i < len(b.start); i++ {
		b.start[i] += b.start[i-1]
	}
	next := append([]uint32(nil), b.start...)
	for o := range int32(h.Len()) {
		to, _ := h.Edges(o)
		for _, t := range to {
			b.from[next[t]] = o
			next[t]++
		}
	}
	h.back = b
	return b
}

func (b *backward) of(o int32) []int32 { return b.from[b.start[o]:b.start[o+1]] }
