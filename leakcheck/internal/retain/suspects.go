package retain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
)

// A Suspect is a place in a [Tree] below which there is much of the heap, or much of what it has
// grown by.
type Suspect struct {
	Bytes   int64    // that the place retains
	Objects int64    // the same
	Grown   int64    `json:",omitempty"` // by how many bytes more than in the dump before
	Share   float64  // of the heap, or of what has grown
	Root    string   // what kind of root retains it, as Node.Root
	Way     []string // from the root
}

const (
	suspectShare = 0.1      // of the heap, or of what has grown, makes a suspect
	suspectFloor = 64 << 10 // bytes: less is no suspect, whatever its share
	gathers      = 0.2      // of what a place retains is spread in small parts: memory gathers there, it does not only lead on
)

// Suspects are the places that retain a tenth of the heap or more, the largest first. Given the
// tree of a dump before, which may be nil, they are the places that account for a tenth or more of
// what has grown. What has shrunk elsewhere does not count, so that shares add up to 1 at most. A
// place below suspectFloor is no suspect.
func (t *Tree) Suspects(before *Tree) []Suspect {
	bytes, objects := t.totals()
	weight, _ := t.Weights(before)
	all := sumOfRoots(t, weight)
	if before != nil {
		t.settle(weight)
		all = t.gross(weight)
	}
	least := max(int64(float64(all)*suspectShare), suspectFloor)
	light := slices.Clone(weight) // without the heavy places directly below, and the runtime's own records
	heavy := make([]bool, len(t.Nodes))
	records := make([]int64, len(t.Nodes)) // of the runtime, not below a heavy place
	for n := len(t.Nodes) - 1; n >= 0; n-- {
		x := &t.Nodes[n]
		heavy[n] = weight[n] >= least
		switch light[n] -= records[n]; {
		case x.Parent < 0:
		case heavy[n]:
			light[x.Parent] -= weight[n]
		case ofRuntime(x):
			records[x.Parent] += weight[n]
		default:
			records[x.Parent] += records[n]
		}
	}
	var out []Suspect
	within := make([]bool, len(t.Nodes)) // at or below a suspect, or what is the runtime's own
	for n := range t.Nodes {
		x := &t.Nodes[n]
		within[n] = x.Parent >= 0 && within[x.Parent] || x.Root == TreeGarbage || ofRuntime(x)
		if within[n] || !heavy[n] {
			continue
		}
		if float64(light[n]) < gathers*float64(weight[n]) {
			continue // it only leads to heavy places
		}
		within[n] = true
		s := Suspect{Bytes: bytes[n], Objects: objects[n], Share: float64(weight[n]) / float64(all), Root: x.Root, Way: t.way(int32(n))}
		if before != nil {
			s.Grown = weight[n]
		}
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b Suspect) int { return cmp.Compare(b.Share, a.Share) })
	return out
}

// ofRuntime tells variables and records of the runtime, such as its record of a goroutine.
func ofRuntime(n *Node) bool { return strings.HasPrefix(n.Label, "runtime.") }

// sumOfRoots is the weight of the whole tree.
func sumOfRoots(t *Tree, weight []int64) (all int64) {
	for n := range t.Nodes {
		if t.Nodes[n].Parent < 0 {
			all += max(weight[n], 0)
		}
	}
	return all
}

// settle scales growth below goroutines to by how much they have grown together: where a goroutine
// waited at one line and now waits at another, nothing has grown.
func (t *Tree) settle(grown []int64) {
	below := make([]int64, len(t.Nodes)) // by root: what the places directly below it have grown by
	for n := range t.Nodes {
		if p := t.Nodes[n].Parent; p >= 0 && t.Nodes[p].Parent < 0 {
			below[p] += max(grown[n], 0)
		}
	}
	scale := make([]float64, len(t.Nodes))
	for n := range t.Nodes {
		scale[n] = 1
		p := t.Nodes[n].Parent
		if p < 0 {
			continue
		}
		if scale[n] = scale[p]; t.Nodes[p].Parent < 0 && t.Nodes[n].Root == TreeGoroutine && below[p] > grown[p] {
			scale[n] = float64(max(grown[p], 0)) / float64(below[p])
		}
		grown[n] = int64(float64(grown[n]) * scale[n])
	}
}

