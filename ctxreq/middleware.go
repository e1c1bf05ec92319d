package ctxreq

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"runtime/debug"
	"sync/atomic"

	"github.com/leaksafe/leaksafe/ctxreq/internal/scrub"
)

// Middleware gives every request a scope, and ends it when next returns, on every path. Put it
// outside of all other middleware, and Seal inside of all. The other order, Middleware inside Seal,
// is reported at the first request.
//
// The handler's writer and body are guarded: after End their methods return ErrEnded, the call is
// reported, and nothing reaches the connection of another request. The guarded writer has the
// optional interfaces of the server's: Flusher, Hijacker, io.ReaderFrom, Pusher, and all that
// http.ResponseController asks for.
//
// A panic is reported. It is answered with 500 if nothing was written yet, and otherwise by closing
// the connection, so that the client does not take a partial response for a complete one.
// http.ErrAbortHandler passes through and is not reported.
func (c *Config) Middleware(next http.Handler) http.Handler {
	if isNil(next) {
		panic("ctxreq: Middleware: nil handler")
	}
	if c == nil {
		panic(nilConfig("Middleware"))
	}
	mux := muxOf(next)
	var checked atomic.Bool
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.serve(next, mux, &checked, w, r)
	})
}

// isNil finds a nil handler, and a nil function or pointer made one, such as http.HandlerFunc(nil).
func isNil(h http.Handler) bool {
	if h == nil {
		return true
	}
	if v := reflect.ValueOf(h); v.Kind() == reflect.Func {
		return v.IsNil()
	}
	mux, ok := h.(*http.ServeMux)
	return ok && mux == nil
}

var errOrder = errors.New("ctxreq: Middleware runs inside Seal, so Seal does not cut off what other middlewares added: " +
	"put Middleware outside of them and Seal inside, as in config.Middleware(tracing(ctxreq.Seal(mux)))")

// insideLoneSeal reports whether the innermost scope of ctx belongs to a Seal with no Middleware
// around. Such a scope has a request, and the zero Config.
func insideLoneSeal(ctx context.Context) bool {
	st := From(ctx).lock()
	if st == nil {
		return false
	}
	defer st.mu.Unlock()
	return st.req != nil && st.cfg == &zero
}

func (c *Config) serve(next http.Handler, mux *http.ServeMux, checked *atomic.Bool, w http.ResponseWriter, r *http.Request) {
	s, st := c.begin(r.Context(), methodName(r.Method))
	r2 := s.open(st, w, r, mux)
	s.register(st)
	st.mu.Unlock()
	if !checked.Load() && !checked.Swap(true) && insideLoneSeal(r.Context()) {
		s.report(KindError, errOrder, "")
	}
	returned := false
	defer func() {
		handBack(r, r2)
		if returned {
			s.reportRecovered()
			s.End(nil)
			return
		}
		p := recover()
		if p == http.ErrAbortHandler {
			s.End(http.ErrAbortHandler)
			panic(p)
		}
		untouched, abort := s.claim(p)
		cause := s.unwound(p, s.stackOf(p))
		if untouched {
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		}
		s.End(cause)
		switch {
		case p != nil && c.Repanic:
			panic(p)
		case abort:
			panic(http.ErrAbortHandler)
		}
	}()
	next.ServeHTTP(guard(s, w), r2)
	returned = true
}

// open gives a new scope its request, and returns the request to pass on. It does not change r.
// st.mu is held.
func (s *Scope) open(st *state, w http.ResponseWriter, r *http.Request, mux *http.ServeMux) *http.Request {
	r2 := r.WithContext((*scopeCtx)(s))
	st.w, st.req, st.body = w, r2, r.Body
	st.route = r.Pattern
	st.lookIn(mux, r)
	if id := r.Header["X-Request-Id"]; len(id) > 0 {
		st.requestID = scrub.RequestID(id[0])
	}
	if r.URL != nil {
		st.path = r.URL.Path
	}
	if r.Body != nil && r.Body != http.NoBody { // others compare with NoBody, so it is not wrapped
		r2.Body = body{s}
	}
	return r2
}

// claim decides what happens to the response after a panic: untouched means that Middleware answers
// 500, abort that the connection has to be closed.
func (s *Scope) claim(p any) (untouched, abort bool) {
	st := s.lock()
	if st == nil { // the handler ended its scope itself
		return false, p != nil
	}
	defer st.mu.Unlock()
	if p == nil || st.cfg.Repanic {
		return false, false
	}
	untouched = st.status == 0 && !st.hijacked
	if untouched {
		st.status = http.StatusInternalServerError
		st.shut = true // for children that would write at the same time
	}
	return untouched, !untouched && !st.hijacked // a hijacked connection is the handler's
}

