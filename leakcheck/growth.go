package leakcheck

import (
	"cmp"
	"fmt"
	"runtime"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/explain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
	"github.com/leaksafe/leaksafe/leakcheck/internal/option"
	"github.com/leaksafe/leaksafe/leakcheck/internal/page"
	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/scope"
)

// NoGrowth fails t when repeating op makes the heap grow, leaves goroutines running or files open.
// The failure names the line, its rate per operation, what retains the objects, and a fix.
//
//	func TestPut(t *testing.T) {
//		s := cache.New()
//		n := 0
//		leakcheck.NoGrowth(t, func() {
//			n++
//			if err := s.Put(strconv.Itoa(n), "value"); err != nil { // another key each time
//				t.Error(err) // an operation that fails does not do what it should be checked for
//			}
//			s.Delete(strconv.Itoa(n))
//		})
//	}
//
// Vary the key, and check the answer: op must do the same kind of work each time. A handler that
// answers 429 after the first ten requests, or one key that is overwritten, measures something
// else.
//
// NoGrowth runs op on the calling goroutine and blocks: a warm-up, then rounds of 20, 80 and 320
// operations ([Iterations], [Rounds] and [Warmup] change them; an operation that takes over 0.8 ms
// gets fewer). After each round it collects garbage until no finalizer waits, and counts what is
// live at every allocation site, with [runtime.MemProfileRate] at 1. What grew at every scale is
// run again before the test fails: in ten rounds of ten different lengths, beside idle rounds, and
// few operations in the time of many. What grows only now and then, as a slice or a map of integers
// does when it is full, is run again a second time: it must grow as the operations double. So op is
// called up to 11,000 times, then 29,000; its side effects must allow that. op may start
// goroutines; those that still run after [Grace] are leaks.
//
// It misses growth below one object per 320 operations or half a byte per operation, growth in
// steps at a line where another goroutine gains all the time as well, memory outside the Go heap,
// and files on systems other than Linux. It reports a cache that still fills after about 5,000
// operations as a leak: fill it first with Warmup, or use [IgnoreSite]. A slow operation, and one
// that keeps thousands of objects, gets shorter rounds: then both limits are at least a third of
// what the report's Operations says, and the failure says how many entries a cache may hold. What
// is bounded by less, or grows as time passes, is no leak; then the report says so. Entries that
// expire are no leak if they do so within half the time that the check takes; if they live longer,
// give the cache a shorter time in the test, or use IgnoreSite.
//
// A cheap operation is checked in a tenth of a second. Every allocation is recorded meanwhile, at
// about a microsecond each. A leak costs more: suspects are run again for about as long, running
// goroutines get the grace, and the heap is searched for what retains the objects.
//
// One such check runs at a time in a process; others wait, so it may be used in parallel tests. The
// growth of tests that run beside it is told from op's by the idle rounds. In a benchmark its time
// counts: call it before b.Loop. NoGrowth within op measures nothing and fails. A panic or
// t.FailNow in op passes through.
func NoGrowth(t testing.TB, op func(), opts ...Option) Report {
	t = must(t, "NoGrowth")
	t.Helper()
	c := option.New("NoGrowth", recorder.Planted(t), all(opts))
	if !recorder.Planted(t) {
		c.Growth.Known = func(s *growth.Site) bool { return baseline.Listed(baselineKey(s)) }
	}
	m, err := startMeter(op, c)
	if err != nil {
		t.Errorf("%v", err)
		return Report{Verdict: Unmeasured}
	}
	r := m.Measure()
	if r.Verdict != judge.Unmeasured {
		forgive(t, r)
	}
	paths := tell(t, r) // with the profiler at rest: it searches the heap
	runtime.KeepAlive(op)
	return newReport(r, paths)
}

// Measure is [NoGrowth] without a test: what grew is in the report. It blocks, and does not search
// the heap for what retains the objects. The error says why nothing was measured.
func Measure(op func(), opts ...Option) (Report, error) {
	m, err := startMeter(op, option.New("Measure", false, all(opts)))
	if err != nil {
		return Report{Verdict: Unmeasured}, err
	}
	r := newReport(m.Measure(), nil)
	if r.Verdict == Unmeasured {
		return r, growth.ErrUnmeasured
	}
	return r, nil
}

// startMeter begins to measure op, unless an option makes no sense.
func startMeter(op func(), c option.Config) (*growth.Meter, error) {
	if op != nil && c.Misuse != nil {
		return nil, c.Misuse
	}
	c.Growth.Grace = c.Grace
	c.Growth.Ignores = c.Names
	return growth.New(op, c.Growth)
}

// A Verdict is what [NoGrowth] and [Measure] find. The zero value is none of
// them.
type Verdict int

const (
	Steady     = Verdict(judge.Steady)     // nothing grows
	Saturating = Verdict(judge.Saturating) // something grew, but is no leak: a cache that filled, a buffer, a window of time
	Growing    = Verdict(judge.Growing)    // something grows with every operation, at every scale
	Noisy      = Verdict(judge.Noisy)      // too close to tell after a first run; a second settles it, so no Report says it
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
	// Sites are those that led to the verdict, the worst first; none where it is Steady.
	Sites []Site
	// Operations counts all runs of the operation, warm-up included.
	Operations int
	// HeapBytes is what the heap held before the first round.
	HeapBytes int64
	// Rounds are the rounds in order.
	Rounds []Round
}