// gross is what has grown, without what has shrunk beside it. It is not less than the growth of any
// place, nor of places together of which none is below another. What is garbage is not retained.
func (t *Tree) gross(grown []int64) (all int64) {
	sum := make([]int64, len(t.Nodes)) // of the places directly below, each at its most
	for n := len(t.Nodes) - 1; n >= 0; n-- {
		x := &t.Nodes[n]
		most := max(grown[n], sum[n], 0)
		switch {
		case x.Parent >= 0:
			sum[x.Parent] += most
		case x.Root != TreeGarbage:
			all += most
		}
	}
	return all
}

// Weights are the bytes at and below each node; given the tree of a dump before, by how much they
// have grown.
func (t *Tree) Weights(before *Tree) (bytes, objects []int64) {
	bytes, objects = t.totals()
	if before != nil {
		bytes = t.grown(bytes, before)
	}
	return bytes, objects
}

// totals are the bytes and objects at and below each node.
func (t *Tree) totals() (bytes, objects []int64) {
	bytes, objects = make([]int64, len(t.Nodes)), make([]int64, len(t.Nodes))
	for n := len(t.Nodes) - 1; n >= 0; n-- {
		x := &t.Nodes[n]
		bytes[n] += x.Bytes
		objects[n] += x.Objects
		if x.Parent >= 0 {
			bytes[x.Parent] += bytes[n]
			objects[x.Parent] += objects[n]
		}
	}
	return bytes, objects
}

// grown is by how much each node has more below it than the same one of an earlier tree.
func (t *Tree) grown(bytes []int64, before *Tree) []int64 {
	had := map[nodeName]int32{}
	old, _ := before.totals()
	at := before.index(had)
	out := slices.Clone(bytes)
	for n, i := range t.match(had) {
		if i > 0 {
			out[n] -= old[at[i]]
		}
	}
	return out
}

// A nodeName tells nodes of two trees apart by their labels on the way from the root.
type nodeName struct {
	parent int32 // number of the parent's name, or 0
	label  string
}

// index numbers the names of the nodes from 1, and returns the node of each number.
func (t *Tree) index(names map[nodeName]int32) (node []int32) {
	id := make([]int32, len(t.Nodes))
	node = []int32{-1}
	for n := range t.Nodes {
		k := nodeName{label: t.Nodes[n].Label}
		if p := t.Nodes[n].Parent; p >= 0 {
			k.parent = id[p]
		}
		if names[k] == 0 {
			names[k] = int32(len(node))
			node = append(node, int32(n))
		}
		id[n] = names[k]
	}
	return node
}

// match returns the number of each node's name, or 0 when it has none.
func (t *Tree) match(names map[nodeName]int32) []int32 {
	id := make([]int32, len(t.Nodes))
	for n := range t.Nodes {
		k := nodeName{label: t.Nodes[n].Label}
		if p := t.Nodes[n].Parent; p >= 0 {
			if k.parent = id[p]; k.parent == 0 {
				continue
			}
		}
		id[n] = names[k]
	}
	return id
}

// way lists the labels from the root to a node.
func (t *Tree) way(n int32) (out []string) {
	for ; n >= 0; n = t.Nodes[n].Parent {
		out = append(out, t.Nodes[n].Text())
	}
	slices.Reverse(out)
	return out
}

// String is the suspect in one sentence, and the way to it, a step a line.
func (s Suspect) String() string {
	var b strings.Builder
	what := fmt.Sprintf("%s, %.0f %% of the heap, is retained by", figure.Bytes(s.Bytes), 100*s.Share)
	if s.Grown != 0 {
		what = fmt.Sprintf("%s more than before, %.0f %% of the growth, is retained by", figure.Bytes(s.Grown), 100*s.Share)
	}
	root := s.Way[0]
	if name, ok := strings.CutSuffix(root, " (variable)"); ok {
		root = "the package variable " + name
	}
	fmt.Fprintf(&b, "%s %s, in %s", what, root, figure.Plural(int(s.Objects), "object"))
	for _, step := range s.Way[1:] {
		fmt.Fprintf(&b, "\n  → %s", step)
	}
	return b.String()
}
