package retain

import (
	"slices"
	"sort"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// frameLink is the reference in a frame, with the type and name of the variable that it is in, and
// the frame of that variable. It may be an argument of the function that the frame has called:
// those are in the caller's frame.
func (h *Heap) frameLink(r root) (l link, name string, frame int) {
	f := &h.Frames[r.index]
	at := f.SP + uint64(r.word)*uint64(h.PtrSize)
	l = link{addr: at, opaque: true}
	if h.names.Types == nil || h.names.Table == nil {
		return l, "", r.index
	}
	frames := h.Goroutines[f.Goroutine].Frames
	i := slices.Index(frames, r.index)
	for k := i; k >= max(0, i-1); k-- {
		if l, name, ok := h.variableAt(&h.Frames[frames[k]], k > 0, at); ok {
			return l, name, frames[k]
		}
	}
	return l, "", r.index
}

// variableAt is the variable of a frame at an address. Around a call, a variable may be in a
// register until the call and only then, by its list of locations, in the word of the frame to
// which it was saved before: so both sides of the call count.
func (h *Heap) variableAt(f *heapdump.Frame, called bool, at uint64) (l link, name string, ok bool) {
	entry, ok := h.names.Table.Text(f.Entry)
	if !ok {
		return l, "", false
	}
	pc, _ := h.names.Table.Text(f.PC)
	off := int64(at - f.SP - uint64(f.Len))
	v, ok := symbols.Variable{}, false
	if called {
		v, ok = h.names.Types.FrameVariable(entry, pc-1, off)
	}
	if !ok {
		v, ok = h.names.Types.FrameVariable(entry, pc, off)
	}
	if !ok {
		return l, "", false
	}
	l = h.field(v.Type, at-v.Off, v.Off)
	l.opaque = true
	return l, v.Name, true
}

// stackMemory reads what is on a goroutine's stack.
func (h *Heap) stackMemory(addr uint64, n int) ([]byte, bool) {
	if h.stacks == nil {
		h.stacks = make([]int32, len(h.Frames))
		for i := range h.stacks {
			h.stacks[i] = int32(i)
		}
		slices.SortFunc(h.stacks, func(a, b int32) int {
			if h.Frames[a].SP < h.Frames[b].SP {
				return -1
			}
			return 1
		})
	}
	i := sort.Search(len(h.stacks), func(i int) bool { return h.Frames[h.stacks[i]].SP > addr }) - 1
	if i < 0 {
		return nil, false
	}
	f := &h.Frames[h.stacks[i]]
	if addr-f.SP >= uint64(f.Len) {
		return nil, false
	}
	b, err := h.FrameContents(f)
	if err != nil {
		return nil, false
	}
	b = b[addr-f.SP:]
	return b[:min(n, len(b))], true
}
