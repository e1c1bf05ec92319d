package retain

// few is less than the number of objects for which it makes sense to ask which container grew.
const few = 8

// container tells which objects of the path to a group's example were there before what grew: the
// last of them is the container that grew, and the rest is what it holds. perOp is how many objects
// of the group came at a time, at least 1: the container is the first whose children are about as
// many as the times. It is empty where nothing on the heap is: then the roots themselves are many,
// such as goroutines. ok is false where that cannot be told.
func (s *Search) container(g Group, perOp float64) (before map[int32]bool, ok bool) {
	if len(g.Objects) < few {
		return nil, false
	}
	by := s.grouper()
	for _, o := range g.Objects {
		by.id(o)
	}
	times := float64(len(g.Objects)) / max(perOp, 1)
	_, steps := s.path(g.Example)
	before = map[int32]bool{}
	for _, st := range steps {
		if 2*float64(by.count[by.id(st.object)]) >= times {
			return before, true
		}
		before[st.object] = true
	}
	return nil, false
}
