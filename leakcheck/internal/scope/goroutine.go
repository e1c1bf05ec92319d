package scope

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/openfile"
	"github.com/leaksafe/leaksafe/leakcheck/internal/option"
	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
)

// endAmbient is the verdict on goroutines and files. Both share one grace.
func (s *Scope) endAmbient(t testing.TB) {
	t.Helper()
	s.failedBefore = t.Failed()
	if s.Bubble != 0 {
		// The clock of a bubble is not the world's: instead of a grace, wait until every goroutine
		// of the bubble is blocked for good.
		synctest.Wait()
	}
	heads := gostack.CountStarted()
	files := s.openedFiles(heads)
	leaked, ok := s.await(heads, files)
	if !ok {
		t.Errorf("leakcheck: goroutines of %s were not judged: %s prints goroutine labels in a form unknown here; update leaksafe, or leave the verdict to leakcheck.Main", s.Name, runtime.Version())
	}
	s.leaked = leaked
	groups := advice.Group(leaked)
	for _, group := range groups {
		s.report(t, group, files.TakeSockets(group))
	}
	s.endFiles(t, files)
}

// await waits until no goroutine and no file of the test is left, or the grace ends. It returns the
// goroutines that are left.
func (s *Scope) await(heads gostack.Headcount, files *openfile.Left) (leaked []*gostack.Goroutine, ok bool) {
	suspects, clean := map[string]bool{}, true
	if s.goroutines {
		suspects, clean = s.Suspects(heads)
	}
	if clean && files.None() {
		return nil, true
	}
	closeIdle()
	var first gostack.Snapshot
	end := time.Now().Add(s.cfg.Grace)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		files.Refresh()
		if !clean {
			l, ok := s.look()
			if !ok {
				return nil, false
			}
			if first == nil {
				first = l
			}
			leaked = withoutShared(s.leakedIn(l, first, suspects), l, files)
		}
		if len(leaked) == 0 && files.None() || s.Bubble != 0 || !time.Now().Before(end) {
			return leaked, true
		}
		time.Sleep(pause)
	}
}

// look takes a look, and forgets what is known of goroutines that have ended.
func (s *Scope) look() (gostack.Snapshot, bool) {
	mark := record.Mark()
	l, ok := gostack.Take()
	if ok {
		record.Forget(l, mark)
	}
	return l, ok
}

// leakedIn returns the goroutines in l that are the test's and not ignored.
func (s *Scope) leakedIn(l, first gostack.Snapshot, suspects map[string]bool) []*gostack.Goroutine {
	t, open := tests.view(s)
	found := blame.Find(l, first, t, suspects, open)
	for id, suspicion := range found.Unowned {
		record.NoteUnowned(id, suspicion)
	}
	s.reasons = found.Reasons
	return slices.DeleteFunc(found.Leaked, func(g *gostack.Goroutine) bool { return s.ignores(g, l) })
}

// withoutShared drops the goroutines of an HTTP client's connections if there are no more of these
// than took the place of others, or lie idle in a client that the test shares with others.
func withoutShared(leaked []*gostack.Goroutine, l gostack.Snapshot, files *openfile.Left) []*gostack.Goroutine {
	connections, idle := 0, 0
	for _, g := range leaked {
		if g.Root() == client+"readLoop" {
			connections++
		}
		if isIdle(g) {
			idle++
		}
	}
	shared := files.ClientsReplaced()
	if connections > shared && connections == idle {
		shared += files.TakePooled(allIdle(l))
	}
	if connections > shared {
		return leaked
	}
	return slices.DeleteFunc(leaked, func(g *gostack.Goroutine) bool {
		if !strings.HasPrefix(g.Root(), client) {
			return false
		}
		record.NoteReported(g.ID) // the run does not fail for it either
		return true
	})
}

// client begins the names of the functions that serve an HTTP client's connection.
const client = "net/http.(*persistConn)."

// isIdle reports whether a client's connection waits for its next request. While the body of a
// response is not closed, readLoop is in a select.
func isIdle(g *gostack.Goroutine) bool {
	return g.Root() == client+"readLoop" && strings.HasPrefix(g.State, "IO wait")
}

// allIdle is how many connections of all clients wait for their next request.
func allIdle(l gostack.Snapshot) (n int) {
	for _, g := range l {
		if isIdle(g) {
			n++
		}
	}
	return n
}

// closeIdle ends the idle connections of net/http's default transport.
func closeIdle() {
	if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		transport.CloseIdleConnections()
	}
}

// ignores reports whether g is no failure of this test: an option or the baseline says so, or
// NoGrowth has failed the test for it.
func (s *Scope) ignores(g *gostack.Goroutine, l gostack.Snapshot) bool {
	return s.cfg.IgnoresGoroutine(g, l) || g.Scope == s.ID && record.Reported(g) || !s.Planted && knownGoroutine(g, s.Name)
}

// knownGoroutine asks the baseline. The key names the test, if it is known, and the function that
// the goroutine was started with, which does not change while it lives. Without a test it names the
// outermost function of the module under test: the one it was started with may be an errgroup's,
// and would cover all of the package.
func knownGoroutine(g *gostack.Goroutine, test string) bool {
	function := g.Root()
	if test == "" {
		for _, f := range g.Frames {
			if f.InModule() {
				function = f.Func
			}
		}
	}
	return baseline.Known("goroutine", strings.TrimSpace(test+" "+function+" created by "+g.Creator.Func))
}

// prove logs which of the leaked goroutines are stuck for good. Main does so at the end of the
// process: until then heap dumps stay possible.
func (s *Scope) prove(t testing.TB) {
	t.Helper()
	if option.InSuite() || s.Planted || len(s.leaked) == 0 {
		return
	}
	if proven := prove(s.leaked); len(proven) > 0 {
		t.Logf("leakcheck: proven by the goroutineleak profile: nothing can ever wake %s", strings.Join(proven, ", "))
	}
}

// report fails the test for a group of goroutines, and the sockets they use.
func (s *Scope) report(t testing.TB, group []*gostack.Goroutine, sockets []blame.Opened) {
	t.Helper()
	f := advice.Describe(group, s.Name)
	if len(sockets) > 0 {
		f.Add("open", openfile.Lines(sockets)...)
	}
	if advice.OfConnection(group[0]) {
		f.Add("shared?", openfile.Shared(group[0], sockets)...)
	}
	if reason := s.reasons[group[0].ID]; reason != "" {
		f.Add("attributed", reason)
	}
	if s.Bubble != 0 {
		f.Add("note", "in a synctest bubble the runtime panics next, because this goroutine can never end")
	}
	if s.failedBefore {
		f.Add("note", "the test had already failed: the leak may be a consequence")
	}
	if s.Bubble == 0 && s.cfg.Grace > 0 {
		f.Add("measured", fmt.Sprintf("after waiting %v (leakcheck.Grace)", s.cfg.Grace))
	}
	recorder.Report(t, f)
	for _, g := range group {
		if !s.Planted { // Main still wants to see what a negative control leaves behind
			record.NoteReported(g.ID)
		}
	}
}
