package leakcheck

import "testing"

// Explain is explain, for rows that hold an object by its address only.
func Explain(t testing.TB, addrs []uintptr) ([]Path, error) {
	sets := make([][]uintptr, len(addrs))
	for i, a := range addrs {
		sets[i] = []uintptr{a}
	}
	all, err := explain(t, sets)
	paths := make([]Path, len(all))
	for i := range all {
		paths[i] = all[i][0]
	}
	return paths, err
}

// ExplainSites is explainSites.
var ExplainSites = explainSites

// LeakProfileFound is leakProfileFound.
var LeakProfileFound = leakProfileFound
