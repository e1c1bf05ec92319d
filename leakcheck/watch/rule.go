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
