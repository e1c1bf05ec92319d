package leakcheck_test

import (
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestDetectsGoroutine(t *testing.T) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Check(t)
		go func() { <-stop }()
	})
}

func TestCleanGoroutine(t *testing.T) {
	leakcheck.Check(t)
	go func() {}()
}

var global any

func TestDetectsTracked(t *testing.T) {
	t.Cleanup(func() { global = nil })
	leakcheck.MustDetect(t, func(t testing.TB) {
		global = leakcheck.Track(t, new([100]int))
	})
	leakcheck.Track(t, new([100]int))
}

func TestCollected(t *testing.T) {
	leakcheck.Collected(t, func() *[100]int { return new([100]int) })
}
