// Package growth runs an operation again and again, and counts what is live in between. It knows no
// test.
package growth

import (
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"

	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
)

// Settings are what the options say about growth.
type Settings struct {
	Iterations  int  // of a round at the smallest scale; 0: as many as fit
	Rounds      int  // at the smallest scale; 0: as usual
	Warmup      *int // operations before the first round; nil: as many as a round
	AllowPerOp  float64
	IgnoreSites []string
	Grace       time.Duration
	Ignores     func(*gostack.Goroutine) bool
	Known       func(*Site) bool // whether a site is a known leak, which decides nothing; nil: none is
}

var (
	errNilOp      = errors.New("leakcheck: NoGrowth: op is nil: pass the operation to repeat")
	errNested     = errors.New("leakcheck: NoGrowth inside an operation that is being measured (or on a goroutine whose starter has ended, while another is measured): call it outside")
	ErrUnmeasured = errors.New("leakcheck: nothing was measured: runtime.MemProfileRate changed during the check; leave it alone in the operation")
)

// measuring is held while a meter runs: MemProfileRate belongs to the process.
var measuring sync.Mutex

// A Meter runs an operation in rounds and records what is live between them.
type Meter struct {
	op     func()
	config Settings
	rate   int // MemProfileRate before

	iterations int
	ran        int
	ranOnce    int // operations before the second retry; 0: there was none
	retries    int
	cost       time.Duration // of one operation
	stuck      int64         // finalizers and cleanups that do not end
	patience   time.Duration // with those that do not run
	disturbed  bool          // the operation changed MemProfileRate

	rounds    []judge.Round
	last      time.Time
	profile   *profile
	heap      []int64 // bytes live at each look
	objects   []int64 // their number
	alive     []int64 // goroutines
	open      []int64 // descriptors
	routines  census[source.Frame]
	files     census[string]
	met       map[int]bool            // goroutines of the last look; numbers are not given out in order
	creators  map[string]source.Frame // go statements by their line in runtime.Stack
	text      []byte                  // of runtime.Stack
	targets   map[string]string       // of the last descriptor of each kind
	sentinels []*sentinel
	gauges    gauges
}

func New(op func(), c Settings) (*Meter, error) {
	switch {
	case op == nil:
		return nil, errNilOp
	case !measuring.TryLock():
		if withinOperation() {
			return nil, errNested
		}
		measuring.Lock()
	}
	m := &Meter{op: op, config: c, rate: runtime.MemProfileRate, patience: time.Second, gauges: newGauges(), creators: map[string]source.Frame{}, targets: map[string]string{}}
	runtime.MemProfileRate = 1
	return m, nil
}

// Measure runs the operation, puts the profiler back and judges. A panic of the operation passes
// through.
func (m *Meter) Measure() *Result {
	defer m.close() // the operation may panic or end its goroutine
	return m.measure()
}

func (m *Meter) close() {
	runtime.MemProfileRate = m.rate
	measuring.Unlock()
}

const (
	defaultIterations = 20
	defaultRounds     = 3
	largerRounds      = 2
)

func (m *Meter) measure() *Result {
	m.warmUp()
	m.profile = newProfile()
	m.look()
	for p := judge.Small; p <= judge.Large; p++ {
		for range m.roundsIn(p) {
			m.round(p, m.limited(m.iterations*judge.Scales[p]))
		}
	}
	m.confirm()
	r := m.report()
	if m.retries == 1 {
		r.dropUnproven()
	}
	return r
}

func (m *Meter) roundsIn(p judge.Phase) int {
	switch {
	case p > judge.Small:
		return largerRounds
	case m.config.Rounds > 0:
		return m.config.Rounds
	}
	return defaultRounds
}

// warmUp runs the operation until its lazy state is there, and takes its cost.
func (m *Meter) warmUp() {
	m.iterations = m.config.Iterations
	n, fixed := max(defaultIterations, m.iterations), m.config.Warmup != nil
	if fixed {
		n = *m.config.Warmup
	}
	start := time.Now()
	var took []time.Duration
	for range n {
		before := time.Now()
		m.run(1)
		took = append(took, time.Since(before))
		if !fixed && time.Since(start) > 200*time.Millisecond && m.ran >= 2 {
			break
		}
	}
	if len(took) > 0 { // a busy machine stretches some, not most
		slices.Sort(took)
		m.cost = took[len(took)/2]
	}
	if m.iterations == 0 {
		m.iterations = iterationsFor(m.cost)
	}
}

