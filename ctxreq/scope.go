package ctxreq

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// ErrEnded is what a Scope, its writer and its body answer once the scope has
// ended, and the cause (context.Cause) of its context from then on.
var ErrEnded = errors.New("ctxreq: the scope has ended")

// refused is an ErrEnded that says what was tried.
type refused string

func (r refused) Error() string      { return "ctxreq: " + string(r) + ": the scope has ended" }
func (refused) Is(target error) bool { return target == ErrEnded }

// A Scope is one unit of work, usually a request: its values, its children,
// its cleanups. Start and Middleware make one, End ends it.
//
// The Scope is a small handle, never reused. What is big (the request, the
// writer, the values) hangs off a state that End cuts away, so whoever keeps a
// Scope, its context, its writer or its body keeps 64 bytes. All methods are
// safe for concurrent use, on a nil Scope, and after End.
type Scope struct {
	state atomic.Pointer[state]
	kept  atomic.Pointer[kept]
	done  <-chan struct{} // set under state.mu, immutable after End
	name  string          // likewise
	start time.Duration   // since epoch
	took  time.Duration   // set by End
	seq   uint32
	bits  atomic.Uint32 // status, and the flags below
}

// The bits of a Scope: ten of status, then flags.
const (
	statusMask  = 1<<10 - 1
	deadlineBit = 1 << 10 // the context ended by its deadline
	lateShift   = 16      // from here one bit for each op used late
)

// kept is what survives End, besides the handle itself. It is replaced, never
// changed, so that reading takes no lock.
type kept struct {
	vals     []any // by key index; nil is unset
	id       string
	deadline time.Time // answered before End, so answered after it too
}

// epoch is the zero of Scope.start.
var (
	epoch    = time.Now()
	process  = rand.Uint32()
	sequence atomic.Uint32
)

// Info describes a scope, or one of its children. It is valid after End.
type Info struct {
	// ID is the request's X-Request-Id when it has a sensible one, and
	// otherwise made here. A nested scope has the ID of the scope around it.
	ID string
	// Name is what Start or Go was given. A request is named by its method
	// until its route is known, and then by its route: "GET /users/{id}".
	Name string
	// Parent is the name of the scope a child belongs to.
	Parent string
	// Path is the request's path while it is being served.
	Path string
	// Status is the response's status, 0 as long as none was written.
	Status int
	Start  time.Time
	// Duration is the time so far, or in all after End.
	Duration time.Duration
}

// Start opens a scope below parent. The context is the scope's: it carries
// parent's values, is cancelled with parent, after Config.Timeout, by a failing
// child, and by End. Contexts derived from it cost no goroutine. The name, a
// constant as a rule, stays with the handle.
//
// Give at most one Config; without one the enclosing scope's is used, or else
// the zero Config. Whoever calls Start must call End.
func Start(parent context.Context, name string, config ...*Config) (context.Context, *Scope) {
	if parent == nil {
		panic("ctxreq: Start: nil parent; use context.Background()")
	}
	outer := From(parent)
	s := choose(outer, config).scope(parent, name)
	if outer != nil {
		s.state.Load().nested = true
		s.kept.Store(&kept{id: outer.id()})
	}
	s.register()
	return (*scopeCtx)(s), s
}

func choose(outer *Scope, config []*Config) *Config {
	if len(config) > 1 {
		panic("ctxreq: Start or Run: more than one Config")
	}
	if len(config) == 1 && config[0] != nil {
		return config[0]
	}
	if c := outer.config(); c != nil {
		return c
	}
	return &zero
}

// Run runs fn in a scope and ends it, on every path. It is Start for a
// consumer's message, a job, a command. It returns fn's error joined with
// End's. A panic in fn is reported and becomes an error, unless
// Config.Repanic says otherwise.
func Run(parent context.Context, name string, fn func(context.Context) error, config ...*Config) (err error) {
	ctx, s := Start(parent, name, config...)
	returned := false
	defer func() {
		var p any
		if !returned {
			p = recover()
			err = s.unwound(p, debug.Stack())
		}
		repanic := p != nil && s.config().Repanic
		err = join(err, s.End(err))
		if repanic {
			panic(p)
		}
	}()
	err = fn(ctx)
	returned = true
	return err
}

// unwound makes the error of a function that did not return, and reports it if
// it panicked. p is nil after runtime.Goexit.
func (s *Scope) unwound(p any, stack []byte) error {
	if p == nil {
		return errors.New("ctxreq: runtime.Goexit was called")
	}
	err := panicError(p)
	s.report(Panic, err, string(stack))
	return reported{err}
}

