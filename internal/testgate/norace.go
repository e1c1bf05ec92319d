//go:build !race

package testgate

// Race reports whether the race detector runs.
const Race = false