// iterationsFor is the length of the smallest round, so that an operation of this cost is checked
// in less than a second, unless one takes more than 5 ms.
func iterationsFor(cost time.Duration) int {
	const smallest = 16 * time.Millisecond
	least := 4
	if cost > 25*time.Millisecond {
		least = 2
	}
	return min(defaultIterations, max(least, int(smallest/max(cost, 1))))
}

// run is the frame at which an operation's stacks are cut: see frames.
//
//go:noinline
func (m *Meter) run(n int) {
	for range n {
		m.op()
		m.disturbed = m.disturbed || runtime.MemProfileRate != 1
	}
	m.ran += n
}

// round runs n operations and looks.
func (m *Meter) round(p judge.Phase, n int) {
	start := time.Now()
	m.run(n)
	if took := time.Since(start) / time.Duration(n); m.cost == 0 || took < m.cost {
		m.cost = took
	}
	m.look()
	m.record(p, n)
}

func (m *Meter) record(p judge.Phase, n int) {
	now := time.Now()
	m.rounds = append(m.rounds, judge.Round{Phase: p, Ops: n, Took: now.Sub(m.last)})
	m.last = now
}

// confirm runs the suspects again, if there are any: a second time where the verdict is still open,
// or where the worst site grows in steps. The other pace comes before that: a window of time may be
// full after a second retry, and then grows at no pace.
func (m *Meter) confirm() {
	paced := false
	for attempt := range 2 {
		suspects := m.suspects() // with the rounds so far
		if len(suspects) == 0 {
			return
		}
		m.retry(suspects)
		r := m.unknown()
		if r.Verdict == judge.Growing && !paced {
			paced = true
			m.pace()
			r = m.unknown()
		}
		if attempt == 0 && (r.Verdict == judge.Noisy || r.Verdict == judge.Growing && r.Sites[0].steps) {
			continue
		}
		if r.Verdict == judge.Growing {
			m.waitForGoroutines()
		}
		return
	}
}

// unknown is the report so far, without the known leaks.
func (m *Meter) unknown() *Result {
	r := m.report()
	r.Forgive(m.config.Known)
	return r
}

// retry runs the rounds of judge.Retry. Idle rounds stand between, unless everything suspicious was
// allocated beneath the operation; longer ones where a neighbour could pass for a site that grows
// in steps.
func (m *Meter) retry(suspects []suspect) {
	if m.retries++; m.retries > 1 {
		m.ranOnce = m.ran
	}
	beside := slices.ContainsFunc(suspects, func(s suspect) bool { return !s.direct })
	inSteps := slices.ContainsFunc(suspects, func(s suspect) bool { return !s.direct && !judge.EveryRound(m.rounds, s.series.Objects, judge.Active) })
	affordable := m.affordable()
	for i, length := range judge.Retry {
		p := judge.Confirm
		if i == 0 && m.rounds[len(m.rounds)-1].Phase <= judge.Large {
			p = judge.Burst
		}
		if m.retries > 1 {
			length *= judge.Again
		}
		m.round(p, m.retryLength(length, affordable))
		took := m.rounds[len(m.rounds)-1].Took
		if inSteps {
			took = max(took, min(3*took, 100*time.Millisecond))
		}
		if beside && i%2 == 0 {
			m.pause(took)
		}
	}
}

// affordable is how many operations one retry may run: as many as run in a second and a half, or
// twice as many as so far; as many as so far for the second retry, whose rounds are judge.Again
// times as long.
func (m *Meter) affordable() int {
	const second = 1500 * time.Millisecond
	switch {
	case m.cost == 0:
		return math.MaxInt
	case m.retries > 1:
		return max(int(second/m.cost), m.ran)
	}
	return max(int(second/m.cost), 2*m.ran)
}

