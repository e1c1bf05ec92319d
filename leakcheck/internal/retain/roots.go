package retain

import (
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

// cleanups are pseudo-roots: the runtime keeps the function and argument of runtime.AddCleanup
// where the dump does not show them. They are what nothing else reaches and AddCleanup allocated.
func (h *Heap) cleanups(s *Search) []root {
	var out []root
	for o := range int32(h.Len()) {
		if s.rank[o] == Unreachable && madeByAddCleanup(h.Alloc(o)) {
			out = append(out, root{kind: rootCleanup, rank: Cleanup, object: o})
		}
	}
	return out
}

func madeByAddCleanup(a *heapdump.Alloc) bool {
	if a == nil {
		return false
	}
	for _, c := range a.Stack[:min(4, len(a.Stack))] {
		if strings.HasPrefix(c.Func, "runtime.AddCleanup") || strings.HasSuffix(c.File, "runtime/mcleanup.go") {
			return true
		}
	}
	return false
}

// findPools returns the arrays in which sync.Pools keep their free lists.
func (h *Heap) findPools() map[int32]bool {
	pools := map[int32]bool{}
	for o := range int32(h.Len()) {
		if a := h.Alloc(o); a != nil && madeByPool(a) {
			pools[o] = true
		}
	}
	for _, name := range []string{"sync.allPools", "sync.oldPools"} {
		h.poolsOf(name, pools)
	}
	return pools
}

func madeByPool(a *heapdump.Alloc) bool {
	for _, c := range a.Stack {
		if c.Func == "sync.(*Pool).pinSlow" {
			return true
		}
	}
	return false
}

// poolsOf reads a variable of type []*sync.Pool.
func (h *Heap) poolsOf(name string, pools map[int32]bool) {
	if h.names.Table == nil {
		return
	}
	addr, ok := h.names.Table.Address(name, true)
	if !ok {
		return
	}
	word := uint64(h.PtrSize)
	for i, n := uint64(0), h.wordAt(addr+word); i < n && n < 1<<20; i++ {
		pool := h.wordAt(h.wordAt(addr) + i*word)
		for _, field := range []uint64{0, 2 * word} { // local and victim
			if o := h.Find(h.wordAt(pool + field)); o != heapdump.None {
				pools[o] = true
			}
		}
	}
}

// findInner returns the runtime's records of goroutines, threads and processors. A variable that a
// person declared reaches them, through a channel on which a goroutine waits or a timer; what they
// refer to has nothing to do with it.
func (h *Heap) findInner() map[int32]bool {
	inner := map[int32]bool{}
	note := func(addr uint64) {
		if o := h.Find(addr); o != heapdump.None {
			inner[o] = true
		}
	}
	for i := range h.Goroutines {
		note(h.Goroutines[i].Addr)
	}
	if h.names.Table == nil {
		return inner
	}
	word := uint64(h.PtrSize)
	if allp, ok := h.names.Table.Address("runtime.allp", true); ok {
		for i, n := uint64(0), h.wordAt(allp+word); i < n && n < 1<<20; i++ {
			note(h.wordAt(h.wordAt(allp) + i*word))
		}
	}
	return inner
}

func (h *Heap) wordAt(addr uint64) uint64 {
	b, err := h.memory(addr, h.PtrSize)
	if err != nil {
		return 0
	}
	return h.Word(b)
}
