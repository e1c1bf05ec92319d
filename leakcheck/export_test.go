package leakcheck

import (
	"fmt"
	"slices"
	"testing"
)

// Plant runs f as MustDetect does, and returns how many leaks were reported and
// what was said.
func Plant(t testing.TB, f func(testing.TB)) (leaks int, said string) {
	r := plant(t, f)
	return r.leaks, r.text()
}

// Abandon begins a test with a Track and does not end it until t does.
func Abandon(t testing.TB) {
	r := newRecorder(t)
	Track(r, &[8]int{})
	t.Cleanup(r.runCleanups)
}

// OpenBaseline is the baseline in file, as another process would use it.
func OpenBaseline(file string, update bool) (known func(kind, pkg, key string) bool) {
	return readBaseline(file, update).known
}

// Look reports whether goroutines can be read with their labels.
func Look() bool {
	_, ok := lookAll()
	return ok
}

// LabelsShown reports whether this Go prints labels without being asked.
var LabelsShown = labelsShown

// Describe shows what the parser understood.
func Describe(stacks string) []string {
	var all []string
	for _, g := range parseStacks(stacks) {
		all = append(all, fmt.Sprintf("%d|%s|bubble %d|leaked %t|%d %s|%s|%s|by %d", g.id, g.state, g.bubble, g.leaked, g.scope, g.test, g.top(), g.root(), g.parent))
	}
	slices.Sort(all)
	return all
}
