package watch

import (
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
)

// A reading is what is known while watch reads a frozen copy. The memory that this takes is watch's
// own and is given back within seconds: it is neither growth nor pressure of the program.
type reading struct {
	before Sample // when it began
	need   int64  // bytes that it should take
}

// without is s less what the reading has taken: memory that has come since it began, and no more
// than it should take. r may be nil.
func (r *reading) without(s Sample) Sample {
	if r == nil {
		return s
	}
	left := r.need
	s.Live, left = less(s.Live, r.before.Live, left)
	s.Fixed, _ = less(s.Fixed, r.before.Fixed, left)
	s.RSS, _ = less(s.RSS, r.before.RSS, r.need)
	s.Collection = min(s.Collection, r.before.Collection)
	return s
}

// less takes from now what has come since before, at most most, and says what is left of most.
func less(now, before, most int64) (rest, left int64) {
	own := min(max(now-before, 0), most)
	return now - own, most - own
}

// beginReading counts what memory grows by from now on as watch's own. Where there is little room,
// the process may end meanwhile: so what is known is in the termination message first.
func (w *Watcher) beginReading(s Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.latest(); ok {
		s.Collection = last.Collection // it is known between two samples only
	}
	w.reading = &reading{before: s, need: needToLook(s)}
	if w.o.Log != nil {
		w.o.Log.Info("reading a frozen copy", "takes", w.reading.need)
	}
	if w.tight(s) && !w.evident {
		w.leaveMessage(w.evidence("watch reads a frozen copy of the process, which takes about "+figure.Bytes(w.reading.need), s, w.retainers, nil))
	}
}

// endReading is called when what reading took is given back.
func (w *Watcher) endReading() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tight(w.reading.before) && !w.evident {
		w.leaveMessage("") // it was not the end
	}
	w.reading = nil
}

// tight tells whether there will be no room to read a copy when memory is near the limit.
func (w *Watcher) tight(s Sample) bool {
	return w.limit.bytes > 0 && float64(needToLook(s)) > roomShare*(1-pressureAt)*float64(w.limit.bytes)
}

// The copies that are taken before the pressure, where there will be no room for one at it.
const (
	earlyFrom  = 1. / 4 // of the limit: what is used at the first one
	earlyStep  = 1. / 8 // of the limit: what use grows by from one to the next
	earlyPause = time.Hour
)

// An early is when copies were taken below the pressure.
type early struct {
	tried bool
	used  int64     // at the last one
	up    float64   // when it was, in seconds since Start
	at    time.Time // the same by the wall clock
	err   error     // why it has shown nothing
}

// due tells whether it is time for a copy. Once an hour it forgets a height from which memory has
// fallen since, so that there are at most five copies in an hour.
func (e *early) due(used, limit int64, up float64) bool {
	step := int64(earlyStep * float64(limit))
	if e.tried && used < e.used-step && up-e.up >= earlyPause.Seconds() {
		e.used = used
	}
	return used >= int64(earlyFrom*float64(limit)) && (!e.tried || used >= e.used+step)
}

// tryAt notes a copy.
func (e *early) tryAt(s Sample) {
	*e = early{tried: true, used: max(s.used(), s.RSS), up: s.Up, at: time.Now()}
}

// lookEarly takes a copy while there is room for one, if there will be none at the pressure: from a
// quarter of the limit on, and again when use has grown by an eighth of the limit. w.mu is held.
func (w *Watcher) lookEarly(s Sample) {
	used := max(s.used(), s.RSS)
	if w.dir == nil || !w.copies || w.evident || w.reading != nil || !w.tight(s) || !w.early.due(used, w.limit.bytes, s.Up) {
		return
	}
	w.early.tryAt(s)
	w.done.Go(func() {
		in, err := w.lookInto(nil)
		defer w.keepCopy(in)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.early.err = err; err != nil {
			if w.o.Log != nil {
				w.o.Log.Warn("watch", "error", err)
			}
			return
		}
		w.retainers, w.retainersAt = in.retainers, in.at
	})
}
