// Package blame decides which test owns a goroutine. It is a function of stacks and of what is
// known of the tests: it starts nothing and looks at nothing.
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
	Planted   bool              // a negative control: nothing but it is expected to leak
	Bubble    int               // the synctest bubble it runs in; 0 for none
	Goroutine int               // id of the test's own goroutine
	Symbol    string            // the test's function
	Before    map[string]int    // goroutines without a label when the test started, by root
	Beside    map[string]string // checked tests that ran at the same time, and their functions

	// History is what ran before the test in this process.
	History History
}

// A History tells what may have left a timer or a goroutine behind before a test started.
type History struct {
	Tests    []string     // names of tests that have ended, newest first; not all where there are many
	Sibling  bool         // another test of the same parent may have ended
	TestMain bool         // the package has a TestMain
	Early    map[int]bool // goroutines that ran before the first test, by id; nil where nobody looked
}

// Within reports whether the test called name is a subtest of outer.
func Within(name, outer string) bool { return strings.HasPrefix(name, outer+"/") }

// Meet notes that other runs at the same time as t. A test is not beside its own subtests: what
// they do is its business.
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

// Suspects are the roots of goroutines without a label of which there are more now than when the
// test started. clean is true when there are none, and no goroutine carries the test's label.
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
	Reasons map[int]string       // why one that does not carry the test's label is the test's, by id
	Unowned map[int]Suspicion    // those that may be the test's or another's, by id
}

// A Suspicion is what is known of a goroutine that no test can be blamed for.
type Suspicion struct {
	Tests []string // one of these tests may have started it
	Early bool     // package init or TestMain started it, or a goroutine that did
	Why   string   // what else is known; may be empty
}

// Find tells which goroutines of l belong to t. suspects are the roots of which there are more than
// before, open are all tests that have not ended, t among them. first is the first look of the
// verdict: a goroutine without a label that is not in it was born after the test and is not judged.
// Without evidence a goroutine is nobody's.
func Find(l, first gostack.Snapshot, t Test, suspects map[string]bool, open []Test) Found {
	found := Found{Reasons: map[int]string{}, Unowned: map[int]Suspicion{}}
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
	isNew := map[int]bool{}
	for root, all := range unlabelled {
		newest := max(len(all)-t.earlier(root), 0)
		slices.SortFunc(all, func(a, b *gostack.Goroutine) int { return cmp.Compare(b.ID, a.ID) })
		for _, g := range all[:newest] {
			isNew[g.ID] = true
		}
	}
	for id := range isNew {
		g := l[id]
		owner, reason, suspicion := judge(g, l, first, t, open, isNew)
		switch owner {
		case t.ID:
			found.Leaked = append(found.Leaked, g)
			found.Reasons[g.ID] = reason
		case nobody:
			found.Unowned[g.ID] = suspicion
		}
	}
	return found
}

// nobody is the owner of a goroutine that cannot be told.
const nobody = 0

// judge decides about a goroutine without a label that appeared while t ran: the id of its test and
// why, or nobody and what is known.
func judge(g *gostack.Goroutine, l, first gostack.Snapshot, t Test, open []Test, isNew map[int]bool) (owner int, reason string, s Suspicion) {
	if t.Bubble != 0 && g.Bubble == t.Bubble {
		return t.ID, "to this test: it carries no label, but runs in the test's synctest bubble", s
	}
	ancestors, owner := byCreators(g, l, open)
	if owner != nobody {
		return owner, "to this test: it does not carry the test's label, but the test's own goroutine started it", s
	}
	for _, ancestor := range ancestors {
		if !isNew[ancestor.ID] {
			return nobody, "", olderThan(t, ancestor)
		}
	}
	if first[g.ID] == nil {
		return nobody, "", t.suspicion("it started after " + t.Name + " had ended")
	}
	if owner, known := bySymbol(g, l, open); known && (owner != t.ID || !t.sharesFunction()) {
		return owner, "to this test: it carries no label, but runs in a closure of the test", s
	}
	if TestOf(g) != "" {
		return nobody, "", t.suspicion("")
	}
	if t.onlySource(g, l) {
		return t.ID, "to this test: it carries no label, but nothing else has run in the process", s
	}
	return nobody, "", t.suspicion("")
}

// olderThan is the suspicion against a goroutine whose ancestor was there before t.
func olderThan(t Test, ancestor *gostack.Goroutine) Suspicion {
	by := ancestor.Name()
	switch test := TestOf(ancestor); {
	case ancestor.Root() == "testing.tRunner" && test != "":
		return Suspicion{Tests: []string{test}, Why: "started by " + by}
	case ancestor.ID == mainGoroutine:
		return Suspicion{Early: true, Why: "started by the main goroutine: " + early}
	case t.History.Early[ancestor.ID]:
		return Suspicion{Early: true, Why: "started by " + by + ", which ran before the first test: " + early}
	}
	return Suspicion{Tests: t.History.Tests, Why: "started by " + by + ", which ran before " + t.Name}
}

// mainGoroutine runs package init and TestMain, and starts the tests.
const mainGoroutine = 1

const early = "package init or TestMain started it"

// suspicion names the tests that may have started a goroutine while t ran.
func (t *Test) suspicion(why string) Suspicion {
	tests := t.Company()
	for _, name := range t.History.Tests {
		if !slices.Contains(tests, name) {
			tests = append(tests, name)
		}
	}
	return Suspicion{Tests: tests, Why: why}
}

