package judge

import (
	"math"
	"slices"
)

// Suspicious says after the last scale whether s must be run again.
func Suspicious(rounds []Round, s Series) bool {
	if EveryRound(rounds, s.Objects, scaling) {
		return true
	}
	late, _, _ := Gained(rounds, s.Bytes, phases(Large, Large))
	early, _, _ := Gained(rounds, s.Bytes, phases(Small, Medium))
	return late > 0 && (early > 0 || EveryRound(rounds, s.Bytes, phases(Large, Large)))
}

// Judge gives the verdict on one suspect after it was run again. allow is in bytes per operation. A
// site that is Noisy, or Growing in steps, should be run again once more, in all rounds of [Retry],
// [Again] times as long. Then it is Noisy no more, and what grows in steps is proven.
func Judge(rounds []Round, s Series, allow float64) Finding {
	if !Suspicious(rounds, s) || released(rounds, s.Bytes) || negligible(rounds, s) {
		return Finding{Verdict: Steady}
	}
	bytes, ops, _ := Gained(rounds, s.Bytes, Retrying)
	switch {
	case bytes <= 0:
		return stopped(givenBack(rounds, s.Bytes))
	case float64(bytes) <= allow*float64(ops):
		return Finding{Verdict: Saturating, Reason: Allowed}
	}
	found := growth(rounds, s)
	if found.Verdict == Growing && (byTime(rounds, s) || expired(rounds, s.Bytes)) {
		return Finding{Verdict: Saturating, Reason: ByTime}
	}
	return found
}

// growth applies the two rules. A neighbour's site fits the one for objects only by chance, and the
// one for steps easily: so less may have grown there beside the operation.
func growth(rounds []Round, s Series) Finding {
	aside := idleShare(rounds, s.Bytes)
	switch {
	case growsByObjects(rounds, s.Objects) && aside < 0.25:
		return Finding{Verdict: Growing}
	case aside < 0.1 && !gainsAlone(rounds, s.Objects):
		return growsInSteps(rounds, s)
	}
	return Finding{Verdict: Steady}
}

// idleShare is how fast the site grew while the operation did not run, as a share of how fast it
// grew beside the operation, per unit of time. It is 1 where the site shrank by half of that.
func idleShare(rounds []Round, bytes []int64) float64 {
	alone, _, pause := Gained(rounds, bytes, idle)
	beside, _, work := Gained(rounds, bytes, Retrying)
	switch {
	case beside <= 0, -2*alone >= beside: // a leak gives nothing back
		return 1
	case alone <= 0:
		return 0
	}
	return float64(alone) / float64(pause) * float64(work) / float64(beside)
}

// gainsAlone reports whether the site gained objects in every idle round: a neighbour that was held
// up in them can catch up beside the operation, and then its share is small.
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

// released reports whether at least half of what the site gained went away once goroutines that
// still ran had been given time to end.
func released(rounds []Round, bytes []int64) bool {
	held, _, _ := Gained(rounds, bytes, Active)
	after, _, _ := Gained(rounds, bytes, last)
	return after < 0 && -2*after >= held
}

// expired reports whether, in the rounds that ran few operations in the time of many, at least a
// quarter of what the site had gained by then went away. Entries that expire do so, before and
// after the cache is full; a leak gives nothing back.
func expired(rounds []Round, bytes []int64) bool {
	var gained, most, lost int64
	for i, r := range rounds {
		switch now := bytes[i+1]; {
		case Active(r):
			gained += now - bytes[i]
			most = now
		case paced(r):
			most = max(most, now)
			lost = max(lost, most-now)
		}
	}
	return lost > 0 && 4*lost >= gained
}

// negligible reports whether all that the site gained is what comes and goes by chance: see enough.
func negligible(rounds []Round, s Series) bool {
	objects, _, _ := Gained(rounds, s.Objects, Active)
	return objects < enough && rate(rounds, s.Bytes, Active) < atLeast
}

// growsByObjects is the rule for objects. Before is the fastest phase: the short rounds show how
// fast a buffer fills, the long ones how full it is.
func growsByObjects(rounds []Round, objects []int64) bool {
	if !EveryRound(rounds, objects, Active) {
		return false
	}
	before := 0.0
	for p := Small; p <= Large; p++ {
		before = max(before, rate(rounds, objects, phases(p, p)))
	}
	// A cache that fills up stops within a round: each counts by itself.
	for i, r := range rounds {
		if Retrying(r) && 2*float64(objects[i+1]-objects[i]) < before*float64(r.Ops) {
			return false
		}
	}
	return true
}

// Fewer objects than enough come and go by chance, with connections or timers: a site must gain
// more in the last rounds, unless it gains bytes without objects, and then atLeast bytes per
// operation. A map of integers gains eight objects when it doubles, a slice of bytes 0.8 bytes.
const (
	enough  = 6
	atLeast = 0.5
)

// leap is how many times as fast a site may grow in the end as before. What doubles stays below
// 3.5, and an operation that keeps more each time below 5: a jump larger than this is a one-time
// event, such as a new connection.
const leap = 8

// What a site gives back of what it gains, in the rounds that confirm. A leak gives back nothing,
// and a leak beside noise a little: more than someBack is unclear, and needs more rounds. A buffer
// that is emptied gives back at least 0.39 of it.
const someBack = 0.125

// slowed is how fast a site that grows in steps must be in the second retry at least, as a share of
// how fast it was before. What doubles, or is a slice that append grows, has at least 0.6 of it in
// theory and 0.44 on recorded maps; a full map whose tables split has at most 0.3.
const slowed = 0.36

