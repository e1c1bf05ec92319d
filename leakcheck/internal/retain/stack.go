package retain

// addStacks adds, as the last resort, what variables hold whose address was taken: they are in no
// pointer map of their frame, and the dump does not say where they begin or end. As for the
// collector, such a variable lives only if something live points to it; it may reach to the end of
// its frame.
func (h *Heap) addStacks() {
	if h.stacked {
		return
	}
	h.stacked = true
	for g := range h.Goroutines {
		rank := Stack
		if g == h.caller {
			rank = CallerStack
		}
		h.addStack(g, rank)
	}
}

// A stretch is the part of a frame that is taken for variables.
type stretch struct {
	frame    int
	contents []byte
	from     int // len(contents) when nothing points into the frame
}

func (h *Heap) addStack(g int, rank Rank) {
	var stack []*stretch
	var live []uint64
	for _, f := range h.framesOf(g) {
		b, err := h.FrameContents(&h.Frames[f])
		if err != nil {
			return
		}
		stack = append(stack, &stretch{f, b, len(b)})
		live = append(live, h.outside(f, b)...)
	}
	for len(live) > 0 {
		p := live[len(live)-1]
		live = live[:len(live)-1]
		for _, s := range stack {
			live = append(live, h.extend(s, p)...)
		}
	}
	for _, s := range stack {
		for off := s.from; off+h.PtrSize <= len(s.contents); off += h.PtrSize {
			if w := h.Word(s.contents[off:]); w >= h.HeapStart && w < h.HeapEnd {
				h.add(root{kind: rootFrame, rank: rank, object: h.Find(w), word: uint32(off / h.PtrSize), index: s.frame})
			}
		}
	}
}

// outside are the live pointers of a frame that do not lead to the heap. In a guessed frame every
// word may be one.
func (h *Heap) outside(frame int, contents []byte) (out []uint64) {
	if h.Frames[frame].Guessed {
		for off := 0; off+h.PtrSize <= len(contents); off += h.PtrSize {
			out = append(out, h.Word(contents[off:]))
		}
		return out
	}
	to, word := h.RootEdges(h.Frames[frame].Roots)
	for i, o := range to {
		if off := int(word[i]) * h.PtrSize; o < 0 && off+h.PtrSize <= len(contents) {
			out = append(out, h.Word(contents[off:]))
		}
	}
	return out
}

// extend takes in what follows the variable at p, if that is in the frame, and returns the words
// that were added.
func (h *Heap) extend(s *stretch, p uint64) (added []uint64) {
	sp := h.Frames[s.frame].SP
	if p < sp || p-sp >= uint64(s.from) {
		return nil
	}
	start := int(p-sp) / h.PtrSize * h.PtrSize
	for off := start; off < s.from && off+h.PtrSize <= len(s.contents); off += h.PtrSize {
		added = append(added, h.Word(s.contents[off:]))
	}
	s.from = start
	return added
}
