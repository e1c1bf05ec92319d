package ctxreq

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A task is a function on a goroutine of its own: a child, or a cleanup. The tasks of children are
// reused.
type task struct {
	scope   *Scope
	name    string
	fn      func(context.Context) error
	started time.Duration
	begin   func() // run, so that starting a goroutine allocates nothing
	stuck   bool   // End will report it; set under state.mu

	// For a cleanup.
	result  chan error // nil for a child
	ctx     context.Context
	settled atomic.Bool // it returned, or End gave it up: whichever was first

	prev, next *task // in state.children
}

// tasks are cleared, but for begin.
var tasks sync.Pool

func newTask() *task {
	if t, ok := tasks.Get().(*task); ok {
		return t
	}
	t := new(task)
	t.begin = t.run
	return t
}

func (t *task) run() {
	returned := false
	var err error
	defer func() {
		if !returned {
			err = t.unwound(recover())
		}
		t.finish(err)
	}()
	err = t.call()
	returned = true
}

// call is not inlined and keeps its receiver alive, so a stuck task can be found in a dump of all
// goroutines by this function name and the receiver's address. This costs nothing until a dump is
// taken.
//
//go:noinline
func (t *task) call() error {
	ctx := t.ctx
	if ctx == nil {
		ctx = (*scopeCtx)(t.scope)
	}
	err := t.fn(ctx)
	runtime.KeepAlive(t)
	return err
}

// unwound is called by the deferred function of run, so the stack still shows the line that
// panicked, and the panic is reported at once.
func (t *task) unwound(p any) error {
	if p == nil {
		return fmt.Errorf("ctxreq: %s %q called runtime.Goexit", t.noun(), t.name)
	}
	kind := KindPanic
	if t.result != nil {
		kind = KindCleanup
	}
	err := fmt.Errorf("ctxreq: %s %q: %w", t.noun(), t.name, panicError(p))
	t.scope.report(kind, err, string(debug.Stack()))
	return reported{err}
}

// reported marks an error that reached the Reporter already.
type reported struct{ error }

func (r reported) Unwrap() error { return r.error }

// fresh returns the parts of err that did not reach the Reporter yet.
func fresh(err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var left []error
		for _, e := range joined.Unwrap() {
			left = append(left, fresh(e))
		}
		return errors.Join(left...)
	}
	if errors.As(err, new(reported)) {
		return nil
	}
	return err
}

func (t *task) noun() string {
	if t.result != nil {
		return "cleanup"
	}
	return "child"
}

func (t *task) finish(err error) {
	if t.result != nil {
		if t.settled.CompareAndSwap(false, true) {
			t.result <- err
		} else {
			t.late(err)
		}
		return
	}
	st := t.scope.lock()
	if st == nil || st.counted { // stuck, and given up
		if st != nil {
			st.mu.Unlock()
		}
		t.late(err)
		return
	}
	cancel, reuse := st.remove(t, err), !t.stuck
	st.mu.Unlock()
	if cancel != nil {
		cancel(err)
	}
	if reuse {
		*t = task{begin: t.begin}
		tasks.Put(t)
	}
}

// late reports the error of a task that nobody waits for.
func (t *task) late(err error) {
	if err != nil && !errors.As(err, new(reported)) && !errors.Is(err, context.Canceled) {
		t.scope.report(KindError, fmt.Errorf("ctxreq: %s %q, after the end of its scope: %w", t.noun(), t.name, err), "")
	}
}

// remove removes a child that returned err. If the scope has to be cancelled, it returns the
// function that does so; mu is held.
func (st *state) remove(t *task, err error) context.CancelCauseFunc {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		st.children = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	st.active--
	if st.active == 0 || st.crowd > 0 { // otherwise nobody waits for this one
		st.signal()
	}
	if err == nil || st.echo(err) {
		return nil
	}
	st.failures.add(err)
	st.signal()
	st.cancellable()
	return st.cancel
}

// echo reports whether err says no more than that the scope was cancelled.
func (st *state) echo(err error) bool {
	if st.err() == nil {
		return false
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, st.err()) || errors.Is(err, context.Cause(st.cancellable()))
}

// Go runs fn on a goroutine that End cancels and waits for. fn's context is the scope's. The first
// child to fail cancels the scope with its error; all errors are joined in what Wait and End
// return. A panic in fn is reported at once, with its stack, and counts as an error.
//
// While Config.MaxChildren children run, Go waits until one returns. It returns an error, and does
// not run fn, after End and when the scope is cancelled while it waits. In a request, the first Go
// reads the request's headers, so that a child that fails can report them: do not change them on
// another goroutine meanwhile.
//
// Do not give a child a value that a framework reuses for the next request, such as *gin.Context or
// echo.Context. If the child is still running after the end, the writer in that value writes into
// another client's response, and no guard outside the framework can detect that. Copy what the
// child needs first, or use the framework's Copy method.
func (s *Scope) Go(name string, fn func(context.Context) error) error {
	if fn == nil {
		panic(nilFunction("Go", name))
	}
	if s == nil {
		return fmt.Errorf("ctxreq: Go %q: the context has no scope; open one with Middleware or Start", name)
	}
	return s.spawn(nil, name, fn)
}

