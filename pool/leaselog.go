package pool

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Level says how closely a pool watches its leases.
type Level int

const (
	// LevelOff only uses the generation counter: a lease ends once, and a stale Buffer is refused.
	// It is the default and the cheapest.
	LevelOff Level = iota
	// LevelSample does for one lease in 128, the first included, what LevelCheck does for all. Use
	// it to find in production where leases are lost. It does not see a late write into a buffer
	// that the collector takes first.
	LevelSample
	// LevelCheck is for tests. Memory is filled with 0xDB when a lease ends. A write there is
	// found when the memory is leased again (Get panics), when it is dropped, and by Outstanding.
	// Panics and Outstanding name the places where a lease was acquired and where it ended. Idle
	// memory does not decay, and no sync.Pool loses any, so that tests can count.
	//
	// A late write is not found while a later lease has the memory, nor after the memory was
	// dropped. If a later lease has had the memory and has ended, the Finding names that lease. So
	// let the test of one handler make one request.
	LevelCheck
)

const sampleEvery = 128

var levels = []string{LevelOff: "off", LevelSample: "sample", LevelCheck: "check"}

// unknownLevels has the values of LEAKSAFE_POOL that were logged.
var unknownLevels sync.Map

// orEnv returns the higher of the level and LEAKSAFE_POOL.
func (l Level) orEnv() Level {
	if l < LevelOff || l > LevelCheck {
		panic(fmt.Sprintf("pool: Level is %d: use LevelOff, LevelSample or LevelCheck", int(l)))
	}
	env := os.Getenv("LEAKSAFE_POOL")
	at := slices.Index(levels, cmp.Or(env, "off"))
	if at < 0 {
		if _, logged := unknownLevels.LoadOrStore(env, true); !logged {
			slog.Error("pool: the environment variable LEAKSAFE_POOL is ignored: set it to off, sample or check", "value", env)
		}
		return l
	}
	return max(l, Level(at))
}

// A leaseLog knows the logged leases that have not ended, and the misuse that was found. It is nil
// at LevelOff; the methods of a nil log do nothing.
type leaseLog struct {
	level Level
	seen  atomic.Uint64 // leases, logged or not
	mu    sync.Mutex
	open  map[*entry]struct{}
	found map[places]*Finding // lost leases and misuse
}

// places tell findings apart.
type places struct{ acquired, ended, again trace }

func newLeaseLog(level Level) *leaseLog {
	if level == LevelOff {
		return nil
	}
	return &leaseLog{level: level, open: map[*entry]struct{}{}, found: map[places]*Finding{}}
}

func (l *leaseLog) at(level Level) bool { return l != nil && l.level == level }

// An entry is a lease in the log.
type entry struct {
	gen      uint64
	bytes    int
	how      string // acquired or retained
	acquired trace
	ended    atomic.Pointer[ending]
}

type ending struct {
	how string
	at  trace
}

// begin logs a lease, or returns nil if the level does not ask for it.
func (l *leaseLog) begin(gen uint64, bytes int, how string) *entry {
	if l == nil {
		return nil
	}
	if n := l.seen.Add(1) - 1; l.level == LevelSample && n%sampleEvery != 0 {
		return nil
	}
	e := &entry{gen: gen, bytes: bytes, how: how, acquired: callers()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[e] = struct{}{}
	return e
}

func (l *leaseLog) end(e *entry, how string) {
	if e == nil {
		return
	}
	l.moved(e, how)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, e)
}

// moved notes that the handles of a lease ended, and that the lease goes on.
func (l *leaseLog) moved(e *entry, how string) {
	if e != nil {
		e.ended.Store(&ending{how, callers()})
	}
}

// lose records that the lease can no longer be ended, unless it has ended already.
func (l *leaseLog) lose(e *entry) {
	if e == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, open := l.open[e]; !open {
		return
	}
	delete(l.open, e)
	f := l.finding(places{acquired: e.acquired})
	f.Leases++
	f.Lost++
	f.Bytes += e.bytes
}

