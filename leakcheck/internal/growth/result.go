package growth

import (
	"cmp"
	"slices"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"

	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
)

// A Result is what was measured, and the verdict on it.
type Result struct {
	Verdict    judge.Verdict
	Sites      []Site  // those that led to the verdict, the worst first
	Operations int     // all runs of the operation, warm-up included
	Fills      int     // a cache that holds at most so many entries is not called a leak
	Rounds     []int   // operations of each round; 0 is an idle one
	Heap       []int64 // live bytes before the first round and after each, without the meter's own
}

// A Site is a place in the source where something that grows was made.
type Site struct {
	Kind         Kind
	Verdict      judge.Verdict
	Reason       judge.Reason // of a Saturating site
	At           source.Frame // see suspect; File is empty where it is not known
	Caller       source.Frame // the line of the module under test that led there, where At is in another module
	ObjectsPerOp float64
	BytesPerOp   float64
	Objects      []int64   // gained in each round
	Bytes        []int64   // gained in each round; nil for what has no bytes
	Opens        string    // the kind of file: "socket", "file"
	Stack        []uintptr // of the allocation, as runtime.MemProfile gives it
	Started      []int     // ids of the goroutines that were started here and still run
	Held         Held      // what retains the objects; the caller of Measure may add it

	steps  bool
	direct bool               // allocated beneath the operation
	target string             // of the last such file
	sample *gostack.Goroutine // the newest of those that stay
}

// Held is what retains the objects of a site: for a reader in lines, for advice in steps.
type Held struct {
	Lines []string
	Steps []advice.Step
}

// report judges what was recorded so far.
func (m *Meter) report() *Result {
	r := &Result{Verdict: judge.Steady, Operations: m.ran, Fills: m.fills(), Heap: m.heapOfOthers()}
	for _, rd := range m.rounds {
		r.Rounds = append(r.Rounds, rd.Ops)
	}
	if m.disturbed || !m.sawSentinels() {
		r.Verdict = judge.Unmeasured
		return r
	}
	for _, s := range m.suspects() {
		if found := judge.Judge(m.rounds, s.series, m.allowed(s)); found.Verdict != judge.Steady {
			r.Sites = append(r.Sites, m.newSite(s, found))
		}
	}
	r.Sites = worstFirst(r.Sites)
	for i := range r.Sites {
		if s := &r.Sites[i]; s.Kind == Goroutine && s.At.InLibrary() {
			s.Caller = r.callInto(s.At.Package())
		}
	}
	r.settle()
	return r
}

// callInto is the line of the module under test at which the operation called the standard
// library's package and something grows: the goroutine that the package has started does not know
// who asked for it. It is the zero Frame where there is none.
func (r *Result) callInto(library string) source.Frame {
	for i := range r.Sites {
		s := &r.Sites[i]
		line := s.Where()
		if s.Kind != Heap || !s.direct || !line.InModule() {
			continue
		}
		for _, f := range Frames(s.Stack) {
			if f == line {
				break
			}
			if f.Package() == library {
				return line
			}
		}
	}
	return source.Frame{}
}

// fills is how many entries a cache may hold to have filled: it stops in the first half of one
// retry, or before the second.
func (m *Meter) fills() int {
	if m.ranOnce > 0 {
		return m.ranOnce
	}
	return m.ran / 2
}

// heapOfOthers is the live heap at each look without what the meter itself
// recorded since the first.
func (m *Meter) heapOfOthers() []int64 {
	heap := slices.Clone(m.heap)
	for i := range m.profile.stacks {
		if !m.profile.changed(i) {
			continue
		}
		if _, from := m.profile.resolve(i); from != harness {
			continue
		}
		for look, s := range m.profile.series(i).Bytes {
			heap[look] -= s - m.profile.at(0, i).bytes
		}
	}
	return heap
}

func (m *Meter) allowed(s suspect) float64 {
	if s.kind == Heap {
		return m.config.AllowPerOp
	}
	return 0
}

