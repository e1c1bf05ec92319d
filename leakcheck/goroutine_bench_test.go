package leakcheck_test

import (
	"io"
	"runtime/pprof"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck"
)

// BenchmarkCleanCheck is a Check with nothing to find, beside 1,000 goroutines that were
// there before, in goroutine profiles: go test -run '^$' -bench CleanCheck ./leakcheck
func BenchmarkCleanCheck(b *testing.B) {
	stop := make(chan struct{})
	b.Cleanup(func() { close(stop) })
	for range 1000 {
		go deep(8, stop)
	}
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			leakcheck.Plant(b, func(t testing.TB) { leakcheck.Check(t) })
		}
	})
	b.Run("profile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			pprof.Lookup("goroutine").WriteTo(io.Discard, 1)
		}
	})
}

func deep(n int, stop chan struct{}) {
	if n > 0 {
		deep(n-1, stop)
		return
	}
	<-stop
}
