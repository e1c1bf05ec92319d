package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

func TestRun(t *testing.T) { require.NoError(t, run(t.Context())) }

func TestRunDoesNotGrow(t *testing.T) {
	leakcheck.NoGrowth(t, func() { _ = run(t.Context()) }, leakcheck.Iterations(2))
}