func panicError(p any) error {
	if err, ok := p.(error); ok {
		return fmt.Errorf("panic: %w", err)
	}
	return fmt.Errorf("panic: %v", p)
}

// join is errors.Join, but leaves a lone error as it is.
func join(a, b error) error {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	return errors.Join(a, b)
}

// scopeKey finds the innermost Scope in a context.
type scopeKey struct{}

// From returns the innermost scope of ctx, also after its End, and nil when
// there is none.
func From(ctx context.Context) *Scope {
	s, _ := ctx.Value(scopeKey{}).(*Scope)
	return s
}

// Info describes the scope, before and after its End.
func (s *Scope) Info() Info {
	if s == nil {
		return Info{}
	}
	info := Info{ID: s.id(), Start: epoch.Add(s.start)}
	if st := s.lock(); st != nil {
		info.Name, info.Path, info.Status = st.title(), strings.Clone(st.path), st.status
		st.mu.Unlock()
		info.Duration = time.Since(epoch) - s.start
		return info
	}
	info.Name, info.Status, info.Duration = s.name, int(s.bits.Load()&statusMask), s.took
	return info
}

// id reads the request's id, or makes one: only when somebody asks.
func (s *Scope) id() string {
	if k := s.kept.Load(); k != nil && k.id != "" {
		return k.id
	}
	st := s.lock()
	if st == nil {
		if k := s.kept.Load(); k != nil && k.id != "" {
			return k.id
		}
		return s.madeID()
	}
	defer st.mu.Unlock()
	if st.requestID == "" {
		return s.madeID()
	}
	return strings.Clone(st.requestID)
}

func (s *Scope) madeID() string {
	var id [16]byte
	binary.BigEndian.PutUint32(id[:], process)
	binary.BigEndian.PutUint64(id[4:], uint64(epoch.Add(s.start).UnixNano()))
	binary.BigEndian.PutUint32(id[12:], s.seq)
	return hex.EncodeToString(id[:])
}

// sensibleID keeps what a stranger sent out of logs, unless it looks like an id.
func sensibleID(id string) string {
	if len(id) > 128 {
		return ""
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c >= 0x7f || c == '"' {
			return ""
		}
	}
	return id
}

// lock returns the scope's state, locked, or nil once the scope has ended.
func (s *Scope) lock() *state {
	if s == nil {
		return nil
	}
	st := s.state.Load()
	if st == nil || st.tomb {
		return nil
	}
	st.mu.Lock()
	if st.owner != s { // ended since the load, and perhaps reused
		st.mu.Unlock()
		return nil
	}
	return st
}

// config is what the scope was started with, also after its End.
func (s *Scope) config() *Config {
	if s == nil {
		return nil
	}
	if st := s.lock(); st != nil {
		defer st.mu.Unlock()
		return st.cfg
	}
	if st := s.state.Load(); st != nil {
		return st.cfg // the tombstone's, immutable
	}
	return nil
}

// scope makes a Scope and its state, not registered yet.
func (c *Config) scope(parent context.Context, name string) *Scope {
	c.once.Do(c.init)
	st := states.Get().(*state)
	s := &Scope{name: name, start: time.Since(epoch), seq: sequence.Add(1)}
	st.mu.Lock() // a late user of the state's last scope may be looking
	st.owner, st.cfg, st.parent = s, c, parent
	if c.Timeout > 0 {
		st.deadline = time.Now().Add(c.Timeout)
	}
	st.mu.Unlock()
	s.state.Store(st)
	return s
}

// carry is what of k survives: the values of keys made with Carry, and the id.
func (st *state) carry(s *Scope) *kept {
	old := s.kept.Load()
	if old == nil && st.requestID == "" && !st.nested && !st.deadlineSeen {
		return nil
	}
	next := kept{}
	if old != nil {
		next.id = old.id
	}
	if next.id == "" {
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
	return &next
}

// title is the scope's name as it is known now; mu is held.
func (st *state) title() string {
	if st.route != "" {
		return st.route
	}
	return st.owner.name
}

func methodName(m string) string {
	switch m { // constants, because a method parsed from a request line pins the line
	case http.MethodGet:
		return http.MethodGet
	case http.MethodPost:
		return http.MethodPost
	case http.MethodPut:
		return http.MethodPut
	case http.MethodDelete:
		return http.MethodDelete
	case http.MethodHead:
		return http.MethodHead
	case http.MethodPatch:
		return http.MethodPatch
	case http.MethodOptions:
		return http.MethodOptions
	}
	return strings.Clone(m)
}
