package watch

import (
	"bytes"
	"errors"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/climb"
)

// A baseline is what the process held before the windows that are judged.
type baseline struct {
	heap, middle snapshot // heap is half of the judged windows older than middle, which is at most half of them old
	goroutines   snapshot
	age          int    // windows since middle was taken
	profile      []byte // heap profile, taken when growth was first suspected
}

// A ceiling is where a signal may not get to.
type ceiling struct {
	at    float64 // 0: there is none
	share float64 // how much it would rise for each byte of a higher limit
}

// judge looks at the last windows of a level, signal by signal. w.mu is held.
func (w *Watcher) judge(lv int) {
	any := func(*bucket) bool { return true }
	all := w.history.levels[lv].tail(keep, any)
	live := seriesOf(w.history.levels[lv].tail(keep, (*bucket).collected))(func(b *bucket) int64 { return b.low.live })
	series := seriesOf(all)
	outside := series(func(b *bucket) int64 { return b.low.outside })
	goroutines := series(func(b *bucket) int64 { return b.low.goroutines })
	files := series(func(b *bucket) int64 { return b.low.files })

	if !w.rulesAlone {
		w.prepare(lv, live.Rising(suspected) || outside.Rising(suspected), goroutines.Rising(suspected))
		defer w.before[lv].renew()
	}
	floor := float64(w.o.Floor)
	now := all[len(all)-1].last
	w.judgeSignal(lv, signalLive, live, floor, w.liveCeiling(now))
	w.judgeSignal(lv, signalOutside, outside, floor, w.outsideCeiling(now))
	w.judgeSignal(lv, signalGoroutines, goroutines, countFloor, ceiling{})
	w.judgeSignal(lv, signalFiles, files, countFloor, ceiling{})
	w.judgeCollection(all[max(0, len(all)-climb.Windows):])
}

// liveCeiling is how much may live. Without GOMEMLIMIT the heap grows to its
// goal before a collection brings it down to the live bytes, so fewer may be live.
func (w *Watcher) liveCeiling(s Sample) ceiling {
	share := 1.0
	if !w.limit.soft && s.Live > 0 && s.Goal > s.Live {
		share = float64(s.Live) / float64(s.Goal)
	}
	return w.ceilingBeside(s.Fixed+max(0, s.Outside), share)
}

func (w *Watcher) outsideCeiling(s Sample) ceiling {
	return w.ceilingBeside(s.Fixed+s.Live, 1)
}

// ceilingBeside is what the limit leaves beside others.
func (w *Watcher) ceilingBeside(others int64, share float64) ceiling {
	if w.limit.bytes == 0 {
		return ceiling{}
	}
	return ceiling{at: max(float64(w.limit.bytes-others)*share, 1), share: share}
}

// seriesOf returns a function that makes a series of one value of each window. The series share
// when the windows end and their work.
func seriesOf(bs []*bucket) func(value func(*bucket) int64) climb.Series {
	end, work := make([]float64, len(bs)), make([]float64, len(bs))
	for i := range bs {
		end[i], work[i] = bs[i].last.Up, bs[i].work(bs[max(0, i-1)])
	}
	return func(value func(*bucket) int64) climb.Series {
		s := climb.Series{Low: make([]float64, len(bs)), End: end, Work: work}
		for i := range bs {
			s.Low[i] = float64(value(bs[i]))
		}
		return s
	}
}

// suspected is how many windows in a row grow before the profile is taken that
// a later one is compared with.
const suspected = climb.Windows / 2

// certain is how many windows there must be before growth in noise is a finding: every process
// begins with caches that fill, and the noise hides that they bend.
const certain = climb.Windows + 5

// judgeSignal makes a finding of a climb, once: the finding stands until half
// of the growth is gone.
func (w *Watcher) judgeSignal(lv int, signal string, s climb.Series, floor float64, top ceiling) {
	if len(s.Low) == 0 {
		return
	}
	if x, ok := w.open[signal]; ok {
		// The finest windows know first; the last coarse one may be from before the climb.
		if lv == 1 && s.Low[len(s.Low)-1] < x.below {
			delete(w.open, signal)
		}
		if lv == x.level {
			w.goesOn(signal, x, s.Low[len(s.Low)-1])
		}
		return
	}
	if len(s.Low) < climb.Windows {
		return
	}
	c, verdict := s.Judge(floor, top.at)
	if verdict != climb.Climbs || len(s.Low) < certain && s.Doubtful() {
		return
	}
	w.open[signal] = &standing{below: (c.From + c.To) / 2, level: lv, highest: c.To, at: time.Now()}
	f := Finding{
		Signal:  signal,
		Time:    time.Now(),
		Over:    Seconds(seconds(s.End[len(s.End)-1] - s.End[len(s.End)-climb.Windows])),
		From:    c.From,
		To:      c.To,
		PerHour: c.PerSecond * 3600,
	}
	if top.at > 0 {
		f.Limit, f.LimitSource = w.limit.bytes, w.limit.source
		f.ETA = Seconds(until(top.at-c.To, c.PerSecond))
		f.DoubleBuys = Seconds(until(float64(w.limit.bytes)*top.share, c.PerSecond))
	}
	switch signal {
	case signalGoroutines:
		f.Sites = goroutineSites().grown(w.before[lv].goroutines)
	case signalLive:
		f.Sites = heapSites().grownTwice(w.before[lv].heap, w.before[lv].middle)
		f.Lives = w.livesThatClimbed()
	}
	w.found(f, w.before[lv].profile)
}

