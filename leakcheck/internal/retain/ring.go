package retain

import "github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"

// finalizerSeeds are what finalizers retain where nothing else does: their functions, what waits in
// the queue, and what objects refer to that wait for their finalizer. A finalizer retains what its
// object refers to, but not the object itself. An object in a ring with itself comes first: it
// waits without end.
func (s *Search) finalizerSeeds(rank Rank) (out []root) {
	h := s.h
	rings := s.ringed()
	for i, f := range h.Finalizers {
		if rank == Finalizer && f.Func != heapdump.None {
			out = append(out, root{kind: rootFinalizerFunc, rank: rank, object: f.Func, index: i})
		}
		switch {
		case f.Object == heapdump.None:
		case f.Queued:
			if rank == Finalizer {
				out = append(out, root{kind: rootFinalizerQueue, rank: rank, object: f.Object, index: i})
			}
		case rank == Ring && rings[f.Object], rank == Finalizer && !rings[f.Object] && s.rank[f.Object] == Unreachable:
			to, word := h.Edges(f.Object)
			for k, o := range to {
				out = append(out, root{kind: rootFinalizer, rank: rank, object: o, word: word[k], index: i})
			}
		}
	}
	return out
}

// ringed finds which objects with finalizers that nothing reached so far are in a ring with
// themselves.
func (s *Search) ringed() map[int32]bool {
	if s.rings != nil {
		return s.rings
	}
	s.rings = map[int32]bool{}
	waiting := map[int32]bool{}
	for _, f := range s.h.Finalizers {
		if f.Object != heapdump.None && !f.Queued && s.rank[f.Object] == Unreachable {
			waiting[f.Object] = true
		}
	}
	t := tarjan{s: s, index: map[int32]int32{}, low: map[int32]int32{}, on: map[int32]bool{}}
	for o := range waiting {
		if t.index[o] == 0 {
			t.walk(o)
		}
	}
	for o := range waiting {
		if t.ring[o] {
			s.rings[o] = true
		}
	}
	return s.rings
}

// A tarjan finds the rings among objects that nothing reached: strongly connected components
// (Tarjan, "Depth-first search and linear graph algorithms", 1972).
type tarjan struct {
	s          *Search
	index, low map[int32]int32
	on         map[int32]bool
	ring       map[int32]bool
	stack      []int32
}

func (t *tarjan) enter(o int32) {
	n := int32(len(t.index) + 1)
	t.index[o], t.low[o], t.on[o] = n, n, true
	t.stack = append(t.stack, o)
}

func (t *tarjan) walk(from int32) {
	if t.ring == nil {
		t.ring = map[int32]bool{}
	}
	t.enter(from)
	path := []visit{{from, 0}}
	for len(path) > 0 {
		top := &path[len(path)-1]
		to, _ := t.s.h.Edges(top.number)
		if top.edge < len(to) {
			next := to[top.edge]
			top.edge++
			switch {
			case next == top.number:
				t.ring[next] = true
			case t.s.rank[next] != Unreachable:
			case t.index[next] == 0:
				t.enter(next)
				path = append(path, visit{next, 0})
			case t.on[next]:
				t.low[top.number] = min(t.low[top.number], t.index[next])
			}
			continue
		}
		o := top.number
		path = path[:len(path)-1]
		if len(path) > 0 {
			up := path[len(path)-1].number
			t.low[up] = min(t.low[up], t.low[o])
		}
		if t.low[o] == t.index[o] {
			t.leave(o)
		}
	}
}

// leave takes a component off the stack.
func (t *tarjan) leave(o int32) {
	n := len(t.stack) - 1
	for t.stack[n] != o {
		n--
	}
	for _, x := range t.stack[n:] {
		t.on[x] = false
		if len(t.stack[n:]) > 1 {
			t.ring[x] = true
		}
	}
	t.stack = t.stack[:n]
}

// ringOf is the shortest way from an object's fields back to it.
func (h *Heap) ringOf(object int32) []step {
	parent := map[int32]step{} // by object: where it was reached from
	queue := []int32{object}
	for len(queue) > 0 {
		o := queue[0]
		queue = queue[1:]
		to, word := h.Edges(o)
		for k, t := range to {
			if _, ok := parent[t]; ok {
				continue
			}
			parent[t] = step{o, word[k]}
			if t == object {
				return unwind(parent, object)
			}
			queue = append(queue, t)
		}
	}
	return nil
}

// unwind lists the steps of a ring, the object itself last.
func unwind(parent map[int32]step, object int32) []step {
	var out []step
	for at := object; ; {
		from := parent[at]
		out = append(out, step{at, from.word})
		if at = from.object; at == object {
			break
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
