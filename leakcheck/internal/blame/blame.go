// Package blame decides which test owns a goroutine. It is a function of stacks and of what is known of the
// tests: it starts nothing and looks at nothing.
package blame

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// A Test is what blame knows of a checked test.
type Test struct {
	ID        int
	Name      string
	Serial    bool              // a benchmark or fuzz function, which is never parallel
	Goroutine int               // id of the test's own goroutine
	Symbol    string            // the test's function
	Before    map[string]int    // goroutines without a label when the test started, by root
	Beside    map[string]string // checked tests that ran at the same time, and their functions
}

// Within reports whether the test called name is a subtest of outer.
func Within(name, outer string) bool { return strings.HasPrefix(name, outer+"/") }

// Meet notes that other runs at the same time as t. A test is not beside its own subtests: what they
// do is its business.
func (t *Test) Meet(other *Test) {
	if !Within(other.Name, t.Name) {
		t.Beside[other.Name] = other.Symbol
	}
}

// Company is t and the tests that ran beside it, sorted by name.
func (t *Test) Company() []string {
	names := maps.Clone(t.Beside)
	names[t.Name] = t.Symbol
	return slices.Sorted(maps.Keys(names))
}

// Suspects are the roots of goroutines without a label of which there are more now than when the test
// started. clean is true when there are none, and no goroutine carries the test's label.
func (t *Test) Suspects(now gostack.Headcount) (roots map[string]bool, clean bool) {
	roots = map[string]bool{}
	for root, n := range now.ByRoot {
		if n > t.earlier(root) {
			roots[root] = true
		}
	}
	return roots, len(roots) == 0 && now.ByScope[t.ID] == 0
}

// earlier is how many goroutines without a label may have been there before the test. One that had
// not run then may be any.
func (t *Test) earlier(root string) int { return t.Before[root] + t.Before[""] }

// A Found is what [Find] says about the goroutines that are left at the end of a test.
type Found struct {
	Leaked  []*gostack.Goroutine // the test's
	Reasons map[int]string       // why one that does not carry the test's label is thought to be the test's, by id
	Unowned []int                // ids of those that may be the test's or another's
}

// Find tells which goroutines of l belong to t. suspects are the roots of which there are more than
// before, open are all tests that have not ended, t among them. In doubt a goroutine is nobody's.
func Find(l gostack.Snapshot, t Test, suspects map[string]bool, open []Test) Found {
	found := Found{Reasons: map[int]string{}}
	unlabelled := map[string][]*gostack.Goroutine{}
	for _, g := range l {
		switch {
		case g.ID == t.Goroutine || gostack.OfHarness(g.Root()):
		case g.Scope == t.ID:
			found.Leaked = append(found.Leaked, g)
		case g.Scope == 0 && suspects[g.Root()]:
			unlabelled[g.Root()] = append(unlabelled[g.Root()], g)
		}
	}
	for root, all := range unlabelled {
		newest := max(len(all)-t.earlier(root), 0)
		slices.SortFunc(all, func(a, b *gostack.Goroutine) int { return cmp.Compare(b.ID, a.ID) })
		for _, g := range all[:newest] {
			switch owner, reason := ownerOf(g, l, t, open); owner {
			case t.ID:
				found.Leaked = append(found.Leaked, g)
				found.Reasons[g.ID] = reason
			case nobody:
				found.Unowned = append(found.Unowned, g.ID)
			}
		}
	}
	return found
}

// nobody is the owner of a goroutine that cannot be told.
const nobody = 0

// ownerOf decides about a goroutine without a label that appeared while t ran: the id of its test and
// why, or nobody.
func ownerOf(g *gostack.Goroutine, l gostack.Snapshot, t Test, open []Test) (id int, reason string) {
	if owner := byCreators(g, l, open); owner != nobody {
		return owner, "to this test: it does not carry the test's label, but the test's own goroutine started it"
	}
	if owner, known := bySymbol(g, l, open); known && (owner != t.ID || !t.sharesFunction()) {
		return owner, "to this test: it carries no label, but runs in a closure of the test"
	}
	if TestOf(g) == "" && t.alone(l) {
		return t.ID, "to this test: it carries no label and its creator is unknown, but no other test ran"
	}
	return nobody, ""
}

// byCreators follows "created by … in goroutine N" to a test's goroutine. It ends where a goroutine
// between has ended.
func byCreators(g *gostack.Goroutine, l gostack.Snapshot, open []Test) (id int) {
	for range 100 {
		for _, t := range open {
			if g.Parent == t.Goroutine || g.Scope == t.ID {
				return t.ID
			}
		}
		parent := l[g.Parent]
		if parent == nil {
			return nobody
		}
		g = parent
	}
	return nobody
}

