package ctxreq

import (
	"context"
	"net/http"
	"reflect"
	"runtime/debug"
)

// Middleware gives every request a scope, and ends it when next returns, on
// every path. Put it outside of all other middleware, and Seal inside of all.
//
// The handler's writer and body are guarded: after End they answer ErrEnded,
// report it, and reach nobody's connection. The guarded writer has the optional
// interfaces of the server's: Flusher, Hijacker, io.ReaderFrom, Pusher, and all
// that http.ResponseController asks for.
//
// A panic is reported and answered with 500 if nothing was written yet, and
// otherwise by closing the connection, so that the client does not take half
// a response for a whole one. http.ErrAbortHandler passes through, unreported.
func (c *Config) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.serve(next, w, r)
	})
}

func (c *Config) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	s, r2 := c.open(w, r)
	s.register()
	returned := false
	defer func() {
		if returned {
			s.End(nil)
			return
		}
		p := recover()
		if p == http.ErrAbortHandler {
			s.End(http.ErrAbortHandler)
			panic(p)
		}
		cause := s.unwound(p, debug.Stack())
		abort := p != nil && !c.Repanic && !s.apologize(w)
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

// open makes the scope of a request, not registered yet, and the request to
// hand on. The one given is not changed.
func (c *Config) open(w http.ResponseWriter, r *http.Request) (*Scope, *http.Request) {
	s := c.scope(r.Context(), methodName(r.Method))
	r2 := r.WithContext((*scopeCtx)(s))
	st := s.lock()
	st.w, st.req, st.body = w, r2, r.Body
	if id := r.Header["X-Request-Id"]; len(id) > 0 {
		st.requestID = sensibleID(id[0])
	}
	if r.URL != nil {
		st.path = r.URL.Path
	}
	st.mu.Unlock()
	if r.Body != nil && r.Body != http.NoBody { // whose identity is asked for
		r2.Body = body{s}
	}
	return s, r2
}

// apologize answers 500 and reports whether it could.
func (s *Scope) apologize(w http.ResponseWriter) bool {
	st := s.lock()
	if st == nil { // the handler ended its scope itself
		return false
	}
	untouched := st.status == 0 && !st.hijacked
	if untouched {
		st.status = http.StatusInternalServerError
		st.shut = true // for children that would write beside us
	}
	hijacked := st.hijacked
	st.mu.Unlock()
	if untouched {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
	return untouched || hijacked // a hijacked connection is the handler's affair
}

// Seal is the innermost middleware: it cuts what other middlewares added. Their
// contexts, writers and spans hang off a scope of its own, with the ID and the
// Config of the one around it, that ends when next returns. Children and
// cleanups of the handler belong to it, so they end before those middlewares
// do; the values of keys belong to the request. Panics pass through it. Without a Middleware outside it uses the zero Config.
func Seal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outer := From(r.Context())
		s, r2 := choose(outer, nil).open(w, r)
		if outer != nil {
			st := s.state.Load()
			st.nested, st.sealed = true, true
			s.start, s.seq = outer.start, outer.seq
			outer.setRoute(r.Pattern)
		}
		s.register()
		defer func() {
			outer.setRoute(r2.Pattern)
			s.End(nil)
		}()
		next.ServeHTTP(guard(s, w), r2)
	})
}

func (s *Scope) setRoute(route string) {
	if st := s.lock(); st != nil {
		if st.route == "" {
			st.route = route
		}
		st.mu.Unlock()
	}
}

// Unary is a gRPC server interceptor, without the dependency: write
// grpc.UnaryInterceptor(ctxreq.Unary) and Go infers the type parameters. It runs
// the handler as Run does, in a scope named after the method, with the Config
// of the scope around it or the zero Config. For a Config of your own call Run
// in an interceptor of your own.
func Unary[I any, H ~func(context.Context, any) (any, error)](ctx context.Context, req any, info I, handler H) (resp any, err error) {
	err = Run(ctx, fullMethod(info), func(ctx context.Context) error {
		resp, err = handler(ctx, req)
		return err
	})
	return resp, err
}

// fullMethod reads the field FullMethod of *grpc.UnaryServerInfo.
func fullMethod(info any) string {
	v := reflect.Indirect(reflect.ValueOf(info))
	if v.Kind() == reflect.Struct {
		if f := v.FieldByName("FullMethod"); f.Kind() == reflect.String {
			return f.String()
		}
	}
	return "unary"
}
