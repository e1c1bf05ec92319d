package remote

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/leaksafe/leaksafe/leakcheck/internal/climb"
)

// judge reaches the verdict. last is the last error of a fetch, if any failed.
func judge(url string, o Options, all []Measurement, last error) *Report {
	r := &Report{URL: url, Verdict: Unknown, Findings: []Finding{}, Fetches: len(all), Floor: o.Floor, Samples: all}
	if len(all) > 0 {
		r.Over = all[len(all)-1].Seconds - all[0].Seconds
	}
	if failed := o.Fetches - len(all); failed > 0 && last != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("%d of %d fetches failed; the last error: %v", failed, o.Fetches, last))
	}
	switch {
	case len(all) < climb.Fewest:
		r.Reason = fmt.Sprintf("%d of %d fetches succeeded, and at least %d are needed", len(all), o.Fetches, climb.Fewest)
		return r
	case restarted(all):
		r.Reason = "the service was started again meanwhile, or the address leads to several processes: name one of them"
		return r
	}
	r.Findings = append(findHeap(all, float64(o.Floor)), append(findGoroutines(all), findLeaked(all)...)...)
	if len(r.Findings) > 0 {
		r.Verdict = Growing
		return r
	}
	r.Verdict, r.Reason = quiet(all, float64(o.Floor))
	return r
}

// restarted tells whether counters that only grow have fallen.
func restarted(all []Measurement) bool {
	for i := 1; i < len(all); i++ {
		if all[i].Allocated < all[i-1].Allocated || all[i].Collections < all[i-1].Collections {
			return true
		}
	}
	return false
}

// series is a signal over the fetches. The work of a service is what it allocates.
func series(all []Measurement, value func(*Measurement) int64) climb.Series {
	var s climb.Series
	for i := range all {
		s.Low = append(s.Low, float64(value(&all[i])))
		s.End = append(s.End, all[i].Seconds)
		s.Work = append(s.Work, float64(max(all[i].Allocated-all[max(i-1, 0)].Allocated, 1)))
	}
	return s
}

// verdict applies the rule of package watch. Growth that slows down is a cache that fills only if
// less is to come than was seen: a service that is slowed down by others leaks more slowly too.
func verdict(s climb.Series, floor float64) (climb.Climb, climb.Verdict) {
	first, last := s.Low[0], s.Low[len(s.Low)-1]
	return s.Judge(floor, last+max(last-first, 1))
}

func live(m *Measurement) int64       { return m.Live }
func goroutines(m *Measurement) int64 { return m.Goroutines }

func findHeap(all []Measurement, floor float64) []Finding {
	c, v := verdict(series(all, live), floor)
	sites := grown(all, func(m *Measurement) snapshot { return m.heap })
	if v == climb.Climbs {
		return []Finding{finding(LiveHeap, c, notable(sites, fewSamples))}
	}
	// A line may climb below the noise of the others.
	return climbing(LiveHeap, all, sites, floor, func(m *Measurement) snapshot { return m.heap })
}

func findGoroutines(all []Measurement) []Finding {
	c, v := verdict(series(all, goroutines), countFloor)
	sites := grown(all, func(m *Measurement) snapshot { return m.goroutines })
	if v == climb.Climbs {
		return []Finding{finding(Goroutines, c, notable(sites, 0))}
	}
	return climbing(Goroutines, all, sites, countFloor, func(m *Measurement) snapshot { return m.goroutines })
}

// climbing makes one finding of the lines that climb, each by itself.
func climbing(signal string, all []Measurement, sites []Site, floor float64, of func(*Measurement) snapshot) []Finding {
	var f Finding
	for _, x := range sites {
		at := place{x.Func, x.File, x.Line, x.Caller}
		c, v := verdict(series(all, func(m *Measurement) int64 { return of(m)[at] }), floor)
		if v != climb.Climbs {
			continue
		}
		f.Signal = signal
		f.From, f.To, f.PerHour = f.From+c.From, f.To+c.To, f.PerHour+c.PerSecond*3600
		f.Sites = append(f.Sites, x)
	}
	if f.Signal == "" {
		return nil
	}
	f.Sites = f.Sites[:min(len(f.Sites), shown)]
	return []Finding{f}
}

// findLeaked finds goroutines that the collector has proven unable to go on, if they became more.
func findLeaked(all []Measurement) []Finding {
	first, last := &all[0], &all[len(all)-1]
	if first.Leaked < 0 || last.Leaked <= first.Leaked {
		return nil
	}
	f := Finding{Signal: Leaked, From: float64(first.Leaked), To: float64(last.Leaked)}
	if d := last.Seconds - first.Seconds; d > 0 {
		f.PerHour = (f.To - f.From) / d * 3600
	}
	for at, n := range last.leaked {
		if n -= first.leaked[at]; n > 0 {
			f.Sites = append(f.Sites, site(at, n))
		}
	}
	sortSites(f.Sites)
	f.Sites = f.Sites[:min(len(f.Sites), shown)]
	return []Finding{f}
}

