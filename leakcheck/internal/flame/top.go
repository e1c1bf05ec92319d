package flame

import (
	"cmp"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// A Retainer is a root and what it alone retains.
type Retainer struct {
	Root    string // "main.store (variable)"
	Through string // the last step that most of it is below, and of a goroutine its variable first; or ""
	Site    string // the line that allocated most of it, or ""
	Bytes   int64
	Objects int64
}

// most is the share of a retainer's bytes below a step that is said to be most of it.
const most = 0.8

// Top returns the n roots that retain most, and the bytes of the whole tree without garbage.
func Top(t *retain.Tree, n int) (top []Retainer, total int64) {
	bytes, objects := make([]int64, len(t.Nodes)), make([]int64, len(t.Nodes))
	children := make([][]int32, len(t.Nodes))
	var roots []int32
	for i := int32(len(t.Nodes)) - 1; i >= 0; i-- {
		x := &t.Nodes[i]
		bytes[i] += x.Bytes
		objects[i] += x.Objects
		if x.Parent >= 0 {
			bytes[x.Parent] += bytes[i]
			objects[x.Parent] += objects[i]
			children[x.Parent] = append(children[x.Parent], i)
			continue
		}
		if x.Root != retain.TreeGarbage {
			roots = append(roots, i)
			total += bytes[i]
		}
	}
	larger := func(a, b int32) int {
		return cmp.Or(cmp.Compare(bytes[b], bytes[a]), strings.Compare(t.Nodes[a].Label, t.Nodes[b].Label))
	}
	slices.SortFunc(roots, larger)
	for _, root := range roots[:min(n, len(roots))] {
		r := Retainer{Root: t.Nodes[root].Text(), Bytes: bytes[root], Objects: objects[root]}
		holds := "" // the variable of a goroutine
		for at := root; len(children[at]) > 0; {
			next := slices.MinFunc(children[at], larger)
			if float64(bytes[next]) < most*float64(bytes[root]) {
				break
			}
			at = next
			switch label := t.Nodes[at].Text(); {
			case strings.HasPrefix(label, retain.TreeSite):
			case holds == "" && (strings.HasPrefix(label, "variable ") || strings.HasPrefix(label, "argument ")):
				holds, r.Through = label, label
			case holds != "":
				r.Through = holds + ", " + label
			default:
				r.Through = label
			}
		}
		r.Site = largestSite(t, root, children)
		top = append(top, r)
	}
	return top, total
}

// largestSite is the line that allocated most of what is below a node.
func largestSite(t *retain.Tree, node int32, children [][]int32) string {
	by := map[string]int64{}
	for below := []int32{node}; len(below) > 0; {
		at := below[len(below)-1]
		below = append(below[:len(below)-1], children[at]...)
		if site, ok := strings.CutPrefix(t.Nodes[at].Label, retain.TreeSite); ok {
			by[site] += t.Nodes[at].Bytes
		}
	}
	best := ""
	for site, n := range by {
		if n > by[best] || n == by[best] && site < best {
			best = site
		}
	}
	return best
}
