// Package judge is the decision of NoGrowth, on recorded numbers alone: it runs nothing and looks at nothing.
package judge

import (
	"fmt"
	"slices"
	"time"
)

// The decision of NoGrowth, on recorded figures alone.
//
// Every site is a series: what was live after each round. Rounds come in
// phases, each of more operations than the one before: 1x, 4x, 16x. Most sites
// are flat and the run ends there. A suspect is run again, four rounds at 64x,
// beside idle rounds if its allocation might be a neighbour's.
//
// Two rules call a suspect growing:
//
//   - objects: it grew in every single round, and in each at 64x by at least
//     half of what an operation gained before. Exact, and blind to what grows
//     in steps.
//   - steps: a slice or a map of plain values has no object for each, and
//     grows only when it is full. What doubles gains by every operation in the
//     long run, counted over a phase, at least a quarter of what it gained
//     over an earlier one. So much must be gained in the last three rounds. The
//     first round at 64x does not count: a buffer as large as the largest burst
//     grows in it, and never again.

// A Verdict is what the rules say of a site or a run. The zero value is none of them.
type Verdict int

const (
	_          Verdict = iota
	Steady             // nothing grows
	Saturating         // something grew and stopped
	Growing            // something grows with every operation, at every scale
	Noisy              // growth and shrinking are too close to tell
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

// A Round is what happened between one look at the heap and the next.
type Round struct {
	Phase Phase
	Ops   int // 0: an idle round
	Took  time.Duration
}

// A Phase is a number of rounds of one length.
type Phase int

const (
	Small   Phase = iota // 1x
	Medium               // 4x
	Large                // 16x
	Burst                // a suspect's first round
	Confirm              // its others
	Closing              // one look after running goroutines were given time
)

// Scales are the phases' rounds as multiples of the smallest.
var Scales = [...]int{Small: 1, Medium: 4, Large: 16, Burst: 64, Confirm: 64}

// A Series is what was live at one site: at index 0 before the first round,
// at index i+1 after round i.
type Series struct {
	Objects, Bytes []int64
}

// Gained is the growth of live over the rounds for which in holds, and their
// operations and time.
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

func Active(r Round) bool   { return r.Ops > 0 }
func idle(r Round) bool     { return r.Ops == 0 && r.Phase < Closing }
func last(r Round) bool     { return r.Phase == Closing }
func scaling(r Round) bool  { return r.Phase <= Large }
func retrying(r Round) bool { return r.Phase > Large && Active(r) }

// phases are the active rounds of some phases.
func phases(from, to Phase) func(Round) bool {
	return func(r Round) bool { return from <= r.Phase && r.Phase <= to && Active(r) }
}

// Suspicious says after the last scale whether s must be run again.
func Suspicious(rounds []Round, s Series) bool {
	if EveryRound(rounds, s.Objects, scaling) {
		return true
	}
	late, _, _ := Gained(rounds, s.Bytes, phases(Large, Large))
	early, _, _ := Gained(rounds, s.Bytes, phases(Small, Medium))
	return late > 0 && (early > 0 || EveryRound(rounds, s.Bytes, phases(Large, Large)))
}

// EveryRound says whether each active round of those gained at least one.
func EveryRound(rounds []Round, live []int64, in func(Round) bool) bool {
	for i, r := range rounds {
		if Active(r) && in(r) && live[i+1] <= live[i] {
			return false
		}
	}
	return true
}

// Judge gives the verdict on one suspect after its confirming rounds. steps
// says which rule called it growing. allow is in bytes per operation.
func Judge(rounds []Round, s Series, allow float64) (v Verdict, steps bool) {
	if !Suspicious(rounds, s) || released(rounds, s.Bytes) || negligible(rounds, s) {
		return Steady, false
	}
	bytes, ops, _ := Gained(rounds, s.Bytes, retrying)
	if float64(bytes) <= allow*float64(ops) {
		return Saturating, false
	}
	// A neighbour's site fits the rule for objects only by chance, and the one
	// for steps easily.
	aside := idleShare(rounds, s.Bytes)
	switch {
	case growsByObjects(rounds, s.Objects) && aside < 0.25:
		return Growing, false
	case aside < 0.1 && !gainsAlone(rounds, s.Objects):
		return growsInSteps(rounds, s), true
	}
	return Steady, false
}

// idleShare is how fast the site grew while the operation did not run, as a
// share of how fast it grew beside the operation, per unit of time. It is 1
// where the site shrank by half of that.
func idleShare(rounds []Round, bytes []int64) float64 {
	alone, _, pause := Gained(rounds, bytes, idle)
	beside, _, work := Gained(rounds, bytes, retrying)
	switch {
	case beside <= 0, -2*alone >= beside: // a leak gives nothing back
		return 1
	case alone <= 0:
		return 0
	}
	return float64(alone) / float64(pause) * float64(work) / float64(beside)
}

// gainsAlone says whether the site gained objects in every idle round: a
// neighbour that was held up in them can catch up beside the operation, and then
// its share is small.
func gainsAlone(rounds []Round, objects []int64) bool {
	rested := false
	for i, r := range rounds {
		if !idle(r) {
			continue
		}
		rested = true
		if objects[i+1] <= objects[i] {
			return false
		}
	}
	return rested
}

// released says whether at least half of what the site gained went away once
// goroutines that still ran had been given time to end.
func released(rounds []Round, bytes []int64) bool {
	held, _, _ := Gained(rounds, bytes, Active)
	after, _, _ := Gained(rounds, bytes, last)
	return after < 0 && -2*after >= held
}

// negligible says whether all that the site gained is what comes and goes by
// chance: see enough.
func negligible(rounds []Round, s Series) bool {
	objects, _, _ := Gained(rounds, s.Objects, Active)
	return objects < enough && rate(rounds, s.Bytes, Active) < atLeast
}

func growsByObjects(rounds []Round, objects []int64) bool {
	if !EveryRound(rounds, objects, Active) {
		return false
	}
	// A cache that fills up stops within a round: each counts by itself.
	before := rate(rounds, objects, phases(Small, Large))
	for i, r := range rounds {
		if retrying(r) && 2*float64(objects[i+1]-objects[i]) < before*float64(r.Ops) {
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

// Fewer objects than enough come and go by chance, with connections or
// timers: a site must gain more in the last rounds, unless it gains bytes
// without objects, and then atLeast bytes per operation. A map of integers gains
// eight objects when it doubles, a slice of bytes 0.8 bytes.
const (
	enough  = 6
	atLeast = 0.5
)

// leap is how many times as fast a site may grow in the end as before. What
// doubles stays below 3.5, and an operation that keeps more each time below 5:
// what leaps came all at once, such as a connection that was made anew.
const leap = 8

// growsInSteps is Growing, Saturating, Steady after a leap, or Noisy where the
// site shrank by about as much as it grew.
func growsInSteps(rounds []Round, s Series) Verdict {
	now := rate(rounds, s.Bytes, phases(Confirm, Confirm))
	before := max(rate(rounds, s.Bytes, phases(Small, Medium)), rate(rounds, s.Bytes, phases(Large, Burst)))
	objects, _, _ := Gained(rounds, s.Objects, phases(Confirm, Confirm))
	switch {
	case now <= 0, 4*now < before:
		return Saturating
	case 0 < objects && objects < enough, objects <= 0 && now < atLeast:
		return Saturating
	case now > leap*before:
		return Steady
	case 2*shrinkage(rounds, s.Bytes) > now:
		return Noisy
	}
	return Growing
}

// shrinkage is what the confirming rounds lost that lost anything, per
// operation of all of them.
func shrinkage(rounds []Round, bytes []int64) float64 {
	var lost int64
	var ops int
	for i, r := range rounds {
		if phases(Confirm, Confirm)(r) {
			lost += max(0, bytes[i]-bytes[i+1])
			ops += r.Ops
		}
	}
	return float64(lost) / float64(max(ops, 1))
}