// growsInSteps is the rule for steps: on one retry, and after a second on both.
func growsInSteps(rounds []Round, s Series) Finding {
	once := firstRetry(rounds)
	found := stepsOnce(rounds[:once], Series{s.Objects[:once+1], s.Bytes[:once+1], s.Arrays})
	if once == len(rounds) || !found.Steps {
		return found
	}
	from := secondHalf(rounds)
	now := rate(rounds[from:], s.Bytes[from:], phases(Confirm, Confirm))
	back := givenBack(rounds, s.Bytes)
	switch {
	case now < slowed*rate(rounds[:from], s.Bytes[:from+1], Active):
		return stopped(back)
	case back <= someBack:
		return Finding{Verdict: Growing, Steps: true}
	}
	return settle(rounds, s.Bytes)
}

// stepsOnce is the rule for steps on one retry.
func stepsOnce(rounds []Round, s Series) Finding {
	from := secondHalf(rounds)
	now := rate(rounds[from:], s.Bytes[from:], phases(Confirm, Confirm))
	before := max(rate(rounds, s.Bytes, phases(Small, Medium)), rate(rounds, s.Bytes, phases(Large, Burst)))
	objects, _, _ := Gained(rounds, s.Objects, phases(Confirm, Confirm))
	back := givenBack(rounds, s.Bytes)
	switch {
	case now <= 0, 4*now < before:
		return stopped(back)
	case s.few(objects), objects < enough && now < atLeast:
		return Finding{Verdict: Saturating, Reason: Filled}
	case now > leap*before:
		return Finding{Verdict: Steady}
	case back <= someBack:
		return Finding{Verdict: Growing, Steps: true}
	}
	return Finding{Verdict: Noisy, Steps: true}
}

// few reports whether so many objects may have come by chance.
func (s Series) few(objects int64) bool { return !s.Arrays && 0 < objects && objects < enough }

// stopped is a site that no longer grows, and gave back that share of what it gained.
func stopped(back float64) Finding {
	if back > someBack {
		return Finding{Verdict: Saturating, Reason: Bounded}
	}
	return Finding{Verdict: Saturating, Reason: Filled}
}

// firstRetry is the number of rounds until the end of the first retry.
func firstRetry(rounds []Round) int {
	n := 0
	for i, r := range rounds {
		if Retrying(r) {
			n++
		}
		if n > len(Retry) {
			return i
		}
	}
	return len(rounds)
}

// secondHalf is the index of the first round after half of all operations: what doubles has doubled
// once in the rounds from there on, and a cache of at most half as many entries has not grown.
func secondHalf(rounds []Round) int {
	total := 0
	for _, r := range rounds {
		if Active(r) {
			total += r.Ops
		}
	}
	from, before := 0, 0
	for i, r := range rounds {
		if Active(r) {
			before += r.Ops
		}
		if 2.05*float64(before) <= float64(total) {
			from = i + 1
		}
	}
	return from
}

// givenBack is what the confirming rounds lost that lost anything, as a share of what the others
// gained.
func givenBack(rounds []Round, bytes []int64) float64 {
	var gained, lost int64
	for i, r := range rounds {
		if phases(Confirm, Confirm)(r) {
			gained += max(0, bytes[i+1]-bytes[i])
			lost += max(0, bytes[i]-bytes[i+1])
		}
	}
	return float64(lost) / float64(max(gained, 1))
}

// settle decides about a site that gives back part of what it gains, after two retries: it grows
// when it never falls again to where it has been.
func settle(rounds []Round, bytes []int64) Finding {
	var live []int64
	for i, r := range rounds {
		if phases(Confirm, Confirm)(r) {
			live = append(live, bytes[i+1])
		}
	}
	third := len(live) / 3
	first, last := live[:third], live[len(live)-third:]
	if slices.Min(last) > slices.Max(first) {
		return Finding{Verdict: Growing, Steps: true}
	}
	return Finding{Verdict: Saturating, Reason: Bounded}
}

// byTime reports whether the site gained, in the rounds that ran few operations in the time of
// many, more than the operations let expect: as much as the time does, by the likelier of two
// Poisson distributions and a margin, or twice as much and more. Events are objects, or rounds that
// gained bytes where there are few objects. The round that gained most does not count: something
// that grows in steps may have taken one.
func byTime(rounds []Round, s Series) bool {
	const few, margin = 3, 3
	gain := func(i int) float64 {
		if s.Bytes[i+1] > s.Bytes[i] {
			return 1
		}
		return 0
	}
	if objects, _, _ := Gained(rounds, s.Objects, Retrying); objects >= enough {
		gain = func(i int) float64 { return float64(s.Objects[i+1] - s.Objects[i]) }
	}
	var events, seen, most float64
	n := 0.0
	for i, r := range rounds {
		switch {
		case Retrying(r):
			events += gain(i)
		case paced(r):
			n++
			seen += gain(i)
			most = max(most, gain(i))
		}
	}
	_, ops, took := Gained(rounds, s.Objects, Retrying)
	_, fewOps, sameTime := Gained(rounds, s.Objects, paced)
	if n < 2 || fewOps == 0 || ops == 0 || took == 0 {
		return false
	}
	seen -= most
	byOps := events * float64(fewOps) / float64(ops) * (n - 1) / n
	byTime := events * sameTime.Seconds() / took.Seconds() * (n - 1) / n
	if seen >= 2*byOps+4 {
		return true
	}
	return seen >= 2 && byTime >= few && seen*math.Log(byTime/byOps) > byTime-byOps+margin
}
