package ctxreq

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/leaksafe/leaksafe/ctxreq/internal/scrub"
)

// A router finds a request's route. A mux writes the route into the request, on the goroutine of
// the handler, and other goroutines must not read it there. So the route is copied when the
// handler's goroutine makes a call. Until then it is looked up in the mux, if the mux is known.
type router struct {
	route  string
	sealed bool // Seal found the route, further inside than the request that Middleware made
	mux    *http.ServeMux
	looked bool // mux was set

	method, host, urlPath, rawPath string // what mux needs to know
}

// muxOf returns the handler as a mux, or nil if it is not one.
func muxOf(h http.Handler) *http.ServeMux {
	mux, _ := h.(*http.ServeMux)
	return mux
}

// lookIn says where the route can be looked up; mu is held.
func (r *router) lookIn(mux *http.ServeMux, req *http.Request) {
	if mux == nil || req.URL == nil {
		return
	}
	r.mux, r.looked, r.method, r.host = mux, true, req.Method, req.Host
	r.urlPath, r.rawPath = req.URL.Path, req.URL.RawPath
}

// findRoute returns the route, or "" if it is not known yet; mu is held.
func (st *state) findRoute() string {
	if st.mux != nil {
		u := url.URL{Path: st.urlPath, RawPath: st.rawPath}
		if _, route := st.mux.Handler(&http.Request{Method: st.method, Host: st.host, URL: &u}); route != "" {
			st.route = route
		}
		st.mux = nil
	}
	return st.route
}

// title is the scope's name as it is known now; mu is held.
func (st *state) title() string {
	if route := st.findRoute(); route != "" {
		return route
	}
	return st.owner.name
}

// readRoute takes the route that a mux wrote into the request since the scope began. mu is held,
// and the caller is the goroutine of the handler.
func (st *state) readRoute() {
	if st.req != nil && st.req.Pattern != "" && st.req.Pattern != st.route && !st.router.sealed {
		st.route, st.mux = st.req.Pattern, nil
	}
}

// setRoute takes the route that Seal found, or where it can be looked up, for every scope of the
// request.
func (s *Scope) setRoute(route string, mux *http.ServeMux, r *http.Request) {
	if route == "" && mux == nil {
		return
	}
	st := s.lock()
	if st == nil {
		return
	}
	if route != "" {
		st.route, st.router.sealed, st.mux = route, true, nil
	}
	st.lookIn(mux, r)
	sealed, parent := st.sealed, st.parent
	st.mu.Unlock()
	if sealed {
		From(parent).setRoute(route, mux, r)
	}
}

// handBack copies what the handler wrote into its copy of the request (the route, path values,
// parsed forms, the client's address) into the original, so that code outside finds there what it
// would find without this package. It writes nothing that is the same, because other goroutines may
// read the original. A goroutine that still reads the body writes to its own copy.
func handBack(to, from *http.Request) {
	if from.Pattern != to.Pattern {
		if strings.ContainsAny(from.Pattern, "{:*") {
			body, trailer := to.Body, to.Trailer
			*to = *from.WithContext(to.Context()) // path values have no other way
			to.Body, to.Trailer = body, trailer
			return
		}
		to.Pattern = from.Pattern
	}
	if from.URL != to.URL {
		to.URL = from.URL
	}
	if from.Method != to.Method {
		to.Method = from.Method
	}
	if from.RemoteAddr != to.RemoteAddr {
		to.RemoteAddr = from.RemoteAddr
	}
	if from.Host != to.Host {
		to.Host = from.Host
	}
	if from.Form != nil {
		to.Form, to.PostForm = from.Form, from.PostForm
	}
	if from.MultipartForm != nil {
		to.MultipartForm = from.MultipartForm
	}
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
	return scrub.Name(m)
}
