package watch

import (
	"math"
	"slices"
	"time"
)

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
	first, peak int64    // memory in use: at its first point, and at its highest
	last        int64    // at its last point
	quarters    [4]int64 // at the end of each quarter of its time
	lasted      time.Duration
}

// climbed tells a run that climbed until it ended. A cache fills in the first half, and a day's
// traffic goes down again; only a leak rises in the second half too, and never falls by much.
func (l life) climbed(floor int64) bool {
	rise := l.last - l.first
	if rise <= max(floor, l.peak/4) || l.last < l.peak/10*9 || l.last-l.quarters[1] < rise/4 {
		return false
	}
	for i, before := range l.quarters[:3] {
		if before-l.quarters[i+1] > rise/10 {
			return false
		}
	}
	return true
}

// mountains decides whether the runs before this one tell the story of
// a leak that only restarts: at least three in a row rose by more than floor, ended at
// their peak, and the peaks are alike.
func mountains(past []life, floor int64) ([]life, bool) {
	var rising []life
	for _, l := range slices.Backward(past) {
		alike := len(rising) == 0 || (l.peak*3 > rising[0].peak*2 && l.peak*2 < rising[0].peak*3)
		if !l.climbed(floor) || !alike {
			break
		}
		rising = append(rising, l)
	}
	slices.Reverse(rising)
	return rising, len(rising) >= 3
}