// bySymbol finds the test in whose function the goroutine was written: the closure
// pkg.TestPut.func1 belongs to pkg.TestPut. Of rows of one table it is the first: see sharesFunction.
// known is true also where the closure may be that of a row without a Check: then the owner is nobody.
func bySymbol(g *gostack.Goroutine, l gostack.Snapshot, open []Test) (id int, known bool) {
	var owner *Test
	for i := range open {
		t := &open[i]
		if t.Symbol != "" && g.Mentions(t.Symbol) && (owner == nil || Within(t.Name, owner.Name)) {
			owner = t
		}
	}
	if owner == nil {
		return nobody, false
	}
	for _, other := range l {
		if other.ID != owner.Goroutine && other.Root() == "testing.tRunner" && other.Calls(owner.Symbol) {
			return nobody, true
		}
	}
	return owner.ID, true
}

// sharesFunction reports whether a test that ran beside t, and may have ended, is the same function:
// another row of its table.
func (t *Test) sharesFunction() bool {
	for _, symbol := range t.Beside {
		if gostack.InFunction(symbol, t.Symbol) {
			return true
		}
	}
	return false
}

// alone reports whether nothing but t can have run since it started: it is not a subtest, no checked
// test overlapped it, and it is not parallel.
func (t *Test) alone(l gostack.Snapshot) bool {
	return !strings.Contains(t.Name, "/") && len(t.Beside) == 0 && Sequential(l, t)
}

// Sequential reports whether no test can have run beside t but those around it. It follows the
// goroutines that started each other to the main one: one that started a test waits in T.Run only
// until the test ends or becomes parallel.
func Sequential(l gostack.Snapshot, t *Test) bool {
	if t.Serial {
		return true
	}
	for g := l[t.Goroutine]; g != nil; {
		g = l[g.Parent]
		if g == nil || g.Top() != "testing.(*T).Run" {
			return false
		}
		if g.ID == 1 {
			return true
		}
	}
	return false
}

// TestOf is the name of the test in whose function g was written: "TestPut" for pkg.TestPut.func1;
// empty where there is none.
func TestOf(g *gostack.Goroutine) string {
	for _, f := range append([]source.Frame{g.Creator}, g.Frames...) {
		for _, part := range strings.Split(f.Name(), ".") {
			for _, kind := range []string{"Test", "Benchmark", "Fuzz", "Example"} {
				if rest, ok := strings.CutPrefix(part, kind); ok && (rest == "" || rest[0] < 'a' || rest[0] > 'z') {
					return part
				}
			}
		}
	}
	return ""
}

// Culprit is the test that started g; known is false where only candidates can be named, or nobody.
func Culprit(g *gostack.Goroutine, candidates []string) (name string, known bool) {
	if g.Test != "" {
		return g.Test, true
	}
	if name := TestOf(g); name != "" {
		return name, true
	}
	if len(candidates) > 0 {
		return failure.OneOf(candidates), false
	}
	return "", false
}

// When says after what the goroutines of a group still run, for the verdict on the process.
func When(group []*gostack.Goroutine, candidates func(id int) []string) string {
	known := true
	names := failure.Tally(group, func(g *gostack.Goroutine) string {
		name, sure := Culprit(g, candidates(g.ID))
		known = known && sure
		return cmp.Or(name, "an unknown test")
	})
	switch {
	case known:
		return names
	case names == "an unknown test":
		return "all tests; its test is unknown"
	}
	return "all tests; started by " + names
}

// A Record remembers what earlier verdicts of the process said about goroutines. Its zero value is
// empty; it may be used by several goroutines at once.
type Record struct {
	mu       sync.Mutex
	last     int
	unowned  map[int]candidates
	reported map[int]bool
}

// candidates are the tests that may own a goroutine.
type candidates struct {
	names []string
	mark  int // when they were noted
}

// NoteUnowned remembers the tests that may own goroutine id, unless some were noted before.
func (r *Record) NoteUnowned(id int, running []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unowned == nil {
		r.unowned = map[int]candidates{}
	}
	if _, noted := r.unowned[id]; !noted {
		r.last++
		r.unowned[id] = candidates{running, r.last}
	}
}

// Candidates are the tests that may own goroutine id; none where nothing was noted.
func (r *Record) Candidates(id int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unowned[id].names
}

// Mark is the moment before a look, for [Record.Forget].
func (r *Record) Mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Forget drops unowned goroutines that have ended: those noted before mark that are not in l, which
// was taken after mark.
func (r *Record) Forget(l gostack.Snapshot, mark int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.unowned, func(id int, c candidates) bool { return l[id] == nil && c.mark <= mark })
}

// NoteReported remembers that the goroutines have failed a test.
func (r *Record) NoteReported(ids ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reported == nil {
		r.reported = map[int]bool{}
	}
	for _, id := range ids {
		r.reported[id] = true
	}
}

// Reported reports whether g has failed a test.
func (r *Record) Reported(g *gostack.Goroutine) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reported[g.ID]
}
