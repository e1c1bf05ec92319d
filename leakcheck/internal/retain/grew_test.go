package retain_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump/dumptest"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// A layer is objects of one kind, which is told by their size.
type layer struct {
	words int
	to    [][]int // what each refers to, by its number in the next layer
}

// layered makes a heap of layers and a variable that refers to some objects of the first, and gives
// the objects of the last layer.
func layered(t *testing.T, roots []int, layers ...layer) (*retain.Heap, []int32) {
	const page = 8
	first := make([]int, len(layers)+1) // of each layer's objects
	for n, l := range layers {
		first[n+1] = first[n] + (len(l.to)+page-1)/page*page
	}
	var w dumptest.Writer
	w.Header()
	for n, l := range layers {
		for i, to := range l.to {
			var at []int
			for _, o := range to {
				at = append(at, first[n+1]+o)
			}
			w.Sized(first[n]+i, l.words, at)
		}
	}
	w.Roots(roots)
	w.End()
	h := retain.New(w.Read(t), retain.Names{})
	last := len(layers) - 1
	var leaked []int32
	for i := range layers[last].to {
		o, ok := h.ObjectAt(dumptest.Addr(first[last] + i))
		require.True(t, ok)
		leaked = append(leaked, o)
	}
	return h, leaked
}

func numbers(from, to int) (n []int) {
	for i := from; i < to; i++ {
		n = append(n, i)
	}
	return n
}

func TestTheContainerThatGrew(t *testing.T) {
	one := func(n int) (each [][]int) { // each refers to the one with its number
		for i := range n {
			each = append(each, []int{i})
		}
		return each
	}
	none := func(n int) [][]int { return make([][]int, n) }
	for _, row := range []struct {
		name  string
		roots []int
		heap  []layer
		perOp float64
		grew  int // the number of the hop: 1 is the variable
	}{
		{"a map behind a struct holds all", []int{0},
			[]layer{{32, [][]int{{0}}}, {128, [][]int{numbers(0, 40)}}, {4, none(40)}}, 1, 3},
		{"a map of sessions, each of which holds one", []int{0},
			[]layer{{128, [][]int{numbers(0, 40)}}, {16, one(40)}, {4, none(40)}}, 1, 2},
		{"a map of sessions, each of which holds four, which come together", []int{0},
			[]layer{{64, [][]int{numbers(0, 10)}}, {16, [][]int{numbers(0, 4), numbers(4, 8), numbers(8, 12), numbers(12, 16), numbers(16, 20),
				numbers(20, 24), numbers(24, 28), numbers(28, 32), numbers(32, 36), numbers(36, 40)}}, {4, none(40)}}, 4, 2},
		{"two buckets, which were there before: the example's", []int{0},
			[]layer{{64, [][]int{{0, 1}}}, {32, [][]int{numbers(0, 20), numbers(20, 40)}}, {4, none(40)}}, 1, 3},
		{"too few to tell", []int{0},
			[]layer{{32, [][]int{{0}}}, {128, [][]int{numbers(0, 7)}}, {4, none(7)}}, 1, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, leaked := layered(t, row.roots, row.heap...)
			s := h.Search(leaked)
			groups := s.Group(leaked)
			require.Len(t, groups, 1)
			p := s.GroupPath(groups[0], row.perOp)
			t.Log(p)
			assert.Equal(t, row.grew, p.Grew)
			assert.Equal(t, p, s.GroupPath(groups[0], row.perOp), "asked again")
		})
	}
}

// A search has one grouper, whose arrays are as long as the heap. What was asked before does not
// change an answer, and the next answer allocates no such array.
func TestGroupsOfOneSearchShareMemory(t *testing.T) {
	const n = 20_000
	h, leaked := layered(t, []int{0}, layer{64, [][]int{{0, 1}}}, layer{4, [][]int{nil, nil}}, layer{2, make([][]int, n)})
	all := append(leaked[:0:0], leaked...)
	for i := range int32(3) {
		all = append(all, i)
	}
	s := h.Search(all)
	want := s.Group(all)
	assert.Equal(t, want, h.Search(all).Group(all))
	s.Group(all[n:])
	assert.Equal(t, want, s.Group(all), "after another question")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		s.Group(all[n:])
	}
	runtime.ReadMemStats(&after)
	assert.Less(t, (after.TotalAlloc-before.TotalAlloc)/100, uint64(4*n), "bytes a question")
}
