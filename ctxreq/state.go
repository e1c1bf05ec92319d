package ctxreq

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A state holds everything large of a scope. States are reused, so only Scopes point to them, and
// each Scope checks that it still owns its state.
type state struct {
	mu     sync.Mutex
	owner  *Scope // nil between two scopes
	tomb   bool   // the immutable state that all ended scopes of a Config point to
	cfg    *Config
	parent context.Context
	nested bool // there is a scope around this one
	sealed bool // made by Seal: the same request as the scope around it
	client bool // made by RPC: nobody gets the errors of children

	// The context, see scopeCtx.
	inner        context.Context
	cancel       context.CancelCauseFunc
	release      context.CancelFunc // of the deadline's timer
	deadline     time.Time          // from Config.Timeout
	deadlineSeen bool

	// Ending.
	refusing bool // no new child, because Jobs shut down
	closed   bool // End has begun
	cause    error
	shut     bool // no new use of writer or body

	children *task // the first of a doubly linked list
	active   int
	crowd    int // callers of Go that wait for room
	failures failures
	counted  bool // nobody reads failures any more
	cleanups []func(context.Context) error
	changed  chan struct{} // closed at the next change of active, busy or owner

	exchange

	listed bool // it is in the list of a shard
	// The list of a shard, guarded by the shard's mutex.
	member     *Scope
	prev, next *state
}

// An exchange is what an HTTP request adds to a state.
type exchange struct {
	w        http.ResponseWriter
	req      *http.Request // the copy that went to the handler
	body     readCloser
	bodyCut  bool
	bodySeen []byte
	busy     int // calls that are inside w now
	reading  int // calls that are inside body now
	status   int
	written  int64 // bytes of the response's body
	hijacked bool

	router
	path      string
	requestID string
	panicked  *panicked // by Seal
	shot      requestShot
}

var states = sync.Pool{New: func() any { return new(state) }}

// sever disconnects the scope from everything. It reuses the state unless a call still uses it. It
// is called once, as the last step of End. mu is held before, not after.
func (s *Scope) sever(st *state, reuse bool) {
	s.took = time.Since(epoch) - s.start
	st.readRoute()
	st.mux = nil // too late to look a route up
	s.name = st.title()
	bits := uint32(st.status) & statusMask
	if st.err() == context.DeadlineExceeded {
		bits |= deadlineBit
	}
	s.bits.Or(bits)
	if k := st.carry(s); k != s.kept.Load() {
		s.kept.Store(k)
	}
	if l := s.live.Load(); l != nil {
		s.live.Store(&live{done: l.done}) // without the context, which holds the parent
	}
	release, c, listed := st.release, st.cfg, st.listed
	s.state.Store(&c.tomb)
	st.reset()
	st.mu.Unlock()
	if listed {
		c.leave(s, st) // last, so that a scope that InFlight does not list is disconnected
	}
	if release != nil {
		release()
	}
	if reuse {
		states.Put(st)
	}
}

// carry returns what survives End: the values of keys made with Carry, and the id.
func (st *state) carry(s *Scope) *kept {
	old := s.kept.Load()
	var next kept
	if old != nil {
		next.id = old.id
	}
	if next.id == "" && st.requestID != "" {
		next.id = strings.Clone(st.requestID)
	}
	for _, k := range registry.carried() {
		v := old.value(k)
		if v == nil && st.nested {
			v = st.parent.Value(k)
		}
		if v != nil {
			next.vals = put(next.vals, k, v)
		}
	}
	if st.deadlineSeen {
		next.deadline, _ = st.until()
	}
	if next.vals == nil && next.id == "" && next.deadline.IsZero() {
		return nil
	}
	survives := next // so that nothing is allocated if nothing survives
	return &survives
}

// reset clears everything of the scope, and keeps allocated memory for reuse.
func (st *state) reset() {
	st.owner, st.cfg, st.parent = nil, nil, nil
	st.nested, st.sealed, st.client = false, false, false
	st.inner, st.cancel, st.release = nil, nil, nil
	st.deadline, st.deadlineSeen = time.Time{}, false
	st.refusing, st.closed, st.cause, st.shut = false, false, nil, false
	st.children, st.active, st.crowd, st.failures = nil, 0, 0, failures{}
	st.counted, st.listed = false, false
	clear(st.cleanups)
	st.cleanups = st.cleanups[:0]
	if st.w != nil {
		st.resetExchange()
	}
	st.signal()
}

// resetExchange clears the exchange, but skips large parts that were not used.
func (st *state) resetExchange() {
	if header := st.shot.header; st.shot.taken {
		clear(header)
		st.shot = requestShot{header: header[:0]}
	}
	st.w, st.req, st.body, st.bodySeen, st.bodyCut = nil, nil, nil, nil, false
	st.busy, st.reading, st.status, st.written, st.hijacked = 0, 0, 0, 0, false
	st.path, st.requestID, st.panicked = "", "", nil
	if st.route != "" || st.looked {
		st.router = router{}
	}
}

// signal wakes those who wait for a change; mu is held.
func (st *state) signal() {
	if st.changed != nil {
		close(st.changed)
		st.changed = nil
	}
}

// wait blocks until ok, which is asked under mu after every change, or until one of the channels is
// ready, and reports what ok says. mu is held before and after, not meanwhile.
func (st *state) wait(ok func() bool, limit <-chan time.Time, cancelled <-chan struct{}) bool {
	for !ok() {
		if st.changed == nil {
			st.changed = make(chan struct{})
		}
		changed := st.changed
		st.mu.Unlock()
		last := false
		select {
		case <-changed:
		case <-limit:
			last = true
		case <-cancelled:
			last = true
		}
		st.mu.Lock()
		if last {
			return ok()
		}
	}
	return true
}