// A standing is a finding that has not fallen yet.
type standing struct {
	below   float64 // the value below which it falls
	level   int     // of the windows in which it was found
	highest float64
	at      time.Time // when that was reached
	since   int       // windows since then
}

// goesOn notes whether growth goes on: it has stopped when half as many windows as make a finding
// have come to no new height.
func (w *Watcher) goesOn(signal string, x *standing, low float64) {
	if w.reading == nil { // it slows the program down
		x.since++
	}
	if low > x.highest {
		x.highest, x.at, x.since = low, time.Now(), 0
	}
	for i := range slices.Backward(w.findings) {
		f := &w.findings[i]
		if f.Signal != signal {
			continue
		}
		if f.Stopped = (time.Time{}); x.since >= suspected {
			f.Stopped = x.at
		}
		return
	}
}

// livesThatClimbed is how many runs of the process before this one, in a row, climbed until they
// ended.
func (w *Watcher) livesThatClimbed() int {
	if w.dir == nil {
		return 0
	}
	rising, ok := mountains(w.dir.past.lives(), w.o.Floor)
	if !ok {
		return 0
	}
	return len(rising)
}

// judgeCollection finds that collection took a large share of the CPU in every
// window. It stands until a window is below half of that.
func (w *Watcher) judgeCollection(all []*bucket) {
	least, sum := 1.0, 0.0
	for i := range all {
		least = min(least, all[i].collection)
		sum += all[i].collection
	}
	if x, ok := w.open[signalCollection]; ok {
		if all[len(all)-1].collection < x.below {
			delete(w.open, signalCollection)
		}
		return
	}
	if len(all) < climb.Windows || least < collectionShare {
		return
	}
	w.open[signalCollection] = &standing{below: collectionShare / 2}
	work, best, unit := w.throughput()
	w.found(Finding{
		Signal:   signalCollection,
		Time:     time.Now(),
		Over:     Seconds(seconds(all[len(all)-1].last.Up - all[0].first.Up)),
		From:     all[0].collection,
		To:       sum / float64(len(all)),
		Work:     work,
		WorkBest: best,
		WorkUnit: unit,
	}, nil)
}

// judgeRestarts looks at the runs before this one, once, at the start.
func (w *Watcher) judgeRestarts() {
	rising, ok := mountains(w.dir.past.lives(), w.o.Floor)
	if !ok {
		return
	}
	peak, each := 0.0, 0.0
	for _, l := range rising {
		peak += float64(l.peak) / float64(len(rising))
		each += l.lasted.Seconds() / float64(len(rising))
	}
	w.found(Finding{
		Signal: signalRestarts,
		Time:   time.Now(),
		Over:   Seconds(seconds(each)),
		From:   float64(rising[0].first),
		To:     peak,
		Lives:  len(rising),
	}, nil)
}

// prepare keeps what a finding will be compared with, at the first suspicion.
func (w *Watcher) prepare(lv int, heapRises, goroutinesRise bool) {
	b := &w.before[lv]
	if !heapRises {
		b.profile = nil
	} else if b.profile == nil {
		b.profile = heapProfile()
	}
	if !goroutinesRise {
		b.goroutines = nil
	} else if b.goroutines == nil {
		b.goroutines = goroutineSites()
	}
}

// renew keeps what each line holds, as of two moments within the windows that the next finding
// judges. It does so also while memory rises: a cache that filled before those windows is no part
// of the finding.
func (b *baseline) renew() {
	b.age++
	if b.middle != nil && b.age < suspected {
		return
	}
	b.heap, b.middle, b.age = b.middle, heapSites(), 0
	if b.heap == nil {
		b.heap = b.middle
	}
}

func heapProfile() []byte {
	var b bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&b, 0); err != nil {
		return nil
	}
	return b.Bytes()
}

// found records a finding and tells whoever asked. w.mu is held, but at Start.
func (w *Watcher) found(f Finding, before []byte) {
	if w.dir != nil && f.Signal != signalRestarts {
		f.Captures = w.capture(before, f.Signal == signalGoroutines)
	}
	w.findings = append(w.findings, f)
	if len(w.findings) > maxFindings {
		w.findings = w.findings[1:]
	}
	call := func() { w.o.OnFinding(f) }
	switch {
	case w.copies && f.Signal == signalLive:
		now := time.Now()
		call = func() { w.report(w.explain(f, now)) }
	case w.o.OnFinding == nil:
		w.report(f)
		return
	case w.o.Log != nil:
		w.o.Log.Warn("leak", "finding", f.String())
	}
	select {
	case w.calls <- call:
	default:
		w.fault(errors.New("watch: OnFinding has not returned while 32 more findings came: they are on the page only; let it return"))
	}
}

// report tells the log and the caller of a finding.
func (w *Watcher) report(f Finding) {
	if w.o.Log != nil {
		w.o.Log.Warn("leak", "finding", f.String())
	}
	if w.o.OnFinding != nil {
		w.o.OnFinding(f)
	}
}
