package watch_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func TestSamplesDoNotGrow(t *testing.T) {
	testgate.Seconds(t)
	w, err := watch.FeedEach(watch.Options{Limit: 1 << 40}, curve{lasts: day, live: flat(40 * mib)}.samples(), none)
	require.NoError(t, err)
	s := w.Last()
	leakcheck.NoGrowth(t, func() {
		s.Up += 10
		s.Cycles++
		w.Take(s)
		w.Mark("deploy")
	})
	assert.Less(t, watch.HistoryBytes, uint64(2*mib))
}

func TestStartAndStopDoNotGrow(t *testing.T) {
	testgate.Seconds(t)
	run := func(stop func(*watch.Watcher)) func() {
		return func() {
			w, err := watch.Start(watch.Options{Interval: time.Hour})
			if err != nil {
				panic(err)
			}
			stop(w)
		}
	}
	leakcheck.NoGrowth(t, run((*watch.Watcher).Stop))

	var running []*watch.Watcher
	t.Cleanup(func() {
		for _, w := range running {
			w.Stop()
		}
	})
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.NoGrowth(t, run(func(w *watch.Watcher) { running = append(running, w) }))
	})
}

func TestExpectDoesNotKeepWhatIsExpectedToGo(t *testing.T) {
	w, err := watch.FeedEach(watch.Options{}, curve{lasts: 20, live: flat(mib)}.samples(), none)
	require.NoError(t, err)
	type session [100]byte
	leakcheck.NoGrowth(t, func() { watch.Expect(w, new(session), "session") })
	leakcheck.Collected(t, func() *session {
		s := new(session)
		watch.Expect(w, s, "session")
		return s
	})
	runtime.KeepAlive(w)
}

// BenchmarkInterval is what watching costs once an interval: divide by 10 s,
// or by the interval you choose, for its share of a core.
func BenchmarkInterval(b *testing.B) {
	sample, err := watch.NewSampler(watch.Options{Limit: 1 << 40})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		sample()
	}
	perOp := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	b.ReportMetric(perOp/1e10*100, "%cpu@10s")
	b.ReportMetric(perOp/1e8*100, "%cpu@100ms")
	b.ReportMetric(float64(watch.HistoryBytes), "history-B")
}