func (m *Meter) newSite(s suspect, found judge.Finding) Site {
	site := Site{
		Kind: s.kind, Verdict: found.Verdict, Reason: found.Reason, At: s.site, Caller: callerOf(s),
		Objects: deltas(s.series.Objects), Bytes: deltas(s.series.Bytes),
		steps: found.Steps, direct: s.direct, Stack: s.stack, sample: s.sample, Started: s.started, Opens: s.opens, target: s.target,
	}
	objects, ops, _ := judge.Gained(m.rounds, s.series.Objects, judge.Active)
	bytes, _, _ := judge.Gained(m.rounds, s.series.Bytes, judge.Active)
	site.ObjectsPerOp = float64(objects) / float64(ops)
	if s.kind == Heap {
		site.BytesPerOp = float64(bytes) / float64(ops)
	} else {
		site.Bytes = nil
	}
	return site
}

// callerOf is the innermost line of the module under test on the suspect's stack, where the site
// itself is not in that module. It is the zero Frame where there is none.
func callerOf(s suspect) source.Frame {
	if s.site.InModule() {
		return source.Frame{}
	}
	for _, f := range Frames(s.stack) {
		if f.InModule() {
			return f
		}
	}
	return source.Frame{}
}

func deltas(live []int64) []int64 {
	out := make([]int64, len(live)-1)
	for i := range out {
		out[i] = live[i+1] - live[i]
	}
	return out
}

// worstFirst orders sites: by verdict; what holds others before what is held;
// then by size.
func worstFirst(sites []Site) []Site {
	severity := map[judge.Verdict]int{judge.Growing: 2, judge.Noisy: 1}
	slices.SortFunc(sites, func(a, b Site) int {
		return cmp.Or(
			cmp.Compare(severity[b.Verdict], severity[a.Verdict]),
			cmp.Compare(a.rank(), b.rank()),
			cmp.Compare(b.BytesPerOp, a.BytesPerOp),
			cmp.Compare(b.ObjectsPerOp, a.ObjectsPerOp),
			cmp.Compare(a.At.File, b.At.File),
			cmp.Compare(a.At.Line, b.At.Line),
		)
	})
	return sites
}

// besideInSteps reports whether the site grows by the weaker rule, on other goroutines than the
// operation's: once is not enough to tell it from a neighbour's.
func (s *Site) besideInSteps() bool { return s.Verdict == judge.Growing && s.steps && !s.direct }

// dropUnproven takes sites that grow beside the operation in steps out of a result that has better
// ones.
func (r *Result) dropUnproven() {
	if len(r.Sites) > 0 && r.Verdict == judge.Growing && !r.Sites[0].besideInSteps() {
		r.Sites = slices.DeleteFunc(r.Sites, func(s Site) bool { return s.besideInSteps() })
	}
}

// rank puts first what explains the rest: goroutines hold heap and files, and
// code outside the standard library makes it allocate within.
func (s Site) rank() int {
	inLibrary := s.At.InLibrary()
	switch {
	case s.Kind == Goroutine && !inLibrary:
		return 0
	case s.Kind == Goroutine:
		return 1 + advice.Rank(s.sample)
	case s.Kind == File:
		return 100
	case !inLibrary && !s.steps:
		return 101 // the map around the objects grows in steps
	case !inLibrary:
		return 102
	}
	return 103
}

// Forgive takes the sites out of the verdict that known reports to be known leaks. A nil known
// knows none.
func (r *Result) Forgive(known func(*Site) bool) {
	if known == nil {
		return
	}
	r.Sites = slices.DeleteFunc(r.Sites, func(s Site) bool { return s.Verdict == judge.Growing && known(&s) })
	r.settle()
}

// settle takes the verdict from the sites.
func (r *Result) settle() {
	r.Verdict = judge.Steady
	if len(r.Sites) > 0 {
		r.Verdict = r.Sites[0].Verdict
	}
}
