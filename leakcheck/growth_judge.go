package leakcheck

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

// A verdict is what the rules say of a site or a run. The zero value is none of them.
type verdict int

const (
	_          verdict = iota
	steady             // nothing grows
	saturating         // something grew and stopped
	growing            // something grows with every operation, at every scale
	noisy              // growth and shrinking are too close to tell
	unmeasured         // nothing was measured
)

var verdictNames = [...]string{"none", "steady", "saturating", "growing", "noisy", "unmeasured"}

func (v verdict) String() string {
	if v < 0 || int(v) >= len(verdictNames) {
		return fmt.Sprintf("Verdict(%d)", int(v))
	}
	return verdictNames[v]
}

// parseVerdict reads what String writes; ok is false for other text.
func parseVerdict(text string) (v verdict, ok bool) {
	i := slices.Index(verdictNames[:], text)
	return verdict(i), i >= 0
}

// A round is what happened between one look at the heap and the next.
type round struct {
	phase phase
	ops   int // 0: an idle round
	took  time.Duration
}

type phase int

const (
	small   phase = iota // 1x
	medium               // 4x
	large                // 16x
	burst                // a suspect's first round
	confirm              // its others
	closing              // one look after running goroutines were given time
)

// scales are the phases' rounds as multiples of the smallest.
var scales = [...]int{small: 1, medium: 4, large: 16, burst: 64, confirm: 64}

// A series is what was live at one site: at index 0 before the first round,
// at index i+1 after round i.
type series struct {
	objects, bytes []int64
}

// gained is the growth of live over the rounds for which in holds, and their
// operations and time.
func gained(rounds []round, live []int64, in func(round) bool) (growth int64, ops int, took time.Duration) {
	for i, r := range rounds {
		if in(r) {
			growth += live[i+1] - live[i]
			ops += r.ops
			took += r.took
		}
	}
	return growth, ops, took
}

func active(r round) bool   { return r.ops > 0 }
func idle(r round) bool     { return r.ops == 0 && r.phase < closing }
func last(r round) bool     { return r.phase == closing }
func scaling(r round) bool  { return r.phase <= large }
func retrying(r round) bool { return r.phase > large && active(r) }

// phases are the active rounds of some phases.
func phases(from, to phase) func(round) bool {
	return func(r round) bool { return from <= r.phase && r.phase <= to && active(r) }
}

// suspicious says after the last scale whether s must be run again.
func suspicious(rounds []round, s series) bool {
	if everyRound(rounds, s.objects, scaling) {
		return true
	}
	late, _, _ := gained(rounds, s.bytes, phases(large, large))
	early, _, _ := gained(rounds, s.bytes, phases(small, medium))
	return late > 0 && (early > 0 || everyRound(rounds, s.bytes, phases(large, large)))
}

// everyRound says whether each active round of those gained at least one.
func everyRound(rounds []round, live []int64, in func(round) bool) bool {
	for i, r := range rounds {
		if active(r) && in(r) && live[i+1] <= live[i] {
			return false
		}
	}
	return true
}

// judge gives the verdict on one suspect after its confirming rounds. steps
// says which rule called it growing. allow is in bytes per operation.
func judge(rounds []round, s series, allow float64) (v verdict, steps bool) {
	if !suspicious(rounds, s) || released(rounds, s.bytes) || negligible(rounds, s) {
		return steady, false
	}
	bytes, ops, _ := gained(rounds, s.bytes, retrying)
	if float64(bytes) <= allow*float64(ops) {
		return saturating, false
	}
	// A neighbour's site fits the rule for objects only by chance, and the one
	// for steps easily.
	aside := idleShare(rounds, s.bytes)
	switch {
	case growsByObjects(rounds, s.objects) && aside < 0.25:
		return growing, false
	case aside < 0.1 && !gainsAlone(rounds, s.objects):
		return growsInSteps(rounds, s), true
	}
	return steady, false
}

// idleShare is how fast the site grew while the operation did not run, as a
// share of how fast it grew beside the operation, per unit of time. It is 1
// where the site shrank by half of that.
func idleShare(rounds []round, bytes []int64) float64 {
	alone, _, pause := gained(rounds, bytes, idle)
	beside, _, work := gained(rounds, bytes, retrying)
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
func gainsAlone(rounds []round, objects []int64) bool {
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
func released(rounds []round, bytes []int64) bool {
	held, _, _ := gained(rounds, bytes, active)
	after, _, _ := gained(rounds, bytes, last)
	return after < 0 && -2*after >= held
}

// negligible says whether all that the site gained is what comes and goes by
// chance: see enough.
func negligible(rounds []round, s series) bool {
	objects, _, _ := gained(rounds, s.objects, active)
	return objects < enough && rate(rounds, s.bytes, active) < atLeast
}

func growsByObjects(rounds []round, objects []int64) bool {
	if !everyRound(rounds, objects, active) {
		return false
	}
	// A cache that fills up stops within a round: each counts by itself.
	before := rate(rounds, objects, phases(small, large))
	for i, r := range rounds {
		if retrying(r) && 2*float64(objects[i+1]-objects[i]) < before*float64(r.ops) {
			return false
		}
	}
	return true
}

// rate is the growth per operation.
func rate(rounds []round, live []int64, in func(round) bool) float64 {
	growth, ops, _ := gained(rounds, live, in)
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
func growsInSteps(rounds []round, s series) verdict {
	now := rate(rounds, s.bytes, phases(confirm, confirm))
	before := max(rate(rounds, s.bytes, phases(small, medium)), rate(rounds, s.bytes, phases(large, burst)))
	objects, _, _ := gained(rounds, s.objects, phases(confirm, confirm))
	switch {
	case now <= 0, 4*now < before:
		return saturating
	case 0 < objects && objects < enough, objects <= 0 && now < atLeast:
		return saturating
	case now > leap*before:
		return steady
	case 2*shrinkage(rounds, s.bytes) > now:
		return noisy
	}
	return growing
}

// shrinkage is what the confirming rounds lost that lost anything, per
// operation of all of them.
func shrinkage(rounds []round, bytes []int64) float64 {
	var lost int64
	var ops int
	for i, r := range rounds {
		if phases(confirm, confirm)(r) {
			lost += max(0, bytes[i]-bytes[i+1])
			ops += r.ops
		}
	}
	return float64(lost) / float64(max(ops, 1))
}
