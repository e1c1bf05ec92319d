package leakcheck

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of m and exits: with 1 when they passed and goroutines
// are left, otherwise with the code of the tests. The verdict for the process
// is goleak's; Main adds which test did it. Its options are the defaults of all
// checks of the suite.
//
//	func TestMain(m *testing.M) { leakcheck.Main(m) }
func Main(m *testing.M, opts ...Option) {
	suite.Store(&opts)
	cfg := newConfig(nil)
	if cfg.misuse != nil {
		fmt.Fprintln(os.Stderr, cfg.misuse)
		os.Exit(2)
	}
	os.Exit(judgeProcess(m.Run(), cfg))
}

func judgeProcess(code int, cfg config) int {
	closeIdle()
	err := goleak.Find(cfg.goleak...)
	if err == nil {
		return code
	}
	l, ok := lookAll()
	if !ok {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	var leaked []*goroutine
	for _, g := range l {
		if strings.Contains(err.Error(), fmt.Sprintf("Goroutine %d in state", g.id)) && !cfg.ignoresGoroutine(g) && !known("goroutine", g.key()) {
			leaked = append(leaked, g)
		}
	}
	for _, group := range groupGoroutines(leaked) {
		whose := "the tests (nobody knows which)"
		if names := culprits(group[0]); len(names) > 0 {
			whose = strings.Join(names, " or ")
		}
		f := describe(group, "outlives "+whose, "outlive "+whose)
		fmt.Fprintln(os.Stderr, f)
		f.annotate(os.Stderr)
		code = max(code, 1)
	}
	return code
}

// culprits are the test that started g, or those that may have.
func culprits(g *goroutine) []string {
	if g.test != "" {
		return []string{g.test}
	}
	if name := tests.owner(g.parent); name != "" {
		return []string{name}
	}
	if name := testOf(g); name != "" {
		return []string{name}
	}
	return unattributed.candidates(g.id)
}

func (r *registry) owner(goid int) string {
	r.Lock()
	defer r.Unlock()
	return r.owners[goid]
}

// unattributed remembers goroutines that no test could be blamed for, with the
// tests that ran when they were seen.
var unattributed = suspicion{byID: map[int][]string{}}

type suspicion struct {
	sync.Mutex
	byID map[int][]string
}

func (u *suspicion) note(id int, running []*scope) {
	u.Lock()
	defer u.Unlock()
	if u.byID[id] != nil {
		return // who ran when it was first seen knows best
	}
	for _, s := range running {
		u.byID[id] = append(u.byID[id], s.name)
	}
}

func (u *suspicion) candidates(id int) []string {
	u.Lock()
	defer u.Unlock()
	return slices.Clone(u.byID[id])
}