// panicked is a panic that Seal saw. It is reported when the status of the response is known.
type panicked struct {
	value any
	stack string
}

// notePanic remembers a panic that passes through Seal. It returns false if no Middleware is there
// to report it.
func (s *Scope) notePanic(p any, stack []byte) bool {
	st := s.lock()
	if st == nil {
		return false
	}
	defer st.mu.Unlock()
	if st.sealed { // Seal within Seal
		return From(st.parent).notePanic(p, stack)
	}
	if st.req == nil {
		return false
	}
	if st.panicked == nil {
		st.panicked = &panicked{p, string(stack)}
		s.bits.Or(panickedBit)
	}
	return true
}

// takePanic returns what notePanic remembered, once.
func (s *Scope) takePanic() *panicked {
	if s.bits.Load()&panickedBit == 0 {
		return nil
	}
	st := s.lock()
	if st == nil {
		return nil
	}
	defer st.mu.Unlock()
	p := st.panicked
	st.panicked = nil
	return p
}

// reportRecovered reports a panic that Seal saw and that a middleware inside of Middleware
// recovered.
func (s *Scope) reportRecovered() {
	if p := s.takePanic(); p != nil {
		s.report(KindPanic, panicError(p.value), p.stack)
	}
}

// stackOf returns the stack of a panic that has arrived here. It is the stack that Seal saw, if
// Seal saw the same panic.
func (s *Scope) stackOf(p any) []byte {
	seen := s.takePanic()
	if seen == nil {
		return debug.Stack()
	}
	if same(seen.value, p) {
		return []byte(seen.stack)
	}
	s.report(KindPanic, panicError(seen.value), seen.stack) // another was recovered before
	return debug.Stack()
}

// same compares the values of two panics, which may be of a type that cannot be compared.
func same(a, b any) (equal bool) {
	defer func() {
		if recover() != nil {
			equal = true
		}
	}()
	return a == b
}

// Seal is the innermost middleware: it cuts off what other middlewares added. It opens a scope of
// its own, with the ID and the Config of the scope around it, and ends it when next returns. The
// handler reaches the other middlewares' contexts, writers and spans only through that scope.
// Children and cleanups of the handler belong to that scope, so they end before the other
// middlewares return. The values of keys belong to the request.
//
// A panic passes through Seal. The Middleware outside reports it, even if a middleware in between
// recovers it. If a middleware inside Seal recovers it, it is not reported. Without a Middleware
// outside, Seal uses the zero Config and reports the panic itself.
func Seal(next http.Handler) http.Handler {
	if isNil(next) {
		panic("ctxreq: Seal: nil handler")
	}
	mux := muxOf(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seal(next, mux, w, r)
	})
}

func seal(next http.Handler, mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	outer := From(r.Context())
	s, st := sealedScope(outer, r)
	r2 := s.open(st, w, r, mux)
	st.mu.Unlock()
	outer.setRoute(r.Pattern, mux, r)
	returned := false
	defer func() {
		handBack(r, r2)
		outer.setRoute(r2.Pattern, nil, nil)
		if returned {
			s.End(nil)
			return
		}
		p := recover()
		var cause error
		if p != nil && p != http.ErrAbortHandler {
			cause = reported{panicError(p)}
			if stack := debug.Stack(); !outer.notePanic(p, stack) {
				s.report(KindPanic, panicError(p), string(stack))
			}
		}
		s.End(cause)
		if p != nil {
			panic(p)
		}
	}()
	next.ServeHTTP(guard(s, w), r2)
	returned = true
}

// sealedScope makes the scope of Seal, locked. It has the start time and the number of the scope
// around it, and so the same ID. It is registered by its first child: InFlight lists the request by
// the scope around.
func sealedScope(outer *Scope, r *http.Request) (*Scope, *state) {
	c, name := outer.configOrZero(), methodName(r.Method)
	if outer == nil {
		s, st := c.begin(r.Context(), name)
		s.register(st)
		return s, st
	}
	s, st := c.beginAt(r.Context(), name, outer.start, outer.seq)
	st.nested, st.sealed = true, true
	return s, st
}
