package retain

// ObjectsAllocatedAt returns the sampled objects whose allocation stack has this line. The dump
// names the function into which a call was inlined, so that the function counts only where the file
// is unknown.
func (h *Heap) ObjectsAllocatedAt(function, file string, line int) []int32 {
	match := make([]bool, len(h.Allocs))
	for i := range h.Allocs {
		for _, c := range h.Allocs[i].Stack {
			if c.Line == line && (c.File == file || file == "" && c.Func == function) {
				match[i] = true
			}
		}
	}
	var out []int32
	for o := range int32(h.Len()) {
		if i := h.SampleOf(o); i >= 0 && match[i] {
			out = append(out, o)
		}
	}
	return out
}
