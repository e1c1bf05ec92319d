package mapper

import (
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"weak"
)

const (
	maxBuilds = 64  // after as many builds of one pair at one line, New looks for misuse
	maxSites  = 512 // lines and pairs that are counted
)

// A site is a line that builds Mappers, and the pair it builds. Each run of a test or subtest has
// sites of its own: it is no misuse that every test of a service, and every row of a table of
// tests, builds one.
type site struct {
	pc   uintptr
	pair pair
	test string // the goroutine of the test or subtest, or empty
}

// builds counts how often each site builds. Its table is bounded: when it is full, the counts that
// have not led to a warning start again.
var builds = buildTable{sites: map[site]*siteCount{}}

type buildTable struct {
	mu    sync.Mutex
	sites map[site]*siteCount
}

// A siteCount holds the counts of one site. Half of the plans it built are watched. If most of them
// are still in use after a garbage collection, each has an owner, such as the service of a tenant,
// and building them is no misuse. Before a garbage collection nothing is decided.
type siteCount struct {
	n      int
	warned bool
	early  []weak.Pointer[plan] // the first half
	mark   weak.Pointer[[16]byte]
}

// count is called once a plan has been built.
func (t *buildTable) count(p pair, built *plan) {
	frame, test := callSite()
	if frame.PC == 0 || !t.add(site{frame.PC, p, test}, built) {
		return
	}
	slog.Warn(fmt.Sprintf("mapper: the Mapper from %s to %s is built again and again at %s:%d: build it once, in a package-level variable or in the constructor of what uses it",
		p.src, p.dst, frame.File, frame.Line), "func", frame.Function)
}

// callSite finds the line outside this package that builds a Mapper, and the test that it runs in.
// Generic functions are skipped, because they build Mappers for their callers.
func callSite() (line runtime.Frame, test string) {
	pcs := callers()
	return callerOf(pcs), testOf(pcs)
}

// callers returns the whole stack, because the test is at its other end, up to a bound.
func callers() []uintptr {
	for size := 64; ; size *= 4 {
		pcs := make([]uintptr, size)
		if n := runtime.Callers(2, pcs); n < size || size >= 1<<12 {
			return pcs[:n]
		}
	}
}

// testOf names the run of a test or subtest that this goroutine is.
func testOf(pcs []uintptr) string {
	frames := runtime.CallersFrames(pcs[max(0, len(pcs)-4):])
	for more := true; more; {
		var f runtime.Frame
		if f, more = frames.Next(); f.Function == "testing.tRunner" {
			return goroutine()
		}
	}
	return ""
}

// goroutine returns the first words of this goroutine's stack, such as "goroutine 7".
func goroutine() string {
	var text [64]byte
	name, _, _ := strings.Cut(string(text[:runtime.Stack(text[:], false)]), " [")
	return name
}

func callerOf(pcs []uintptr) runtime.Frame {
	frames := runtime.CallersFrames(pcs)
	var first runtime.Frame
	for more := len(pcs) > 0; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.HasPrefix(f.Function, ownPackage+".") {
			continue
		}
		if first.PC == 0 {
			first = f
		}
		if !strings.Contains(f.Function, "[...]") {
			return f
		}
	}
	return first
}

// add counts a build, and reports whether to warn about it.
func (t *buildTable) add(s site, built *plan) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.sites[s]
	if c == nil {
		if len(t.sites) >= maxSites && !t.forget() {
			return false
		}
		c = &siteCount{}
		t.sites[s] = c
	}
	return !c.warned && c.add(built)
}

func (c *siteCount) add(built *plan) bool {
	c.n++
	switch {
	case c.n <= maxBuilds/2:
		c.early = append(c.early, weak.Make(built))
		return false
	case c.n == maxBuilds/2+1:
		c.mark = weak.Make(new([16]byte)) // gone after the next garbage collection
	case c.n%maxBuilds != 0 || c.mark.Value() != nil: // seldom, because Value can keep the mark for one more collection
	case c.haveOwners():
		*c = siteCount{}
	default:
		*c = siteCount{warned: true}
		return true
	}
	return false
}

// haveOwners reports whether most of the early plans are in use.
func (c *siteCount) haveOwners() bool {
	inUse := 0
	for _, p := range c.early {
		if p.Value() != nil {
			inUse++
		}
	}
	return 2*inUse > len(c.early)
}

// forget makes room in the table. Sites that were warned about stay, so that none is warned about
// twice.
func (t *buildTable) forget() bool {
	for s, c := range t.sites {
		if !c.warned {
			delete(t.sites, s)
		}
	}
	return len(t.sites) < maxSites
}
