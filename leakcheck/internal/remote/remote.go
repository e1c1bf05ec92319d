// Package remote says whether a service leaks, from its pprof endpoints alone: it fetches the heap
// profile, the goroutine profile and, where the service has it, the goroutineleak profile a number
// of times, and judges them by the rule of package watch.
package remote

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/climb"
)

// Options say what to watch, and for how long.
type Options struct {
	URL      string        // of the service, or of its pprof pages where they are not below /debug/pprof/
	Fetches  int           // at least climb.Fewest
	Interval time.Duration // between two fetches
	Floor    int64         // growth of the heap, in bytes, that is too small to be a finding
	Client   *http.Client  // nil: one with a timeout for each request
	Progress func(fetch int, err error)
}

// The verdicts.
const (
	Growing = "growing"
	Steady  = "steady"
	Unknown = "cannot tell"
)

// A Report is the verdict and what it rests on.
type Report struct {
	URL      string        `json:"url"`
	Verdict  string        `json:"verdict"`
	Reason   string        `json:"reason,omitempty"` // why it cannot tell, or what a steady service did
	Findings []Finding     `json:"findings"`
	Notes    []string      `json:"notes,omitempty"`
	Fetches  int           `json:"fetches"` // that succeeded
	Over     float64       `json:"over"`    // seconds from the first to the last of them
	Floor    int64         `json:"floor"`
	Samples  []Measurement `json:"samples"`
}

// A Measurement is what one fetch has found.
type Measurement struct {
	Seconds     float64 `json:"seconds"` // since the first
	Live        int64   `json:"live"`    // bytes on the heap after a collection
	Allocated   int64   `json:"allocated"`
	Collections int64   `json:"collections"`
	Goroutines  int64   `json:"goroutines"`
	Leaked      int64   `json:"leaked"` // goroutines that can never go on; -1 where the service cannot say

	heap, goroutines, leaked snapshot
}

// The signals of a finding.
const (
	LiveHeap   = "live heap"
	Goroutines = "goroutines"
	Leaked     = "goroutines that can never go on"
)

// A Finding is growth that does not stop.
type Finding struct {
	Signal  string  `json:"signal"`
	From    float64 `json:"from"` // bytes, or a number
	To      float64 `json:"to"`
	PerHour float64 `json:"perHour"`
	Sites   []Site  `json:"sites"` // that grew, the most first
}

// A Site is a line that allocates, or at which goroutines are blocked.
type Site struct {
	Func   string `json:"func"`
	File   string `json:"file"`
	Line   int64  `json:"line"`
	Caller string `json:"caller,omitempty"` // the program's own line that called, where Func is of another module; of a goroutine, what it runs
	Growth int64  `json:"growth"`           // bytes, or a number
}

// countFloor is the growth in goroutines that is too small to be a finding.
const countFloor = 20

// Watch fetches and judges. It blocks for Fetches × Interval, or until ctx is done, and then judges
// what there is. The error says what is wrong with the options, or why nothing could be fetched at
// all.
func Watch(ctx context.Context, o Options) (*Report, error) {
	f, err := newFetcher(o)
	if err != nil {
		return nil, err
	}
	var all []Measurement
	var last error
	began := time.Now()
	tick := time.NewTicker(o.Interval)
	defer tick.Stop()
fetching:
	for i := range o.Fetches {
		if i > 0 {
			select {
			case <-ctx.Done():
				break fetching
			case <-tick.C:
			}
		}
		m, err := f.fetch(ctx, i == 0 || i == o.Fetches-1)
		if err == nil {
			m.Seconds = time.Since(began).Seconds()
			all = append(all, m)
		} else {
			last = err
		}
		if o.Progress != nil {
			o.Progress(i+1, err)
		}
		if i == 0 && err != nil {
			return nil, err // wrong from the start: waiting would not help
		}
	}
	return judge(f.shown(""), o, all, last), nil
}

func (o *Options) check() error {
	switch {
	case o.Fetches < climb.Fewest:
		return fmt.Errorf("remote: %d fetches are too few to tell growth from noise: make at least %d", o.Fetches, climb.Fewest)
	case o.Interval <= 0:
		return fmt.Errorf("remote: the interval is %v: give a positive one", o.Interval)
	case o.Floor < 0:
		return fmt.Errorf("remote: the floor is %d bytes: give 0 or more", o.Floor)
	}
	return nil
}
