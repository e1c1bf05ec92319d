package retain_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// What stands below an object in the tree is, by definition, what is not reachable without it.
func TestTreeIsOfDominators(t *testing.T) {
	checkRetained(t, 3, func(h *retain.Heap) func(o int32) int64 {
		got := retain.TreeRetained(h)
		return func(o int32) int64 { return got[o] }
	})
}

// A list and a tree of a hundred thousand nodes are a few nodes of the profile.
func TestTreeFoldsWhatRepeats(t *testing.T) {
	testgate.NoRace(t)
	n := testgate.Count(20_000, 100_000, 100_000)
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
