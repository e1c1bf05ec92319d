package leakcheck

import (
	"bytes"
	"iter"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// look brings the process to rest and counts what is live.
func (m *meter) look() {
	m.settle()
	m.sentinels = append(m.sentinels, plantSentinel())
	m.collect()
	m.heap = append(m.heap, m.gauges.heap())
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
func (m *meter) settle() {
	const quiet, limit = 5 * time.Millisecond, 250 * time.Millisecond
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
func (m *meter) collect() {
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

// drain waits for queued finalizers and cleanups; one that blocks for ever is
// given up on.
func (m *meter) drain() {
	const patience = 20 * time.Millisecond
	progress := time.Now()
	waiting := m.gauges.waiting()
	for waiting > 0 && time.Since(progress) < patience {
		time.Sleep(50 * time.Microsecond)
		if now := m.gauges.waiting(); now != waiting {
			waiting, progress = now, time.Now()
		}
	}
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
	}
}

func (g gauges) value(i int) int64 { return int64(g[i].Value.Uint64()) }

func (g gauges) heap() int64 {
	metrics.Read(g)
	return g.value(0)
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
type census struct {
	keys  map[string]int
	looks [][]int64
}

func (c *census) add(counts map[string]int64) {
	if c.keys == nil {
		c.keys = map[string]int{}
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

func (c *census) series(key string) series {
	at := c.keys[key]
	s := make([]int64, len(c.looks))
	for i, look := range c.looks {
		if at < len(look) {
			s[i] = look[at]
		}
	}
	return series{objects: s, bytes: s}
}

// stacks are all goroutines by number, with their stacks as runtime.Stack
// prints them; the caller's comes first.
func stacks(buf []byte) iter.Seq2[string, string] {
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	return func(yield func(id, text string) bool) {
		for text := range bytes.SplitSeq(buf[:n], []byte("\n\n")) {
			rest, ok := strings.CutPrefix(string(text), "goroutine ")
			id, rest, ok2 := strings.Cut(rest, " ")
			if ok && ok2 && !yield(id, rest) {
				return
			}
		}
	}
}

// newcomersRun says whether a goroutine that started since the last look has
// something to run.
func (m *meter) newcomersRun() bool {
	for id, text := range stacks(make([]byte, 1<<16)) {
		n, err := strconv.Atoi(id)
		if err != nil || n <= m.newest {
			continue
		}
		if strings.HasPrefix(text, "[runnable") || strings.HasPrefix(text, "[running") || strings.HasPrefix(text, "[copystack") {
			return true
		}
	}
	return false
}

// countRoutines counts goroutines by the place of their go statement.
func (m *meter) countRoutines() {
	counts := map[string]int64{}
	for id, text := range stacks(make([]byte, 1<<16)) {
		if n, err := strconv.Atoi(id); err == nil {
			m.newest = max(m.newest, n)
		}
		counts[creation(text)]++
	}
	m.routines.add(counts)
	m.alive = append(m.alive, int64(runtime.NumGoroutine()))
}

// creation is the place of a goroutine's go statement as "function\nfile:line".
func creation(text string) string {
	_, by, ok := strings.Cut(text, "\ncreated by ")
	if !ok {
		return ""
	}
	function, at, _ := strings.Cut(by, "\n")
	function, _, _ = strings.Cut(function, " in goroutine ")
	at, _, _ = strings.Cut(strings.TrimSpace(at), " +0x")
	return function + "\n" + at
}

func (m *meter) countFiles() {
	counts := openFiles()
	var total int64
	for _, n := range counts {
		total += n
	}
	m.files.add(counts)
	m.open = append(m.open, total)
}

// openFiles counts the process's descriptors by kind. Only Linux tells.
func openFiles() map[string]int64 {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	counts := map[string]int64{}
	for _, e := range entries {
		// The listing's own descriptor is closed by now and has no target.
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil {
			continue
		}
		counts[fileKind(target)]++
	}
	return counts
}

func fileKind(target string) string {
	if kind, _, ok := strings.Cut(target, ":["); ok && kind != "anon_inode" {
		return kind
	}
	if strings.HasPrefix(target, "/") {
		return "file"
	}
	return target
}
