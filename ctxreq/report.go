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

	"github.com/leaksafe/leaksafe/ctxreq/internal/scrub"
)

// Kind says what a Report is about.
type Kind string

// The kinds of reports.
const (
	KindPanic    Kind = "panic"    // a handler, a child or a function of Run or RPC panicked
	KindError    Kind = "error"    // Scope.Report, or an error that no caller gets
	KindStuck    Kind = "stuck"    // a child or a cleanup still runs after End
	KindCleanup  Kind = "cleanup"  // a cleanup failed or panicked
	KindLateUse  Kind = "late use" // the writer or the body was used after End
	KindRetained Kind = "retained" // Config.RetentionProbe found a request that is still reachable
)

// A Report is a snapshot of what went wrong. It shares no memory with the request, so a retained
// Report retains nothing else, except what Err refers to. Every text in it is scrubbed, see
// Config.Show: a hidden value leaves its kind and its length in bytes, as in [hidden:uuid:36].
type Report struct {
	Kind Kind
	// Err is what happened. If its text had to be scrubbed, Err has the scrubbed text, hides the
	// errors it wraps from errors.Unwrap, and still answers errors.Is and errors.As.
	Err error
	// Stack is the stack of the goroutine concerned, if there is one.
	Stack string
	Info  Info
	// Request is the method, the route (as Pattern), the URL and the headers. It is nil outside of
	// a request and after its end. It has no body and no context. After the first Go it shows the
	// headers as they were then.
	Request *http.Request
	// Omitted counts header values left out because they exceed 16 KB together.
	Omitted int
	// Body is the beginning of the body, if Config.BodyCapture asks for it; BodyCut says that the
	// handler read more.
	Body    string
	BodyCut bool
	// Values are the values of keys made with Log, formatted.
	Values map[string]string
}

// A Reporter receives each report at once, on the goroutine that has the problem, so it must be
// quick: hand the report to a queue. It is called by several goroutines at once. The context has
// the scope's values but is not cancelled with it. A Reporter that panics is logged and otherwise
// ignored.
type Reporter interface {
	Report(ctx context.Context, r *Report)
}

// Report sends err to the Reporter, with a snapshot of the request and the stack of the caller. A
// nil err is not reported. On a nil Scope err is logged.
func (s *Scope) Report(err error) {
	if err != nil {
		s.report(KindError, err, string(debug.Stack()))
	}
}

func (s *Scope) report(kind Kind, err error, stack string) {
	ctx := context.Background()
	c := s.config()
	if c == nil {
		c = &zero
	}
	if s != nil {
		ctx = context.WithoutCancel((*scopeCtx)(s))
	}
	r := &Report{Kind: kind, Err: c.scrubError(err), Stack: stack}
	if st := s.lock(); st != nil {
		st.capture()
		shot, route, body := st.shot, st.findRoute(), slices.Clone(st.bodySeen)
		shot.header = slices.Clone(shot.header)
		r.BodyCut = st.bodyCut
		st.mu.Unlock()
		if shot.taken {
			r.Request, r.Omitted = c.request(shot, route)
			r.Body = c.rules().Body(shot.contentType(), body)
		}
	}
	r.Info = s.Info() // after capture, which learns the route
	r.Values = c.logValues(ctx)
	c.deliver(ctx, r)
}

func (c *Config) deliver(ctx context.Context, r *Report) {
	defer func() {
		if p := recover(); p != nil {
			slog.Error("ctxreq: the Reporter panicked", "panic", c.rules().Text(fmt.Sprint(p)), "report", r.Err, "kind", r.Kind)
		}
	}()
	if c.Reporter != nil {
		c.Reporter.Report(ctx, r)
		return
	}
	slog.LogAttrs(ctx, slog.LevelError, "ctxreq: "+string(r.Kind), r.line()...)
}

