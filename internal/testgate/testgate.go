// Package testgate says which proofs this run of the tests has time for: the environment variables
// LEAKSAFE_CI, which .ci/run sets in one of its steps, and LEAKSAFE_LONG, which .ci/long sets.
package testgate

import (
	"os"
	"testing"
)

// Long reports whether proofs of minutes and hours run.
func Long() bool { return os.Getenv("LEAKSAFE_LONG") != "" }

// CI reports whether proofs of some seconds each run.
func CI() bool { return Long() || os.Getenv("LEAKSAFE_CI") != "" }

// Seconds skips a proof that takes some seconds, unless [CI].
func Seconds(t testing.TB) {
	t.Helper()
	if !CI() {
		t.Skip("takes some seconds: set LEAKSAFE_CI=1, as .ci/run does")
	}
}

// Minutes skips a proof that takes minutes, unless [Long].
func Minutes(t testing.TB) {
	t.Helper()
	if !Long() {
		t.Skip("takes minutes: set LEAKSAFE_LONG=1, as .ci/long does")
	}
}

// Count is how often a proof is repeated: plain in go test, ci in .ci/run, long in .ci/long.
func Count(plain, ci, long int) int {
	switch {
	case Long():
		return long
	case CI():
		return ci
	}
	return plain
}

// NoRace skips a proof that computes for seconds on one goroutine, where the race detector has
// nothing to find and makes it ten times as slow. The run without -race has it.
func NoRace(t testing.TB) {
	t.Helper()
	if Race && !CI() {
		t.Skip("one goroutine that computes: runs without -race, or with LEAKSAFE_CI=1")
	}
}
