package leakcheck

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"

	"github.com/leaksafe/leaksafe/leakcheck/internal/tracked"
)

// Check fails t when something the test started or opened is still there at
// its end: goroutines (see [Goroutines]), file descriptors (see [Files]),
// objects given to [Track].
//
// Call it in the first line of the test, on the test's goroutine: the verdict
// is a Cleanup, and Cleanups run last in, first out, so that everything the
// test itself cleans up is gone by then. It may be used with t.Parallel, in
// subtests, benchmarks, fuzz targets and synctest bubbles; a subtest without a
// Check belongs to the nearest test around it that has one. A second Check of
// the same test adds its options to the first. Check itself does not block; the
// verdict waits up to [Grace] while something is left.
//
// A test that failed or was skipped is judged too. Check fails a test that is
// already ending, and panics, as package testing would, when t is nil or ended.
func Check(t testing.TB, opts ...Option) {
	t = must(t, "Check")
	t.Helper()
	if s := enter(t, "Check", opts); s != nil {
		s.checkFiles()
		s.checkGoroutines()
	}
}

// Goroutines is the part of [Check] about goroutines: it fails t when a
// goroutine the test started outlives it.
//
// A goroutine belongs to the test whose profiler label it carries; it inherits
// the label from its creator. One without a label (started by time.AfterFunc,
// or under a pprof.Do whose context did not come from [Context]) is blamed on a
// test only when its creators lead to the test, when it runs a closure of the
// test's function, or when no other test ran; otherwise [Main] names it,
// with the tests that may have started it.
func Goroutines(t testing.TB, opts ...Option) {
	t = must(t, "Goroutines")
	t.Helper()
	if s := enter(t, "Goroutines", opts); s != nil {
		s.checkGoroutines()
	}
}

// Files is the part of [Check] about file descriptors: it fails t when one is
// open at its end that was not at its start. Only Linux tells which are open;
// elsewhere Files does nothing.
//
// Descriptors carry no owner. A test that overlapped no other checked test is
// judged alone; tests that overlapped are judged together when the last of
// them ends, which then fails and names them all. A dropped *os.File may have
// been closed by a garbage collection before anyone looks; [NoGrowth] counts
// descriptors per operation, too.
func Files(t testing.TB, opts ...Option) {
	t = must(t, "Files")
	t.Helper()
	if s := enter(t, "Files", opts); s != nil {
		s.checkFiles()
	}
}

// Context is t.Context() with the label of the test's [Check], for pprof.Do
// and pprof.SetGoroutineLabels, which replace all labels by those of their
// context: goroutines started under them stay the test's. Without a Check of t
// or a test around it, it is t.Context().
func Context(t testing.TB) context.Context {
	t = must(t, "Context")
	ctx := t.Context()
	if s := tests.of(t); s != nil {
		return gostack.WithLabel(ctx, s.ID, s.Name)
	}
	return ctx
}

// A scope is a test from its first leakcheck call to its verdict.
//
// It does not refer to the test's T, which keeps the closures of its Cleanups and
// with them what is tracked.
type scope struct {
	blame.Test
	planted bool // by MustDetect
	bubble  int  // the synctest bubble it runs in
	cfg     config

	goroutines bool
	files      *fileGroup // nil without Files

	tracked []*tracked.Object
	strict  bool // what only the test holds is a leak, too

	leaked       []*gostack.Goroutine // what the verdict found
	reasons      map[int]string       // see blame
	failedBefore bool
}

// tests are the scopes that are open.
var tests = registry{open: map[testKey]*scope{}}

type registry struct {
	sync.Mutex
	open map[testKey]*scope
	last int
}

// A testKey tells tests apart without keeping them: a bubble's T has the name of
// the one around it.
type testKey struct {
	name    string
	address uintptr
}

func keyOf(t testing.TB) testKey {
	k := testKey{name: t.Name()}
	if v := reflect.ValueOf(t); v.Kind() == reflect.Pointer {
		k.address = v.Pointer()
	}
	return k
}