// finding returns the finding of the places. It runs with mu held.
func (l *leaseLog) finding(at places) *Finding {
	f := l.found[at]
	if f == nil {
		f = &Finding{Acquired: at.acquired.lines(), Ended: at.ended.lines(), Again: at.again.lines()}
		l.found[at] = f
	}
	return f
}

// inspect checks whether the idle memory of a block was written to. If so it records a Finding,
// returns a Finding for this write alone, and poisons the memory again.
func (l *leaseLog) inspect(h *block) *Finding {
	if l == nil || !h.poisoned() {
		return nil
	}
	at := firstUnpoisoned(h.data)
	if at < 0 {
		return nil
	}
	poison(h.data)
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.finding(h.record.poison.places(trace{}))
	if f.LateWrites == 0 || at < f.Offset {
		f.Offset = at
	}
	f.LateWrites++
	return &Finding{LateWrites: 1, Offset: at, Acquired: f.Acquired, Ended: f.Ended}
}

// refused notes a Put that was refused. The entry is the lease that the slice had last, or nil.
func (l *leaseLog) refused(e *entry) {
	if l == nil {
		return
	}
	again := callers()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finding(e.places(again)).RefusedPuts++
}

// places returns where the lease began and ended.
func (e *entry) places(again trace) places {
	if e == nil {
		return places{again: again}
	}
	at := places{acquired: e.acquired, again: again}
	if end := e.ended.Load(); end != nil {
		at.ended = end.at
	}
	return at
}

// A Finding describes a fault that should fail a test: leases that have not ended, or misuse, at
// one place in the code. It prints as a failure text.
type Finding struct {
	// Leases is how many leases have not ended. Lost is how many of them can no longer be released,
	// because the collector found that nothing refers to them. Bytes is their initial size.
	Leases, Lost, Bytes int
	// LateWrites is how many buffers were written to after their lease had ended, and Offset the
	// first byte.
	LateWrites, Offset int
	// RefusedPuts is how many slices came to Put of [Slices] or [Pointers] a second time, or
	// without having been lent.
	RefusedPuts int
	// Acquired, Ended and Again are stacks, a line for each function, from the caller of this
	// package outwards: where the lease began, where it ended, and where Put was called again. What
	// is not known is empty. All are empty at LevelOff.
	Acquired, Ended, Again []string
}

// String returns a line for the finding, such as
//
//	3 leases (12 KiB) not released, acquired at main.handle (handle.go:31)
//
// and, for misuse, a line for each place.
func (f Finding) String() string {
	switch {
	case f.LateWrites > 0:
		return fmt.Sprintf("memory was written to after Release, %s, first at byte %d%s\n\tfix: keep no slice of a Buffer after its Release; Clone what you keep",
			count(f.LateWrites, "time"), f.Offset, f.where("\n\t", "acquired at ", "ended at ", ""))
	case f.RefusedPuts > 0 && len(f.Acquired) > 0:
		return fmt.Sprintf("a slice was put again, %s%s\n\tfix: call Put once for each Get",
			count(f.RefusedPuts, "time"), f.where("\n\t", "lent at ", "put at ", "put again at "))
	case f.RefusedPuts > 0:
		return fmt.Sprintf("a slice was put that the pool had not lent, %s%s\n\tfix: put the slice or the pointer that Get returned, not its middle, not a copy of a pointer's slice, and not what append returned",
			count(f.RefusedPuts, "time"), f.where("\n\t", "", "", "put at "))
	case len(f.Acquired) == 0:
		return "leases are not logged at LevelOff: set Options.Level to pool.LevelCheck, or LEAKSAFE_POOL=check"
	}
	text := count(f.Leases, "lease")
	if f.Bytes > 0 {
		text += " (" + size(f.Bytes) + ")"
	}
	text += " not released"
	if f.Lost > 0 {
		text += fmt.Sprintf(", %d of them lost (nothing refers to it any more)", f.Lost)
	}
	return text + f.where(", ", "acquired at ", "", "")
}

