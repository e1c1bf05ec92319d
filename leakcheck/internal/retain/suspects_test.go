package retain_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// A place is a node of a tree and how many KiB end there.
type place struct {
	parent int32
	label  string
	root   string
	kib    int64
}

func treeOf(places ...place) *retain.Tree {
	t := &retain.Tree{}
	for _, p := range places {
		t.Nodes = append(t.Nodes, retain.Node{Parent: p.parent, Label: p.label, Root: p.root, Bytes: p.kib << 10, Objects: 1})
	}
	return t
}

func suspectsOf(t *testing.T, before, after *retain.Tree) (names []string, share float64) {
	for _, s := range after.Suspects(before) {
		t.Log(s)
		names = append(names, s.Way[len(s.Way)-1])
		assert.LessOrEqual(t, s.Share, 1.0)
		assert.Positive(t, s.Share)
		share += s.Share
	}
	require.LessOrEqual(t, share, 1.0001)
	return names, share
}

const variable, goroutine = retain.TreeVariable, retain.TreeGoroutine

func TestSharesAreOfWhatHasGrown(t *testing.T) {
	t.Run("one variable has grown, another has shrunk nearly as much", func(t *testing.T) {
		names, share := suspectsOf(t,
			treeOf(place{-1, "main.a (variable)", variable, 1000}, place{-1, "main.b (variable)", variable, 10_000}),
			treeOf(place{-1, "main.a (variable)", variable, 11_000}, place{-1, "main.b (variable)", variable, 100}))
		assert.Equal(t, []string{"main.a (variable)"}, names)
		assert.InDelta(t, 1, share, 0.001)
	})
	t.Run("below one variable, one place has grown and another has shrunk", func(t *testing.T) {
		names, share := suspectsOf(t,
			treeOf(place{-1, "main.a (variable)", variable, 0}, place{0, "x", variable, 0}, place{0, "y", variable, 9000}, place{0, "z", variable, 0}),
			treeOf(place{-1, "main.a (variable)", variable, 0}, place{0, "x", variable, 5000}, place{0, "y", variable, 100}, place{0, "z", variable, 5000}))
		assert.Equal(t, []string{"x", "z"}, names, "and not 1049 %% of the net growth")
		assert.InDelta(t, 1, share, 0.001)
	})
	t.Run("a goroutine has gone to another line", func(t *testing.T) {
		names, _ := suspectsOf(t,
			treeOf(place{-1, "the main goroutine", goroutine, 0}, place{0, "in main.main (a.go:1)", goroutine, 9000}),
			treeOf(place{-1, "the main goroutine", goroutine, 0}, place{0, "in main.main (a.go:2)", goroutine, 9001}))
		assert.Empty(t, names)
	})
	t.Run("what is garbage is not retained", func(t *testing.T) {
		names, share := suspectsOf(t, treeOf(),
			treeOf(place{-1, "main.a (variable)", variable, 100}, place{-1, "garbage that the next collection frees", retain.TreeGarbage, 100_000}))
		assert.Equal(t, []string{"main.a (variable)"}, names)
		assert.InDelta(t, 1, share, 0.001)
	})
}

func TestSmallPlacesAreNoSuspects(t *testing.T) {
	before, after := treeOf(place{-1, "main.a (variable)", variable, 0}), treeOf(place{-1, "main.a (variable)", variable, 22})
	for _, before := range []*retain.Tree{nil, before} {
		names, _ := suspectsOf(t, before, after)
		assert.Empty(t, names)
	}
	names, _ := suspectsOf(t, nil, treeOf(place{-1, "main.a (variable)", variable, 64}))
	assert.NotEmpty(t, names)
}

func TestRecordsOfTheRuntimeAreNoSuspects(t *testing.T) {
	names, _ := suspectsOf(t, nil,
		treeOf(place{-1, "goroutines created by main.main", goroutine, 0}, place{0, "in main.work", goroutine, 0}, place{1, "runtime.g", goroutine, 3000}, place{1, "main.order", goroutine, 4000}))
	assert.Equal(t, []string{"main.order"}, names)
}

// In another build, lines differ.
func TestTreeWithoutLines(t *testing.T) {
	before := treeOf(place{-1, "goroutines created by main.main (a∕main.go:10)", goroutine, 0}, place{0, "in main.work (a∕main.go:20), blocked in select", goroutine, 1000},
		place{1, retain.TreeSite + "main.work:21", goroutine, 500})
	after := treeOf(place{-1, "goroutines created by main.main (a∕main.go:11)", goroutine, 0}, place{0, "in main.work (a∕main.go:21), blocked in select", goroutine, 600},
		place{1, retain.TreeSite + "main.work:22", goroutine, 500}, place{0, "in main.work (a∕main.go:31), blocked in select", goroutine, 500})
	names, _ := suspectsOf(t, before.WithoutLines(), after.WithoutLines())
	assert.Equal(t, []string{"in main.work, blocked in select"}, names)
	grown, _ := after.WithoutLines().Weights(before.WithoutLines())
	assert.EqualValues(t, 100<<10, grown[0])
}
