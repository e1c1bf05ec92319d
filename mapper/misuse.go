package mapper

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
)

const (
	maxBuilds = 8   // of one pair at one line, before that is called misuse
	maxSites  = 512 // lines and pairs that are counted
)

// A site is a line that builds Mappers, and the pair it builds.
type site struct {
	pc   uintptr
	pair pair
}

// builds counts how often each site builds. Its table has a bound: when it is
// full, the counts that have not led to a warning start again.
var builds = buildTable{counts: map[site]int{}}

type buildTable struct {
	mu     sync.Mutex
	counts map[site]int
}

// count is called by build, which New and Must call.
func (t *buildTable) count(p pair) {
	var pc [1]uintptr
	const skip = 4 // runtime.Callers, count, build, New or Must
	if runtime.Callers(skip, pc[:]) == 0 {
		return
	}
	if s := (site{pc[0], p}); t.add(s) {
		s.warn()
	}
}

// add reports whether this build is the one to warn about.
func (t *buildTable) add(s site) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, known := t.counts[s]
	if !known && len(t.counts) >= maxSites && !t.forget() {
		return false
	}
	if n > maxBuilds {
		return false
	}
	t.counts[s] = n + 1
	return n == maxBuilds
}

// forget makes room: warned sites stay, so that none is warned about twice.
func (t *buildTable) forget() bool {
	for s, n := range t.counts {
		if n <= maxBuilds {
			delete(t.counts, s)
		}
	}
	return len(t.counts) < maxSites
}

func (s site) warn() {
	frames := runtime.CallersFrames([]uintptr{s.pc})
	f, _ := frames.Next()
	slog.Warn(fmt.Sprintf("mapper: the Mapper from %s to %s is built again and again at %s:%d: build it once, in a package-level variable",
		s.pair.src, s.pair.dst, f.File, f.Line), "func", f.Function, "builds", maxBuilds+1)
}
