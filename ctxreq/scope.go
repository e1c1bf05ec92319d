package ctxreq

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// ErrEnded is the error of a Scope, its writer and its body after End, and from then on the cause
// (context.Cause) of the scope's context.
var ErrEnded = errors.New("ctxreq: the scope has ended")

// refused is an ErrEnded that says what was tried.
type refused string

func (r refused) Error() string      { return "ctxreq: " + string(r) + ": the scope has ended" }
func (refused) Is(target error) bool { return target == ErrEnded }

// A Scope is one unit of work, usually a request: its values, its children, its cleanups. Start
// and Middleware make one, End ends it.
//
// The Scope is a small handle and is never reused. Everything large (the request, the writer, the
// values) belongs to a state that End disconnects. So code that retains a Scope, its context, its
// writer or its body retains 64 bytes. All methods are safe for concurrent use, on a nil Scope, and
// after End.
type Scope struct {
	state atomic.Pointer[state]
	kept  atomic.Pointer[kept]
	live  atomic.Pointer[live] // nil until somebody asks for Done; set under state.mu
	name  string               // set under state.mu, immutable after End
	start time.Duration        // since epoch
	took  time.Duration        // set by End
	seq   uint32
	bits  atomic.Uint32 // status, and the flags below
}

// The bits of a Scope: ten of status, then flags.
const (
	statusMask  = 1<<10 - 1
	deadlineBit = 1 << 10 // the context ended by its deadline
	closedBit   = 1 << 11 // the handler closed the body, so that a late read is no mistake
	panickedBit = 1 << 12 // Seal saw a panic: state.panicked
	lateShift   = 16      // from here one bit for each op used late
)

// kept holds the values that survive End, besides the handle itself. It is replaced, never changed,
// so that reading takes no lock.
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

// Info describes a scope, or one of its children. It is valid after End. Its texts are scrubbed, so
// they may be logged.
type Info struct {
	// ID is the request's X-Request-Id if it looks like an id. Otherwise the package generates one.
	// A nested scope has the ID of the scope around it.
	ID string
	// Name is what Start or Go was given. A request is named by its route, as in
	// "GET /users/{id}", and by its method until its route is known. The route is known early if
	// the handler given to Middleware or Seal is an *http.ServeMux; otherwise it is read from
	// http.Request.Pattern when the handler first reports or calls Go or Defer.
	Name string
	// Parent is the name of the scope a child belongs to.
	Parent string
	// Path is the request's path while it is being served: "/users/{id}" if the route is known,
	// and otherwise without the segments that are not plain words.
	Path string
	// Status is the response's status, 0 as long as none was written.
	Status int
	Start  time.Time
	// Duration is the time so far, or in all after End.
	Duration time.Duration
}

// Start opens a scope below parent. The context is the scope's: it carries parent's values, and is
// cancelled with parent, after Config.Timeout, by a failing child, and by End. Contexts derived
// from it cost no goroutine. The handle retains name, so it should be a constant.
//
// The scope has the Config of the scope around it, or the zero Config; Config.Start gives it
// another. Whoever calls Start must call End.
func Start(parent context.Context, name string) (context.Context, *Scope) {
	return inherited(parent, "Start").Start(parent, name)
}

// Start is the function Start with this Config.
func (c *Config) Start(parent context.Context, name string) (context.Context, *Scope) {
	if parent == nil {
		panic("ctxreq: Start: nil parent; use context.Background()")
	}
	if c == nil {
		panic(nilConfig("Start"))
	}
	outer := From(parent)
	s, st := c.begin(parent, name)
	if outer != nil {
		st.nested = true
		s.kept.Store(&kept{id: outer.id()})
	}
	s.register(st)
	st.mu.Unlock()
	return (*scopeCtx)(s), s
}

// inherited is the Config of the scope around, or the zero Config.
func inherited(parent context.Context, caller string) *Config {
	if parent == nil {
		panic("ctxreq: " + caller + ": nil parent; use context.Background()")
	}
	return From(parent).configOrZero()
}

// Run runs fn in a scope and ends the scope, on every path. It is for a consumer's message, a job,
// a command. It returns fn's error joined with the errors that End returns. A panic in fn is
// reported and becomes an error, unless Config.Repanic is set. Run has the Config of the scope
// around it, or the zero Config.
func Run(parent context.Context, name string, fn func(context.Context) error) error {
	return inherited(parent, "Run").Run(parent, name, fn)
}

// Run is the function Run with this Config.
func (c *Config) Run(parent context.Context, name string, fn func(context.Context) error) (err error) {
	if fn == nil {
		panic(nilFunction("Run", name))
	}
	ctx, s := c.Start(parent, name)
	returned := false
	defer func() {
		var p any
		if !returned {
			p = recover()
			err = s.unwound(p, debug.Stack())
		}
		err = join(err, s.End(err))
		if p != nil && c.Repanic {
			panic(p)
		}
	}()
	err = fn(ctx)
	returned = true
	return err
}

// nilFunction is the text of a panic.
func nilConfig(method string) string {
	return "ctxreq: " + method + " of a nil *Config: use new(ctxreq.Config)"
}

func nilFunction(method, name string) string {
	return fmt.Sprintf("ctxreq: %s %q: nil function", method, name)
}

// unwound makes the error of a function that did not return, and reports it if it panicked. p is
// nil after runtime.Goexit.
func (s *Scope) unwound(p any, stack []byte) error {
	if p == nil {
		return errors.New("ctxreq: runtime.Goexit was called")
	}
	err := panicError(p)
	s.report(KindPanic, err, string(stack))
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

// From returns the innermost scope of ctx, also after its End, and nil if there is none.
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
		route, path, rules := st.findRoute(), strings.Clone(st.path), st.cfg.rules()
		info.Name, info.Status = st.title(), st.status
		st.mu.Unlock()
		info.Duration = time.Since(epoch) - s.start
		info.Path = rules.Path(path, route)
		return info
	}
	info.Name, info.Status, info.Duration = s.name, int(s.bits.Load()&statusMask), s.took
	return info
}

// title is the scope's name as it is known now.
func (s *Scope) title() string {
	if st := s.lock(); st != nil {
		defer st.mu.Unlock()
		return st.title()
	}
	return s.name
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

// config is the Config the scope was started with, also after its End.
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

func (s *Scope) configOrZero() *Config {
	if c := s.config(); c != nil {
		return c
	}
	return &zero
}

// begin makes a Scope and its state, which is locked and not registered yet.
func (c *Config) begin(parent context.Context, name string) (*Scope, *state) {
	return c.beginAt(parent, name, time.Since(epoch), sequence.Add(1))
}

func (c *Config) beginAt(parent context.Context, name string, start time.Duration, seq uint32) (*Scope, *state) {
	c.once.Do(c.init)
	st := states.Get().(*state)
	s := &Scope{name: name, start: start, seq: seq}
	st.mu.Lock() // a late user of the state's last scope may be looking
	st.owner, st.cfg, st.parent = s, c, parent
	if c.Timeout > 0 {
		st.deadline = time.Now().Add(c.Timeout)
	}
	s.state.Store(st)
	return s, st
}
