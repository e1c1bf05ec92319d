package main

import (
	"testing"

	"github.com/leaksafe/leaksafe/internal/bench/suite"
	"github.com/leaksafe/leaksafe/internal/testgate"
)

// TestBundlersOwnTests runs the tests of google.golang.org/api/support/bundler against package
// batch, through a shim. The tests that fail must be the listed ones, which differ on purpose. It
// runs with LEAKSAFE_LONG.
func TestBundlersOwnTests(t *testing.T) {
	testgate.Minutes(t) // bundler's tests compare times, and want a machine that is not busy
	suite.Suite{
		Module: "google.golang.org/api", Folder: "support/bundler", As: "bundler",
		Shim: "bundlershim/shim.go", Differs: differs,
	}.Run(t)
}

// The tests that fail, and why they should.
var differs = map[string]string{
	"TestBundlerByteThreshold": "MaxBytes is a bound, and no batch exceeds it; BundleByteThreshold is exceeded by up to one item",
	"TestAddWaitCancel":        "an item larger than the budget is refused at once, since it would wait until its context ends",
	"TestModeError":            "Add and TryAdd may be used on one Batcher",
}
