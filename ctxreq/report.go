package ctxreq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
)

// Kind says what a Report is about.
type Kind string

// The kinds of reports.
const (
	Panic    Kind = "panic"    // a handler, a child or a Run function panicked
	Error    Kind = "error"    // Scope.Report, or an error nobody else would see
	Stuck    Kind = "stuck"    // a child or cleanup outlived End
	Cleanup  Kind = "cleanup"  // a cleanup failed or panicked
	LateUse  Kind = "late use" // the writer or the body was used after End
	Retained Kind = "retained" // Config.RetentionProbe found a request that is still held
)

// A Report is a snapshot of what went wrong. It shares no memory with the
// request, so keeping it keeps nothing else alive; only Err is as it was given.
type Report struct {
	Kind Kind
	Err  error
	// Stack is the goroutine concerned, when there is one.
	Stack string
	Info  Info
	// Request is the method, the route (as Pattern), the URL and the headers,
	// scrubbed; nil outside of a request and after its end. It has no body and
	// no context. After the first Go it shows the headers as they were then.
	Request *http.Request
	// Omitted counts header values left out because they exceed 16 KB together.
	Omitted int
	// Body is the beginning of the body, scrubbed, if Config.BodyCapture asks
	// for it; BodyCut says that there was more.
	Body    string
	BodyCut bool
	// Values are those of keys made with Log, formatted and scrubbed.
	Values map[string]string
}

// A Reporter takes reports, at once and on the goroutine that has the trouble:
// it should hand them on quickly. The context has the scope's values but is
// not cancelled with it. A Reporter that panics is logged and otherwise ignored.
type Reporter interface {
	Report(ctx context.Context, r *Report)
}

var errRetained = errors.New("ctxreq: the *http.Request is still reachable two garbage collections after its end; find who holds it with leakcheck, and keep copies of what it needs instead")

// Report sends err to the Reporter, with a snapshot of the request and the
// stack of the caller. A nil err is not reported. On a nil Scope it is logged.
func (s *Scope) Report(err error) {
	if err != nil {
		s.report(Error, err, string(debug.Stack()))
	}
}

func (s *Scope) report(kind Kind, err error, stack string) {
	r := &Report{Kind: kind, Err: err, Stack: stack, Info: s.Info()}
	ctx := context.Background()
	c := s.config()
	if c == nil {
		c = &zero
	}
	if s != nil {
		ctx = context.WithoutCancel((*scopeCtx)(s))
	}
	if st := s.lock(); st != nil {
		st.capture()
		shot, route, body := st.shot, st.route, slices.Clone(st.bodySeen)
		shot.header = slices.Clone(shot.header)
		r.BodyCut = st.bodyCut
		st.mu.Unlock()
		if shot.taken {
			r.Request, r.Omitted = c.request(shot, route)
			r.Body = c.scrubBody(body)
		}
	}
	r.Values = c.logValues(ctx)
	c.deliver(ctx, r)
}

func (c *Config) deliver(ctx context.Context, r *Report) {
	defer func() {
		if p := recover(); p != nil {
			slog.Error("ctxreq: the Reporter panicked", "panic", p, "report", r.Err, "kind", r.Kind)
		}
	}()
	if c.Reporter != nil {
		c.Reporter.Report(ctx, r)
		return
	}
	slog.ErrorContext(ctx, "ctxreq: "+string(r.Kind), "err", r.Err, "id", r.Info.ID, "name", r.Info.Name, "stack", r.Stack)
}

func (c *Config) logValues(ctx context.Context) map[string]string {
	var values map[string]string
	for _, k := range load(&registry.all) {
		if k.option&Log == 0 {
			continue
		}
		v := ctx.Value(k)
		if v == nil {
			continue
		}
		if values == nil {
			values = make(map[string]string)
		}
		values[k.name] = c.scrub(k.name, format(v))
	}
	return values
}

// format survives a String method that panics, which fmt reports in the text.
func format(v any) string {
	if _, ok := v.(nilValue); ok {
		return "<nil>"
	}
	return fmt.Sprint(v)
}

// shot is what reports show of a request, before scrubbing. Its strings are
// the request's, so it lives no longer than the state.
type shot struct {
	taken                 bool
	method, remote, proto string
	major, minor          int
	url                   url.URL
	header                []field
}

// field is one header line.
type field struct{ name, value string }

// capture takes the shot, once, so that another goroutine can report the
// request while the handler changes its headers. mu is held, and the caller is
// a goroutine that may read the request.
func (st *state) capture() {
	if st.shot.taken || st.req == nil {
		return
	}
	st.readRoute()
	st.shot.taken = true
	st.shot.method, st.shot.remote = st.req.Method, st.req.RemoteAddr
	st.shot.proto, st.shot.major, st.shot.minor = st.req.Proto, st.req.ProtoMajor, st.req.ProtoMinor
	if st.req.URL != nil {
		st.shot.url = *st.req.URL
	}
	st.shot.header = append(st.shot.header, field{"Host", st.req.Host})
	for name, values := range st.req.Header {
		for _, v := range values {
			st.shot.header = append(st.shot.header, field{name, v})
		}
	}
}

// readRoute asks the request for its route, which a mux may have found by now.
func (st *state) readRoute() {
	if st.route == "" && st.req != nil {
		st.route = st.req.Pattern
	}
}

// snapshotLimit bounds what a report keeps of the headers.
const snapshotLimit = 16 << 10

// request copies and scrubs a shot. It runs outside of locks, because Hide is
// the user's.
func (c *Config) request(shot shot, route string) (r *http.Request, omitted int) {
	r = &http.Request{
		Method: methodName(shot.method), Pattern: strings.Clone(route), URL: c.scrubURL(&shot.url),
		Proto: strings.Clone(shot.proto), ProtoMajor: shot.major, ProtoMinor: shot.minor,
		Header: make(http.Header), RemoteAddr: strings.Clone(shot.remote),
	}
	room := snapshotLimit
	for _, f := range shot.header {
		room -= len(f.name) + len(f.value)
		value := c.scrub(f.name, f.value)
		switch {
		case room < 0:
			omitted++
		case f.name == "Host":
			r.Host = value
		default:
			r.Header.Add(strings.Clone(f.name), value)
		}
	}
	return r, omitted
}

func (c *Config) scrubURL(u *url.URL) *url.URL {
	clean := url.URL{
		Scheme: strings.Clone(u.Scheme), Host: strings.Clone(u.Host),
		Path: c.scrubPath(u.Path), RawQuery: c.scrubPairs(u.RawQuery),
	}
	if u.User != nil {
		clean.User = url.User(hidden)
	}
	return &clean
}
