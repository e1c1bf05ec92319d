package retain

// TreeRetained is, by object, what the tree has at and below it.
func TreeRetained(h *Heap) []int64 {
	b := newTreeBuilder(h)
	d := newTreeOrder(b)
	sum := make([]int64, len(d.object))
	out := make([]int64, h.Len())
	for n := len(d.object) - 1; n > 0; n-- {
		if o := d.object[n]; o >= 0 {
			sum[n] += int64(h.Size(o))
			out[o] = sum[n]
		}
		sum[d.idom[n]] += sum[n]
	}
	return out
}

var PlainExpr = plainExpr
