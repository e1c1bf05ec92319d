package recorder

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
)

// Package gostack knows the goroutine of a negative control by its name.
func TestRootIsKnown(t *testing.T) {
	Plant(t, func(testing.TB) {
		assert.Equal(t, gostack.RecorderRun, gostack.Self().Root())
		assert.True(t, gostack.OfHarness(gostack.Self().Root()))
	})
}
