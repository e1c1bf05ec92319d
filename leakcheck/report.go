package leakcheck

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
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
	// each.
	Heap []int64
}

// A Site is a place in the source where something that grows was made.
type Site struct {
	// Kind is "heap", "goroutine" or "file".
	Kind string
	// Verdict is that of this site: Growing, Noisy or Saturating.
	Verdict Verdict
	// Func, File and Line are the innermost frame of the allocation outside
	// the standard library, or the go statement of a goroutine. A file has
	// only its kind in Func: "socket", "file", "pipe".
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

	steps bool
	stack []uintptr
}

// report judges what was recorded so far.
func (m *meter) report() Report {
	r := Report{Verdict: Steady, Operations: m.ran, Heap: m.heap}
	for _, rd := range m.rounds {
		r.Rounds = append(r.Rounds, rd.ops)
	}
	if runtime.MemProfileRate != 1 || !m.sawSentinels() {
		r.Verdict = Unmeasured
		return r
	}
	for _, s := range m.suspects() {
		if v, steps := judge(m.rounds, s.series, m.allowed(s)); v != Steady {
			r.Sites = append(r.Sites, m.newSite(s, v, steps))
		}
	}
	r.Sites = worstFirst(r.Sites)
	if len(r.Sites) > 0 {
		r.Verdict = r.Sites[0].Verdict
	}
	return r
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
		Func: s.site.Function, File: s.site.File, Line: s.site.Line,
		Objects: deltas(s.series.objects), Bytes: deltas(s.series.bytes),
		steps: steps, stack: s.stack,
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

// worstFirst orders sites: by verdict; goroutines before the heap they hold;
// then by size.
func worstFirst(sites []Site) []Site {
	severity := map[Verdict]int{Growing: 2, Noisy: 1}
	weight := map[string]int{"goroutine": 2, "file": 1}
	slices.SortFunc(sites, func(a, b Site) int {
		return cmp.Or(
			cmp.Compare(severity[b.Verdict], severity[a.Verdict]),
			cmp.Compare(weight[b.Kind], weight[a.Kind]),
			cmp.Compare(b.BytesPerOp, a.BytesPerOp),
			cmp.Compare(b.ObjectsPerOp, a.ObjectsPerOp),
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
		)
	})
	return sites
}

// tell reports the verdict to the test.
func (r Report) tell(t testing.TB) {
	t.Helper()
	switch r.Verdict {
	case Unmeasured:
		t.Errorf("%v", errUnmeasured)
	case Growing, Noisy:
		f := r.failure()
		f.annotate(os.Stdout)
		t.Errorf("%v", f)
	case Saturating:
		t.Logf("%v", r.failure())
	}
}

func (r Report) failure() *failure {
	worst := r.Sites[0]
	f := &failure{title: worst.title(), file: worst.File, line: worst.Line}
	f.add(worst.fieldName(), worst.place())
	f.add("rounds", r.roundsText(worst))
	var also []string
	for _, s := range r.Sites[1:] {
		if s.Verdict == worst.Verdict {
			also = append(also, s.title(), "    "+s.place())
		}
	}
	f.add("also", also...)
	f.add("remedy", worst.remedy())
	return f
}

func (s Site) title() string {
	rate := ""
	switch {
	case s.Kind == "goroutine":
		rate = fmt.Sprintf("%s stays running per operation", count(s.ObjectsPerOp, "goroutine"))
	case s.Kind == "file":
		rate = fmt.Sprintf("%s stays open per operation", count(s.ObjectsPerOp, "file descriptor"))
	case s.steps:
		rate = fmt.Sprintf("heap grows %s per operation", size(s.BytesPerOp))
	default:
		rate = fmt.Sprintf("heap grows %s (+%s) per operation", count(s.ObjectsPerOp, "object"), size(s.BytesPerOp))
	}
	switch {
	case s.Verdict == Saturating:
		return "no leak: " + rate + " at first, and then stopped"
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
		return "kind"
	}
	return "allocated at"
}

func (s Site) place() string {
	if s.File == "" {
		return s.Func
	}
	return place(s.Func, s.File, s.Line)
}

func (s Site) remedy() string {
	if s.Verdict == Noisy {
		return "raise Iterations, or take work that runs beside the operation out of the test"
	}
	switch s.Kind {
	case "goroutine":
		return "let it end: close its channel, cancel its context, or wait for it in the operation"
	case "file":
		return "close it in the operation"
	}
	text := sourceLine(s.File, s.Line)
	switch {
	case strings.Contains(text, "append("):
		return "a slice that outlives the operation only grows: declare it inside, or bound it"
	case strings.Contains(text, "] ="):
		return "delete what you put, or bound the map"
	}
	return "drop it when the operation ends, or bound what collects it"
}

// roundsText lists the growth in each active round, grouped by the number of
// operations: "20: +20 +20 +20   80: +80 +80".
func (r Report) roundsText(s Site) string {
	growth, format := s.Objects, func(n int64) string { return fmt.Sprintf("%+d", n) }
	if s.steps && s.Kind == "heap" {
		growth, format = s.Bytes, func(n int64) string { return signed(n) }
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

// count is "1.00 object", "0.20 objects".
func count(n float64, what string) string {
	s := fmt.Sprintf("%.2f", n)
	if n > 0 && n < 0.01 {
		s = fmt.Sprintf("%.2g", n)
	}
	if s != "1.00" {
		what += "s"
	}
	return s + " " + what
}

func size(bytes float64) string {
	switch {
	case bytes >= 10<<20:
		return fmt.Sprintf("%.0f MiB", bytes/(1<<20))
	case bytes >= 10<<10:
		return fmt.Sprintf("%.0f KiB", bytes/(1<<10))
	case bytes >= 10:
		return fmt.Sprintf("%.0f B", bytes)
	}
	return fmt.Sprintf("%.2g B", bytes)
}

func signed(bytes int64) string {
	switch {
	case bytes > 0:
		return "+" + size(float64(bytes))
	case bytes < 0:
		return "-" + size(float64(-bytes))
	}
	return "0"
}
