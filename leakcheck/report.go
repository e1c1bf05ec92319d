package leakcheck

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// A Verdict is what [NoGrowth] and [Measure] find. The zero value is none of
// them.
type Verdict int

const (
	_          Verdict = iota
	Steady             // nothing grows
	Saturating         // something grew and stopped: a cache that filled
	Growing            // something grows with every operation, at every scale
	Noisy              // growth and shrinking are too close to tell; fails
	Unmeasured         // nothing was measured; fails
)

var verdicts = [...]string{"none", "steady", "saturating", "growing", "noisy", "unmeasured"}

func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdicts) {
		return fmt.Sprintf("Verdict(%d)", int(v))
	}
	return verdicts[v]
}

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (v *Verdict) UnmarshalText(text []byte) error {
	i := slices.Index(verdicts[:], string(text))
	if i < 0 {
		return fmt.Errorf("leakcheck: %q is no verdict", text)
	}
	*v = Verdict(i)
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

	steps  bool
	direct bool               // allocated beneath the operation
	opens  string             // the kind of file: "socket", "file"
	target string             // of the last such file
	stack  []uintptr          // of the allocation, as runtime.MemProfile gives it
	sample *gostack.Goroutine // one of those that stay
}

// report judges what was recorded so far.
func (m *meter) report() Report {
	r := Report{Verdict: Steady, Operations: m.ran, Heap: m.heapOfOthers()}
	for _, rd := range m.rounds {
		r.Rounds = append(r.Rounds, rd.ops)
	}
	if m.disturbed || !m.sawSentinels() {
		r.Verdict = Unmeasured
		return r
	}
	for _, s := range m.suspects() {
		if v, steps := judge(m.rounds, s.series, m.allowed(s)); v != Steady {
			r.Sites = append(r.Sites, m.newSite(s, v, steps))
		}
	}
	r.Sites = worstFirst(r.Sites)
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

func (m *meter) newSite(s suspect, v Verdict, steps bool) Site {
	site := Site{
		Kind: string(s.kind), Verdict: v,
		Func: s.site.Func, File: s.site.File, Line: s.site.Line,
		Objects: deltas(s.series.objects), Bytes: deltas(s.series.bytes),
		steps: steps, direct: s.direct, stack: s.stack, sample: s.sample, opens: s.opens, target: s.target,
	}
	objects, ops, _ := gained(m.rounds, s.series.objects, active)
	bytes, _, _ := gained(m.rounds, s.series.bytes, active)
	site.ObjectsPerOp = float64(objects) / float64(ops)
	if s.kind == kindHeap {
		site.BytesPerOp = float64(bytes) / float64(ops)
	} else {
		site.Bytes = nil
	}
	return site
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
	severity := map[Verdict]int{Growing: 2, Noisy: 1}
	slices.SortFunc(sites, func(a, b Site) int {
		return cmp.Or(
			cmp.Compare(severity[b.Verdict], severity[a.Verdict]),
			cmp.Compare(a.rank(), b.rank()),
			cmp.Compare(b.BytesPerOp, a.BytesPerOp),
			cmp.Compare(b.ObjectsPerOp, a.ObjectsPerOp),
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
		)
	})
	return sites
}

// growsBesideInSteps says whether a site grows by the weaker rule, on other
// goroutines than the operation's.
func (r *Report) growsBesideInSteps() bool {
	return slices.ContainsFunc(r.Sites, func(s Site) bool { return s.Verdict == Growing && s.steps && !s.direct })
}

// rank puts first what explains the rest: goroutines hold heap and files, and
// code outside the standard library makes it allocate within.
func (s Site) rank() int {
	inLibrary := s.inLibrary() == 1
	switch {
	case kind(s.Kind) == kindGoroutine && !inLibrary:
		return 0
	case kind(s.Kind) == kindGoroutine:
		return 1 + advice.Rank(s.sample)
	case kind(s.Kind) == kindFile:
		return 100
	case !inLibrary && !s.steps:
		return 101 // the map around the objects grows in steps
	case !inLibrary:
		return 102
	}
	return 103
}

// forgive takes the leaks of the baseline file out of the verdict.
func (r *Report) forgive(t testing.TB) {
	t.Helper()
	if recorder.Planted(t) {
		return
	}
	r.Sites = slices.DeleteFunc(r.Sites, func(s Site) bool {
		if s.Verdict != Growing || !baseline.Known("growth", s.Kind+" "+cmp.Or(s.Func, s.opens)) {
			return false
		}
		t.Logf("leakcheck: known leak, in the baseline file: %s at %s", s.title(), s.place())
		return true
	})
	r.settle()
}

// settle takes the verdict from the sites.
func (r *Report) settle() {
	r.Verdict = Steady
	if len(r.Sites) > 0 {
		r.Verdict = r.Sites[0].Verdict
	}
}

// tell reports the verdict to the test: what and where first, because the
// search for who keeps it, which follows, can end the process.
func (r *Report) tell(t testing.TB) {
	t.Helper()
	switch r.Verdict {
	case Unmeasured:
		t.Errorf("%v", errUnmeasured)
		return
	case Steady:
		r.write(t)
		return
	case Saturating:
		f := r.head()
		f.Fields = append(f.Fields, r.tail(r.write(t)).Fields...)
		t.Logf("%v", f)
		return
	}
	f := r.head()
	report(t, f)
	r.explain(t, f)
	io.WriteString(t.Output(), r.tail(r.write(t)).More())
}

// explained is how many sites are searched for in one heap dump.
const explained = 3

// explain asks who keeps what was allocated at the worst sites.
func (r *Report) explain(t testing.TB, f *failure.Failure) {
	if r.Verdict != Growing || recorder.Planted(t) {
		return
	}
	var sites []*Site
	var stacks [][]uintptr
	for i := range r.Sites {
		if s := &r.Sites[i]; s.Verdict == Growing && len(s.stack) > 0 && len(sites) < explained {
			sites = append(sites, s)
			stacks = append(stacks, s.stack)
		}
	}
	if len(sites) == 0 {
		return
	}
	fmt.Fprintln(os.Stderr, f)
	paths, err := explainSites(t, stacks)
	if err != nil {
		return
	}
	for i := range min(len(paths), len(sites)) {
		if paths[i].Answer != "" {
			sites[i].KeptBy = &paths[i]
		}
	}
}

// head says what grows, and where.
func (r *Report) head() *failure.Failure {
	worst := r.Sites[0]
	f := &failure.Failure{Title: worst.title(), File: worst.File, Line: worst.Line}
	f.Add(worst.fieldName(), worst.place())
	return f
}

// tail says the rest.
func (r *Report) tail(page string) *failure.Failure {
	f := &failure.Failure{}
	worst := r.Sites[0]
	if g := worst.sample; worst.Kind == string(kindGoroutine) && g != nil {
		f.Add("state", g.State)
		f.Add("stands at", g.Where().String())
	}
	if strings.HasPrefix(worst.target, "/") {
		f.Add("such as", worst.target)
	}
	if worst.KeptBy != nil {
		f.Add("kept by", strings.Split(worst.KeptBy.String(), "\n")...)
	}
	f.Add("rounds", r.roundsText(worst))
	f.Add("also", r.also()...)
	f.Add("remedy", r.remedy(worst)...)
	f.Add("to ignore", worst.silence()...)
	if page != "" {
		f.Add("graph", page)
	}
	return f
}

// also lists further sites, two lines each: those outside the standard library
// first, because there the cause can be mended.
func (r *Report) also() []string {
	const listed = 4
	var sites []Site
	for _, s := range r.Sites[1:] {
		if s.Verdict == r.Verdict {
			sites = append(sites, s)
		}
	}
	slices.SortStableFunc(sites, func(a, b Site) int { return cmp.Compare(a.inLibrary(), b.inLibrary()) })
	var lines []string
	for i, s := range sites {
		if i == listed {
			return append(lines, fmt.Sprintf("and %d more sites", len(sites)-listed))
		}
		lines = append(lines, s.rate(), "  at "+s.place())
	}
	return lines
}

// inLibrary is 1 for a site in the standard library, 0 for others.
func (s Site) inLibrary() int {
	if (source.Frame{Func: s.Func, File: s.File, Line: s.Line}).InLibrary() {
		return 1
	}
	return 0
}

func (s Site) rate() string {
	switch {
	case s.Kind == string(kindGoroutine):
		return source.Count(s.ObjectsPerOp, "goroutine") + " per operation left running"
	case s.Kind == string(kindFile):
		return fmt.Sprintf("%s (%s) per operation left open", source.Count(s.ObjectsPerOp, "file descriptor"), s.opens)
	case s.steps:
		return fmt.Sprintf("heap grows %s per operation", source.Size(s.BytesPerOp))
	}
	return fmt.Sprintf("heap grows %s (+%s) per operation", source.Count(s.ObjectsPerOp, "object"), source.Size(s.BytesPerOp))
}

func (s Site) title() string {
	rate := s.rate()
	switch {
	case s.Verdict == Saturating:
		return "no leak: " + rate + " at first, then no more"
	case s.Verdict == Noisy:
		return "inconclusive: " + rate + ", but shrinks as well"
	case s.steps:
		return rate + ", in steps, at every scale"
	}
	return rate + ", in every round, at every scale"
}

func (s Site) fieldName() string {
	switch s.Kind {
	case "goroutine":
		return "created at"
	case "file":
		return "opened at"
	}
	return "allocated at"
}

func (s Site) place() string {
	if s.File == "" {
		return "unknown: by a system call"
	}
	return source.Place(s.Func, s.File, s.Line)
}

func (r *Report) remedy(s Site) []string {
	switch s.Verdict {
	case Saturating:
		return nil
	case Noisy:
		return []string{"raise Iterations, or take work that runs beside the operation out of the test"}
	}
	switch kind(s.Kind) {
	case kindGoroutine:
		if s.sample != nil {
			return advice.Fix(s.sample)
		}
	case kindFile:
		return []string{"close it in the operation"}
	}
	mend := "let go of it when the operation ends, or bound what collects it"
	text := source.Line(s.File, s.Line)
	switch {
	case strings.Contains(text, "append("):
		mend = "declare the slice inside the operation, or bound it"
	case strings.Contains(text, "] ="):
		mend = "delete what you put, or bound the map"
	}
	return []string{mend, fmt.Sprintf("a cache that %d operations do not fill looks the same: fill it first, with leakcheck.Warmup(n)", r.Operations)}
}

// silence is the option that overlooks the site; a file has none.
func (s Site) silence() []string {
	switch {
	case s.Verdict == Saturating, s.Kind == string(kindFile):
		return nil
	case s.Kind == string(kindGoroutine):
		return []string{fmt.Sprintf("leakcheck.IgnoreCreatedBy(%q)", s.Func)}
	}
	return []string{fmt.Sprintf("leakcheck.IgnoreSite(%q)", s.Func)}
}

// roundsText lists the growth in each active round, grouped by the number of
// operations: "20: +20 +20 +20   80: +80 +80".
func (r Report) roundsText(s Site) string {
	growth, format := s.Objects, func(n int64) string { return fmt.Sprintf("%+d", n) }
	if s.steps && s.Kind == "heap" {
		growth, format = s.Bytes, func(n int64) string { return source.Signed(n) }
	}
	var b strings.Builder
	before := 0
	for i, ops := range r.Rounds {
		if ops == 0 {
			continue
		}
		if ops != before {
			if before != 0 {
				b.WriteString("  ")
			}
			fmt.Fprintf(&b, " %d:", ops)
			before = ops
		}
		b.WriteString(" " + format(growth[i]))
	}
	return strings.TrimSpace(b.String())
}
