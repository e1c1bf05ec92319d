package pool

import (
	"cmp"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Level says how closely leases are watched.
type Level int

const (
	// Off counts on generations alone: a lease ends once, a stale Buffer is
	// refused. This is the cheapest, and the default.
	Off Level = iota
	// Sample does for one lease in 128, the first included, what Check does for
	// all, to find in production where leases are lost.
	Sample
	// Check is for tests. Memory is filled with 0xDB when a lease ends, and Get
	// panics if something was written there meanwhile; panics and
	// [Bytes.Outstanding] name where a lease was acquired and where it ended;
	// idle buffers are in a list that never loses one, as a sync.Pool does under
	// the race detector.
	Check
)

const sampleEvery = 128

// orEnv returns the higher of the level and LEAKSAFE_POOL.
func (l Level) orEnv() Level {
	if l < Off || l > Check {
		panic(fmt.Sprintf("pool: Level %d: use Off, Sample or Check", int(l)))
	}
	env := os.Getenv("LEAKSAFE_POOL")
	at := slices.Index([]string{"off", "sample", "check"}, cmp.Or(env, "off"))
	if at < 0 {
		panic(fmt.Sprintf("pool: LEAKSAFE_POOL=%q: use off, sample or check", env))
	}
	return max(l, Level(at))
}

// A ledger knows the traced leases that have not ended.
type ledger struct {
	level Level
	seen  atomic.Uint64
	mu    sync.Mutex
	open  map[*lease]struct{}
	lost  map[trace]loss
}

type loss struct{ leases, bytes int }

func newLedger(level Level) *ledger {
	return &ledger{level: level, open: map[*lease]struct{}{}, lost: map[trace]loss{}}
}

// A lease as the ledger sees it.
type lease struct {
	gen      uint64
	bytes    int
	acquired trace
	ended    atomic.Pointer[ending]
}

type ending struct {
	how string
	at  trace
}

// begin traces the lease, or returns nil if the level does not ask for it.
func (l *ledger) begin(gen uint64, bytes int) *lease {
	if l.level == Off || l.level == Sample && (l.seen.Add(1)-1)%sampleEvery != 0 {
		return nil
	}
	e := &lease{gen: gen, bytes: bytes, acquired: callers()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[e] = struct{}{}
	return e
}

func (l *ledger) end(e *lease, how string) {
	if e == nil {
		return
	}
	l.moved(e, how)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, e)
}

// moved notes that handles of the lease ended, which itself goes on.
func (l *ledger) moved(e *lease, how string) {
	if e != nil {
		e.ended.Store(&ending{how, callers()})
	}
}

// lose notes that the lease can no longer end, unless it has ended.
func (l *ledger) lose(e *lease) {
	if e == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, open := l.open[e]; !open {
		return
	}
	delete(l.open, e)
	sum := l.lost[e.acquired]
	l.lost[e.acquired] = loss{sum.leases + 1, sum.bytes + e.bytes}
}

// Held describes the leases from one place in the code that have not ended. Its
// String is one line, for a test's failure or a log.
type Held struct {
	// Leases is how many there are, and Lost how many of them nobody can
	// release any more, as the collector found.
	Leases, Lost int
	// Bytes are what they held when they were acquired.
	Bytes int
	// Stack of the acquisition, from the caller of Get outwards, a line each.
	// Empty if the level is Off.
	Stack []string
}

// String returns "3 leases (12288 bytes) not released, acquired at main.handle (handle.go:31)".
func (h Held) String() string {
	if len(h.Stack) == 0 {
		return "leases are not traced at level Off: set Options.Level to pool.Check, or LEAKSAFE_POOL=check"
	}
	text := fmt.Sprintf("%d leases", h.Leases)
	if h.Leases == 1 {
		text = "1 lease"
	}
	if h.Bytes > 0 {
		text += fmt.Sprintf(" (%d bytes)", h.Bytes)
	}
	text += " not released"
	if h.Lost > 0 {
		text += fmt.Sprintf(", %d of them lost", h.Lost)
	}
	return text + ", acquired at " + h.Stack[0]
}

// outstanding returns what is held, most leases first.
func (l *ledger) outstanding() []Held {
	if l == nil || l.level == Off {
		return []Held{{}}
	}
	var all []Held
	for at, h := range l.held() {
		h.Stack = at.lines()
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b Held) int {
		return cmp.Or(cmp.Compare(b.Leases, a.Leases), slices.Compare(a.Stack, b.Stack))
	})
	return all
}

func (l *ledger) held() map[trace]Held {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[trace]Held{}
	for at, sum := range l.lost {
		all[at] = Held{Leases: sum.leases, Lost: sum.leases, Bytes: sum.bytes}
	}
	for e := range l.open {
		h := all[e.acquired]
		h.Leases++
		h.Bytes += e.bytes
		all[e.acquired] = h
	}
	return all
}

// Outstanding returns the leases that have not ended, by the place they were
// acquired at, most leases first. It needs a level: at [Sample] it knows the
// sampled ones, and at [Off] it returns one entry that says so, so that a test
// cannot pass in ignorance:
//
//	assert.Empty(t, p.Outstanding()) // or: for _, h := range p.Outstanding() { t.Error(h) }
func (p *Bytes) Outstanding() []Held {
	if p.watch == nil {
		return (*ledger)(nil).outstanding()
	}
	return p.watch.ledger.outstanding()
}

// misuse is what methods of a lease that has ended panic with. It finds its
// text when it is printed, which keeps the methods small enough to be inlined.
type misuse struct {
	of     interface{ stale(method string) string }
	method string
}

func (m misuse) Error() string { return m.of.stale(m.method) }

// stale says what is wrong with a call after the lease has ended. The lease is
// nil, or a later one of the same header, if this one was not traced.
func (e *lease) stale(method string, gen uint64) string {
	if e == nil || gen < e.gen {
		return fmt.Sprintf("pool: %s after the lease has ended. LEAKSAFE_POOL=check tells where it was acquired and released", method)
	}
	return fmt.Sprintf("pool: %s after the lease has ended%v", method, e)
}

// String names both places.
func (e *lease) String() string {
	text := "\n\tacquired at " + e.acquired.lines()[0]
	if end := e.ended.Load(); end != nil {
		text += "\n\t" + end.how + " at " + end.at.lines()[0]
	}
	return text
}

// A trace is a stack, as far as it goes.
type trace [16]uintptr

func callers() (t trace) {
	runtime.Callers(3, t[:])
	return t
}

// self begins the names of this package's functions.
var self = reflect.TypeFor[Buffer]().PkgPath() + "."

// lines renders the stack from the first caller outside this package.
func (t trace) lines() []string {
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
