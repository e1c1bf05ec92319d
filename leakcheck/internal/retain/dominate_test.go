package retain_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump/dumptest"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// heapOf makes a heap of objects of 16 bytes with room for pointers, edges[i] being whom i refers
// to.
func heapOf(t *testing.T, edges [][]int, roots []int) *retain.Heap {
	var w dumptest.Writer
	w.Header()
	for i, to := range edges {
		w.Object(i, to)
	}
	w.Roots(roots)
	w.End()
	return retain.New(w.Read(t), retain.Names{})
}

// Each object's retained size is found again by the definition: what is not reachable without it.
func TestRetainedIsWhatIsUnreachableWithoutTheObject(t *testing.T) {
	checkRetained(t, 1, func(h *retain.Heap) func(o int32) int64 { return h.Dominators().Retained })
}

// checkRetained compares, on random heaps, what is said to be retained with what is unreachable
// without the object.
func checkRetained(t *testing.T, seed uint64, says func(*retain.Heap) func(o int32) int64) {
	r := rand.New(rand.NewPCG(seed, seed+1))
	for range 300 {
		n := 1 + r.IntN(30)
		edges := make([][]int, n)
		for range r.IntN(3 * n) {
			from := r.IntN(n)
			edges[from] = append(edges[from], r.IntN(n))
		}
		h := heapOf(t, edges, []int{r.IntN(n), r.IntN(n)})
		retained := says(h)
		for i := range n {
			o, ok := h.ObjectAt(dumptest.Addr(i))
			require.True(t, ok)
			assert.Equal(t, h.Retained([]int32{o}), retained(o), "object %d of %v", i, edges)
		}
	}
}

func TestRetainedOfALongListIsLinear(t *testing.T) {
	testgate.NoRace(t)
	n := testgate.Count(20_000, 200_000, 200_000)
	edges := make([][]int, n)
	for i := range n - 1 {
		edges[i] = []int{i + 1}
	}
	h := heapOf(t, edges, []int{0})
	d := h.Dominators()
	first, _ := h.ObjectAt(dumptest.Addr(0))
	last, _ := h.ObjectAt(dumptest.Addr(n - 1))
	assert.EqualValues(t, n*dumptest.Size, d.Retained(first))
	assert.EqualValues(t, dumptest.Size, d.Retained(last))
	before, ok := d.Dominator(last)
	assert.True(t, ok)
	assert.EqualValues(t, dumptest.Addr(n-2), h.Addr(before))
}
