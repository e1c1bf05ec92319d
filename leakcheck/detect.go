package leakcheck

import (
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
)

// MustDetect is the negative control of a leak test: it fails t unless a check
// of this package reports a leak in f. A test that never saw its own leak
// caught proves nothing.
//
//	func TestCatchesJanitor(t *testing.T) {
//		stop := make(chan struct{})
//		t.Cleanup(func() { close(stop) }) // releases the planted goroutine
//		leakcheck.MustDetect(t, func(t testing.TB) {
//			leakcheck.Check(t)
//			go func() { <-stop }()
//		})
//	}
//
// f runs on a goroutine of its own, and MustDetect waits for it. The t it gets behaves as the t of
// a test of its own: it has its Cleanups, which run when f has ended and give the verdicts; its
// Context; its TempDir, Setenv and Chdir, undone after the Cleanups. FailNow and SkipNow end f
// alone. Failures stay in f. A failure that is no leak, such as t.Fatal in f, does not count as
// detected: MustDetect then fails t with its text.
//
// What f plants must be released afterwards by a Cleanup of the outer t, as above, so that the
// verdict of [Main] stays clean. Checks in f use a grace of 200 ms where they do not set [Grace]; a
// baseline file does not apply to them.
func MustDetect(t testing.TB, f func(testing.TB)) {
	t = must(t, "MustDetect")
	t.Helper()
	if f == nil {
		t.Error("leakcheck: MustDetect: f is nil: pass a function that leaks and checks")
		return
	}
	recorder.Plant(t, f).Judge()
}
