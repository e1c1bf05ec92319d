package retain_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump/dumptest"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// What stands below an object in the tree is, by definition, what is not reachable without it.
func TestTreeIsOfDominators(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		n := 1 + r.IntN(30)
		edges := make([][]int, n)
		for range r.IntN(3 * n) {
			from := r.IntN(n)
			edges[from] = append(edges[from], r.IntN(n))
		}
		h := heapOf(t, edges, []int{r.IntN(n), r.IntN(n)})
		got := retain.TreeRetained(h)
		for i := range n {
			o, ok := h.ObjectAt(dumptest.Addr(i))
			require.True(t, ok)
			assert.Equal(t, h.Retained([]int32{o}), got[o], "object %d of %v", i, edges)
		}
		var objects, bytes int64
		for _, x := range h.Tree().Nodes {
			objects, bytes = objects+x.Objects, bytes+x.Bytes
		}
		assert.EqualValues(t, n, objects, "each object is in the tree once")
		assert.EqualValues(t, n*dumptest.Size, bytes)
	}
}

// A list and a tree of a hundred thousand nodes are a few nodes of the profile.
func TestTreeFoldsWhatRepeats(t *testing.T) {
	const n = 100_000
	edges := make([][]int, n)
	for i := range n - 1 {
		edges[i] = []int{i + 1}
	}
	tree := heapOf(t, edges, []int{0}).Tree()
	assert.Less(t, len(tree.Nodes), 5)
	last := tree.Nodes[len(tree.Nodes)-1]
	assert.EqualValues(t, n, last.Objects)
	assert.Equal(t, retain.TreeVariable, last.Root)
}

func TestPlainExpr(t *testing.T) {
	for e, want := range map[string]string{
		"main.open[12].user":             "main.open[…].user",
		`main.open["a]/\"[b"].user`:      "main.open[…].user",
		`main.open["…"…] (key)`:          "main.open[…] (key)",
		`images.Load("a(b")`:             "images.Load(…)",
		"main.head.Load().next":          "main.head.Load().next",
		"grid[1][2]":                     "grid[…][…]",
		`byPair[…].at[map["x"]string{}]`: "byPair[…].at[…]",
	} {
		assert.Equal(t, want, retain.PlainExpr(e), e)
	}
}