// where names the places that are known.
func (f Finding) where(separator, acquired, ended, again string) (text string) {
	for i, stack := range [][]string{f.Acquired, f.Ended, f.Again} {
		if len(stack) > 0 {
			text += separator + []string{acquired, ended, again}[i] + stack[0]
		}
	}
	return text
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size formats a number of bytes.
func size(n int) string {
	value, unit := float64(n), 0
	for ; value >= 1024 && unit < 3; unit++ {
		value /= 1024
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + []string{"B", "KiB", "MiB", "GiB"}[unit]
}

// outstanding returns all findings: most leases first, then misuse.
func (l *leaseLog) outstanding() []Finding {
	if l == nil {
		return []Finding{{}}
	}
	var all []Finding
	for _, f := range l.findings() {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Leases, a.Leases), cmp.Compare(b.LateWrites, a.LateWrites),
			slices.Compare(a.Acquired, b.Acquired), slices.Compare(a.Ended, b.Ended), slices.Compare(a.Again, b.Again))
	})
	return all
}

func (l *leaseLog) findings() map[places]*Finding {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[places]*Finding{}
	for at, f := range l.found {
		copied := *f
		all[at] = &copied
	}
	for e := range l.open {
		at := places{acquired: e.acquired}
		f := all[at]
		if f == nil {
			f = &Finding{Acquired: e.acquired.lines()}
			all[at] = f
		}
		f.Leases++
		f.Bytes += e.bytes
	}
	return all
}

// Outstanding returns the faults that should fail a test, one [Finding] for each place in the code:
// leases that have not ended; at [LevelCheck] also buffers that were written to after Release, and
// slices that were put twice. Misuse that was found once is returned by every later call, even if a
// server recovered the panic about it. Wait for the test's goroutines first: Outstanding does not
// see what they do later.
//
// It needs a level. At [LevelSample] it knows one lease in 128. At [LevelOff] it returns one
// Finding that says so, so that a test without a level fails:
//
//	assert.Empty(t, p.Outstanding()) // or: for _, f := range p.Outstanding() { t.Error(f) }
func (p *Bytes) Outstanding() []Finding {
	log := p.guard.log()
	if log.at(LevelCheck) {
		p.free.inspect()
	}
	return log.outstanding()
}

// misuse is the panic value of methods that are called on an ended lease. It makes its text when it
// is printed, which keeps the methods small enough to be inlined.
type misuse struct {
	of     interface{ stale(method string) string }
	method string
}

func (m misuse) Error() string { return m.of.stale(m.method) }

// stale says what is wrong with a call after the lease has ended. The entry is nil, or of a later
// lease of the same block, if this lease was not logged.
func (e *entry) stale(method string, gen uint64) string {
	if e == nil || gen < e.gen {
		return fmt.Sprintf("pool: %s called after Release; run with LEAKSAFE_POOL=check to see where the lease was acquired and where it ended", method)
	}
	text := fmt.Sprintf("pool: %s called after the lease had ended\n\t%s at %s", method, e.how, e.acquired.lines()[0])
	if end := e.ended.Load(); end != nil {
		text += "\n\t" + end.how + " at " + end.at.lines()[0]
	}
	return text
}

// A trace is a stack, or the innermost part of it.
type trace [16]uintptr

func callers() (t trace) {
	runtime.Callers(3, t[:])
	return t
}

// self is the prefix of the names of this package's functions.
var self = reflect.TypeFor[Buffer]().PkgPath() + "."

// lines renders the stack from the first caller outside this package. The zero trace has no lines.
func (t trace) lines() []string {
	if t == (trace{}) {
		return nil
	}
	var lines []string
	frames := runtime.CallersFrames(t[:])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if f.Function != "" && (len(lines) > 0 || !strings.HasPrefix(f.Function, self)) {
			lines = append(lines, fmt.Sprintf("%s (%s:%d)", f.Function, f.File, f.Line))
		}
	}
	if len(lines) == 0 {
		return []string{"an unknown place"}
	}
	return lines
}
