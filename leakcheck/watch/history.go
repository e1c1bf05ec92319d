package watch

import (
	"math"
	"slices"
)

// The history keeps samples in levels: the finest level has a bucket a sample,
// and a bucket of each further level covers eight of the level before. Every
// level is a ring, so that memory is fixed whatever the interval and however
// long the process lives.
const (
	fold   = 8   // buckets of one level in a bucket of the next
	keep   = 256 // buckets a level keeps
	levels = 6   // at 10 s the last level's bucket covers 91 h
)

// A bucket sums up a stretch of samples. The least value of a stretch tells
// growth from garbage and from work in flight.
type bucket struct {
	first, last Sample
	low         lows
	collection  float64 // mean share
	n           int
}

// lows are the signals that are judged, at their least.
type lows struct {
	live, outside, goroutines, files int64
}

// unknown is a live heap that is not known.
const unknown = math.MaxInt64

// newBucket is a bucket of one sample, of which judged is what the rules look at.
func newBucket(s, judged Sample) bucket {
	b := bucket{first: s, last: s, low: lows{judged.Live, judged.Outside, judged.Goroutines, judged.Files}, collection: judged.Collection, n: 1}
	if s.Cycles == 0 {
		b.low.live = unknown // until the first collection
	}
	return b
}

// add appends a later bucket to b.
func (b *bucket) add(c bucket) {
	if b.n == 0 {
		*b = c
		return
	}
	b.last = c.last
	b.low.live = min(b.low.live, c.low.live)
	b.low.outside = min(b.low.outside, c.low.outside)
	b.low.goroutines = min(b.low.goroutines, c.low.goroutines)
	b.low.files = min(b.low.files, c.low.files)
	b.collection = (b.collection*float64(b.n) + c.collection*float64(c.n)) / float64(b.n+c.n)
	b.n += c.n
}

// A level is a ring of buckets and the one that is being filled.
type level struct {
	ring    []bucket
	next    int // where the next bucket goes once the ring is full
	filling bucket
	parts   int // buckets of the level before in filling
}

func (l *level) push(b bucket) {
	if l.ring == nil {
		l.ring = make([]bucket, 0, keep)
	}
	if len(l.ring) < keep {
		l.ring = append(l.ring, b)
		return
	}
	l.ring[l.next] = b
	l.next = (l.next + 1) % keep
}

// at returns the i-th bucket, the oldest first.
func (l *level) at(i int) *bucket {
	return &l.ring[(l.next+i)%len(l.ring)]
}

// tail returns the last n buckets for which ok holds, in order of time; fewer
// where there are fewer. They stay the ring's.
func (l *level) tail(n int, ok func(*bucket) bool) []*bucket {
	out := make([]*bucket, 0, n)
	for i := len(l.ring) - 1; i >= 0 && len(out) < n; i-- {
		if b := l.at(i); ok(b) {
			out = append(out, b)
		}
	}
	slices.Reverse(out)
	return out
}

type history struct {
	levels [levels]level
}

// add takes a sample, and what the rules look at of it, and returns the highest level that
// completed a bucket with it: levels 1 to that one have a new window to judge.
func (h *history) add(s, judged Sample) (completed int) {
	b := newBucket(s, judged)
	h.levels[0].push(b)
	for i := 1; i < levels; i++ {
		l := &h.levels[i]
		l.filling.add(b)
		l.parts++
		if l.parts < fold {
			return i - 1
		}
		b = l.filling
		l.push(b)
		l.filling, l.parts = bucket{}, 0
	}
	return levels - 1
}

// since returns the buckets that began at most seconds before the newest
// sample, from the finest level that reaches back so far.
func (h *history) since(seconds float64) []*bucket {
	if len(h.levels[0].ring) == 0 {
		return nil
	}
	newest := h.levels[0].at(len(h.levels[0].ring) - 1).last.Up
	from := newest - seconds
	for i := range h.levels {
		l := &h.levels[i]
		reaches := len(l.ring) > 0 && (l.at(0).first.Up <= from || len(l.ring) < keep)
		if !reaches && i < levels-1 {
			continue
		}
		out := l.tail(keep, func(b *bucket) bool { return b.last.Up >= from })
		if i > 0 && l.parts > 0 {
			out = append(out, &l.filling)
		}
		return out
	}
	return nil
}

// work is how much the process did during b: traffic where there is a
// counter, allocated bytes otherwise, which follow traffic closely enough.
func (b *bucket) work(before *bucket) float64 {
	var w int64
	if b.last.Traffic >= 0 && before.last.Traffic >= 0 {
		w = b.last.Traffic - before.last.Traffic
	} else {
		w = b.last.Allocated - before.last.Allocated
	}
	return math.Max(float64(w), 1)
}

// collected reports whether a collection ended during b, and its live heap is known: the live heap
// of a stretch without one is the number of the stretch before.
func (b *bucket) collected() bool {
	return b.n > 1 && b.last.Cycles > b.first.Cycles && b.low.live != unknown
}
