package leakcheck

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/scope"
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
	if s := scope.Enter(t, "Check", all(opts)); s != nil {
		s.Begin(true, true)
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
	if s := scope.Enter(t, "Goroutines", all(opts)); s != nil {
		s.Begin(true, false)
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
	if s := scope.Enter(t, "Files", all(opts)); s != nil {
		s.Begin(false, true)
	}
}

// Context is t.Context() with the label of the test's [Check], for pprof.Do
// and pprof.SetGoroutineLabels, which replace all labels by the labels of
// their context: goroutines started under them stay the test's. Without a Check of t
// or a test around it, it is t.Context().
func Context(t testing.TB) context.Context {
	return scope.Context(must(t, "Context"))
}

// must panics for a nil t, which package testing would do a line later with
// less to read. It sees through the pointer inside the interface.
func must(t testing.TB, caller string) testing.TB {
	if v := reflect.ValueOf(t); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic(fmt.Sprintf("leakcheck: %s: t is nil: pass the test's own *testing.T, B or F", caller))
	}
	return t
}
