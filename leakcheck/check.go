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
	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
	"github.com/leaksafe/leaksafe/leakcheck/internal/testhook"
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
		s.begin(true, true)
	}
}

// Goroutines is the part of [Check] about goroutines: it fails t when a
// goroutine the test started outlives it.
//
// A goroutine belongs to the test whose profiler label it carries; it inherits the label from its
// creator. One without a label (started by time.AfterFunc, or under a pprof.Do whose context did
// not come from [Context]) fails a test only where there is evidence: its creators lead to the
// test, it runs a closure of the test's function or in the test's bubble, or nothing else has run
// in the process. Otherwise no test fails, and [Main] names the tests that may have started it: the
// runtime does not say who has set a timer, so a goroutine of a timer that a library has set fails
// nothing without Main, where a TestMain or an earlier test could have set it too. A goroutine
// whose creator an option ignores is ignored too.
//
// An HTTP client that several tests share may close a connection and open another in any of them.
// [Check] counts the connections to each address, and fails no test in which they became no more;
// Goroutines alone cannot tell. A test that opens a further connection with such a client fails:
// give it a client of its own, or use [IgnoreFunc] and [IgnoreFile].
func Goroutines(t testing.TB, opts ...Option) {
	t = must(t, "Goroutines")
	t.Helper()
	if s := enter(t, "Goroutines", opts); s != nil {
		s.begin(true, false)
	}
}

// Files is the part of [Check] about file descriptors: it fails t when one is
// open at its end that was not at its start. Only Linux tells which are open;
// elsewhere Files does nothing.
//
// A descriptor has no owner. It fails a test that was the only one to run between the moment when
// it was not open and the moment when it was: tests that wait in t.Parallel do not count, and a
// subtest is judged with the checked test around it. When several tests may have opened it, none
// fails: [Main] names them all, and without Main a text on standard error says how to find out.
// What a test opens before it waits in t.Parallel may be another's: package testing does not say
// when a test begins to wait. Call t.Parallel first, and Check after it. Without Main, a test
// without a Check that begins and ends meanwhile is not known: what it leaves fails this one.
//
// A connection that takes the place of one to the same address that was open before is no leak.
//
// A dropped *os.File may have been closed by a garbage collection before anyone looks; [NoGrowth]
// counts descriptors per operation, too.
func Files(t testing.TB, opts ...Option) {
	t = must(t, "Files")
	t.Helper()
	if s := enter(t, "Files", opts); s != nil {
		s.begin(false, true)
	}
}

// Context is t.Context() with the label of the test's [Check], for pprof.Do
// and pprof.SetGoroutineLabels, which replace all labels by the labels of
// their context: goroutines started under them stay the test's. Without a Check of t
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
	cfg config

	goroutines bool
	files      *ledger   // nil without Files
	openBefore []fd.File // with Files
	ending     bool      // the verdict has begun

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
	open  map[testKey]*scope
	last  int
	ended recent
}

// recent holds the names of the tests that ended last.
type recent struct {
	list [24]string
	n    int
}

func (r *recent) add(name string) {
	if !slices.Contains(r.list[:], name) {
		r.list[r.n%len(r.list)] = name
		r.n++
	}
}

// names are the newest first.
func (r *recent) names() (names []string) {
	for i := r.n - 1; i >= 0 && i >= r.n-len(r.list); i-- {
		names = append(names, r.list[i%len(r.list)])
	}
	return names
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
	s.History = r.history(t)
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
		Test: blame.Test{
			ID: id, Name: t.Name(), Goroutine: g.ID, Symbol: testFunction(), Beside: map[string]string{},
			Planted: recorder.Planted(t), Bubble: g.Bubble,
		},
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
	if !s.Planted {
		r.ended.add(s.Name)
	}
}

// history is what is known of the time before t. The caller holds the lock.
func (r *registry) history(t testing.TB) blame.History {
	names := slices.DeleteFunc(r.ended.names(), func(name string) bool { return name == t.Name() })
	return blame.History{
		Tests: names, Sibling: len(names) > 0 || testhook.SiblingRan(t),
		TestMain: hasTestMain(), Early: record.Early(),
	}
}

// running names the tests that run their own code: checked tests whose verdict has not begun, but
// for except, and tests without a Check.
func (r *registry) running(h gostack.Headcount, except *scope) (names []string) {
	r.Lock()
	defer r.Unlock()
	byID := map[int]*scope{}
	functions := map[string]bool{}
	for _, s := range r.open {
		byID[s.ID] = s
		functions[s.function()] = true
	}
	for _, t := range h.Tests {
		switch s := byID[t.Scope]; {
		case s != nil && s != except && !s.ending:
			names = append(names, s.Name)
		case s == nil && !functions[t.Name]:
			names = append(names, t.Name)
		}
	}
	return names
}

// function is the name of the test function: "TestPut" also for its subtests.
func (s *scope) function() string {
	name, _, _ := strings.Cut(s.Name, "/")
	return name
}

// startVerdict is the moment after which s runs no code of its own.
func (r *registry) startVerdict(s *scope) {
	r.Lock()
	defer r.Unlock()
	s.ending = true
}

// checksFiles reports whether an open test called name checks its files.
func (r *registry) checksFiles(name string) bool {
	r.Lock()
	defer r.Unlock()
	for _, s := range r.open {
		if s.Name == name && s.files != nil {
			return true
		}
	}
	return false
}

// hasTestMain reports whether the package under test has a TestMain: then the main goroutine runs
// it.
var hasTestMain = sync.OnceValue(func() bool {
	l, _ := gostack.Take()
	main := l[1]
	return main == nil || slices.ContainsFunc(main.Frames, func(f source.Frame) bool {
		return strings.HasSuffix(f.Func, ".TestMain")
	})
})

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
	if s.files != nil || s.goroutines {
		s.endAmbient(t)
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

// starts notes that package testing starts a top-level test, and returns a number for its label.
func (r *registry) starts(test string) int {
	descriptors.hear(test)
	r.Lock()
	defer r.Unlock()
	r.ended.add(test) // it will have ended, or wait in t.Parallel, when the next one starts
	r.last++
	return r.last
}
