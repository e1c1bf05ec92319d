package ctxreq

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"
)

// readCloser is a request's body.
type readCloser = io.ReadCloser

// An op is one way to use the writer or the body; each has a bit in Scope.bits, so that each is
// reported once after End.
type op uint8

const (
	opHeader op = iota
	opWriteHeader
	opWrite
	opFlush
	opHijack
	opPush
	opControl
	opRead
)

var opNames = [...]string{
	"ResponseWriter.Header", "WriteHeader", "Write", "Flush", "Hijack", "Push",
	"ResponseController", "reading the request body",
}

// enter admits a call to the inner writer, which End then waits for. It returns nil, after a
// report, once the scope has ended. Every successful enter needs a leave; the caller may use w
// until then.
func (s *Scope) enter(o op) (st *state, w http.ResponseWriter) {
	st = s.admit(o)
	if st == nil {
		return nil, nil
	}
	st.busy++
	if st.status == 0 && (o == opWrite || o == opFlush) {
		st.status = http.StatusOK
	}
	w = st.w
	st.mu.Unlock()
	return st, w
}

// admit returns the state, locked, or nil after a report once the scope has ended.
func (s *Scope) admit(o op) *state {
	st := s.lock()
	if st != nil && !st.shut {
		return st
	}
	if st != nil {
		st.mu.Unlock()
	}
	if s.markLate(o) {
		s.report(KindLateUse, s.late(o), string(debug.Stack()))
	}
	return nil
}

func (st *state) leave() { st.wrote(0) }

// wrote leaves after n bytes.
func (st *state) wrote(n int64) {
	st.mu.Lock()
	st.written += n
	st.busy--
	if st.busy == 0 {
		st.signal()
	}
	st.mu.Unlock()
}

// markLate reports whether a late op has to be reported: it is the first of its kind, and it is not
// the Read of a body that the handler closed, because a transport may not know about the Close yet.
func (s *Scope) markLate(o op) bool {
	bit := uint32(1) << (lateShift + o)
	before := s.bits.Or(bit)
	return before&bit == 0 && !(o == opRead && before&closedBit != 0)
}

func (s *Scope) late(o op) error {
	return refused(fmt.Sprintf("%s after the end of %q; start the goroutine with Scope.Go, or give it a copy of what it needs", opNames[o], s.title()))
}

// writer is the guarded http.ResponseWriter. It is only a pointer to the Scope, so it costs no
// memory of its own and retains none.
type writer struct{ s *Scope }

// Header after End is a map that nobody reads.
func (w writer) Header() http.Header {
	st, inner := w.s.enter(opHeader)
	if st == nil {
		return make(http.Header)
	}
	defer st.leave()
	return inner.Header()
}

func (w writer) WriteHeader(code int) {
	st, inner := w.s.enter(opWriteHeader)
	if st == nil {
		return
	}
	defer st.leave()
	inner.WriteHeader(code)
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.s.setStatus(st, code)
	}
}

func (s *Scope) setStatus(st *state, code int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.status == 0 {
		st.status = code
	}
}

func (w writer) Write(p []byte) (int, error) {
	st, inner := w.s.enter(opWrite)
	if st == nil {
		return 0, w.s.late(opWrite)
	}
	n := 0
	defer func() { st.wrote(int64(n)) }()
	n, err := inner.Write(p)
	return n, err
}

func (w writer) WriteString(p string) (int, error) {
	st, inner := w.s.enter(opWrite)
	if st == nil {
		return 0, w.s.late(opWrite)
	}
	n := 0
	defer func() { st.wrote(int64(n)) }()
	n, err := io.WriteString(inner, p)
	return n, err
}

// CloseNotify is deprecated, but frameworks assert that it is there.
func (w writer) CloseNotify() <-chan bool {
	st, inner := w.s.enter(opControl)
	if st == nil {
		return nil
	}
	defer st.leave()
	if n, ok := inner.(interface{ CloseNotify() <-chan bool }); ok {
		return n.CloseNotify()
	}
	return nil
}

