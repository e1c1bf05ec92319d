package clean

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

// runs is how many runs of NoGrowth all services have together. Check has ten times as many.
func runs(t *testing.T) int {
	if n := os.Getenv("LEAKSAFE_CLEAN_RUNS"); n != "" {
		number, err := strconv.Atoi(n)
		require.NoError(t, err, "LEAKSAFE_CLEAN_RUNS")
		return number
	}
	if os.Getenv("LEAKSAFE_LONG") != "" {
		return 30_000
	}
	return len(services)
}

// number counts all operations, so that no two are alike.
var number atomic.Int64

// operation runs an operation of a service once, which must do its work.
func operation(t *testing.T, op func(int) error) {
	if err := op(int(number.Add(1))); err != nil {
		t.Error(err)
	}
}

// The runs go round the services, so that each is measured in a process that has grown old.
func TestNoGrowthIsSilent(t *testing.T) {
	ops := make([]func(int) error, len(services))
	for i, s := range services {
		ops[i] = s.setup(t)
	}
	ran, alarms := 0, 0
	for n := range runs(t) {
		s, op := services[n%len(services)], ops[n%len(services)]
		r, err := leakcheck.Measure(func() { operation(t, op) })
		ran++
		if !assert.NoError(t, err, s.name) || !assert.Contains(t, []leakcheck.Verdict{leakcheck.Steady, leakcheck.Saturating}, r.Verdict, "%s: %+v", s.name, r.Sites) {
			alarms++
		}
		if ran%100 == 0 {
			fmt.Printf("NoGrowth: %d false alarms in %d runs\n", alarms, ran)
		}
	}
	t.Logf("NoGrowth: %d false alarms in %d runs over %d services", alarms, ran, len(services))
}

// What a service keeps, such as idle connections and pools, is there before the first check.
func TestCheckIsSilent(t *testing.T) {
	ops := make([]func(int) error, len(services))
	for i, s := range services {
		ops[i] = s.setup(t)
		for range 3 {
			operation(t, ops[i])
		}
	}
	ran := 0
	for n := range 10 * runs(t) {
		s, op := services[n%len(services)], ops[n%len(services)]
		if !t.Run(s.name, func(t *testing.T) {
			leakcheck.Check(t)
			operation(t, op)
		}) {
			t.Logf("a false alarm in check %d: %s", ran, s.name)
		}
		if ran++; ran%10_000 == 0 {
			fmt.Printf("Check: %d runs\n", ran)
		}
	}
	t.Logf("Check: %d runs over %d services", ran, len(services))
}
