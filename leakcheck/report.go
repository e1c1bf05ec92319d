package leakcheck

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
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
		t.Logf("leakcheck: known leak, in the baseline file: %s at %s", s.Rate(), s.Place())
		return true
	})
}

// tell reports the verdict to the test.
func tell(t testing.TB, r *growth.Result) (paths map[int]*Path) {
	t.Helper()
	switch r.Verdict {
	case judge.Unmeasured:
		t.Error(growth.ErrUnmeasured)
	case judge.Steady:
		write(t, r, nil)
	case judge.Saturating:
		t.Log(r.Failure(write(t, r, nil)))
	default:
		paths = explainResult(t, r)
		report(t, r.Failure(write(t, r, paths)))
		for _, s := range r.Sites {
			if s.Verdict == judge.Growing && !recorder.Planted(t) {
				record.NoteReported(s.Started...)
			}
		}
	}
	return paths
}

// explained is how many sites are searched for in one heap dump.
const explained = 6

// explainResult asks what retains the objects of the worst sites: the paths by the index of their site.
func explainResult(t testing.TB, r *growth.Result) map[int]*Path {
	if r.Verdict != judge.Growing || recorder.Planted(t) {
		return nil
	}
	var sites []*growth.Site
	var stacks [][]source.Frame
	found := map[int]*Path{}
	for i := range r.Sites {
		if s := &r.Sites[i]; s.Verdict == judge.Growing && len(s.Stack) > 0 && len(sites) < explained {
			sites = append(sites, s)
			stacks = append(stacks, growth.Frames(s.Stack))
			found[i] = nil
		}
	}
	if len(sites) == 0 {
		return nil
	}
	worst := r.Sites[0].Where()
	paths, err := explainSites(t, fmt.Sprintf("%s at %s:%d", r.Title(), worst.File, worst.Line), stacks)
	if err != nil {
		sites[0].Held.Lines = unknown(err)
		return nil
	}
	for n, i := range slices.Sorted(maps.Keys(found)) {
		if paths[n].Answer == "" {
			sites[n].Held.Lines = []string{"unknown: the heap dump has no object that was allocated there; it may have been released since"}
			continue
		}
		found[i] = &paths[n]
		sites[n].Held = paths[n].held()
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
