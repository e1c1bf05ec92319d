package watch

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
)

// The signals of a finding.
const (
	signalLive       = "live heap"
	signalOutside    = "memory outside the Go heap"
	signalGoroutines = "goroutines"
	signalFiles      = "file descriptors"
	signalCollection = "collection"
	signalRestarts   = "restarts"
)

// A Finding is growth that does not stop, and what is known of it.
type Finding struct {
	Signal string    `json:"signal"` // "live heap", "memory outside the Go heap", "goroutines", "file descriptors", "collection" or "restarts"
	Time   time.Time `json:"time"`   // when it was found
	Over   Seconds   `json:"over"`   // how long it has been growing
	From   float64   `json:"from"`   // at the beginning of that time: bytes, a number, or a share of the CPU
	To     float64   `json:"to"`     // at its end
	// PerHour is the growth an hour: bytes, or a number.
	PerHour float64 `json:"perHour"`
	// Limit and ETA say which limit is reached and when, at this pace. ETA is 0
	// where there is no limit to reach; DoubleBuys is how much later twice the limit
	// would be reached.
	Limit       int64   `json:"limit,omitempty"`
	LimitSource string  `json:"limitSource,omitempty"`
	ETA         Seconds `json:"eta,omitempty"`
	DoubleBuys  Seconds `json:"doubleBuys,omitempty"`
	// Sites grew in that time, the most first: lines that allocate, or that start goroutines.
	Sites []Site `json:"sites,omitempty"`
	// RetainedBy says in words what retains the objects of the first site that a frozen copy has
	// samples of, and Retainers are the roots that retain most of the heap. NoRetainers says why
	// there are none.
	RetainedBy  string     `json:"retainedBy,omitempty"`
	Retainers   []Retainer `json:"retainers,omitempty"`
	NoRetainers string     `json:"noRetainers,omitempty"`
	// Captures are the names of the profiles written for it in Options.Dir.
	Captures []string `json:"captures,omitempty"`
	// Work is the work done a second, lately, and WorkBest at its best, in WorkUnit: "requests", by
	// Options.Traffic, or "bytes allocated". For "collection" only.
	Work     float64 `json:"work,omitempty"`
	WorkBest float64 `json:"workBest,omitempty"`
	WorkUnit string  `json:"workUnit,omitempty"`
	// Stopped is when growth came to its last new height, if it has stopped since; zero while it
	// goes on.
	Stopped time.Time `json:"stopped,omitzero"`
	// Lives is how many runs of the process before this one climbed until they ended: what
	// restarts hid. For "restarts" and "live heap".
	Lives int `json:"lives,omitempty"`
}

// Seconds is a duration that JSON writes as a number of seconds.
type Seconds time.Duration

// MarshalJSON writes s as a number of seconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", time.Duration(s).Seconds()), nil
}

// UnmarshalJSON reads a number of seconds.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	var n float64
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	*s = Seconds(seconds(n))
	return nil
}

func (s Seconds) String() string { return about(time.Duration(s)) }

// String is the finding as a person would put it: what, how fast, when it
// ends, and which line grows.
func (f Finding) String() string { return f.growth() + f.where() }

// growth says what grows, how fast, and when it ends.
func (f Finding) growth() string {
	var b strings.Builder
	switch f.Signal {
	case signalCollection:
		fmt.Fprintf(&b, "collection takes %.0f %% of the CPU, for %v", f.To*100, f.Over)
		if f.WorkBest > 0 {
			fmt.Fprintf(&b, " (%s)", workText(f.Work, f.WorkBest, f.WorkUnit))
		}
		b.WriteString(": throughput falls; the live heap is close to the limit, or GOGC is too low")
	case signalRestarts:
		fmt.Fprintf(&b, "memory climbed and fell with a restart %d times in a row, to about %s each, about every %v", f.Lives, figure.Bytes(int64(f.To)), f.Over)
	case signalGoroutines, signalFiles:
		fmt.Fprintf(&b, "%s grow: %.0f to %.0f in %v, %.0f an hour", f.Signal, f.From, f.To, f.Over, f.PerHour)
	default:
		fmt.Fprintf(&b, "%s grows: %s to %s in %v, %s an hour", f.Signal, figure.Bytes(int64(f.From)), figure.Bytes(int64(f.To)), f.Over, figure.Bytes(int64(f.PerHour)))
	}
	if f.ETA > 0 {
		fmt.Fprintf(&b, "; reaches %s (%s) in about %v; doubling the limit buys %v", figure.Bytes(f.Limit), f.LimitSource, f.ETA, f.DoubleBuys)
	}
	if !f.Stopped.IsZero() {
		fmt.Fprintf(&b, "; it has stopped: no new height since %s", f.Stopped.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if f.Lives > 0 && f.Signal != signalRestarts {
		fmt.Fprintf(&b, "; it climbed like this in the %d runs before too, until the process ended", f.Lives)
	}
	return b.String()
}

// where says which line grows and what retains it.
func (f Finding) where() string {
	var b strings.Builder
	if len(f.Sites) > 0 {
		s := f.Sites[0]
		fmt.Fprintf(&b, "; most at %s (%s)", s.Func, s.Place())
		if s.Caller != "" {
			fmt.Fprintf(&b, ", called from %s", s.Caller)
		}
	}
	switch {
	case f.RetainedBy != "":
		fmt.Fprintf(&b, "; %s", f.RetainedBy)
	case len(f.Retainers) > 0:
		fmt.Fprintf(&b, "; %s", f.Retainers[0])
	}
	return b.String()
}

// workText is the throughput, lately and at its best.
func workText(now, best float64, unit string) string {
	if unit == unitRequests {
		return fmt.Sprintf("%.0f %s a second, up to %.0f before", now, unit, best)
	}
	return fmt.Sprintf("%s allocated a second, up to %s before", figure.Bytes(int64(now)), figure.Bytes(int64(best)))
}

// about formats a duration to two units: "3 h 10 min".
func about(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24+0.5))
	case d >= time.Hour:
		d = d.Round(time.Minute)
		if m := int(d.Minutes()) % 60; m != 0 {
			return fmt.Sprintf("%d h %d min", int(d.Hours()), m)
		}
		return fmt.Sprintf("%d h", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()+0.5))
	default:
		return fmt.Sprintf("%.3g s", d.Seconds())
	}
}
