package scope

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/explain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/option"
	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/tracked"
)

// overwriteCleanups registers Cleanups that do nothing, until the tracked objects are collected or
// enough were tried. Package testing keeps the closures of Cleanups that have run in the slots of
// its list, and with them what they refer to; new Cleanups take those slots. Nobody knows how many
// there are, so each attempt takes four times as many as the one before.
func (s *Scope) overwriteCleanups(t testing.TB) (alive []*tracked.Object) {
	const first, last = 1 << 6, 1 << 14
	if len(s.tracked) == 0 {
		return nil
	}
	for n := first; n <= last; n *= 4 {
		for range n {
			t.Cleanup(func() {})
		}
		if alive = tracked.Remaining(s.tracked); len(alive) == 0 {
			return nil
		}
	}
	return alive
}

// judgeTracked leaves the verdict to the test around s where that has a Check: an object that a
// subtest cannot release may be the outer test's, such as a row of its table.
func (s *Scope) judgeTracked(t testing.TB, alive []*tracked.Object) {
	t.Helper()
	if len(alive) == 0 {
		return
	}
	if outer := tests.around(s); outer != nil && !s.Planted {
		outer.Track(alive...)
		return
	}
	s.reportTracked(t, tracked.Await(alive, s.cfg.Grace, s.Bubble != 0))
}

// JudgeBuilt fails t when the object that was built and dropped within it cannot be collected.
func JudgeBuilt(t testing.TB, object *tracked.Object) {
	t.Helper()
	s := newScope(t, 0, "Collected", func(*option.Config) {})
	s.strict = true
	if around := tests.of(t); around != nil {
		s.cfg = around.cfg
	}
	s.reportTracked(t, tracked.Await([]*tracked.Object{object}, s.cfg.Grace, s.Bubble != 0))
}

// reportTracked fails the test for what is alive, unless only a test itself retains it, or the
// baseline knows it, or it is collected before its holder is found.
func (s *Scope) reportTracked(t testing.TB, alive []*tracked.Object) {
	t.Helper()
	groups := slices.DeleteFunc(tracked.Groups(alive), func(g tracked.Group) bool {
		return !s.Planted && baseline.Known("object", g.Key())
	})
	if len(groups) == 0 {
		return
	}
	paths, err := s.explainTracked(t, groups)
	if left := tracked.Remaining(alive); len(left) < len(alive) {
		t.Logf("leakcheck: no leak: collected while the heap was searched: %d of %d tracked objects", len(alive)-len(left), len(alive))
		s.reportTracked(t, left)
		return
	}
	for i, g := range groups {
		f, leaked := g.Failure(s.strict), true
		var steps []advice.Step
		switch {
		case err != nil:
			f.Add("retained by", explain.Unknown(err)...)
		case paths != nil:
			leaked = s.addPaths(f, paths[i], len(g))
			steps = explain.Held(paths[i][0]).Steps
		}
		if !leaked {
			t.Logf("leakcheck: no leak: %s is still %s", g[0].Type, paths[i][0].Answer)
			continue
		}
		f.Add("fix", advice.ObjectFix(steps))
		f.Add("silence", baseline.Command())
		s.reportAtItsLine(t, f)
	}
}

// reportAtItsLine fails the test as t.Error does, at the line where the object is tracked. In a
// Cleanup, t.Error gives the line that registered it: the test's first leakcheck call.
// Collected is that line itself, and a testing.TB of somebody else may wait for its Error.
func (s *Scope) reportAtItsLine(t testing.TB, f *failure.Failure) {
	t.Helper()
	foreign := true
	switch t.(type) {
	case *testing.T, *testing.B, *testing.F:
		foreign = false
	}
	if foreign || s.strict {
		recorder.Report(t, f)
		return
	}
	text := strings.ReplaceAll(f.String(), "\n", "\n    ") // as t.Error indents what follows the first line
	fmt.Fprintf(t.Output(), "%s:%d: %s\n", filepath.Base(f.File), f.Line, text)
	t.Fail()
	f.Annotate(os.Stderr)
}

// explainTracked asks what retains the objects of each group. What is planted needs no heap dump:
// then there are no paths.
func (s *Scope) explainTracked(t testing.TB, groups []tracked.Group) ([][]retain.Path, error) {
	if s.Planted {
		return nil, nil
	}
	addrs := make([][]uintptr, len(groups))
	for i, g := range groups {
		_ = g[0].At.Name() // reads the name of its package, which the path may have too
		for _, o := range g {
			addrs[i] = append(addrs[i], o.Address())
		}
	}
	f := groups[0].Failure(s.strict)
	return explain.Objects(t, fmt.Sprintf("%s, tracked at %s:%d", f.Title, f.File, f.Line), addrs)
}

// addPaths says what retains the objects, and reports whether that is more than a test itself.
func (s *Scope) addPaths(f *failure.Failure, paths []retain.Path, objects int) (leaked bool) {
	const most = 3
	for i, p := range paths {
		name, lines := "retained by", explain.Lines(p)
		if p.ByTest && !s.strict {
			name, lines[0] = "no leak", p.Answer
		} else {
			leaked = true
		}
		if objects > 1 {
			lines[0] = fmt.Sprintf("(%d of %d) %s", p.Count, objects, lines[0])
		}
		if i < most {
			f.Add(name, lines...)
		}
	}
	if more := len(paths) - most; more > 0 {
		f.Add("", fmt.Sprintf("and %d more paths", more))
	}
	return leaked
}

// Track adds objects to what must be gone when the test has ended.
func (s *Scope) Track(objects ...*tracked.Object) {
	tests.Lock()
	defer tests.Unlock()
	s.tracked = append(s.tracked, objects...)
}
