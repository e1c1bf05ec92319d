// Package side measures contenders side by side: all in one process, in
// interleaved rounds, the fastest round of each. Machines are noisy, so what
// it prints are ratios to a baseline; the absolute time is only a guide.
package side

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"
	"time"
)

// A Case is one contender. Run performs the operation n times; set-up that
// must not be timed belongs outside it.
type Case struct {
	Name string
	Run  func(n int)
}

// A Result is the cost of one contender per operation: the time of the fastest round, and the
// fewest allocations of any round.
type Result struct {
	Name        string
	NsPerOp     float64
	AllocsPerOp float64
	BytesPerOp  float64
	Rounds      []float64 // the time per operation of each round, in the order of the rounds
}

// Options say how long to measure. The zero value is 15 rounds of about 60 ms.
type Options struct {
	Rounds int
	Round  time.Duration
	// Progress receives one line per round; nil means none.
	Progress io.Writer
}

// Compare runs every case once in each round. The order rotates by one place per round, so that the
// cases take turns in the first place.
func Compare(cases []Case, o Options) []Result {
	if o.Rounds == 0 {
		o.Rounds = 15
	}
	if o.Round == 0 {
		o.Round = 60 * time.Millisecond
	}
	results := make([]Result, len(cases))
	ns := make([]int, len(cases))
	for i, c := range cases {
		results[i] = Result{Name: c.Name, NsPerOp: -1, AllocsPerOp: -1, BytesPerOp: -1}
		ns[i] = calibrate(c, o.Round)
	}
	for round := range o.Rounds {
		for k := range cases {
			i := (k + round) % len(cases)
			m := measure(cases[i], ns[i])
			results[i].keep(m)
			results[i].Rounds = append(results[i].Rounds, m.NsPerOp)
		}
		if o.Progress != nil {
			fmt.Fprintf(o.Progress, "\rround %d/%d", round+1, o.Rounds)
		}
	}
	if o.Progress != nil {
		fmt.Fprint(o.Progress, "\r\033[K")
	}
	return results
}

// calibrate finds how many operations fill about d. A machine that others use stops a process for
// milliseconds, so a long run counts only if it is as long again and again.
func calibrate(c Case, d time.Duration) int {
	c.Run(1) // what is done once, such as filling a cache, is not measured
	for n := 1; ; n *= 2 {
		took := d
		for range 3 {
			start := time.Now()
			c.Run(n)
			if took = min(took, time.Since(start)); took < d/4 {
				break
			}
		}
		if took >= d/4 {
			return max(1, int(float64(n)*float64(d)/float64(took)))
		}
	}
}

func measure(c Case, n int) Result {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	c.Run(n)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	ops := float64(n)
	return Result{
		NsPerOp:     float64(took.Nanoseconds()) / ops,
		AllocsPerOp: float64(after.Mallocs-before.Mallocs) / ops,
		BytesPerOp:  float64(after.TotalAlloc-before.TotalAlloc) / ops,
	}
}

func (r *Result) keep(m Result) {
	least := func(a *float64, b float64) {
		if *a < 0 || b < *a {
			*a = b
		}
	}
	least(&r.NsPerOp, m.NsPerOp)
	least(&r.AllocsPerOp, m.AllocsPerOp)
	least(&r.BytesPerOp, m.BytesPerOp)
}

// Table writes the results with their ratio to the first one, the baseline.
func Table(w io.Writer, title string, results []Result) {
	if len(results) == 0 {
		return
	}
	fmt.Fprintf(w, "%s (%s, %d cores)\n", title, runtime.Version(), runtime.GOMAXPROCS(0))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\tratio\tns/op\tB/op\tallocs/op\t")
	for _, r := range results {
		fmt.Fprintf(tw, "%s\t%.2f\t%.1f\t%.0f\t%.2f\t\n", r.Name, r.NsPerOp/results[0].NsPerOp, r.NsPerOp, r.BytesPerOp, r.AllocsPerOp)
	}
	tw.Flush()
	fmt.Fprintln(w)
}

// Progress is standard error when a person looks at it, and nil otherwise.
func Progress() io.Writer {
	info, err := os.Stderr.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return os.Stderr
}
