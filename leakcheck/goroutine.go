package leakcheck

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
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

func (s *scope) checkGoroutines() {
	if s.goroutines {
		return
	}
	s.goroutines = true
	s.Before = gostack.CountStarted().ByRoot
	gostack.SetLabel(s.ID, s.Name)
}

func (s *scope) endGoroutines(t testing.TB) {
	t.Helper()
	leaked, ok := s.await()
	if !ok {
		t.Errorf("leakcheck: goroutines of %s were not judged: %s prints goroutine labels in a form unknown here; update leaksafe, or leave the verdict to leakcheck.Main", s.Name, runtime.Version())
		return
	}
	s.leaked, s.failedBefore = leaked, t.Failed()
	for _, group := range advice.Group(leaked) {
		s.report(t, group)
	}
}

// await waits until no goroutine of the test is left, and returns those that
// are when the grace ends.
func (s *scope) await() (leaked []*gostack.Goroutine, ok bool) {
	if s.bubble != 0 {
		// The clock of a bubble is not the world's: instead of a grace,
		// wait until every goroutine of the bubble is blocked for good.
		synctest.Wait()
	}
	suspects, clean := s.Suspects(gostack.CountStarted())
	if clean {
		return nil, true
	}
	closeIdle()
	end := time.Now().Add(s.cfg.grace)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		l, ok := s.look()
		if !ok {
			return nil, false
		}
		leaked = s.leakedIn(l, suspects)
		if len(leaked) == 0 || s.bubble != 0 || !time.Now().Before(end) {
			return leaked, true
		}
		time.Sleep(pause)
	}
}

// look takes a look, and forgets what is known of goroutines that have ended.
func (s *scope) look() (gostack.Snapshot, bool) {
	mark := record.Mark()
	l, ok := gostack.Take()
	if ok {
		record.Forget(l, mark)
	}
	return l, ok
}

// leakedIn returns the goroutines in l that are the test's and not ignored.
func (s *scope) leakedIn(l gostack.Snapshot, suspects map[string]bool) []*gostack.Goroutine {
	t, open := tests.view(s)
	found := blame.Find(l, t, suspects, open)
	for _, id := range found.Unowned {
		record.NoteUnowned(id, t.Company())
	}
	s.reasons = found.Reasons
	return slices.DeleteFunc(found.Leaked, s.ignores)
}

// closeIdle ends the connections that net/http keeps for everyone.
func closeIdle() {
	if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		transport.CloseIdleConnections()
	}
}

// ignores reports whether g is no failure of this test: an option or the baseline says so, or NoGrowth
// has failed the test for it.
func (s *scope) ignores(g *gostack.Goroutine) bool {
	return s.cfg.ignoresGoroutine(g) || !s.planted && (record.Reported(g) || knownGoroutine(g))
}

func (c *config) ignoresGoroutine(g *gostack.Goroutine) bool {
	return slices.ContainsFunc(c.ignoreCreators, g.Creator.Matches) ||
		slices.ContainsFunc(c.ignoreFuncs, func(prefix string) bool {
			return slices.ContainsFunc(g.Frames, func(f source.Frame) bool { return f.Matches(prefix) })
		})
}

// knownGoroutine asks the baseline by names that change neither with line numbers nor with
// what the goroutine is about: the outermost function of the module under test,
// where one is on the stack, and the function it was started with, which may be an
// errgroup's.
func knownGoroutine(g *gostack.Goroutine) bool {
	outermost := g.Root()
	for _, f := range g.Frames {
		if strings.HasPrefix(f.Func, source.ModulePath()) {
			outermost = f.Func
		}
	}
	by := " created by " + g.Creator.Func
	return baseline.Known("goroutine", outermost+by) || baseline.Known("goroutine", g.Root()+by)
}

// prove logs which of the leaked goroutines are stuck for good. Main does so at the end of the process:
// until then heap dumps stay possible.
func (s *scope) prove(t testing.TB) {
	t.Helper()
	if mainJudges() || s.planted || len(s.leaked) == 0 {
		return
	}
	if proven := prove(s.leaked); len(proven) > 0 {
		t.Logf("leakcheck: proven by the goroutineleak profile: nothing can ever wake %s", strings.Join(proven, ", "))
	}
}

// report fails the test for goroutines with one stack.
func (s *scope) report(t testing.TB, group []*gostack.Goroutine) {
	t.Helper()
	f := advice.Describe(group, s.Name)
	if reason := s.reasons[group[0].ID]; reason != "" {
		f.Add("attributed", reason)
	}
	if s.bubble != 0 {
		f.Add("note", "in a synctest bubble the runtime panics next, because this goroutine can never end")
	}
	if s.failedBefore {
		f.Add("note", "the test had already failed: the leak may be a consequence")
	}
	if s.bubble == 0 && s.cfg.grace > 0 {
		f.Add("measured", fmt.Sprintf("after waiting %v (leakcheck.Grace)", s.cfg.grace))
	}
	report(t, f)
	for _, g := range group {
		if !s.planted { // Main still wants to see what a negative control leaves behind
			record.NoteReported(g.ID)
		}
	}
}
