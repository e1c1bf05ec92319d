// Package judge is the decision of NoGrowth, on recorded numbers alone: it runs nothing and looks
// at nothing.
//
// Every site is a [Series]: what was live after each round. Rounds come in phases, each of more
// operations than the one before: 1x, 4x, 16x. Most sites are flat, and the run ends there. A
// suspect is run again in ten rounds of about 50x, no two of which have the same length, and at
// another pace.
//
// Two rules call a suspect growing:
//
//   - objects: it grew in every single round, and in each long one by at least half of what an
//     operation gained before. The rule is exact, and blind to what grows in steps.
//   - steps: a slice or a map of plain values has no object for each, and grows only when it is
//     full. What doubles gains by every operation in the long run. It must gain so much in the
//     second half of all operations, and give nothing back. One retry is not enough: see below.
//
// Why no bounded buffer passes: a buffer that is emptied at B items gains, in a round of n
// operations, n less B times the number of times it was emptied. Where n is at least B that is less
// than half of n, and where n is less than B it is negative as soon as the buffer is emptied once,
// which happens within B operations. Rounds of one length would all see the same remainder of n by
// B; ten different lengths do not. A buffer or a cache that only fills has stopped by the second
// half, if its bound is at most 5,000. TestBounded tries every bound.
//
// Why no map of a constant number of entries passes: where entries are deleted at random, Go's map
// splits its tables of 1,024 slots late and at random times, in place of clearing slots that
// deleted entries have left. So its memory doubles once, in a few steps, at any time, and then
// never again. What grows in steps doubles each time the operations have doubled. So a site that
// grows in steps is run again a second time, until there were two and a half times as many
// operations, and must not grow much slower there than before. A map whose few tables split late
// enough to pass for growth in the first retry has not enough tables left to split in the second.
// TestRecorded tries real maps.
package judge

import (
	"fmt"
	"slices"
	"time"
)

// A Verdict is what the rules say of a site or a run. The zero value is none of them.
type Verdict int

const (
	_          Verdict = iota
	Steady             // nothing grows
	Saturating         // something grew, and that is no leak: see Reason
	Growing            // something grows with every operation, at every scale
	Noisy              // growth and shrinking are too close to tell: more rounds are needed
	Unmeasured         // nothing was measured
)

var verdictNames = [...]string{"none", "steady", "saturating", "growing", "noisy", "unmeasured"}

func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdictNames) {
		return fmt.Sprintf("Verdict(%d)", int(v))
	}
	return verdictNames[v]
}

// ParseVerdict reads what String writes; ok is false for other text.
func ParseVerdict(text string) (v Verdict, ok bool) {
	i := slices.Index(verdictNames[:], text)
	return Verdict(i), i >= 0
}

// A Finding is the verdict on one site.
type Finding struct {
	Verdict Verdict
	Steps   bool   // the rule for steps called it growing
	Reason  Reason // why it is Saturating
}

// A Reason is why a site that gained something is no leak.
type Reason string

const (
	Filled  Reason = "filled"  // it grew at first and then stopped, as a cache does
	Bounded Reason = "bounded" // it grows and shrinks, as a buffer does that is emptied when it is full
	ByTime  Reason = "by time" // it grows as time passes, however often the operation runs
	Allowed Reason = "allowed" // AllowPerOp allows it
)

// A Round is what happened between one look at the heap and the next.
type Round struct {
	Phase Phase
	Ops   int // 0: an idle round
	Took  time.Duration
}

// A Phase is a group of rounds.
type Phase int

const (
	Small   Phase = iota // 1x
	Medium               // 4x
	Large                // 16x
	Burst                // a suspect's first round, the longest
	Confirm              // its others
	Paced                // few operations in the time of many
	Closing              // one look after running goroutines were given time
)

// Scales are the rounds of the first phases as multiples of the smallest.
var Scales = [...]int{Small: 1, Medium: 4, Large: 16}

// Retry is the rounds in which a suspect is run again, as multiples of the smallest round: one
// Burst, then Confirm. With 20 operations in the smallest they are 1280, 1033, 911 and so on: of
// about the same size, without a common factor.
var Retry = [...]float64{64, 51.65, 45.55, 55.45, 42.95, 48.85, 59.35, 39.85, 47.05, 53.15}

// Again is how many times as long the rounds of a second retry are. It brings the operations to two
// and a half times as many as there were before, in which everything that doubles has doubled once.
const Again = 1.7

// A Series is what was live at one site: at index 0 before the first round, at index i+1 after
// round i.
type Series struct {
	Objects, Bytes []int64
	// Arrays says that all it gains are the arrays of slices and the tables of maps, which grow
	// when they are full: few of them do not come and go by chance, as a connection does.
	Arrays bool
}

// Gained is the growth of live over the rounds for which in holds, and their operations and time.
func Gained(rounds []Round, live []int64, in func(Round) bool) (growth int64, ops int, took time.Duration) {
	for i, r := range rounds {
		if in(r) {
			growth += live[i+1] - live[i]
			ops += r.Ops
			took += r.Took
		}
	}
	return growth, ops, took
}

// Active reports whether a round ran the operation at full pace.
func Active(r Round) bool { return r.Ops > 0 && r.Phase != Paced }

// Retrying reports whether a round ran the operation for a suspect.
func Retrying(r Round) bool { return r.Phase > Large && Active(r) }

func idle(r Round) bool    { return r.Ops == 0 && r.Phase < Closing }
func paced(r Round) bool   { return r.Phase == Paced }
func last(r Round) bool    { return r.Phase == Closing }
func scaling(r Round) bool { return r.Phase <= Large }

// phases are the active rounds of some phases.
func phases(from, to Phase) func(Round) bool {
	return func(r Round) bool { return from <= r.Phase && r.Phase <= to && Active(r) }
}

// EveryRound reports whether each active round of those gained at least one.
func EveryRound(rounds []Round, live []int64, in func(Round) bool) bool {
	for i, r := range rounds {
		if Active(r) && in(r) && live[i+1] <= live[i] {
			return false
		}
	}
	return true
}

// rate is the growth per operation.
func rate(rounds []Round, live []int64, in func(Round) bool) float64 {
	growth, ops, _ := Gained(rounds, live, in)
	return float64(growth) / float64(max(ops, 1))
}