// Unwrap is for http.ResponseController. It returns another guard, never the raw writer.
func (w writer) Unwrap() http.ResponseWriter { return control{w} }

// control is the writer that a ResponseController uses. It has every method, and each checks
// whether the inner writer has it.
type control struct{ writer }

// with runs f on the inner writer's ResponseController.
func (w writer) with(o op, f func(*http.ResponseController) error) error {
	st, inner := w.s.enter(o)
	if st == nil {
		return w.s.late(o)
	}
	defer st.leave()
	return f(http.NewResponseController(inner))
}

func (c control) FlushError() error {
	return c.with(opFlush, (*http.ResponseController).Flush)
}

func (c control) SetReadDeadline(t time.Time) error {
	return c.with(opControl, func(rc *http.ResponseController) error { return rc.SetReadDeadline(t) })
}

func (c control) SetWriteDeadline(t time.Time) error {
	return c.with(opControl, func(rc *http.ResponseController) error { return rc.SetWriteDeadline(t) })
}

func (c control) EnableFullDuplex() error {
	return c.with(opControl, (*http.ResponseController).EnableFullDuplex)
}

func (c control) Hijack() (conn net.Conn, rw *bufio.ReadWriter, err error) { return c.hijack() }

// Unwrap ends the ResponseController's search here.
func (c control) Unwrap() http.ResponseWriter { return nil }

func (w writer) hijack() (conn net.Conn, rw *bufio.ReadWriter, err error) {
	st, inner := w.s.enter(opHijack)
	if st == nil {
		return nil, nil, w.s.late(opHijack)
	}
	defer st.leave()
	conn, rw, err = http.NewResponseController(inner).Hijack()
	if err == nil {
		st.mu.Lock()
		st.hijacked = true
		st.mu.Unlock()
	}
	return conn, rw, err
}

func (w writer) flush() error { return control{w}.FlushError() }

func (w writer) readFrom(r io.Reader) (int64, error) {
	st, inner := w.s.enter(opWrite)
	if st == nil {
		return 0, w.s.late(opWrite)
	}
	n := int64(0)
	defer func() { st.wrote(n) }()
	n, err := inner.(io.ReaderFrom).ReadFrom(r)
	return n, err
}

func (w writer) push(target string, o *http.PushOptions) error {
	st, inner := w.s.enter(opPush)
	if st == nil {
		return w.s.late(opPush)
	}
	defer st.leave()
	return inner.(http.Pusher).Push(target, o)
}

// The sixteen writers: what a handler finds by type assertion (Flusher, Hijacker, ReaderFrom,
// Pusher) is there exactly if the inner writer has it. Each type is one pointer, so none is
// allocated, and adds one method to a smaller one.
type (
	writerF    struct{ writer }
	writerH    struct{ writer }
	writerR    struct{ writer }
	writerP    struct{ writer }
	writerFH   struct{ writerF }
	writerFR   struct{ writerF }
	writerFP   struct{ writerF }
	writerHR   struct{ writerH }
	writerHP   struct{ writerH }
	writerRP   struct{ writerR }
	writerFHR  struct{ writerFH }
	writerFHP  struct{ writerFH }
	writerFRP  struct{ writerFR }
	writerHRP  struct{ writerHR }
	writerFHRP struct{ writerFHR }
)

func (w writerF) Flush()            { w.flush() }
func (w writerF) FlushError() error { return w.flush() }

func (w writerH) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return w.hijack() }
func (w writerFH) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

func (w writerR) ReadFrom(r io.Reader) (int64, error)   { return w.readFrom(r) }
func (w writerFR) ReadFrom(r io.Reader) (int64, error)  { return w.readFrom(r) }
func (w writerHR) ReadFrom(r io.Reader) (int64, error)  { return w.readFrom(r) }
func (w writerFHR) ReadFrom(r io.Reader) (int64, error) { return w.readFrom(r) }

