package growth

import (
	"bytes"
	"iter"
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"

	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
)

// look brings the process to rest and counts what is live.
func (m *Meter) look() {
	m.settle()
	m.sentinels = append(m.sentinels, plantSentinel())
	m.collect()
	bytes, objects := m.gauges.heap()
	m.heap, m.objects = append(m.heap, bytes), append(m.objects, objects)
	m.profile.read()
	m.countRoutines()
	m.countFiles()
	if m.last.IsZero() {
		m.last = time.Now()
	}
}

// settle waits for the goroutines that the operation started and that are
// about to end: until there are no more than before, or none of the new ones
// has anything to run.
func (m *Meter) settle() {
	const quiet, limit = 5 * time.Millisecond, time.Second
	n := runtime.NumGoroutine()
	before := n
	if looks := len(m.alive); looks > 0 {
		before = int(m.alive[looks-1])
	}
	start := time.Now()
	changed := start
	for n > before && time.Since(start) < limit {
		time.Sleep(100 * time.Microsecond)
		if now := runtime.NumGoroutine(); now != n {
			n, changed = now, time.Now()
		}
		if time.Since(changed) > quiet && !m.newcomersRun() {
			return
		}
	}
}

// collect runs the collector until what it frees no longer frees more: twice
// for what sync.Pool drops, and again as long as finalizers and cleanups ran.
func (m *Meter) collect() {
	const atLeast, atMost = 2, 6
	for i := range atMost {
		before := m.gauges.queued()
		runtime.GC()
		m.drain()
		if i+1 >= atLeast && m.gauges.queued() == before {
			return
		}
	}
}

// drain waits for queued finalizers and cleanups. When four looks in the time
// of the meter's patience find none that runs, they are given up on, and not
// waited for again. (The runtime counts finalizers in batches of about a
// hundred, which can take seconds on a busy machine.)
func (m *Meter) drain() {
	const looks, limit = 4, 20 * time.Second
	waiting := m.gauges.waiting()
	m.stuck = min(m.stuck, waiting)
	progress, asked, blocked := time.Now(), time.Now(), 0
	for waiting > m.stuck {
		if time.Since(asked) > m.patience/looks {
			blocked++
			if m.finalizersRun() {
				blocked = 0
			}
			asked = time.Now()
		}
		if blocked == looks || time.Since(progress) > limit {
			m.stuck = waiting
			return
		}
		time.Sleep(50 * time.Microsecond)
		if now := m.gauges.waiting(); now != waiting {
			waiting, progress, blocked = now, time.Now(), 0
		}
	}
}

// finalizersRun says whether a finalizer or a cleanup runs, and is not blocked.
func (m *Meter) finalizersRun() bool {
	for text := range m.goroutines() {
		if text.HasWork() && (bytes.Contains(text, []byte("\nruntime.runFinalizers(")) || bytes.Contains(text, []byte("\nruntime.runCleanups("))) {
			return true
		}
	}
	return false
}

// gauges read the runtime's own counters.
type gauges []metrics.Sample

func newGauges() gauges {
	return gauges{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/finalizers/queued:finalizers"},
		{Name: "/gc/cleanups/queued:cleanups"},
		{Name: "/gc/finalizers/executed:finalizers"},
		{Name: "/gc/cleanups/executed:cleanups"},
		{Name: "/gc/heap/objects:objects"},
	}
}

func (g gauges) value(i int) int64 { return int64(g[i].Value.Uint64()) }

func (g gauges) heap() (bytes, objects int64) {
	metrics.Read(g)
	return g.value(0), g.value(5)
}

func (g gauges) queued() int64 {
	metrics.Read(g)
	return g.value(1) + g.value(2)
}

func (g gauges) waiting() int64 {
	metrics.Read(g)
	return g.value(1) + g.value(2) - g.value(3) - g.value(4)
}

// A census counts things by a key at each look.
type census[K comparable] struct {
	keys  map[K]int
	looks [][]int64
}

func (c *census[K]) add(counts map[K]int64) {
	if c.keys == nil {
		c.keys = map[K]int{}
	}
	look := make([]int64, len(c.keys), len(c.keys)+len(counts))
	for key, n := range counts {
		at, known := c.keys[key]
		if !known {
			at = len(look)
			c.keys[key] = at
			look = append(look, 0)
		}
		look[at] = n
	}
	c.looks = append(c.looks, look)
}

func (c *census[K]) series(key K) judge.Series {
	at := c.keys[key]
	s := make([]int64, len(c.looks))
	for i, look := range c.looks {
		if at < len(look) {
			s[i] = look[at]
		}
	}
	return judge.Series{Objects: s, Bytes: s}
}

// goroutines are all of the process.
func (m *Meter) goroutines() iter.Seq[gostack.Text] {
	if m.text == nil {
		m.text = make([]byte, 1<<16)
	}
	n := runtime.Stack(m.text, true)
	for n == len(m.text) {
		m.text = make([]byte, 2*len(m.text))
		n = runtime.Stack(m.text, true)
	}
	return func(yield func(gostack.Text) bool) {
		for text := range bytes.SplitSeq(m.text[:n], []byte("\n\n")) {
			if !yield(text) {
				return
			}
		}
	}
}

// newcomersRun says whether a goroutine that started since the last look has
// something to run.
func (m *Meter) newcomersRun() bool {
	for text := range m.goroutines() {
		if !m.met[text.ID()] && text.HasWork() {
			return true
		}
	}
	return false
}

// countRoutines counts goroutines by the place of their go statement.
func (m *Meter) countRoutines() {
	counts := map[source.Frame]int64{}
	m.met = map[int]bool{}
	for text := range m.goroutines() {
		m.met[text.ID()] = true
		at := text.Creation()
		by, known := m.creators[string(at)]
		if !known {
			if g := gostack.ParseOne(string(text)); g != nil {
				by = g.Creator
			}
			m.creators[string(at)] = by
		}
		counts[by]++
	}
	m.routines.add(counts)
	m.alive = append(m.alive, int64(runtime.NumGoroutine()))
}

// startedAt are the ids of the goroutines started at by, and the newest of them.
func (m *Meter) startedAt(by source.Frame) (newest *gostack.Goroutine, ids []int) {
	for text := range m.goroutines() {
		if m.creators[string(text.Creation())] != by {
			continue
		}
		ids = append(ids, text.ID())
		if newest == nil || text.ID() > newest.ID {
			newest = gostack.ParseOne(string(text))
		}
	}
	return newest, ids
}

func (m *Meter) countFiles() {
	counts := map[string]int64{}
	var total int64
	for _, f := range fd.List() {
		kind := fd.Kind(f.Target)
		counts[kind]++
		total++
		m.targets[kind] = f.Target
	}
	m.files.add(counts)
	m.open = append(m.open, total)
}
