// Package leakcheck finds leaks in tests (goroutines, open files, a growing heap, objects that are
// never collected) and reports what retains them.
//
//	func TestMain(m *testing.M) { leakcheck.Main(m) } // no goroutine is left, or which test left it
//
//	func TestPut(t *testing.T) {
//		leakcheck.Check(t)                   // this test's goroutines and files; safe with t.Parallel
//		s := leakcheck.Track(t, cache.New()) // s can be collected when the test has ended
//		t.Cleanup(s.Close)
//		leakcheck.NoGrowth(t, func() { s.Put(key(), "value") }) // no growth per operation
//	}
//
// What to read first:
//
//   - per test: [Check], with its parts [Goroutines] and [Files], and [Context] for profiler labels
//   - growth: [NoGrowth]; [Measure] and its [Report] without a test
//   - objects: [Track], [Collected]; [WhyAlive] and its [Path] for programs
//   - the process: [Main]
//   - the negative control of a leak test: [MustDetect]
//   - what to ignore and how long to wait: [Option]
//
// A failure says what leaked, where it was started or allocated, what retains it, how to fix it,
// and the line that silences it.
//
// # Leak
//
// A goroutine that nobody ends, one for each reload:
//
//	func (c *Cache) Reload() {
//		go func() {
//			for range time.Tick(time.Minute) { c.evict() }
//		}()
//	}
//
// The rule: the code that starts a goroutine ends it, and waits for it. The proof, with its
// negative control, which shows that the test would catch the leak:
//
//	func TestReload(t *testing.T) {
//		leakcheck.Check(t)
//		c := New()
//		t.Cleanup(c.Close)
//		c.Reload()
//	}
//
//	func TestReloadWithoutClose(t *testing.T) {
//		c := New()
//		t.Cleanup(c.Close) // releases the planted goroutine
//		leakcheck.MustDetect(t, func(t testing.TB) {
//			leakcheck.Check(t)
//			c.Reload()
//		})
//	}
//
// TestEightParallelTests and its neighbours prove it for goroutines, TestFilesOfSeveralTests for
// files, TestTrackAsksTheHeap for objects, TestNoGrowthFinds and TestBoundedBuffersDoNotGrow for
// growth.
//
// # Known leaks
//
// For a code base that begins to check, LEAKSAFE_BASELINE names a file of known leaks, relative to
// the module's root, which all checks accept; with LEAKSAFE_BASELINE_UPDATE=1 they add what they
// find instead of failing. A line names functions, not lines of code, and so survives edits. Delete
// a line by hand, or write the file again. A failing run prints the command.
//
// # Environment
//
// LEAKSAFE_BASELINE and LEAKSAFE_BASELINE_UPDATE as above. LEAKSAFE_DIR is where reports are
// written. LEAKSAFE_DUMP=1 keeps heap dumps, which hold whatever was in memory. In GitHub Actions
// (GITHUB_ACTIONS=true) a failure is also an ::error line at its source line.
//
// # Cost
//
// A Check that finds nothing costs two goroutine profiles, and a Track one collection. With 1,000
// goroutines alive, in profiles of that process (go test -run '^$' -bench CleanCheck ./leakcheck):
//
//	Check      2.2 times the processor time of a profile, 2.0 times its allocations
//
// The first look of a check that finds something sets GODEBUG=tracebacklabels=1 for its duration,
// where the Go release does not print labels by itself.
//
// # State
//
// The variables that change: escaped, which moves an object to the heap. Below this package:
// scope's registry of running tests, its record of what verdicts said about goroutines, and its
// descriptors of the tests that run; option's defaults, given to Main; growth's measuring, which
// lets one check measure at a time; gostack's buffer of stacks; source's names of packages; page's
// numbers of reports; baseline's file. All may be used by several goroutines.
//
// The command leakvet (leakcheck/cmd/leakvet) finds, before a program runs, a Check that stands
// behind what it should watch.
package leakcheck