func finding(signal string, c climb.Climb, sites []Site) Finding {
	return Finding{Signal: signal, From: c.From, To: c.To, PerHour: c.PerSecond * 3600, Sites: sites}
}

// notable are the lines that matter: the first few, without those that grew by less than noise, or
// by less than a fiftieth of the first. What happens to be under way in a fetch grows by one or
// two.
func notable(sites []Site, noise int64) []Site {
	n := min(len(sites), shown)
	for n > 1 && (sites[n-1].Growth < noise || 50*sites[n-1].Growth < sites[0].Growth) {
		n--
	}
	return sites[:n]
}

const shown = 5

// fewSamples is what a heap profile says of a line of which it has caught four objects more, at the
// default rate of one in 512 KiB: chance brings one or two.
const fewSamples = 4 * 512 << 10

// grown lists the lines that hold more in the last third of the fetches than in the middle, and
// more there than in the first third: a cache that filled at the start is none of them. The profile
// is a sample, so each third counts with its mean.
func grown(all []Measurement, of func(*Measurement) snapshot) []Site {
	n := len(all) / 3
	first, middle, last := sum(all[:n], of), sum(all[n:2*n], of), sum(all[len(all)-n:], of)
	sites := []Site{}
	for at, v := range last {
		early, late := middle[at]-first[at], v-middle[at]
		if early > 0 && late > 0 {
			sites = append(sites, site(at, 3*min(early, late)/int64(n))) // three times what was gained from one third to the next
		}
	}
	sortSites(sites)
	return sites
}

func sum(all []Measurement, of func(*Measurement) snapshot) snapshot {
	out := snapshot{}
	for i := range all {
		for at, v := range of(&all[i]) {
			out[at] += v
		}
	}
	return out
}

func site(at place, growth int64) Site {
	return Site{Func: at.fn, File: at.file, Line: at.line, Caller: at.caller, Growth: growth}
}

func sortSites(s []Site) {
	slices.SortFunc(s, func(a, b Site) int {
		return cmp.Or(cmp.Compare(b.Growth, a.Growth), cmp.Compare(a.Func, b.Func), cmp.Compare(a.Line, b.Line))
	})
}

// quiet is the verdict where nothing climbs: steady, unless a signal went up and nothing explains
// it.
func quiet(all []Measurement, floor float64) (answer, reason string) {
	for _, x := range []struct {
		name  string
		value func(*Measurement) int64
		floor float64
	}{{LiveHeap, live, floor}, {Goroutines, goroutines, countFloor}} {
		s := series(all, x.value)
		switch _, v := verdict(s, x.floor); {
		case v == climb.LevelsOff:
			reason = "the " + x.name + " grew, but less and less: a cache that fills"
		case v == climb.Explained:
			reason = "the " + x.name + " grew with the work"
		case v == climb.Uneven && stopped(s.Low):
			reason = "the " + x.name + " grew at first, and then no more: a cache that filled"
		case v == climb.Uneven && jumped(s.Low):
			return Unknown, "the " + x.name + " grew in one step: a one-time event, or something that grows in steps, as a large slice does: watch longer (-n, -interval)"
		case v == climb.Uneven && higher(s.Low):
			return Unknown, "the " + x.name + " is higher than at first, but did not grow in every fetch: watch longer (-n, -interval)"
		}
	}
	if first, last := all[0], all[len(all)-1]; reason == "" && last.Allocated-first.Allocated < idle*int64(len(all)) {
		reason = "the service hardly worked: what leaks by the request is seen only while requests come"
	}
	return Steady, reason
}

// idle is what a service allocates for each fetch if it does nothing else.
const idle = 4 << 20

// higher tells whether all of the last third is above all of the first.
func higher(v []float64) bool {
	n := len(v) / 3
	return slices.Min(v[len(v)-n:]) > slices.Max(v[:n])
}

// stopped tells whether the last third has little of the growth.
func stopped(v []float64) bool {
	n := len(v) / 3
	first, middle, last := median(v[:n]), median(v[n:len(v)-n]), median(v[len(v)-n:])
	return last-middle < (last-first)/5
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// jumped tells whether nearly all of the growth came between two fetches.
func jumped(v []float64) bool {
	step := 0.0
	for i := 1; i < len(v); i++ {
		step = max(step, v[i]-v[i-1])
	}
	return step >= 0.9*(v[len(v)-1]-v[0])
}