// line returns the attributes of the log line for a report when there is no Reporter.
func (r *Report) line() []slog.Attr {
	attrs := []slog.Attr{slog.String("err", r.Err.Error())}
	if r.Request != nil {
		attrs = append(attrs, slog.String("method", r.Request.Method), slog.String("route", r.Request.Pattern),
			slog.String("path", r.Info.Path), slog.Int("status", r.Info.Status))
	}
	attrs = append(attrs, slog.String("id", r.Info.ID), slog.String("name", r.Info.Name))
	for name, value := range r.Values {
		attrs = append(attrs, slog.String(name, value))
	}
	return append(attrs, slog.String("stack", r.Stack))
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
		if _, ok := v.(nilValue); ok {
			values[k.name] = "<nil>"
			continue
		}
		values[k.name] = c.rules().Key(k.name, v)
	}
	return values
}

// scrubError returns err itself if its text, and the text of every error it wraps, may be shown.
// The package's own refusals hold nothing but names that the program chose, so they are not
// scrubbed: a goroutine that writes late in a loop must not cost more than the request did.
func (c *Config) scrubError(err error) error {
	if _, ours := err.(refused); ours || err == ErrEnded {
		return err
	}
	rules := c.rules()
	clean := true
	var walk func(error)
	walk = func(e error) {
		if text, ok := errorText(e); !ok || rules.Text(text) != text {
			clean = false
			return
		}
		switch w := e.(type) {
		case interface{ Unwrap() error }:
			if inner := w.Unwrap(); inner != nil {
				walk(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range w.Unwrap() {
				walk(inner)
			}
		}
	}
	walk(err)
	if clean {
		return err
	}
	text, _ := errorText(err)
	return &scrubbedError{rules.Text(text), err}
}

// errorText is what a Reporter may print of err: its text and, if it has a longer form (%+v), that.
// ok is false if err panics, as a nil pointer in an error may.
func errorText(err error) (text string, ok bool) {
	defer func() {
		if !ok {
			recover()
			text = fmt.Sprintf("%v (of type %T)", err, err)
		}
	}()
	text = err.Error()
	if _, has := err.(fmt.Formatter); has {
		if long := fmt.Sprintf("%+v", err); !strings.HasPrefix(long, text) || len(long) > len(text) {
			return long, true
		}
	}
	return text, true
}

// A scrubbedError hides the text of the error inside. Only errors.Is and errors.As reach that
// error.
type scrubbedError struct {
	text string
	err  error
}

func (e *scrubbedError) Error() string        { return e.text }
func (e *scrubbedError) GoString() string     { return fmt.Sprintf("%q", e.text) }
func (e *scrubbedError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *scrubbedError) As(target any) bool   { return errors.As(e.err, target) }

// A requestShot is what reports show of a request, before scrubbing. Its strings share the
// request's memory, so it must not outlive the state.
type requestShot struct {
	taken                 bool
	method, remote, proto string
	major, minor          int
	url                   url.URL
	header                []field
}

// A field is one header line.
type field struct{ name, value string }

func (s *requestShot) contentType() string {
	for _, f := range s.header {
		if f.name == "Content-Type" {
			return f.value
		}
	}
	return ""
}

// capture takes the requestShot, once, so that another goroutine can report the request while the
// handler changes its headers. mu is held, and the calling goroutine may read the request.
func (st *state) capture() {
	if st.req == nil || st.shot.taken {
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

// snapshotLimit bounds what a report keeps of the headers, in bytes.
const snapshotLimit = 16 << 10

// request copies and scrubs a shot. It runs without locks, because Show and Hide are functions of
// the user.
func (c *Config) request(shot requestShot, route string) (r *http.Request, omitted int) {
	rules := c.rules()
	r = &http.Request{
		Method: methodName(shot.method), Pattern: strings.Clone(route), URL: rules.URL(&shot.url, route),
		Proto: strings.Clone(shot.proto), ProtoMajor: shot.major, ProtoMinor: shot.minor,
		Header: make(http.Header), RemoteAddr: strings.Clone(shot.remote),
	}
	room := snapshotLimit
	for _, f := range shot.header {
		room -= len(f.name) + len(f.value)
		switch {
		case room < 0:
			omitted++
		case f.name == "Host":
			r.Host = rules.Header(f.name, f.value)
		default:
			r.Header.Add(scrub.Name(f.name), rules.Header(f.name, f.value))
		}
	}
	return r, omitted
}
