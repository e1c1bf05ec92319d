// Package leakcheck proves in a test that nothing leaks, and names who keeps
// what does.
//
//	func TestMain(m *testing.M) { leakcheck.Main(m) } // the process: no goroutine is left, or which test left it
//
//	func TestPut(t *testing.T) {
//		leakcheck.Check(t) // this test: its goroutines and files; safe with t.Parallel
//		s := leakcheck.Track(t, cache.New()) // s can be collected when the test has ended
//		t.Cleanup(s.Close)
//		leakcheck.NoGrowth(t, func() { s.Put("key", "value") }) // no growth per operation
//	}
//
// A failure says what leaked, where it was started or allocated, who keeps it,
// how to mend it, and the line that silences it.
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
// The rule: who starts a goroutine ends it, and waits for it. The proof, with
// its negative control, which shows that the test would catch the leak:
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
//		t.Cleanup(c.Close) // lets the planted goroutine go
//		leakcheck.MustDetect(t, func(t testing.TB) {
//			leakcheck.Check(t)
//			c.Reload()
//		})
//	}
//
// TestEightParallelTests and its neighbours prove it for goroutines,
// TestFilesOfSeveralTests for files, TestTrackAsksTheHeap for objects.
//
// # Known leaks
//
// For a code base that begins to check, LEAKSAFE_BASELINE names a file of known
// leaks, relative to the module's root, which [Main], [Check], [Goroutines], [Files]
// and [NoGrowth] accept; LEAKSAFE_BASELINE_UPDATE=1 adds what is found instead of
// failing. A line names functions, not lines of code, and so survives edits. It is
// taken out by hand, or by writing the file anew. A failing run prints the command.
//
// # Environment
//
// LEAKSAFE_BASELINE and LEAKSAFE_BASELINE_UPDATE as above; LEAKSAFE_DIR is where
// reports are written; LEAKSAFE_DUMP=1 keeps heap dumps. In GitHub Actions
// (GITHUB_ACTIONS=true) a failure is also an ::error line at its source line.
//
// # Cost
//
// A Check that finds nothing costs two goroutine profiles, and a Track one
// collection. With 1,000 goroutines alive, in profiles of that process
// (go test -run '^$' -bench CleanCheck ./leakcheck):
//
//	Check      2.2 times the processor time of a profile, 2.0 times its allocations
//
// The first look of a check that finds something sets GODEBUG=tracebacklabels=1
// for its duration, where the Go release does not print labels by itself.
package leakcheck
