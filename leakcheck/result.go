package leakcheck

import (
	"cmp"
	"slices"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// A result is what was measured, and the verdict on it.
type result struct {
	verdict    verdict
	sites      []site  // those that led to the verdict, the worst first
	operations int     // all runs of the operation, warm-up included
	rounds     []int   // operations of each round; 0 is an idle one
	heap       []int64 // live bytes before the first round and after each, without the meter's own
}

// A site is a place in the source where something that grows was made.
type site struct {
	kind         kind
	verdict      verdict
	at           source.Frame // see [suspect]; File is empty where it is not known
	objectsPerOp float64
	bytesPerOp   float64
	objects      []int64  // gained in each round
	bytes        []int64  // gained in each round; nil for what has no bytes
	keptBy       []string // who keeps the objects alive, in lines; the caller may add it

	steps  bool
	direct bool               // allocated beneath the operation
	opens  string             // the kind of file: "socket", "file"
	target string             // of the last such file
	stack  []uintptr          // of the allocation, as runtime.MemProfile gives it
	sample *gostack.Goroutine // one of those that stay
}

// report judges what was recorded so far.
func (m *meter) report() *result {
	r := &result{verdict: steady, operations: m.ran, heap: m.heapOfOthers()}
	for _, rd := range m.rounds {
		r.rounds = append(r.rounds, rd.ops)
	}
	if m.disturbed || !m.sawSentinels() {
		r.verdict = unmeasured
		return r
	}
	for _, s := range m.suspects() {
		if v, steps := judge(m.rounds, s.series, m.allowed(s)); v != steady {
			r.sites = append(r.sites, m.newSite(s, v, steps))
		}
	}
	r.sites = worstFirst(r.sites)
	r.settle()
	return r
}

// heapOfOthers is the live heap at each look without what the meter itself
// recorded since the first.
func (m *meter) heapOfOthers() []int64 {
	heap := slices.Clone(m.heap)
	for i := range m.profile.stacks {
		if _, from := m.profile.resolve(i); from != harness {
			continue
		}
		for look, s := range m.profile.series(i).bytes {
			heap[look] -= s - m.profile.at(0, i).bytes
		}
	}
	return heap
}

func (m *meter) allowed(s suspect) float64 {
	if s.kind == kindHeap {
		return m.config.allowPerOp
	}
	return 0
}

func (m *meter) newSite(s suspect, v verdict, steps bool) site {
	found := site{
		kind: s.kind, verdict: v, at: s.site,
		objects: deltas(s.series.objects), bytes: deltas(s.series.bytes),
		steps: steps, direct: s.direct, stack: s.stack, sample: s.sample, opens: s.opens, target: s.target,
	}
	objects, ops, _ := gained(m.rounds, s.series.objects, active)
	bytes, _, _ := gained(m.rounds, s.series.bytes, active)
	found.objectsPerOp = float64(objects) / float64(ops)
	if s.kind == kindHeap {
		found.bytesPerOp = float64(bytes) / float64(ops)
	} else {
		found.bytes = nil
	}
	return found
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
func worstFirst(sites []site) []site {
	severity := map[verdict]int{growing: 2, noisy: 1}
	slices.SortFunc(sites, func(a, b site) int {
		return cmp.Or(
			cmp.Compare(severity[b.verdict], severity[a.verdict]),
			cmp.Compare(a.rank(), b.rank()),
			cmp.Compare(b.bytesPerOp, a.bytesPerOp),
			cmp.Compare(b.objectsPerOp, a.objectsPerOp),
			cmp.Compare(a.at.File, b.at.File),
			cmp.Compare(a.at.Line, b.at.Line),
		)
	})
	return sites
}

// growsBesideInSteps says whether a site grows by the weaker rule, on other
// goroutines than the operation's.
func (r *result) growsBesideInSteps() bool {
	return slices.ContainsFunc(r.sites, func(s site) bool { return s.verdict == growing && s.steps && !s.direct })
}

// rank puts first what explains the rest: goroutines hold heap and files, and
// code outside the standard library makes it allocate within.
func (s site) rank() int {
	inLibrary := s.at.InLibrary()
	switch {
	case s.kind == kindGoroutine && !inLibrary:
		return 0
	case s.kind == kindGoroutine:
		return 1 + advice.Rank(s.sample)
	case s.kind == kindFile:
		return 100
	case !inLibrary && !s.steps:
		return 101 // the map around the objects grows in steps
	case !inLibrary:
		return 102
	}
	return 103
}

// forgive takes the sites out of the verdict that known reports to be known leaks.
func (r *result) forgive(known func(*site) bool) {
	r.sites = slices.DeleteFunc(r.sites, func(s site) bool { return s.verdict == growing && known(&s) })
	r.settle()
}

// settle takes the verdict from the sites.
func (r *result) settle() {
	r.verdict = steady
	if len(r.sites) > 0 {
		r.verdict = r.sites[0].verdict
	}
}
