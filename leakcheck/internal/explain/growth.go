package explain

import (
	"fmt"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// mostSites is how many sites are searched for in one heap dump.
const mostSites = 6

// Growth asks what retains the objects of the worst sites, notes it at each, and returns the paths
// by the index of their site.
func Growth(t testing.TB, r *growth.Result) map[int]retain.Path {
	var at []int
	var stacks [][]source.Frame
	var perOp []float64
	for i := range r.Sites {
		if s := &r.Sites[i]; s.Verdict == judge.Growing && len(s.Stack) > 0 && len(at) < mostSites {
			at = append(at, i)
			stacks = append(stacks, growth.Frames(s.Stack))
			perOp = append(perOp, s.ObjectsPerOp)
			_, _ = s.At.Name(), s.Caller.Name() // reads the names of their packages, which the path may have too
		}
	}
	if len(at) == 0 {
		return nil
	}
	worst := r.Sites[0].Where()
	paths, err := Sites(t, fmt.Sprintf("%s at %s:%d", r.Title(), worst.File, worst.Line), stacks, perOp)
	if err != nil {
		r.Sites[at[0]].Held.Lines = Unknown(err)
		return nil
	}
	found := map[int]retain.Path{}
	for n, i := range at {
		if paths[n].Answer == "" {
			r.Sites[i].Held.Lines = []string{"unknown: the heap dump has no object that was allocated there; it may have been released since"}
			continue
		}
		found[i] = paths[n]
		r.Sites[i].Held = Held(paths[n])
	}
	return found
}
