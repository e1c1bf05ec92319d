package ctxreq

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Defer adds a cleanup that End runs after the children have returned: the last added first, each
// with Config.CleanupTimeout as its deadline and a context that still has the scope's values but is
// not cancelled with it. Errors of cleanups are reported and joined in what End returns; a panic
// stops no other cleanup. After End has begun Defer returns ErrEnded, and fn is not run.
//
// Cleanups delay the end of the response: three of one second each let the client wait three
// seconds. Only a response with a Content-Length that was written in full reaches the client
// before the cleanups. Give slow work to Jobs.
func (s *Scope) Defer(fn func(context.Context) error) error {
	if fn == nil {
		panic("ctxreq: Defer: nil function")
	}
	if s == nil {
		return errors.New("ctxreq: Defer: the context has no scope; open one with Middleware or Start")
	}
	st := s.lock()
	if st == nil {
		return refused("Defer")
	}
	defer st.mu.Unlock()
	if st.closed {
		return refused("Defer")
	}
	st.readRoute()
	st.cleanups = append(st.cleanups, fn)
	return nil
}

// End ends the scope. In this order it
//
//   - refuses new children and cleanups;
//   - cancels the context with cause, or with ErrEnded if that is nil;
//   - waits for the children, at most Config.Grace;
//   - runs the cleanups, last in first out, at most Config.CleanupTimeout and Grace each;
//   - refuses new calls of the writer and the body, waits for calls that are inside the writer, and
//     after Grace interrupts them with a deadline on the connection;
//   - reports children and cleanups that are stuck, with their stacks;
//   - keeps Info and the values of keys made with Carry, and disconnects the rest.
//
// It returns the errors of the children, the cleanups and whatever is stuck, joined. Only the first
// End does anything; any other returns nil at once, even while the first is still busy, so a
// cleanup may call it.
func (s *Scope) End(cause error) error {
	st := s.lock()
	if st == nil {
		return nil
	}
	if st.closed {
		st.mu.Unlock()
		return nil
	}
	idle := st.close(cause)
	if idle && st.plain() { // true for most requests
		s.sever(st, true)
		return nil
	}
	cancel := st.cancel
	st.signal()
	st.mu.Unlock()
	if cancel != nil {
		cancel(st.cause)
	}
	if !idle {
		return s.endBusy(st)
	}
	if st.req != nil {
		s.endRequest(st, nil)
	}
	st.mu.Lock()
	s.sever(st, true)
	return nil
}

// endBusy is End when there is something to wait for or to run.
func (s *Scope) endBusy(st *state) error {
	var errs []error
	stuck := s.awaitChildren(st)
	st.flushWhole()
	broken, blocked := s.runCleanups(st)
	errs, stuck = append(errs, broken...), append(stuck, blocked...)
	inside, reading := s.shut(st)
	if stuck != nil || inside > 0 {
		errs = append(errs, s.reportStuck(st, stuck, inside)...)
	}
	if reading > 0 {
		s.reportReader(st)
	}
	failed := st.failed()
	switch {
	case st.req != nil:
		s.endRequest(st, failed)
	case st.client:
		s.reportFresh(failed)
	}
	if errs != nil {
		failed = join(failed, errors.Join(errs...))
	}
	st.mu.Lock()
	s.sever(st, stuck == nil && inside == 0 && reading == 0)
	return failed
}

// endRequest is what End does only for a request. Nobody gets the errors of its children, so they
// are reported.
func (s *Scope) endRequest(st *state, failed error) {
	s.reportFresh(failed)
	if st.req.MultipartForm != nil { // the server removes only the files of its own copy of the request
		st.req.MultipartForm.RemoveAll()
	}
	st.cfg.watch(s, st.req)
}

// reportFresh reports the parts of err that were not reported yet.
func (s *Scope) reportFresh(err error) {
	if err = fresh(err); err != nil {
		s.report(KindError, err, "")
	}
}

// flushWhole sends a response that is complete but for the handler's return, so that the client
// does not wait for the cleanups. It changes no byte: the response has a Content-Length, and as
// many bytes were written.
func (st *state) flushWhole() {
	st.mu.Lock()
	w, written := st.w, st.written
	whole := w != nil && len(st.cleanups) > 0 && st.busy == 0 && st.status != 0 && !st.hijacked && st.req.Method != http.MethodHead
	st.mu.Unlock()
	if whole && w.Header().Get("Content-Length") == strconv.FormatInt(written, 10) {
		http.NewResponseController(w).Flush()
	}
}

// failed returns the errors of the children. It is called once, at the end: what a stuck child
// returns later is reported as late.
func (st *state) failed() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.counted = true
	return st.failures.join()
}

