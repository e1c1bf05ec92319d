package ctxreq

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Defer adds a cleanup that End runs after the children have returned: the last
// added first, each with Config.Cleanup as its deadline and a context that
// still has the scope's values but is not cancelled with it. Their errors are
// reported and joined in what End returns; a panic stops no other cleanup.
// After End has begun Defer returns ErrEnded, and fn is not run.
func (s *Scope) Defer(fn func(context.Context) error) error {
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
	st.cleanups = append(st.cleanups, fn)
	return nil
}

// End ends the scope. In this order it
//
//   - refuses new children and cleanups;
//   - cancels the context with cause, or ErrEnded when that is nil;
//   - waits for the children, at most Config.Grace;
//   - runs the cleanups, last in first out, at most Config.Cleanup and Grace each;
//   - shuts the writer and the body, waits for calls inside them, and after Grace
//     breaks them off with a deadline on the connection;
//   - reports who is stuck, with the stack;
//   - keeps Info and the values of keys made with Carry, and cuts the rest off.
//
// It returns the errors of the children, the cleanups and who was stuck,
// joined. Only the first End does anything; any other returns nil at once,
// even while the first is still busy, so a cleanup may call it.
func (s *Scope) End(cause error) error {
	st, idle := s.close(cause)
	if st == nil {
		return nil
	}
	if idle { // the usual request
		if st.req != nil {
			s.endRequest(st, nil)
		}
		st.cfg.leave(s, st)
		s.sever(st, true)
		return nil
	}
	return s.endBusy(st)
}

// endBusy is End when there is something to wait for or to run.
func (s *Scope) endBusy(st *state) error {
	var errs []error
	stuck := s.awaitChildren(st)
	broken, blocked := s.runCleanups(st)
	errs, stuck = append(errs, broken...), append(stuck, blocked...)
	inside := s.shut(st)
	if stuck != nil || inside > 0 {
		errs = append(errs, s.reportStuck(st, stuck, inside)...)
	}
	failed := st.failed()
	if st.req != nil {
		s.endRequest(st, failed)
	}
	if errs != nil {
		failed = join(failed, errors.Join(errs...))
	}
	st.cfg.leave(s, st)
	s.sever(st, stuck == nil && inside == 0)
	return failed
}

// endRequest is what End does only for a request. Nobody takes the errors of
// its children, so they are reported.
func (s *Scope) endRequest(st *state, failed error) {
	if failed := fresh(failed); failed != nil {
		s.report(Error, failed, "")
	}
	if st.req.MultipartForm != nil { // the server removes only those of its own copy
		st.req.MultipartForm.RemoveAll()
	}
	st.cfg.watch(s, st.req)
}

// failed is what the children returned. It asks for the last time: what a stuck
// child returns from now on is late.
func (st *state) failed() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.counted = true
	return st.failures.join()
}

// close lets nothing new in and cancels the context. It returns nil when End
// was called before, and whether there is nothing to wait for or to run.
func (s *Scope) close(cause error) (st *state, idle bool) {
	st = s.lock()
	if st == nil {
		return nil, false
	}
	if st.closed {
		st.mu.Unlock()
		return nil, false
	}
	if cause == nil {
		cause = ErrEnded
	}
	st.closed, st.cause = true, cause
	idle = st.active == 0 && len(st.cleanups) == 0 && st.busy == 0 && st.failures.first == nil
	if idle {
		st.shut = true
	} else {
		st.cancellable() // somebody is left to see the cause
	}
	cancel := st.cancel
	st.signal()
	st.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
	return st, idle
}

// awaitChildren returns the children it gave up.
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
		stuck = append(stuck, t)
	}
	return stuck
}

// runCleanups returns the errors of the cleanups, and those it gave up.
func (s *Scope) runCleanups(st *state) (errs []error, stuck []*task) {
	for i := len(st.cleanups) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.WithoutCancel((*scopeCtx)(s)), st.cfg.cleanup())
		t := &task{scope: s, st: st, name: fmt.Sprint(i), fn: st.cleanups[i], ctx: ctx, result: make(chan error, 1)}
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

// await returns what the cleanup returned, or false when its deadline passed
// and it did not heed it.
func (t *task) await() (error, bool) {
	select {
	case err := <-t.result:
		return err, true
	case <-t.ctx.Done():
	}
	// One that heeds its deadline is about to return.
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
	s.report(Cleanup, err, "")
	return err
}

// shut lets no new call into writer and body, and waits for those inside. One
// that blocks longer than Grace is broken off by a deadline on the connection:
// the server is about to reuse the buffers it writes to. It returns how many
// could not even be broken off.
func (s *Scope) shut(st *state) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.shut = true
	quiet := func() bool { return st.busy == 0 }
	if quiet() {
		return 0
	}
	for range 2 {
		grace := time.NewTimer(st.cfg.grace())
		done := st.wait(quiet, grace.C, nil)
		grace.Stop()
		if done {
			return 0
		}
		rc := http.NewResponseController(st.w)
		rc.SetWriteDeadline(epoch)
		rc.SetReadDeadline(epoch)
	}
	return st.busy
}

func (s *Scope) reportStuck(st *state, stuck []*task, inside int) (errs []error) {
	dump := st.cfg.dump()
	for _, t := range stuck {
		err := fmt.Errorf("ctxreq: %s %q ignores its context: still running %v after it was cancelled", t.noun(), t.name, st.cfg.patience(t))
		s.report(Stuck, err, t.stack(dump))
		errs = append(errs, err)
	}
	if inside > 0 {
		err := fmt.Errorf("ctxreq: %d calls block inside the writer or the body, which knows no deadlines", inside)
		s.report(Stuck, err, dump)
		errs = append(errs, err)
	}
	return errs
}
