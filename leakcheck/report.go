package leakcheck

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"

	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
)

// A Verdict is what [NoGrowth] and [Measure] find. The zero value is none of
// them.
type Verdict int

const (
	Steady     = Verdict(judge.Steady)     // nothing grows
	Saturating = Verdict(judge.Saturating) // something grew and stopped: a cache that filled
	Growing    = Verdict(judge.Growing)    // something grows with every operation, at every scale
	Noisy      = Verdict(judge.Noisy)      // growth and shrinking are too close to tell; fails
	Unmeasured = Verdict(judge.Unmeasured) // nothing was measured; fails
)

func (v Verdict) String() string { return judge.Verdict(v).String() }

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (v *Verdict) UnmarshalText(text []byte) error {
	parsed, ok := judge.ParseVerdict(string(text))
	if !ok {
		return fmt.Errorf("leakcheck: %q is no verdict", text)
	}
	*v = Verdict(parsed)
	return nil
}

// A Report is what one [NoGrowth] or [Measure] found.
type Report struct {
	Verdict Verdict
	// Sites are those that led to the verdict, the worst first; none where it
	// is Steady.
	Sites []Site
	// Operations counts all runs of the operation, warm-up included.
	Operations int
	// Rounds holds the operations of each round in order; 0 is an idle one.
	Rounds []int
	// Heap holds the live bytes of the heap before the first round and after
	// each, without what the check itself takes.
	Heap []int64
}

// A Site is a place in the source where something that grows was made.
type Site struct {
	// Kind is "heap", "goroutine" or "file".
	Kind string
	// Verdict is that of this site: Growing, Noisy or Saturating.
	Verdict Verdict
	// Func, File and Line are the innermost frame of the allocation outside
	// the standard library, or the go statement of a goroutine, or where a
	// file was opened, which is not always known.
	Func string
	File string
	Line int
	// ObjectsPerOp and BytesPerOp are the growth over all rounds.
	ObjectsPerOp float64
	BytesPerOp   float64
	// Objects and Bytes are the growth in each of the report's rounds; Objects
	// counts goroutines and files too.
	Objects []int64
	Bytes   []int64
	// KeptBy says who keeps the objects of the worst sites alive; nil where
	// that was not asked or not found.
	KeptBy *Path
}

// forgive takes the leaks of the baseline file out of the verdict.
func forgive(t testing.TB, r *growth.Result) {
	t.Helper()
	if recorder.Planted(t) {
		return
	}
	r.Forgive(func(s *growth.Site) bool {
		if !baseline.Known("growth", string(s.Kind)+" "+cmp.Or(s.At.Func, s.Opens)) {
			return false
		}
		t.Logf("leakcheck: known leak, in the baseline file: %s at %s", s.Title(), s.Place())
		return true
	})
}

// tell reports the verdict to the test: what and where first, because the
// search for who keeps it, which follows, can end the process.
func tell(t testing.TB, r *growth.Result) (paths map[int]*Path) {
	t.Helper()
	switch r.Verdict {
	case judge.Unmeasured:
		t.Errorf("%v", growth.ErrUnmeasured)
		return nil
	case judge.Steady:
		write(t, r, nil)
		return nil
	case judge.Saturating:
		f := r.Head()
		f.Fields = append(f.Fields, r.Tail(write(t, r, nil)).Fields...)
		t.Logf("%v", f)
		return nil
	}
	f := r.Head()
	report(t, f)
	paths = explainResult(t, r, f)
	io.WriteString(t.Output(), r.Tail(write(t, r, paths)).More())
	return paths
}

// explained is how many sites are searched for in one heap dump.
const explained = 3

// explainResult asks who keeps what was allocated at the worst sites: the paths by the index of their site.
func explainResult(t testing.TB, r *growth.Result, f *failure.Failure) map[int]*Path {
	if r.Verdict != judge.Growing || recorder.Planted(t) {
		return nil
	}
	var sites []int
	var stacks [][]source.Frame
	for i, s := range r.Sites {
		if s.Verdict == judge.Growing && len(s.Stack) > 0 && len(sites) < explained {
			sites = append(sites, i)
			stacks = append(stacks, growth.Frames(s.Stack))
		}
	}
	if len(sites) == 0 {
		return nil
	}
	fmt.Fprintln(os.Stderr, f)
	paths, err := explainSites(t, stacks)
	if err != nil {
		return nil
	}
	found := map[int]*Path{}
	for n, i := range sites {
		if paths[n].Answer != "" {
			found[i] = &paths[n]
			r.Sites[i].KeptBy = strings.Split(paths[n].String(), "\n")
		}
	}
	return found
}

func newReport(r *growth.Result, paths map[int]*Path) Report {
	report := Report{Verdict: Verdict(r.Verdict), Operations: r.Operations, Rounds: r.Rounds, Heap: r.Heap}
	for i, s := range r.Sites {
		report.Sites = append(report.Sites, Site{
			Kind: string(s.Kind), Verdict: Verdict(s.Verdict),
			Func: s.At.Func, File: s.At.File, Line: s.At.Line,
			ObjectsPerOp: s.ObjectsPerOp, BytesPerOp: s.BytesPerOp,
			Objects: s.Objects, Bytes: s.Bytes, KeptBy: paths[i],
		})
	}
	return report
}
