package leakcheck

import "time"

// The decision of NoGrowth, on recorded figures alone.
//
// Every site is a series: what was live after each round. Rounds come in
// phases, each of more operations than the one before: 1x, 4x, 16x. Most sites
// are flat and the run ends there. A suspect is run again, four rounds at the
// confirming scale, beside idle rounds if its allocation might be a
// neighbour's.
//
// Two rules call a suspect growing:
//
//   - objects: it grew in every single round, and at every scale by at least
//     half of what the rounds before gained per operation. Exact, and blind to
//     what grows in steps.
//   - steps: a slice or a map holds values that are no objects of their own,
//     and grows only when it is full. A structure that doubles gains at least a
//     quarter of its earlier rate whenever the operations run so far have
//     multiplied by 2.4, so that much must be gained by the larger phases. The
//     first confirming round does not count: a buffer as large as the largest
//     burst grows in it, and never again.

// A round is what happened between one look at the heap and the next.
type round struct {
	phase int // 0, 1, 2: the scales; confirming, closing: only beside a suspect
	ops   int // 0: an idle round
	took  time.Duration
}

const (
	scalePhases = 3
	confirming  = scalePhases
	closing     = confirming + 1 // one look after running goroutines were given time
)

// scales are the phases' rounds as multiples of the smallest.
var scales = [...]int{1, 4, 16, 64}

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

func active(r round) bool { return r.ops > 0 }
func idle(r round) bool   { return r.ops == 0 && r.phase == confirming }
func last(r round) bool   { return r.phase == closing }

func inPhase(p int) func(round) bool {
	return func(r round) bool { return r.phase == p && r.ops > 0 }
}

func beforePhase(p int) func(round) bool {
	return func(r round) bool { return r.phase < p && r.ops > 0 }
}

// suspicious says after the last scale whether s must be run again.
func suspicious(rounds []round, s series) bool {
	if everyRound(rounds, s.objects, func(r round) bool { return r.phase < confirming }) {
		return true
	}
	largest := scalePhases - 1
	late, _, _ := gained(rounds, s.bytes, inPhase(largest))
	early, _, _ := gained(rounds, s.bytes, beforePhase(largest))
	return late > 0 && (early > 0 || everyRound(rounds, s.bytes, inPhase(largest)))
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
func judge(rounds []round, s series, allow float64) (v Verdict, steps bool) {
	if !suspicious(rounds, s) || neighbours(rounds, s.bytes) || released(rounds, s.bytes) {
		return Steady, false
	}
	bytes, ops, _ := gained(rounds, s.bytes, inPhase(confirming))
	if float64(bytes) <= allow*float64(ops) {
		return Saturating, false
	}
	if growsByObjects(rounds, s.objects) {
		return Growing, false
	}
	return growsInSteps(rounds, s), true
}

// neighbours says whether the site grew while the operation did not run: per
// unit of time at least a quarter of what it grew beside the operation.
func neighbours(rounds []round, bytes []int64) bool {
	alone, _, pause := gained(rounds, bytes, idle)
	if alone <= 0 {
		return false
	}
	beside, _, work := gained(rounds, bytes, inPhase(confirming))
	return 4*float64(alone)*float64(work) >= float64(beside)*float64(pause)
}

// released says whether at least half of what the site gained went away once
// goroutines that still ran had been given time to end.
func released(rounds []round, bytes []int64) bool {
	held, _, _ := gained(rounds, bytes, active)
	after, _, _ := gained(rounds, bytes, last)
	return after < 0 && -2*after >= held
}

func growsByObjects(rounds []round, objects []int64) bool {
	if !everyRound(rounds, objects, active) {
		return false
	}
	for p := 1; p < confirming; p++ {
		late, lateOps, _ := gained(rounds, objects, inPhase(p))
		early, earlyOps, _ := gained(rounds, objects, beforePhase(p))
		if 2*float64(late)*float64(earlyOps) < float64(early)*float64(lateOps) {
			return false
		}
	}
	// A cache that fills up stops within a round: each counts by itself.
	early, earlyOps, _ := gained(rounds, objects, beforePhase(confirming))
	for i, r := range rounds {
		if r.phase == confirming && active(r) &&
			2*float64(objects[i+1]-objects[i])*float64(earlyOps) < float64(early)*float64(r.ops) {
			return false
		}
	}
	return true
}

// enough is how many objects a site must gain in the last rounds unless it
// gains bytes without: fewer come and go by chance, with connections or
// timers. A map of integers gains eight when it doubles.
const enough = 6

// growsInSteps is Growing, Saturating, or Noisy where the site shrank by about
// as much as it grew.
func growsInSteps(rounds []round, s series) Verdict {
	first := true
	var early, late, shrunk, objects int64
	var earlyOps, lateOps int
	for i, r := range rounds {
		if !active(r) {
			continue
		}
		delta := s.bytes[i+1] - s.bytes[i]
		if r.phase < confirming || first {
			early, earlyOps = early+delta, earlyOps+r.ops
			first = r.phase < confirming
			continue
		}
		late, lateOps = late+delta, lateOps+r.ops
		objects += s.objects[i+1] - s.objects[i]
		shrunk += max(0, -delta)
	}
	switch {
	case late <= 0, 4*float64(late)*float64(earlyOps) < float64(early)*float64(lateOps):
		return Saturating
	case 0 < objects && objects < enough:
		return Saturating
	case 2*shrunk > late:
		return Noisy
	}
	return Growing
}
