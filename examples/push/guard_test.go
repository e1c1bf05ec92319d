package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Pressure comes while the worker ends: both ask for the peak.
func TestPeakIsAskedForTwice(t *testing.T) {
	g, err := startGuard(memoryLimit*raceTimes, nil)
	require.NoError(t, err)
	defer g.Stop()
	g.peak()
	g.peak()
}