// retryLength is the operations in a round of judge.Retry: less than its length where as much more
// of the leak so far would exhaust the machine, or where all rounds together would take too long.
// Each look and the search of the heap cost some 100 ns for each object that has leaked by then.
func (m *Meter) retryLength(length float64, affordable int) int {
	longest, all := judge.Retry[0], 0.0
	for _, l := range judge.Retry {
		all += l
	}
	n := float64(m.within(m.limited(int(longest*float64(m.iterations))), m.objects, 50_000))
	n = min(n, float64(affordable)*longest/all)
	return max(int(n*length/longest+0.5), m.iterations, 1)
}

// pace runs few operations, spread evenly over the time that many took: what a site gains then
// follows the clock and not the operation.
func (m *Meter) pace() {
	const share, least = 8, 1200 * time.Microsecond
	_, ops, took := judge.Gained(m.rounds, m.alive, judge.Retrying)
	rounds := 0
	for _, r := range m.rounds {
		if judge.Retrying(r) {
			rounds++
		}
	}
	length := took / time.Duration(rounds)
	n := max(1, min(ops/rounds/share, int(length/least)))
	for range len(judge.Retry) / 2 {
		start := time.Now()
		for i := range n {
			m.run(1)
			time.Sleep(time.Until(start.Add(length * time.Duration(i+1) / time.Duration(n))))
		}
		m.look()
		m.record(judge.Paced, n)
	}
}

// pause is a round without the operation.
func (m *Meter) pause(length time.Duration) {
	time.Sleep(length - time.Since(m.last))
	m.look()
	m.record(judge.Confirm, 0)
}

// waitForGoroutines gives goroutines that still run the grace to end, and
// looks again: what they held is no leak. Those of the last look may have ended
// between its collection and its count.
func (m *Meter) waitForGoroutines() {
	first := int(m.alive[0])
	if int(slices.Max(m.alive)) <= first {
		return
	}
	for end := time.Now().Add(m.config.Grace); runtime.NumGoroutine() > first && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	m.look()
	m.record(judge.Closing, 0)
}

// limited is n, or less where as much more of the leak so far would exhaust the machine.
func (m *Meter) limited(n int) int {
	least := min(n, m.iterations)
	n = m.within(n, m.heap, 32<<20)
	n = m.within(n, m.open, 32)
	n = m.within(n, m.alive, 125)
	return max(n, least)
}

// within limits n so that a quantity that kept its rate would gain at most limit.
func (m *Meter) within(n int, seen []int64, limit int64) int {
	gain, ops := seen[len(seen)-1]-seen[0], int64(0)
	for _, r := range m.rounds {
		ops += int64(r.Ops)
	}
	if gain <= 0 || ops == 0 {
		return n
	}
	return int(min(int64(n), limit*ops/gain))
}

// A sentinel is an object the meter leaks in every round: if the profile does
// not count it, nothing was measured.
type sentinel struct{ _ *sentinel }

//go:noinline
func plantSentinel() *sentinel { return new(sentinel) }

// isSentinel knows plantSentinel beneath the runtime's allocating functions.
func isSentinel(stack []uintptr) bool {
	next := runtime.CallersFrames(stack)
	for f, more := next.Next(); more; f, more = next.Next() {
		if !strings.HasPrefix(f.Function, "runtime.") {
			return f.Function == sentinelName
		}
	}
	return false
}

func (m *Meter) sawSentinels() bool {
	last := len(m.profile.looks) - 1
	var seen int64
	for i := range m.profile.stacks {
		if isSentinel(trim(&m.profile.stacks[i])) {
			seen += m.profile.at(last, i).objects
		}
	}
	return seen >= int64(len(m.sentinels))
}

// withinOperation says whether the calling goroutine is, or descends from, the
// one that is being measured. One whose ancestor has ended might: to wait for
// the lock could be forever.
func withinOperation() bool {
	all := gostack.Snapshot{}
	for text := range (&Meter{}).goroutines() {
		if g := gostack.ParseOne(string(text)); g != nil {
			all[g.ID] = g
		}
	}
	for g := all[gostack.Self().ID]; g != nil; g = all[g.Parent] {
		if g.Mentions(runName) {
			return true
		}
		if g.Parent == 0 {
			return false
		}
	}
	return true
}
