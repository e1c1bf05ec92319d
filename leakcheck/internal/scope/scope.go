// Package scope gives the verdict on what a test leaves behind: goroutines, files and objects. A
// scope is a test from its first leakcheck call to its verdict.
package scope

import (
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/option"
	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
	"github.com/leaksafe/leaksafe/leakcheck/internal/tracked"
)

// A Scope is a test from its first leakcheck call to its verdict.
//
// It does not refer to the test's T, which keeps the closures of its Cleanups and
// with them what is tracked.
type Scope struct {
	blame.Test
	cfg option.Config

	goroutines bool
	files      *ledger   // nil without Files
	openBefore []fd.File // with Files
	unowned    []fd.File // of these, what was open before the first test
	ending     bool      // the verdict has begun

	tracked []*tracked.Object
	strict  bool // what only the test holds is a leak, too

	leaked       []*gostack.Goroutine // what the verdict found
	reasons      map[int]string       // see blame
	failedBefore bool
}

// Enter opens the scope of t, or adds options to it. It returns nil after it has failed t.
func Enter(t testing.TB, caller string, options func(*option.Config)) *Scope {
	t.Helper()
	if t.Context().Err() != nil {
		t.Errorf("leakcheck: %s was called while %s was ending: nothing is left to watch; call it in the test's first line", caller, t.Name())
		return nil
	}
	s, isNew := tests.enter(t, caller, options)
	if s.cfg.Misuse != nil {
		t.Error(s.cfg.Misuse)
		s.cfg.Misuse = nil
	}
	if isNew {
		t.Cleanup(func() {
			t.Helper()
			s.end(t)
		})
	}
	return s
}

func newScope(t testing.TB, id int, caller string, options func(*option.Config)) *Scope {
	g := gostack.Self()
	s := &Scope{
		Test: blame.Test{
			ID: id, Name: t.Name(), Goroutine: g.ID, Symbol: testFunction(), Beside: map[string]string{},
			Planted: recorder.Planted(t), Bubble: g.Bubble,
		},
	}
	switch t.(type) {
	case *testing.B, *testing.F:
		s.Serial = true
	}
	s.cfg = option.New(caller, s.Planted, options)
	return s
}

// Begin starts to watch goroutines, files or both, unless it was done before.
func (s *Scope) Begin(goroutines, files bool) {
	goroutines, files = goroutines && !s.goroutines, files && s.files == nil
	if !goroutines && !files {
		return
	}
	if files {
		fd.StartPoller()
	}
	gostack.SetLabel(s.ID, s.Name)
	heads := gostack.CountStarted()
	if goroutines {
		s.goroutines = true
		s.Before = heads.ByRoot
	}
	if files {
		s.beginFiles(heads)
	}
}

// Context is t.Context() with the label of the nearest scope around t.
func Context(t testing.TB) context.Context {
	ctx := t.Context()
	if s := tests.of(t); s != nil {
		return gostack.WithLabel(ctx, s.ID, s.Name)
	}
	return ctx
}

// end is the verdict, the test's last Cleanup. Files come before goroutines,
// and both before the collections that Track needs: a collection closes a
// dropped file. The heap comes before the goroutineleak profile, which makes a
// heap dump impossible.
func (s *Scope) end(t testing.TB) {
	t.Helper()
	if s.files != nil || s.goroutines {
		s.endAmbient(t)
	}
	alive := s.overwriteCleanups(t)
	tests.leave(s)
	s.judgeTracked(t, alive)
	s.prove(t)
}

// function is the name of the test function: "TestPut" also for its subtests.
func (s *Scope) function() string {
	name, _, _ := strings.Cut(s.Name, "/")
	return name
}

// testFunction is the function of the running test: "example.com/cache.TestPut",
// or "example.com/cache.TestPut.func1" in a subtest.
func testFunction() string {
	pcs := make([]uintptr, 512)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	function := ""
	for {
		f, more := frames.Next()
		switch {
		case strings.HasPrefix(f.Function, "testing.tRunner"),
			strings.HasPrefix(f.Function, "testing.fRunner"),
			strings.HasPrefix(f.Function, "testing.(*B).runN"),
			f.Function == gostack.RecorderRun:
			return function
		}
		function = f.Function
		if !more {
			return ""
		}
	}
}
