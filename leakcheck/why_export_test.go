package leakcheck

import (
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// Explain is explainObjects, for rows that hold an object by its address only.
func Explain(t testing.TB, addrs []uintptr) ([]Path, error) {
	sets := make([][]uintptr, len(addrs))
	for i, a := range addrs {
		sets[i] = []uintptr{a}
	}
	all, err := explainObjects(t, "", sets)
	paths := make([]Path, len(all))
	for i := range all {
		paths[i] = all[i][0]
	}
	return paths, err
}

// ExplainSites is explainSites, for stacks as runtime.MemProfile gives them.
func ExplainSites(t testing.TB, stacks [][]uintptr) ([]Path, error) {
	frames := make([][]source.Frame, len(stacks))
	for i, s := range stacks {
		frames[i] = growth.Frames(s)
	}
	return explainSites(t, "", frames, make([]float64, len(frames)))
}

// LeakProfileFound is leakProfileFound.
var LeakProfileFound = leakProfileFound