// spawn starts a child, waiting for room until cancelled is ready.
func (s *Scope) spawn(cancelled <-chan struct{}, name string, fn func(context.Context) error) error {
	st := s.lock()
	if st == nil {
		return refused(fmt.Sprintf("Go %q", name))
	}
	if err := s.place(st, name, cancelled); err != nil {
		st.mu.Unlock()
		return err
	}
	st.capture()
	if !st.listed {
		s.register(st)
	}
	t := newTask()
	t.scope, t.name, t.fn, t.started = s, name, fn, time.Since(epoch)
	begin := t.begin
	st.add(t)
	st.mu.Unlock()
	go begin()
	return nil
}

// add enters a child; mu is held.
func (st *state) add(t *task) {
	t.next = st.children
	if t.next != nil {
		t.next.prev = t
	}
	st.children = t
	st.active++
}

// place waits until there is room for a child; mu is held.
func (s *Scope) place(st *state, name string, cancelled <-chan struct{}) error {
	limit := st.cfg.limit()
	gone := func() bool { return st.owner != s || st.closed || st.refusing }
	if st.active >= limit && !gone() {
		if cancelled == nil {
			cancelled = st.cancellable().Done()
		}
		st.crowd++
		st.wait(func() bool { return gone() || st.active < limit }, nil, cancelled)
		if st.owner == s {
			st.crowd--
		}
	}
	if gone() {
		return refused(fmt.Sprintf("Go %q", name))
	}
	if st.active >= limit {
		return fmt.Errorf("ctxreq: Go %q: cancelled while it waited for one of %s to return (Config.MaxChildren): %w", name, plural(st.active, "child", "children"), context.Canceled)
	}
	return nil
}

// Wait blocks until all children have returned, and returns their errors, joined. It cancels
// nothing. Once the scope is cancelled it waits no longer than Config.Grace and then returns with
// the cause.
func (s *Scope) Wait() error {
	st := s.lock()
	if st == nil {
		return nil
	}
	defer st.mu.Unlock()
	quiet := func() bool { return st.owner != s || st.active == 0 }
	cancelled := func() bool { return st.closed || st.failures.first != nil }
	if !st.wait(func() bool { return quiet() || cancelled() }, nil, st.stopped()) || !quiet() {
		grace := time.NewTimer(st.cfg.grace())
		defer grace.Stop()
		if !st.wait(quiet, grace.C, nil) {
			return join(st.failures.join(), fmt.Errorf("ctxreq: Wait: %s: %w", plural(st.active, "child still runs", "children still run"), context.Cause(st.cancellable())))
		}
	}
	if st.owner != s {
		return nil
	}
	return st.failures.join()
}

// stopped returns a channel that is closed when the scope's parent is cancelled. It is like Done,
// but needs no cancelCtx if the parent's channel can be used. A cancellation from within (a child
// that fails, End) uses signal instead. mu is held.
func (st *state) stopped() <-chan struct{} {
	if st.inner == nil && st.deadline.IsZero() {
		return st.parent.Done()
	}
	return st.cancellable().Done()
}

// failures are the errors of children: the first few, and how many more.
type failures struct {
	first []error
	more  int
}

func (f *failures) add(err error) {
	if len(f.first) < 16 {
		f.first = append(f.first, err)
		return
	}
	f.more++
}

func (f *failures) join() error {
	switch {
	case len(f.first) == 1:
		return f.first[0]
	case f.more > 0:
		return errors.Join(append(f.first[:len(f.first):len(f.first)], fmt.Errorf("ctxreq: and %s failed", plural(f.more, "more child", "more children")))...)
	}
	return errors.Join(f.first...)
}

// stack returns the stack of t's goroutine in a dump, or a sentence that says why it is missing.
func (t *task) stack(dump string) string {
	return goroutineWith(dump, fmt.Sprintf("ctxreq.(*task).call(%p", t))
}

// readerStack is the goroutine that reads the body of s.
func readerStack(dump string, s *Scope) string {
	return goroutineWith(dump, fmt.Sprintf("ctxreq.(*Scope).read(%p", s))
}

func goroutineWith(dump, frame string) string {
	if dump == "" {
		return "no stack: a dump stops the world, and this Config took one less than a second ago"
	}
	for g := range strings.SplitSeq(dump, "\n\n") {
		if strings.Contains(g, frame) {
			return g
		}
	}
	return "no stack: the goroutine returned meanwhile, or the dump was cut at 16 MB"
}

// dump is the stacks of all goroutines, at most once a second for a Config.
func (c *Config) dump() string {
	now := time.Now().UnixNano()
	last := c.dumped.Load()
	if now-last < int64(time.Second) || !c.dumped.CompareAndSwap(last, now) {
		return ""
	}
	for size := 1 << 16; ; size *= 4 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size || size >= 16<<20 {
			return string(buf[:n])
		}
	}
}
