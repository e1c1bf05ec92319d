// Package climb decides whether a number that is measured again and again climbs, as memory that
// leaks does.
package climb

import (
	"math"
	"slices"
)

const (
	// Windows is how many windows in a row must grow before growth is a finding.
	Windows = 10

	// Fewest is the least number of windows that can be judged.
	Fewest = 6

	// Growth whose slope has fallen to this share from the first window to the
	// last levels off. So does growth that falls less, but clearly: by as many
	// standard errors as the second number says.
	fallen  = 0.85
	clearly = 2.5
	likely  = 2

	// A slope that keeps this share of itself is straight, however clear the rest is: of an even
	// series the rest is rounding. A hundred times the growth that was seen would be to come.
	straight = 0.99

	// So many rising windows before those that are judged are worth a look.
	fewestBefore = 3

	// Growth of less than this share of what there was at first is small beside
	// the noise of a heap of that size; over a longer window it will not be.
	smallShare = 0.02

	// tolerance is how much faster than the work memory may grow with it.
	tolerance = 1.5
)

// A Climb is the growth in the windows that were judged.
type Climb struct {
	From, To  float64 // the first and the last window's least value
	PerSecond float64 // by the median slope of all pairs of windows (Theil and Sen)
	End       float64 // where growth that levels off would end
}

// A Verdict says whether a series climbs, and if it does not, why.
type Verdict int

const (
	Unknown   Verdict = iota // too few windows
	Climbs                   // it grows in every window, and nothing explains it
	Flat                     // it does not grow, or hardly
	Uneven                   // it grew, but not in every window, or most of it at once
	Explained                // more work explains it
	LevelsOff                // it grows less and less, as a cache does that fills
)

// A Series is one signal in consecutive windows, the oldest first.
type Series struct {
	Low  []float64 // least value in each window
	End  []float64 // the window's end, in seconds
	Work []float64 // work done in the window: requests, or bytes allocated
}

// Judge decides whether the last windows of s climb towards ceiling (0: none
// is known) by more than floor:
//
//   - the least value grew in every window, to one that no window before has seen:
//     garbage, spikes and noise do not;
//   - evenly: a step that holds does not;
//   - by more than floor beyond what more work explains: a wave of traffic carries
//     memory up in proportion, and down again;
//   - and it does not level off below the ceiling, as a cache does that fills.
//
// It looks at the last [Windows] windows; at all of them where there are fewer, but at least
// [Fewest].
func (s Series) Judge(floor, ceiling float64) (Climb, Verdict) {
	if len(s.Low) < Fewest {
		return Climb{}, Unknown
	}
	n := max(len(s.Low)-Windows, 0)
	highest := 0.0
	for _, v := range s.Low[:n] {
		highest = math.Max(highest, v)
	}
	earlier := s.slice(0, n)
	s = s.slice(n, len(s.Low))
	last := len(s.Low) - 1
	c := Climb{From: s.Low[0], To: s.Low[last], PerSecond: s.slope(s.Low)}
	least := math.Max(floor, smallShare*c.From)
	switch {
	case c.To-c.From <= least || c.To <= highest:
		return c, Flat
	case !s.grows():
		return c, Uneven
	case c.To-c.From-s.explained() <= least:
		return c, Explained
	}
	end, ok := s.levelsOff()
	if !ok {
		end, ok = s.slowsAfter(earlier)
	}
	if !ok {
		end, ok = s.fromTheFoot(earlier)
	}
	if ok && (ceiling == 0 || end < ceiling) {
		c.End = end
		return c, LevelsOff
	}
	return c, Climbs
}

func (s Series) slice(from, to int) Series {
	return Series{s.Low[from:to], s.End[from:to], s.Work[from:to]}
}

// perWork is the growth for each unit of work.
func (s Series) perWork() float64 {
	work := 0.0
	for _, w := range s.Work[1:] {
		work += w
	}
	return (s.Low[len(s.Low)-1] - s.Low[0]) / work
}

// fromTheFoot judges s together with the windows before it in which it rose already, where there
// are some: with noise, ten windows of a cache that fills may look straight, and its first ones
// show the bend.
func (s Series) fromTheFoot(earlier Series) (end float64, ok bool) {
	all := Series{slices.Concat(earlier.Low, s.Low), slices.Concat(earlier.End, s.End), slices.Concat(earlier.Work, s.Work)}
	n := len(earlier.Low)
	foot := n
	for foot > 0 && n-foot < Windows && all.Low[foot-1] < all.Low[foot] {
		foot--
	}
	if n-foot < fewestBefore {
		return 0, false
	}
	return all.slice(foot, len(all.Low)).levelsOff()
}

