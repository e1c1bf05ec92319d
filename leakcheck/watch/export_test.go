package watch

import (
	"iter"
	"testing"
	"time"
	"unsafe"

	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
)

func init() { ownheap.InTest(testing.CoverMode) }

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
	if w.dir != nil {
		w.dir.slot.close() // as if the process had ended: the next one has its history
	}
	return w, nil
}

// FeedRules is FeedEach for the rules alone: no profile is taken, which is most of the work.
func FeedRules(o Options, samples iter.Seq[Sample]) (*Watcher, error) {
	w, err := newWatcher(o)
	if err != nil {
		return nil, err
	}
	w.rulesAlone = true
	for s := range samples {
		w.take(s)
	}
	if w.dir != nil {
		w.dir.slot.close()
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
	s, err := openSlot(path)
	if err != nil {
		return err
	}
	defer s.close()
	return s.append(point{Life: life, Time: time.Unix(0, life).Add(time.Duration(up * float64(time.Second))), Up: up, Used: used, Live: used, RSS: 2 * used})
}

// ReadOne is one sample of this process.
func ReadOne() Sample { return newMeter(nil).read() }

const (
	MaxCaptures  = maxCaptures
	HistoryLimit = historyLimit
	MaxAside     = maxAside
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

// FeedEachOpen gives a series of samples to a Watcher that holds its history until Stop.
func FeedEachOpen(o Options, samples iter.Seq[Sample]) (*Watcher, error) {
	w, err := newWatcher(o)
	if err != nil {
		return nil, err
	}
	for s := range samples {
		w.take(s)
	}
	return w, nil
}

// AddFinding adds a finding to the page.
func (w *Watcher) AddFinding(f Finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.findings = append(w.findings, f)
}

// Own tells watch's own functions.
func Own(function string) bool { return ownFunction(function) }

// HeldSites are the lines that hold memory of this process.
func HeldSites() []Site { return heapSites().sorted() }

// Ticks is what the axes of a graph say, from 0 to top, and over a span of time.
func Ticks(top float64, wholes bool, n int) []string {
	step, per, unit := roundStep(top, n, wholes)
	var texts []string
	for i := 0; float64(i)*step <= top; i++ {
		texts = append(texts, tickText(float64(i)*step, per, unit))
	}
	return texts
}

// TimeStep is the step of the axis of time.
func TimeStep(span time.Duration, n int) (time.Duration, string) { return timeStep(span, n) }

// TimeLabels says where the texts of the axis of time begin and end, in each shape of a graph.
func TimeLabels(from, to time.Time) (shapes [][][2]float64) {
	g := graph{from: from, to: to}
	for _, s := range []shape{wide, narrow} {
		var labels [][2]float64
		for _, t := range g.in(s).XTicks {
			half := letter * float64(len(t.Text)) / 2
			labels = append(labels, [2]float64{t.X - half, t.X + half})
		}
		shapes = append(shapes, labels)
	}
	return shapes
}

// SetRetainers is as if a copy had shown them.
func (w *Watcher) SetRetainers(r []Retainer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retainers = r
}

// SetLook has frozen copies replaced: look is asked instead for what retains the memory.
func (w *Watcher) SetLook(look func() ([]Retainer, error)) {
	w.copies = true
	w.lookInto = func([]Site) (inside, error) {
		r, err := look()
		return inside{at: time.Now(), retainers: r}, err
	}
}

// Settle waits for the copies that are being taken.
func (w *Watcher) Settle() { w.done.Wait() }

// BeginReading is as if watch began to read a frozen copy, for which it takes so many bytes.
func (w *Watcher) BeginReading(s Sample, takes int64) {
	w.beginReading(s)
	w.reading.need = takes
}

// EndReading ends it.
func (w *Watcher) EndReading() { w.endReading() }

// Need is what reading a copy takes.
func Need(s Sample) int64 { return needToLook(s) }

// Evident tells whether evidence was written, and memory has not fallen since.
func (w *Watcher) Evident() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.evident
}

// SetLimit sets the limit, and NoLimit forgets it, as on a system where none is known.
func (w *Watcher) SetLimit(bytes int64) { w.limit.bytes = bytes }
func (w *Watcher) NoLimit()             { w.limit = limit{} }