// byCreators follows "created by … in goroutine N" to a test's goroutine, or one with a test's
// label. Where there is none it returns the creators that still run, the nearest first.
func byCreators(g *gostack.Goroutine, l gostack.Snapshot, open []Test) (ancestors []*gostack.Goroutine, id int) {
	for range 100 {
		for _, t := range open {
			if g.Parent == t.Goroutine || g.Scope == t.ID {
				return nil, t.ID
			}
		}
		if g = l[g.Parent]; g == nil {
			break
		}
		ancestors = append(ancestors, g)
	}
	return ancestors, nobody
}

// bySymbol finds the test in whose function the goroutine was written: the closure
// pkg.TestPut.func1 belongs to pkg.TestPut. Of rows of one table it is the first: see
// sharesFunction. known is true also where the closure may be that of a row without a Check: then
// the owner is nobody.
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

// sharesFunction reports whether another test may be the same function: another row of the table
// that t is a row of, which ran beside t or before it.
func (t *Test) sharesFunction() bool {
	if t.History.Sibling && strings.Contains(t.Name, "/") {
		return true
	}
	for _, symbol := range t.Beside {
		if gostack.InFunction(symbol, t.Symbol) {
			return true
		}
	}
	return false
}

// onlySource reports whether nothing but t can have started g: no test ran before it or beside it,
// and no goroutine was there that it could come from. A timer may be one that TestMain has set.
func (t *Test) onlySource(g *gostack.Goroutine, l gostack.Snapshot) bool {
	if strings.Contains(t.Name, "/") || len(t.Beside) > 0 || !Sequential(l, t) {
		return false
	}
	if t.Planted {
		return true
	}
	timer := g.Creator.Func == "time.goFunc"
	return len(t.History.Tests) == 0 && !t.History.Sibling && len(t.Before) == 0 && !(timer && t.History.TestMain)
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
				if rest, ok := strings.CutPrefix(part, kind); ok && part != "TestMain" && (rest == "" || rest[0] < 'a' || rest[0] > 'z') {
					return part
				}
			}
		}
	}
	return ""
}

// When says after what the goroutines of a group still run, for the verdict on the process: after
// the tests that started them, or after all tests and which of them it may be.
func When(group []*gostack.Goroutine, r *Record) string {
	known := true
	names := failure.Tally(group, func(g *gostack.Goroutine) string {
		name, sure := r.culprit(g)
		known = known && sure
		return name
	})
	if known {
		return names
	}
	return "all tests; " + names
}

// culprit is the test that started g; sure is false where only candidates can be named, or nobody.
func (r *Record) culprit(g *gostack.Goroutine) (name string, sure bool) {
	if g.Test != "" {
		return g.Test, true
	}
	s, noted := r.Suspicion(g.ID)
	switch test := TestOf(g); {
	case test != "":
		return test, true
	case len(s.Tests) == 1:
		return "started by " + s.Tests[0], false
	case len(s.Tests) > 1:
		return "started by " + failure.OneOf(s.Tests), false
	case noted && s.Early:
		return "no test started it", false
	}
	return "its test is unknown", false
}

// A Record remembers what earlier verdicts of the process said about goroutines. Its zero value is
// empty; it may be used by several goroutines at once.
type Record struct {
	mu       sync.Mutex
	last     int
	unowned  map[int]noted
	reported map[int]bool
	early    map[int]bool
}

// noted is a suspicion and when it was noted.
type noted struct {
	Suspicion
	mark int
}

// NoteUnowned remembers what is known of goroutine id, unless something was noted before.
func (r *Record) NoteUnowned(id int, s Suspicion) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unowned == nil {
		r.unowned = map[int]noted{}
	}
	if _, known := r.unowned[id]; !known {
		r.last++
		r.unowned[id] = noted{s, r.last}
	}
}

// NoteEarly remembers the goroutines that run before the first test.
func (r *Record) NoteEarly(l gostack.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.early = map[int]bool{}
	for id := range l {
		r.early[id] = true
	}
}

// Early are the goroutines of NoteEarly. The caller does not change the map.
func (r *Record) Early() map[int]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.early
}

// NoteOrigins notes what is known of goroutines that no verdict has noted: those that ran before
// the first test, and those that were started by one of these.
func (r *Record) NoteOrigins(l gostack.Snapshot) {
	for id, g := range l {
		if r.Early()[id] {
			r.NoteUnowned(id, Suspicion{Early: true, Why: "it ran before the first test: " + early})
			continue
		}
		if by := l[g.Parent]; by != nil && (by.ID == mainGoroutine || r.Early()[by.ID]) {
			r.NoteUnowned(id, olderThan(Test{History: History{Early: r.Early()}}, by))
		}
	}
}

// Suspicion is what is known of goroutine id; known is false where nothing was noted.
func (r *Record) Suspicion(id int) (s Suspicion, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, known := r.unowned[id]
	return n.Suspicion, known
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
	maps.DeleteFunc(r.unowned, func(id int, n noted) bool { return l[id] == nil && n.mark <= mark })
}

// NoteReported remembers that the goroutines have failed a test, or that their test has let them
// be.
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
