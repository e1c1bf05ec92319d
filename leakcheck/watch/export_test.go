package watch

import (
	"iter"
	"time"
	"unsafe"
)

// FeedEach gives a series of samples to a Watcher that does not sample by
// itself, and calls each after every one.
func FeedEach(o Options, samples iter.Seq[Sample], each func(*Watcher)) (*Watcher, error) {
	w, err := newWatcher(o)
	if err != nil {
		return nil, err
	}
	for s := range samples {
		w.take(s)
		each(w)
	}
	return w, nil
}

// Begin runs the callbacks of a Watcher that was fed.
func (w *Watcher) Begin() { w.done.Go(w.call) }

// Take gives a Watcher one more sample.
func (w *Watcher) Take(s Sample) { w.take(s) }

// NewSampler returns what the sampling loop does once an interval.
func NewSampler(o Options) (func(), error) {
	w, err := newWatcher(o)
	if err != nil {
		return nil, err
	}
	m := newMeter(nil)
	return func() { w.take(m.read()) }, nil
}

// HistoryBytes is what a Watcher's history takes when it is full.
const HistoryBytes = uint64(levels * keep * unsafe.Sizeof(bucket{}))

// Last is the newest sample of a Watcher that has one.
func (w *Watcher) Last() Sample {
	s, _ := w.Latest()
	return s
}

// Append writes a point of an earlier life to a folder's history.
func Append(path string, life int64, up float64, used int64) error {
	d := dir{path: path}
	return d.append(point{Life: life, Time: time.Unix(0, life).Add(time.Duration(up * float64(time.Second))), Up: up, Used: used, Live: used, RSS: 2 * used})
}

// ReadOne is one sample of this process.
func ReadOne() Sample { return newMeter(nil).read() }

const (
	MaxCaptures  = maxCaptures
	HistoryLimit = historyLimit
)

// TakeCopies makes a Watcher that is fed take frozen copies.
func (w *Watcher) TakeCopies() { w.copies = true }

// Explain asks for what retains a finding's objects, as if it had been found now.
func (w *Watcher) Explain(f Finding) (Finding, error) {
	f.Retainers, f.RetainedBy = nil, ""
	return w.explain(f, time.Now()), nil
}

// UserSite is the site of an allocation that the caller makes.
func UserSite(stack []uintptr) Site { return userSite(stack) }

// Standard tells functions of the standard library.
func Standard(function string) bool { return standard(function) }