// enter opens the scope of t, or adds opts to it. It returns nil after it has
// failed t.
func enter(t testing.TB, caller string, opts []Option) *scope {
	t.Helper()
	if t.Context().Err() != nil {
		t.Errorf("leakcheck: %s was called while %s was ending: nothing is left to watch; call it in the test's first line", caller, t.Name())
		return nil
	}
	s, isNew := tests.enter(t, caller, opts)
	if s.cfg.misuse != nil {
		t.Error(s.cfg.misuse)
		s.cfg.misuse = nil
	}
	if isNew {
		t.Cleanup(func() {
			t.Helper()
			s.end(t)
		})
	}
	return s
}

func (r *registry) enter(t testing.TB, caller string, opts []Option) (_ *scope, isNew bool) {
	key := keyOf(t)
	r.Lock()
	defer r.Unlock()
	if s := r.open[key]; s != nil {
		s.cfg.apply(opts)
		s.cfg.restrict(caller)
		return s, false
	}
	r.last++
	s := newScope(t, r.last, caller, opts)
	for _, other := range r.open {
		s.Meet(&other.Test)
		other.Meet(&s.Test)
	}
	r.open[key] = s
	return s, true
}

func newScope(t testing.TB, id int, caller string, opts []Option) *scope {
	g := gostack.Self()
	s := &scope{
		Test:    blame.Test{ID: id, Name: t.Name(), Goroutine: g.ID, Symbol: testFunction(), Beside: map[string]string{}},
		planted: recorder.Planted(t), bubble: g.Bubble,
	}
	switch t.(type) {
	case *testing.B, *testing.F:
		s.Serial = true
	}
	s.cfg = newConfig(caller, plantedOptions(t, opts))
	return s
}

func (r *registry) leave(s *scope) {
	r.Lock()
	defer r.Unlock()
	maps.DeleteFunc(r.open, func(_ testKey, other *scope) bool { return other == s })
}

// of is the open scope of t, or else of the nearest test around it.
func (r *registry) of(t testing.TB) *scope {
	r.Lock()
	defer r.Unlock()
	if s := r.open[keyOf(t)]; s != nil {
		return s
	}
	return r.nearest(t.Name())
}

// around is the nearest open scope around s.
func (r *registry) around(s *scope) *scope {
	r.Lock()
	defer r.Unlock()
	return r.nearest(s.Name)
}

func (r *registry) nearest(name string) *scope {
	var nearest *scope
	for _, s := range r.open {
		if blame.Within(name, s.Name) && (nearest == nil || len(s.Name) > len(nearest.Name)) {
			nearest = s
		}
	}
	return nearest
}

// view is a copy of what blame must know: s, and all tests that are open, in the order of their
// start.
func (r *registry) view(s *scope) (of blame.Test, open []blame.Test) {
	r.Lock()
	defer r.Unlock()
	for _, other := range r.open {
		open = append(open, other.view())
	}
	slices.SortFunc(open, func(a, b blame.Test) int { return cmp.Compare(a.ID, b.ID) })
	return s.view(), open
}

func (s *scope) view() blame.Test {
	t := s.Test
	t.Beside = maps.Clone(t.Beside)
	return t
}

// end is the verdict, the test's last Cleanup. Files come before goroutines,
// and both before the collections that Track needs: a collection closes a
// dropped file. The heap comes before the goroutineleak profile, which makes a
// heap dump impossible.
func (s *scope) end(t testing.TB) {
	t.Helper()
	if s.files != nil {
		s.endFiles(t)
	}
	if s.goroutines {
		s.endGoroutines(t)
	}
	alive := s.overwriteCleanups(t)
	tests.leave(s)
	s.judgeTracked(t, alive)
	s.prove(t)
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

// must panics for a nil t, which package testing would do a line later with
// less to read. It sees through the pointer inside the interface.
func must(t testing.TB, caller string) testing.TB {
	if v := reflect.ValueOf(t); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic(fmt.Sprintf("leakcheck: %s: t is nil: pass the test's own *testing.T, B or F", caller))
	}
	return t
}

// report fails t with f. A negative control (see [MustDetect]) knows a verdict by its type, and is
// nothing to annotate.
func report(t testing.TB, f *failure.Failure) {
	t.Helper()
	t.Error(f)
	if !recorder.Planted(t) {
		f.Annotate(os.Stderr)
	}
}

func (r *registry) next() int {
	r.Lock()
	defer r.Unlock()
	r.last++
	return r.last
}
