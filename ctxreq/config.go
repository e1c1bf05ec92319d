package ctxreq

import (
	"context"
	"math/rand/v2"
	"net/http"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// Config says how scopes behave. The zero value is ready to use. One Config
// serves a whole service: it knows which of its scopes are active. Do not
// change or copy it once it is in use.
type Config struct {
	// Reporter gets every Report; nil logs them with slog.Default.
	Reporter Reporter
	// Grace is how long End waits for children that were cancelled; 0 is 100 ms.
	// It delays the end of the response only if a child ignores its context.
	Grace time.Duration
	// Cleanup is the deadline of each cleanup; 0 is 1 s.
	Cleanup time.Duration
	// Timeout ends the scope's context; 0 is never.
	Timeout time.Duration
	// Limit bounds the children of a scope running at once, and the jobs of
	// Jobs; 0 is 64.
	Limit int
	// Hide names header, cookie, parameter and key values to hide from reports,
	// in addition to those hidden anyway: it returns true to hide.
	Hide func(name, value string) bool
	// BodyCapture is how many bytes of the request body, from its beginning
	// and as far as the handler read it, reports show; 0 is none.
	BodyCapture int
	// Repanic panics again, with the same value, after a panic was reported
	// and the scope ended. Otherwise Middleware answers 500, and Run and
	// Unary return an error.
	Repanic bool
	// RetentionProbe watches one in this many requests: one still reachable
	// two garbage collections after its end is reported as Retained, when a
	// later one ends or InFlight is asked; 0 is none.
	RetentionProbe int

	once   sync.Once
	tomb   state // what ended scopes point at
	active [8]shard
	dumped atomic.Int64
	probe  probe
}

// zero is the Config of scopes started without any.
var zero Config

func (c *Config) init() {
	c.tomb.tomb, c.tomb.cfg = true, c
}

// Defaults; tests on a busy machine have more patience.
var defaultGrace, defaultCleanup = 100 * time.Millisecond, time.Second

func (c *Config) grace() time.Duration   { return or(c.Grace, defaultGrace) }
func (c *Config) cleanup() time.Duration { return or(c.Cleanup, defaultCleanup) }
func (c *Config) limit() int             { return or(c.Limit, 64) }

// patience is how long End waited for t.
func (c *Config) patience(t *task) time.Duration {
	if t.result != nil {
		return c.cleanup() + c.grace()
	}
	return c.grace()
}

func or[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}

// A shard is a part of the active scopes, a doubly linked list.
type shard struct {
	mu    sync.Mutex
	first *state
	_     [48]byte // a cache line each
}

func (s *Scope) register() {
	st := s.state.Load()
	sh := &st.cfg.active[s.seq%8]
	sh.mu.Lock()
	st.prev, st.next = nil, sh.first
	if sh.first != nil {
		sh.first.prev = st
	}
	sh.first = st
	sh.mu.Unlock()
}

func (c *Config) leave(s *Scope, st *state) {
	sh := &c.active[s.seq%8]
	sh.mu.Lock()
	if st.prev != nil {
		st.prev.next = st.next
	} else {
		sh.first = st.next
	}
	if st.next != nil {
		st.next.prev = st.prev
	}
	st.prev, st.next = nil, nil
	sh.mu.Unlock()
}

// InFlight describes the scopes and children now active: what the service is
// doing, and since when. A child follows its scope and has it as Parent. When
// a service is idle and InFlight is not empty, a scope was never ended.
func (c *Config) InFlight() []Info {
	c.probe.check(c)
	var scopes []*Scope
	for i := range c.active {
		sh := &c.active[i]
		sh.mu.Lock()
		for st := sh.first; st != nil; st = st.next {
			scopes = append(scopes, st.owner)
		}
		sh.mu.Unlock()
	}
	var infos []Info
	for _, s := range scopes {
		infos = s.inFlight(infos)
	}
	return infos
}

// inFlight appends the scope and its children, unless it has ended meanwhile.
func (s *Scope) inFlight(infos []Info) []Info {
	info := s.Info()
	st := s.lock()
	if st == nil {
		return infos
	}
	defer st.mu.Unlock()
	if !st.sealed {
		infos = append(infos, info)
	}
	for t := st.children; t != nil; t = t.next {
		infos = append(infos, Info{
			ID: info.ID, Name: t.name, Parent: info.Name, Path: info.Path,
			Start: epoch.Add(t.started), Duration: time.Since(epoch) - t.started,
		})
	}
	return infos
}

// probe finds requests that something still holds after their end.
type probe struct {
	mu      sync.Mutex
	samples []sample
}

type sample struct {
	req   weak.Pointer[http.Request]
	info  Info
	cycle uint64 // of the collector, when the request ended
}

// maxSamples bounds the probe between two collections.
const maxSamples = 64

// watch takes a sample of the request now ending, if it is its turn.
func (c *Config) watch(s *Scope, r *http.Request) {
	if c.RetentionProbe <= 0 || rand.IntN(c.RetentionProbe) != 0 {
		return
	}
	c.probe.check(c)
	info := s.Info()
	c.probe.mu.Lock()
	defer c.probe.mu.Unlock()
	if len(c.probe.samples) < maxSamples {
		c.probe.samples = append(c.probe.samples, sample{weak.Make(r), info, cycles()})
	}
}

// check reports the samples that two collections did not free, and forgets
// what it has judged.
func (p *probe) check(c *Config) {
	if c.RetentionProbe <= 0 {
		return
	}
	now := cycles()
	var retained []Info
	p.mu.Lock()
	waiting := p.samples[:0]
	for _, s := range p.samples {
		switch {
		case s.req.Value() == nil:
		case now < s.cycle+2:
			waiting = append(waiting, s)
		default:
			retained = append(retained, s.info)
		}
	}
	clear(p.samples[len(waiting):])
	p.samples = waiting
	p.mu.Unlock()
	for _, info := range retained {
		c.deliver(context.Background(), &Report{Kind: Retained, Err: errRetained, Info: info})
	}
}

func cycles() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