func (w writerP) Push(t string, o *http.PushOptions) error    { return w.push(t, o) }
func (w writerFP) Push(t string, o *http.PushOptions) error   { return w.push(t, o) }
func (w writerHP) Push(t string, o *http.PushOptions) error   { return w.push(t, o) }
func (w writerRP) Push(t string, o *http.PushOptions) error   { return w.push(t, o) }
func (w writerFHP) Push(t string, o *http.PushOptions) error  { return w.push(t, o) }
func (w writerFRP) Push(t string, o *http.PushOptions) error  { return w.push(t, o) }
func (w writerHRP) Push(t string, o *http.PushOptions) error  { return w.push(t, o) }
func (w writerFHRP) Push(t string, o *http.PushOptions) error { return w.push(t, o) }

// guard returns the writer type that has the same optional methods as inner.
func guard(s *Scope, inner http.ResponseWriter) http.ResponseWriter {
	w := writer{s}
	has := 0
	if _, ok := inner.(http.Flusher); ok {
		has |= 1
	}
	if _, ok := inner.(http.Hijacker); ok {
		has |= 2
	}
	if _, ok := inner.(io.ReaderFrom); ok {
		has |= 4
	}
	if _, ok := inner.(http.Pusher); ok {
		has |= 8
	}
	switch f, h, r := (writerF{w}), (writerH{w}), (writerR{w}); has {
	case 1:
		return f
	case 2:
		return h
	case 1 | 2:
		return writerFH{f}
	case 4:
		return r
	case 1 | 4:
		return writerFR{f}
	case 2 | 4:
		return writerHR{h}
	case 1 | 2 | 4:
		return writerFHR{writerFH{f}}
	case 8:
		return writerP{w}
	case 1 | 8:
		return writerFP{f}
	case 2 | 8:
		return writerHP{h}
	case 1 | 2 | 8:
		return writerFHP{writerFH{f}}
	case 4 | 8:
		return writerRP{r}
	case 1 | 4 | 8:
		return writerFRP{writerFR{f}}
	case 2 | 4 | 8:
		return writerHRP{writerHR{h}}
	case 1 | 2 | 4 | 8:
		return writerFHRP{writerFHR{writerFH{f}}}
	}
	return w
}

// body is the guarded request body.
type body struct{ s *Scope }

func (b body) Read(p []byte) (int, error) { return b.s.read(p) }

// read is not inlined and keeps its receiver alive, so that a goroutine that is still reading at
// the end can be found in a dump.
//
//go:noinline
func (s *Scope) read(p []byte) (int, error) {
	st := s.admit(opRead)
	if st == nil {
		if s.bits.Load()&closedBit != 0 {
			return 0, http.ErrBodyReadAfterClose
		}
		return 0, s.late(opRead)
	}
	st.reading++
	inner := st.body
	st.mu.Unlock()
	n, err := inner.Read(p)
	s.leaveBody(st, p[:n])
	runtime.KeepAlive(s)
	return n, err
}

// leaveBody keeps the beginning of the body for reports.
func (s *Scope) leaveBody(st *state, p []byte) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.owner != s { // the scope ended meanwhile, and its state is not used again
		return
	}
	st.reading--
	if st.cfg.BodyCapture <= 0 {
		return
	}
	room := st.cfg.BodyCapture - len(st.bodySeen)
	if len(p) > room {
		p, st.bodyCut = p[:room], true
	}
	st.bodySeen = append(st.bodySeen, p...)
}

// Close after End does nothing: the server has closed the body.
func (b body) Close() error {
	st := b.s.lock()
	if st == nil {
		return nil
	}
	b.s.bits.Or(closedBit)
	inner := st.body
	st.mu.Unlock()
	return inner.Close()
}
