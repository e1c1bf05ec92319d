package leakcheck_test

import (
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

// Checks leave nothing behind in the process, however many tests it runs: not
// after a clean one, and not after one in which a goroutine was seen that nobody
// could be blamed for.
func TestChecksDoNotGrow(t *testing.T) {
	testgate.Seconds(t)
	leakcheck.NoGrowth(t, func() {
		t.Run("test", func(t *testing.T) {
			leakcheck.Check(t, patience)
			x := leakcheck.Track(t, newThing())
			t.Cleanup(x.close)
			release := make(chan struct{})
			t.Cleanup(func() { close(release) })
			t.Run("unattributed", func(t *testing.T) {
				leakcheck.Check(t, leakcheck.Grace(0))
				time.AfterFunc(0, startAndWait(release))
				<-started
			})
		})
		leakcheck.Collected(t, newThing)
	}, leakcheck.Iterations(1), leakcheck.Rounds(2))
	leakcheck.MustDetect(t, func(inner testing.TB) {
		leakcheck.NoGrowth(inner, func() { leakcheck.Abandon(t) }, leakcheck.Iterations(1), leakcheck.Rounds(2))
	})
}

//go:noinline
func startAndWait(release chan struct{}) func() {
	return func() {
		started <- struct{}{}
		<-release
	}
}