// A Round is a number of operations, and the heap after them.
type Round struct {
	Operations int   // 0 in an idle round
	HeapBytes  int64 // live at its end, without what the check itself takes
}

// A Place is a line of code.
type Place struct {
	Func string // with its import path; empty where nothing is known
	File string // absolute, or as -trimpath names it
	Line int
}

// A Site is a place in the source where something that grows was made.
type Site struct {
	Kind    Kind    // KindHeap, KindGoroutine or KindFile
	Verdict Verdict // Growing or Saturating
	// Place is the innermost line of the allocation outside the standard library, or the go
	// statement of a goroutine, or where a file was opened, which is not always known.
	Place
	// Caller is the line of the module under test that led there, where Place is in another module.
	Caller Place
	// ObjectsPerOp and BytesPerOp are the growth over all rounds; goroutines and files count as
	// objects without bytes.
	ObjectsPerOp float64
	BytesPerOp   float64
	// Rounds is the growth in each of the report's rounds.
	Rounds []Gain
	// RetainedBy says what retains the objects of the worst sites; nil where that was not asked or
	// not found.
	RetainedBy *Path
}

// A Gain is what a site gained in a round; it is negative where the site shrank.
type Gain struct{ Objects, Bytes int64 }

// A Kind is what a [Site] or a [Hop] is. A hop has others too: any word that says what it is.
type Kind string

// The kinds that a program may want to tell apart.
const (
	KindHeap      Kind = "heap"      // Site: objects or bytes
	KindGoroutine Kind = "goroutine" // Site or Hop: a goroutine that still runs
	KindFile      Kind = "file"      // Site: descriptors
	KindVariable  Kind = "variable"  // Hop: a package variable
	KindTimer     Kind = "timer"     // Hop: a pending timer
	KindMap       Kind = "map"       // Hop
	KindClosure   Kind = "closure"   // Hop: a function with its variables
	KindObject    Kind = "object"    // Hop: anything else
)

// forgive takes the leaks of the baseline file out of the verdict.
func forgive(t testing.TB, r *growth.Result) {
	t.Helper()
	if recorder.Planted(t) {
		return
	}
	r.Forgive(func(s *growth.Site) bool {
		if !baseline.Known(baselineKey(s)) {
			return false
		}
		t.Logf("leakcheck: known leak, in the baseline file: %s at %s", s.Rate(), s.Place())
		return true
	})
}

// baselineKey is the kind and the key of a site in the baseline file.
func baselineKey(s *growth.Site) (kind, key string) {
	return "growth", string(s.Kind) + " " + cmp.Or(s.At.Func, s.Opens)
}

// tell reports the verdict to the test.
func tell(t testing.TB, r *growth.Result) (paths map[int]retain.Path) {
	t.Helper()
	switch r.Verdict {
	case judge.Unmeasured:
		t.Error(growth.ErrUnmeasured)
	case judge.Steady:
		write(t, r, nil)
	case judge.Saturating:
		t.Log(r.Failure(write(t, r, nil)))
	default:
		if r.Verdict == judge.Growing && !recorder.Planted(t) {
			paths = explain.Growth(t, r)
		}
		recorder.Report(t, r.Failure(write(t, r, paths)))
		for _, s := range r.Sites {
			if s.Verdict == judge.Growing && !recorder.Planted(t) {
				scope.NoteReported(s.Started...)
			}
		}
	}
	return paths
}

func newReport(r *growth.Result, paths map[int]retain.Path) Report {
	report := Report{Verdict: Verdict(r.Verdict), Operations: r.Operations, HeapBytes: r.Heap[0]}
	for i, ops := range r.Rounds {
		report.Rounds = append(report.Rounds, Round{ops, r.Heap[i+1]})
	}
	for i, s := range r.Sites {
		site := Site{
			Kind: Kind(s.Kind), Verdict: Verdict(s.Verdict), Place: Place(s.At), Caller: Place(s.Caller),
			ObjectsPerOp: s.ObjectsPerOp, BytesPerOp: s.BytesPerOp,
		}
		if q, found := paths[i]; found {
			p := pathOf(q)
			site.RetainedBy = &p
		}
		for n, objects := range s.Objects {
			gain := Gain{Objects: objects}
			if s.Bytes != nil {
				gain.Bytes = s.Bytes[n]
			}
			site.Rounds = append(site.Rounds, gain)
		}
		report.Sites = append(report.Sites, site)
	}
	return report
}

// write puts the result's numbers and its page where they are wanted, and returns the page's path;
// empty where they are not.
func write(t testing.TB, r *growth.Result, paths map[int]retain.Path) string {
	t.Helper()
	dir := page.Dir(t)
	if dir == "" {
		return ""
	}
	numbers := struct {
		Test string
		Report
	}{t.Name(), newReport(r, paths)}
	file, err := page.Write(dir, t.Name(), r, numbers)
	if err != nil {
		t.Logf("leakcheck: the report is not written: %v", err)
	}
	return file
}
