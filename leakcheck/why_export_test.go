package leakcheck

import (
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/explain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// Explain asks what retains objects, for rows that hold an object by its address only.
func Explain(t testing.TB, addrs []uintptr) ([]Path, error) {
	sets := make([][]uintptr, len(addrs))
	for i, a := range addrs {
		sets[i] = []uintptr{a}
	}
	all, err := explain.Objects(t, "", sets)
	paths := make([]Path, len(all))
	for i := range all {
		paths[i] = pathOf(all[i][0])
	}
	return paths, err
}

// ExplainSites asks what retains objects, by stacks as runtime.MemProfile gives them.
func ExplainSites(t testing.TB, stacks [][]uintptr) ([]Path, error) {
	frames := make([][]source.Frame, len(stacks))
	for i, s := range stacks {
		frames[i] = growth.Frames(s)
	}
	all, err := explain.Sites(t, "", frames, make([]float64, len(frames)))
	paths := make([]Path, len(all))
	for i := range all {
		paths[i] = pathOf(all[i])
	}
	return paths, err
}

// LeakProfileFound tells that the goroutineleak profile may find a leak.
var LeakProfileFound = ownheap.Forbid
