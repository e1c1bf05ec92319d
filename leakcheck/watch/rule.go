package watch

import (
	"math"
	"slices"
	"time"
)

const (
	// windows is how many windows in a row must grow before growth is a finding.
	windows = 10

	// Growth whose slope has fallen to this share from the first window to the
	// last levels off. So does growth that falls less, but clearly: by as many
	// standard errors as the second number says.
	fallen  = 0.85
	clearly = 2.5

	// Growth of less than this share of what there was at first is small beside
	// the noise of a heap of that size; over a longer window it will not be.
	smallShare = 0.02

	// tolerance is how much faster than the work memory may grow with it.
	tolerance = 1.5
)

// A climb is growth that the rule believes in.
type climb struct {
	from, to  float64 // the first and the last window's least value
	perSecond float64 // by the median slope of all pairs of windows (Theil and Sen)
}

// A series is one signal in consecutive windows, the oldest first.
type series struct {
	low  []float64 // least value in each window
	end  []float64 // the window's end, in seconds
	work []float64 // work done in the window: requests, or bytes allocated
}

// judge decides whether the last windows of s climb towards ceiling (0: none
// is known) by more than floor:
//
//   - the least value grew in every window, to one that no window before has seen:
//     garbage, spikes and noise do not;
//   - evenly: a step that holds does not;
//   - by more than floor beyond what more work explains: a wave of traffic carries
//     memory up in proportion, and down again;
//   - and it does not level off below the ceiling, as a cache does that fills.
func (s series) judge(floor, ceiling float64) (climb, bool) {
	n := len(s.low) - windows
	if n < 0 {
		return climb{}, false
	}
	highest := 0.0
	for _, v := range s.low[:n] {
		highest = math.Max(highest, v)
	}
	earlier := s.slice(0, n)
	s = s.slice(n, n+windows)
	c := climb{s.low[0], s.low[windows-1], s.slope(s.low)}
	if !s.grows() || c.to <= highest || c.to-c.from-s.explained() <= math.Max(floor, smallShare*c.from) {
		return climb{}, false
	}
	end, ok := s.levelsOff()
	if !ok {
		end, ok = s.slowsAfter(earlier)
	}
	if ok && (ceiling == 0 || end < ceiling) {
		return climb{}, false
	}
	return c, true
}

func (s series) slice(from, to int) series {
	return series{s.low[from:to], s.end[from:to], s.work[from:to]}
}

// perWork is the growth for each unit of work.
func (s series) perWork() float64 {
	work := 0.0
	for _, w := range s.work[1:] {
		work += w
	}
	return (s.low[len(s.low)-1] - s.low[0]) / work
}

// slowsAfter compares s with up to three times as many windows before it,
// where there are so many, and says where growth would end if it fell on from the
// fastest of them like this.
func (s series) slowsAfter(earlier series) (end float64, ok bool) {
	now, fastest, blocks := s.perWork(), 0.0, 0.0
	for i := 1; i <= 3 && len(earlier.low) >= i*windows; i++ {
		from := len(earlier.low) - i*windows
		if g := earlier.slice(from, from+windows).perWork(); g > fastest {
			fastest, blocks = g, float64(i)
		}
	}
	if fastest == 0 || now >= fastest*fallen {
		return 0, false
	}
	ratio := math.Pow(now/fastest, 1/blocks)
	last := s.low[windows-1]
	return last + (last-s.low[0])*ratio/(1-ratio), true
}

// grows reports whether every window is above the one before, and half of the
// growth would be there if each had grown by the median.
func (s series) grows() bool {
	var growth []float64
	for i := 1; i < len(s.low); i++ {
		if s.low[i] <= s.low[i-1] {
			return false
		}
		growth = append(growth, s.low[i]-s.low[i-1])
	}
	return median(growth...)*float64(len(growth))*2 >= s.low[len(s.low)-1]-s.low[0]
}

// explained is the growth that comes with more work in the same time, when
// what is kept for each unit of work stays about the same.
func (s series) explained() float64 {
	rate := make([]float64, len(s.work))
	for i := 1; i < len(s.work); i++ {
		rate[i] = s.work[i] / math.Max(s.end[i]-s.end[i-1], 1e-9)
	}
	rate[0] = rate[1]
	more := s.slope(rate) * (s.end[len(s.end)-1] - s.end[0])
	return tolerance * math.Max(more, 0) * mean(s.low) / mean(rate)
}

// levelsOff reports whether s grows less and less for the same work, and where
// that would end: it fits a parabola over the work done and extrapolates its
// slopes at both ends as a decay.
func (s series) levelsOff() (end float64, ok bool) {
	x := make([]float64, len(s.work))
	for i := 1; i < len(x); i++ {
		x[i] = x[i-1] + s.work[i]
	}
	for i := range x {
		x[i] /= x[len(x)-1]
	}
	slope, bend, err := parabola(x, s.low)
	last := slope + 2*bend
	switch {
	case slope <= 0 || bend >= 0:
		return 0, false
	case last <= 0:
		return s.low[len(s.low)-1], true
	case last/slope > fallen && -bend < clearly*err:
		return 0, false
	}
	return s.low[len(s.low)-1] + last/math.Log(slope/last), true
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
func (s series) slope(values []float64) float64 {
	var all []float64
	for i := range values {
		for j := i + 1; j < len(values); j++ {
			if d := s.end[j] - s.end[i]; d > 0 {
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

// until is how long a climb at perSecond takes to cover bytes. It is 0 where
// that cannot be said.
func until(bytes, perSecond float64) time.Duration {
	if perSecond <= 0 || bytes <= 0 {
		return 0
	}
	return seconds(bytes / perSecond)
}

// seconds is a duration that does not overflow.
func seconds(s float64) time.Duration {
	return time.Duration(math.Min(s*float64(time.Second), float64(math.MaxInt64/2)))
}

// A life is what is known of one run of the process: see past.go.
type life struct {
	first, peak int64 // memory in use: at its first point, and at its highest
	last        int64 // at its last point
	lasted      time.Duration
}

// mountains decides whether the lives before this one tell the story of
// a leak that only restarts: at least three in a row rose by more than floor, ended at
// their peak, and the peaks are alike.
func mountains(past []life, floor int64) ([]life, bool) {
	var rising []life
	for _, l := range slices.Backward(past) {
		atPeak := l.last*10 >= l.peak*9
		rose := l.peak-l.first > max(floor, l.peak/4)
		alike := len(rising) == 0 || (l.peak*3 > rising[0].peak*2 && l.peak*2 < rising[0].peak*3)
		if !atPeak || !rose || !alike {
			break
		}
		rising = append(rising, l)
	}
	slices.Reverse(rising)
	return rising, len(rising) >= 3
}