// slowsAfter compares s with up to three times as many windows before it,
// where there are so many, and says where growth would end if it fell on from the
// fastest of them like this.
func (s Series) slowsAfter(earlier Series) (end float64, ok bool) {
	now, fastest, blocks := s.perWork(), 0.0, 0.0
	n := len(s.Low)
	for i := 1; i <= 3 && len(earlier.Low) >= i*n; i++ {
		from := len(earlier.Low) - i*n
		if g := earlier.slice(from, from+n).perWork(); g > fastest {
			fastest, blocks = g, float64(i)
		}
	}
	if fastest == 0 || now >= fastest*fallen {
		return 0, false
	}
	ratio := math.Pow(now/fastest, 1/blocks)
	last := s.Low[n-1]
	return last + (last-s.Low[0])*ratio/(1-ratio), true
}

// grows reports whether every window is above the one before, and half of the
// growth would be there if each had grown by the median.
func (s Series) grows() bool {
	var growth []float64
	for i := 1; i < len(s.Low); i++ {
		if s.Low[i] <= s.Low[i-1] {
			return false
		}
		growth = append(growth, s.Low[i]-s.Low[i-1])
	}
	return median(growth...)*float64(len(growth))*2 >= s.Low[len(s.Low)-1]-s.Low[0]
}

// explained is the growth that comes with more work in the same time, when
// what is kept for each unit of work stays about the same.
func (s Series) explained() float64 {
	rate := make([]float64, len(s.Work))
	for i := 1; i < len(s.Work); i++ {
		rate[i] = s.Work[i] / math.Max(s.End[i]-s.End[i-1], 1e-9)
	}
	rate[0] = rate[1]
	more := s.slope(rate) * (s.End[len(s.End)-1] - s.End[0])
	return tolerance * math.Max(more, 0) * mean(s.Low) / mean(rate)
}

// levelsOff reports whether s grows less and less for the same work, and where
// that would end: it fits a parabola over the work done and extrapolates its
// slopes at both ends as a decay.
func (s Series) levelsOff() (end float64, ok bool) {
	slope, bend, err := parabola(s.work(), s.Low)
	last := slope + 2*bend
	switch {
	case slope <= 0 || bend >= 0:
		return 0, false
	case last <= 0:
		return s.Low[len(s.Low)-1], true
	case last/slope > straight, last/slope > fallen && -bend < clearly*err:
		return 0, false
	}
	return s.Low[len(s.Low)-1] + last/math.Log(slope/last), true
}

// Doubtful reports whether noise hides if the last [Windows] windows level off: they could well do,
// within two standard errors. More windows will tell.
func (s Series) Doubtful() bool {
	n := max(len(s.Low)-Windows, 0)
	s = s.slice(n, len(s.Low))
	slope, bend, err := parabola(s.work(), s.Low)
	return slope+2*(bend-likely*err) < fallen*(slope+likely*err)
}

// work is the work done up to the end of each window, as a share of all.
func (s Series) work() []float64 {
	x := make([]float64, len(s.Work))
	for i := 1; i < len(x); i++ {
		x[i] = x[i-1] + s.Work[i]
	}
	for i := range x {
		x[i] /= x[len(x)-1]
	}
	return x
}

// parabola fits y = a + slope·x + bend·x² by least squares; err is the
// standard error of bend.
func parabola(x, y []float64) (slope, bend, err float64) {
	n := float64(len(x))
	squares := make([]float64, len(x))
	for i := range x {
		squares[i] = x[i] * x[i]
	}
	linear := centred(x)
	curved := centred(squares)
	along := dot(curved, linear) / dot(linear, linear)
	for i := range curved {
		curved[i] -= along * linear[i]
	}
	bend = dot(y, curved) / dot(curved, curved)
	line := dot(y, linear) / dot(linear, linear)
	rest := centred(y)
	for i := range rest {
		rest[i] -= line*linear[i] + bend*curved[i]
	}
	err = math.Sqrt(dot(rest, rest) / (n - 3) / dot(curved, curved))
	return line - bend*along, bend, err
}

func centred(x []float64) []float64 {
	m := mean(x)
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] - m
	}
	return out
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// slope is the median of the slopes between all pairs of windows.
func (s Series) slope(values []float64) float64 {
	var all []float64
	for i := range values {
		for j := i + 1; j < len(values); j++ {
			if d := s.End[j] - s.End[i]; d > 0 {
				all = append(all, (values[j]-values[i])/d)
			}
		}
	}
	return median(all...)
}

func median(x ...float64) float64 {
	if len(x) == 0 {
		return 0
	}
	slices.Sort(x)
	if n := len(x); n%2 == 0 {
		return (x[n/2-1] + x[n/2]) / 2
	}
	return x[len(x)/2]
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// Rising reports whether the last n windows grow, each.
func (s Series) Rising(n int) bool {
	last := len(s.Low)
	if last < n {
		return false
	}
	for i := last - n + 1; i < last; i++ {
		if s.Low[i] <= s.Low[i-1] {
			return false
		}
	}
	return true
}