// close refuses everything new, and reports whether there is nothing to wait for or to run. mu is
// held.
func (st *state) close(cause error) (idle bool) {
	if cause == nil {
		cause = ErrEnded
	}
	st.closed, st.cause = true, cause
	idle = st.active == 0 && len(st.cleanups) == 0 && st.busy == 0 && st.reading == 0 && st.failures.first == nil
	if idle {
		st.shut = true
	} else {
		st.cancellable() // a stuck child may still ask for the cause
	}
	return idle
}

// plain reports whether an idle scope can be severed at once: no context has to be cancelled, and
// endRequest has nothing to do. mu is held.
func (st *state) plain() bool {
	return st.cancel == nil && (st.req == nil || st.req.MultipartForm == nil && !st.cfg.RetentionProbe)
}

// awaitChildren waits for the children, and returns those it gave up.
func (s *Scope) awaitChildren(st *state) (stuck []*task) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.active == 0 {
		return nil
	}
	grace := time.NewTimer(st.cfg.grace())
	defer grace.Stop()
	if st.wait(func() bool { return st.active == 0 }, grace.C, nil) {
		return nil
	}
	for t := st.children; t != nil; t = t.next {
		t.stuck = true
		stuck = append(stuck, t)
	}
	return stuck
}

// runCleanups runs the cleanups, and returns their errors and those it gave up.
func (s *Scope) runCleanups(st *state) (errs []error, stuck []*task) {
	for i := len(st.cleanups) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.WithoutCancel((*scopeCtx)(s)), st.cfg.cleanup())
		t := &task{scope: s, name: fmt.Sprint(i), fn: st.cleanups[i], ctx: ctx, result: make(chan error, 1)}
		go t.run()
		err, returned := t.await()
		cancel()
		if !returned {
			stuck = append(stuck, t)
		}
		if err != nil {
			errs = append(errs, s.cleanupError(t, err))
		}
	}
	return errs, stuck
}

// await returns what the cleanup returned, or false if it ignored its deadline.
func (t *task) await() (error, bool) {
	select {
	case err := <-t.result:
		return err, true
	case <-t.ctx.Done():
	}
	// A cleanup that observes its deadline is about to return.
	grace := time.NewTimer(t.scope.config().grace())
	defer grace.Stop()
	select {
	case err := <-t.result:
		return err, true
	case <-grace.C:
	}
	if t.settled.CompareAndSwap(false, true) {
		return nil, false
	}
	return <-t.result, true
}

func (s *Scope) cleanupError(t *task, err error) error {
	if errors.As(err, new(reported)) {
		return err
	}
	err = fmt.Errorf("ctxreq: cleanup %q: %w", t.name, err)
	s.report(KindCleanup, err, "")
	return err
}

// shut refuses new calls of writer and body, and waits for those inside the writer. One that blocks
// longer than Grace is interrupted by a deadline on the connection: the server is about to reuse
// the buffers it writes to. It returns how many calls could not be interrupted, and how many are
// inside the body. It does not wait for calls inside the body, because the server waits for them
// itself, after it has sent the response.
func (s *Scope) shut(st *state) (inside, reading int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.shut = true
	quiet := func() bool { return st.busy == 0 }
	if quiet() {
		return 0, st.reading
	}
	for range 2 {
		grace := time.NewTimer(st.cfg.grace())
		done := st.wait(quiet, grace.C, nil)
		grace.Stop()
		if done {
			return 0, st.reading
		}
		rc := http.NewResponseController(st.w)
		rc.SetWriteDeadline(epoch)
		rc.SetReadDeadline(epoch)
	}
	return st.busy, st.reading
}

func (s *Scope) reportStuck(st *state, stuck []*task, inside int) (errs []error) {
	dump := st.cfg.dump()
	for _, t := range stuck {
		err := fmt.Errorf("ctxreq: %s %q ignores its context: still running %v after it was cancelled", t.noun(), t.name, st.cfg.patience(t))
		s.report(KindStuck, err, t.stack(dump))
		errs = append(errs, err)
	}
	if inside > 0 {
		err := fmt.Errorf("ctxreq: %s inside the ResponseWriter, which supports no deadline", plural(inside, "call is blocked", "calls are blocked"))
		s.report(KindStuck, err, dump)
		errs = append(errs, err)
	}
	return errs
}

// reportReader reports a goroutine that is inside the body while the handler has returned.
func (s *Scope) reportReader(st *state) {
	if s.markLate(opRead) {
		s.report(KindLateUse, s.late(opRead), readerStack(st.cfg.dump(), s))
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}
