package leakcheck

import (
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
)

// Plant runs f as MustDetect does, and returns how many leaks were reported and what was said.
func Plant(t testing.TB, f func(testing.TB)) (leaks int, said string) {
	r := recorder.Plant(t, f)
	return r.Leaks(), r.Text()
}

// Abandon begins a test with a Track and does not end it until t does.
func Abandon(t testing.TB) {
	r := recorder.New(t)
	Track(r, &[8]int{})
	t.Cleanup(r.RunCleanups)
}
