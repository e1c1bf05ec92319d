package zoo_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

// Hard mode: how rare, how small and beside how much noise may a leak be?

// kept is what the leaks of hard mode keep, for one run.
var kept []*[]byte

// leakEvery leaks size bytes in one operation of n.
func leakEvery(n, size int) func() {
	i := 0
	return func() {
		if i++; i%n == 0 {
			b := make([]byte, size)
			kept = append(kept, &b)
		}
	}
}

// A noise runs beside the operation until it is stopped.
type noise struct {
	name string
	work func(tick int)
}

var neighbours []*[64]byte

func noises() []noise {
	return []noise{
		{"quiet", nil},
		{"churn", func(int) {
			for range 50 {
				churned = make([]byte, 64+rand.IntN(1024))
			}
		}},
		{"leaking neighbour", func(int) { neighbours = append(neighbours, new([64]byte)) }},
	}
}

var churned []byte

// start runs the noise, once every 200 µs, until the returned stop.
func (n noise) start() (stop func()) {
	if n.work == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for began, tick := time.Now(), 0; ; {
			select {
			case <-quit:
				return
			case <-time.After(200 * time.Microsecond):
			}
			for due := int(time.Since(began) / (200 * time.Microsecond)); tick < due; tick++ {
				n.work(tick)
			}
		}
	}()
	return func() { close(quit); <-done; neighbours = nil }
}

// measure returns the verdict on op and whom it blames, with the figures.
func measure(t *testing.T, op func()) (leakcheck.Verdict, []string) {
	t.Helper()
	r, err := leakcheck.Measure(op)
	require.NoError(t, err)
	kept = nil
	var blamed []string
	for _, s := range r.Sites {
		if s.Verdict == r.Verdict {
			blamed = append(blamed, fmt.Sprintf("%s: %v in rounds %v", s.Func, s.Rounds, r.Rounds))
		}
	}
	return r.Verdict, blamed
}

// TestHardMode prints the grid under -v. What it asserts is the floor: one
// operation of five, eight bytes, under every noise.
func TestHardMode(t *testing.T) {
	testgate.Seconds(t)
	rates, sizes, runs := []int{1, 5}, []int{8, 4096}, 1
	if testgate.Long() {
		rates, sizes, runs = []int{1, 5, 20, 80, 320, 1280}, []int{8, 64, 1024, 64 << 10}, 5
	}
	var grid strings.Builder
	fmt.Fprintf(&grid, "\nleaks found of %d runs, one of n operations leaking\n", runs)
	for _, n := range noises() {
		fmt.Fprintf(&grid, "%-20s", n.name)
		for _, size := range sizes {
			fmt.Fprintf(&grid, "%8d B", size)
		}
		smallest := "none"
		least := math.Inf(1)
		for _, rate := range rates {
			fmt.Fprintf(&grid, "\n  1 of %-13d", rate)
			for _, size := range sizes {
				found := hardCell(t, n, rate, size, runs)
				fmt.Fprintf(&grid, "%10d", found)
				if rate <= 5 {
					assert.Equal(t, runs, found, "%d B in one operation of %d beside %s", size, rate, n.name)
				}
				if perOp := float64(size) / float64(rate); found == runs && perOp < least {
					least, smallest = perOp, fmt.Sprintf("%d B in one operation of %d", size, rate)
				}
			}
		}
		fmt.Fprintf(&grid, "\n  smallest found every time: %s\n", smallest)
	}
	if testing.Verbose() {
		fmt.Print(grid.String())
	}
}

// hardCell counts the runs that find the leak and blame nothing else.
func hardCell(t *testing.T, n noise, rate, size, runs int) (found int) {
	for range runs {
		stop := n.start()
		v, blamed := measure(t, leakEvery(rate, size))
		stop()
		if v == leakcheck.Growing && strings.Contains(strings.Join(blamed, " "), "leakEvery") {
			found++
		}
		if v == leakcheck.Saturating {
			continue // blames nobody
		}
		for _, f := range blamed {
			assert.Contains(t, f, "leakEvery", "an innocent site is called %v beside %s", v, n.name)
		}
	}
	return found
}

// TestNoisyNeighbour: beside a goroutine that leaks one object every 200 µs,
// and beside one that churns, no clean operation is blamed and every leak is
// found.
func TestNoisyNeighbour(t *testing.T) {
	testgate.Seconds(t)
	runs := testgate.Count(2, 2, 50)
	var sink []byte
	clean := []func(){
		func() {},
		func() { sink = make([]byte, 512) },
		func() { time.Sleep(50 * time.Microsecond) },
		ring(),
	}
	for _, n := range noises()[1:] {
		t.Run(n.name, func(t *testing.T) {
			alarms, missed := 0, 0
			for i := range runs {
				stop := n.start() // anew, because what it has leaked slows each collection
				v, blamed := measure(t, clean[i%len(clean)])
				if !assert.Contains(t, []leakcheck.Verdict{leakcheck.Steady, leakcheck.Saturating}, v, "%v", blamed) {
					alarms++
				}
				v, blamed = measure(t, leakEvery(5, 64))
				if !assert.Equal(t, leakcheck.Growing, v) || !assert.Contains(t, strings.Join(blamed, " "), "leakEvery") {
					missed++
				}
				stop()
			}
			t.Logf("%d false alarms and %d leaks missed in %d runs each", alarms, missed, runs)
		})
	}
	_ = sink
}

func ring() func() {
	var last [64]*[64]byte
	n := 0
	return func() {
		n++
		last[n%len(last)] = new([64]byte)
	}
}
