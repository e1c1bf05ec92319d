package ctxreq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
)

// recorder is a Reporter that remembers.
type recorder struct {
	mu      sync.Mutex
	reports []*ctxreq.Report
}

func (r *recorder) Report(_ context.Context, report *ctxreq.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, report)
}

func (r *recorder) of(kind ctxreq.Kind) []*ctxreq.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*ctxreq.Report
	for _, report := range r.reports {
		if report.Kind == kind {
			list = append(list, report)
		}
	}
	return list
}

func (r *recorder) all() []*ctxreq.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*ctxreq.Report(nil), r.reports...)
}

// idle is a function that does nothing.
func idle(context.Context) error { return nil }

func TestEndRunsInItsOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, s)
	}
	boom := errors.New("boom")
	ctx, s := ctxreq.Start(t.Context(), "scope")
	require.NoError(t, s.Go("child", func(ctx context.Context) error {
		<-ctx.Done()
		note("child sees " + context.Cause(ctx).Error())
		assert.ErrorIs(t, s.Go("late", idle), ctxreq.ErrEnded)
		return nil
	}))
	for _, name := range []string{"first", "second"} {
		require.NoError(t, s.Defer(func(c context.Context) error {
			note(name + " cleanup")
			assert.NoError(t, c.Err(), "a cleanup's context is not cancelled with the scope")
			_, ok := c.Deadline()
			assert.True(t, ok, "but has a deadline")
			assert.Error(t, ctx.Err())
			assert.ErrorIs(t, s.Defer(idle), ctxreq.ErrEnded)
			assert.ErrorIs(t, s.Go("late", idle), ctxreq.ErrEnded)
			assert.NoError(t, s.End(nil), "End within End returns at once")
			return nil
		}))
	}
	require.NoError(t, s.End(boom))
	require.NoError(t, s.End(nil))
	require.Equal(t, []string{"child sees boom", "second cleanup", "first cleanup"}, order)
}

func TestErrorsOfChildrenAndCleanupsAreJoined(t *testing.T) {
	rec := new(recorder)
	one, two, three := errors.New("one"), errors.New("two"), errors.New("three")
	_, s := (&ctxreq.Config{Reporter: rec}).Start(t.Context(), "scope")
	require.NoError(t, s.Go("child", func(context.Context) error { return one }))
	require.NoError(t, s.Defer(func(context.Context) error { return two }))
	require.NoError(t, s.Defer(func(context.Context) error { panic(three) }))
	err := s.End(nil)
	for _, want := range []error{one, two, three} {
		require.ErrorIs(t, err, want)
	}
	cleanups := rec.of(ctxreq.KindCleanup)
	require.Len(t, cleanups, 2)
	require.Contains(t, cleanups[0].Stack, "TestErrorsOfChildrenAndCleanupsAreJoined")
	require.ErrorIs(t, cleanups[1].Err, two)
}

func TestFirstFailingChildCancelsTheScope(t *testing.T) {
	boom := errors.New("boom")
	ctx, s := ctxreq.Start(t.Context(), "scope")
	for range 3 {
		require.NoError(t, s.Go("waits", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}))
	}
	require.NoError(t, s.Go("fails", func(context.Context) error { return boom }))
	<-ctx.Done()
	require.Equal(t, boom, context.Cause(ctx))
	require.Equal(t, boom, s.Wait(), "the echoes of the cancellation are no errors")
	require.Equal(t, boom, s.End(nil))
}

func TestWaitCancelsNothing(t *testing.T) {
	ctx, s := ctxreq.Start(t.Context(), "scope")
	var n atomic.Int32
	for range 4 {
		require.NoError(t, s.Go("adds", func(context.Context) error { n.Add(1); return nil }))
	}
	require.NoError(t, s.Wait())
	require.EqualValues(t, 4, n.Load())
	require.NoError(t, ctx.Err())
	require.NoError(t, s.Go("after Wait", func(context.Context) error { return nil }))
	require.NoError(t, s.End(nil))
	require.NoError(t, s.Wait())
}

func TestWaitIsBoundedOnceTheScopeIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		_, s := (&ctxreq.Config{Grace: time.Second, Reporter: new(recorder)}).Start(parent, "scope")
		release := make(chan struct{})
		s.Go("ignores it", func(context.Context) error { <-release; return nil })
		time.AfterFunc(time.Minute, cancel)
		start := time.Now()
		err := s.Wait()
		require.Equal(t, time.Minute+time.Second, time.Since(start))
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "1 child still runs")
		close(release)
		require.NoError(t, s.End(nil))
	})
}

func TestEndedScopesAreNotRegistered(t *testing.T) {
	c := &ctxreq.Config{Reporter: discard{}}
	for range 20 {
		_, s := c.Start(t.Context(), "idle")
		require.Equal(t, 1, c.Registered())
		s.End(nil)
		oneRequest(c)
		require.Zero(t, c.Registered())
	}
}

func TestWaitReturnsNoErrorsOfAnotherScope(t *testing.T) {
	another := errors.New("another scope's")
	var waiters sync.WaitGroup
	for range 1000 {
		_, s := ctxreq.Start(t.Context(), "scope")
		release := make(chan struct{})
		s.Go("child", func(context.Context) error { <-release; return nil })
		waiters.Go(func() { assert.NoError(t, s.Wait()) })
		runtime.Gosched() // it waits
		close(release)
		s.End(nil)
		_, next := ctxreq.Start(t.Context(), "the next one, with the same state")
		next.Go("fails", func(context.Context) error { return another })
		assert.Equal(t, another, next.Wait())
		next.End(nil)
	}
	waiters.Wait()
}

func TestManyErrorsAreCountedNotKept(t *testing.T) {
	_, s := (&ctxreq.Config{MaxChildren: 1}).Start(t.Context(), "scope")
	for i := range 20 {
		s.Go("fails", func(context.Context) error { return fmt.Errorf("error %d", i) })
		s.Wait()
	}
	err := s.End(nil)
	require.ErrorContains(t, err, "error 15")
	require.NotContains(t, err.Error(), "error 16")
	require.ErrorContains(t, err, "and 4 more children failed")
}

func TestLimitBoundsChildren(t *testing.T) {
	_, s := (&ctxreq.Config{MaxChildren: 3}).Start(t.Context(), "scope")
	var now, most atomic.Int32
	for range 50 {
		require.NoError(t, s.Go("counts", func(context.Context) error {
			most.Store(max(most.Load(), now.Add(1)))
			runtime.Gosched()
			now.Add(-1)
			return nil
		}))
	}
	require.NoError(t, s.Wait())
	require.LessOrEqual(t, most.Load(), int32(3))
	require.NoError(t, s.End(nil))
}

func TestGoThatWaitsForRoomGivesUp(t *testing.T) {
	for name, stop := range map[string]func(*ctxreq.Scope, func()){
		"when the scope ends":         func(s *ctxreq.Scope, _ func()) { s.End(nil) },
		"when the scope is cancelled": func(_ *ctxreq.Scope, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(t.Context())
				defer cancel()
				_, s := (&ctxreq.Config{MaxChildren: 1}).Start(parent, "scope")
				release := make(chan struct{})
				require.NoError(t, s.Go("holds the place", func(context.Context) error { <-release; return nil }))
				refused := make(chan error)
				go func() { refused <- s.Go("never runs", func(context.Context) error { t.Error("it ran"); return nil }) }()
				synctest.Wait()
				go stop(s, cancel)
				require.Error(t, <-refused)
				close(release)
				synctest.Wait()
				s.End(nil)
			})
		})
	}
}

func TestPanickingChildIsReportedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(recorder)
		ctx, s := (&ctxreq.Config{Reporter: rec}).Start(t.Context(), "scope")
		require.NoError(t, s.Go("panics", func(context.Context) error { return panicHere() }))
		synctest.Wait()
		require.Len(t, rec.of(ctxreq.KindPanic), 1, "before anybody waits")
		r := rec.of(ctxreq.KindPanic)[0]
		require.Contains(t, r.Stack, "panicHere", "the stack of the panic, not of the code that recovered it")
		require.ErrorIs(t, r.Err, io.ErrUnexpectedEOF)
		require.ErrorIs(t, context.Cause(ctx), io.ErrUnexpectedEOF)
		require.ErrorIs(t, s.End(nil), io.ErrUnexpectedEOF)
		require.Len(t, rec.all(), 1, "and once")
	})
}

//go:noinline
func panicHere() error { panic(io.ErrUnexpectedEOF) }

func TestChildThatCallsGoexit(t *testing.T) {
	_, s := ctxreq.Start(t.Context(), "scope")
	require.NoError(t, s.Go("exits", func(context.Context) error { runtime.Goexit(); return nil }))
	require.ErrorContains(t, s.Wait(), `child "exits" called runtime.Goexit`)
	require.Error(t, s.End(nil))
}

//go:noinline
func ignoresItToo(release chan struct{}) error { <-release; return nil }

//go:noinline
func ignoresItsContext(release chan struct{}) error { <-release; return errors.New("too late") }

func TestStuckChildIsReportedAfterGraceAndNeverWaitedForLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(recorder)
		_, s := (&ctxreq.Config{Reporter: rec, Grace: time.Second}).Start(t.Context(), "scope")
		release := make(chan struct{})
		require.NoError(t, s.Go("heeds it", func(ctx context.Context) error { <-ctx.Done(); return nil }))
		require.NoError(t, s.Go("ignores it", func(context.Context) error { return ignoresItsContext(release) }))
		require.NoError(t, s.Go("ignores it too", func(context.Context) error { return ignoresItToo(release) }))
		cleaned := false
		s.Defer(func(context.Context) error { cleaned = true; return nil })
		start := time.Now()
		err := s.End(nil)
		require.Equal(t, time.Second, time.Since(start))
		require.ErrorContains(t, err, `child "ignores it" ignores its context`)
		require.NotContains(t, err.Error(), "heeds")
		require.True(t, cleaned)
		stuck := rec.of(ctxreq.KindStuck)
		require.Len(t, stuck, 2)
		for _, r := range stuck {
			require.Equal(t, 1, strings.Count(r.Stack, ").call("), "its goroutine and no other: %s", r.Stack)
			if strings.Contains(r.Err.Error(), "too") {
				require.Contains(t, r.Stack, "ignoresItToo")
			} else {
				require.Contains(t, r.Stack, "ignoresItsContext")
			}
		}
		close(release)
		synctest.Wait()
		late := rec.of(ctxreq.KindError)
		require.Len(t, late, 1, "what a stuck child returns in the end is not lost")
		require.ErrorContains(t, late[0].Err, "too late")
	})
}

// The memory of a child is used again after it has returned, but not while End still has to report
// the child as stuck.
func TestStuckChildThatReturnsKeepsItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := map[string]int{}
		c := &ctxreq.Config{Grace: time.Second, Reporter: reporterFunc(func(r *ctxreq.Report) {
			if len(stuck) == 0 { // the others return, and other children begin, while End reports the first
				close(release)
				synctest.Wait()
				_, s := ctxreq.Start(context.Background(), "another")
				for range 8 {
					s.Go("not stuck", func(ctx context.Context) error { <-ctx.Done(); return nil })
				}
				synctest.Wait()
				defer s.End(nil)
			}
			stuck[r.Err.Error()]++
		})}
		_, s := c.Start(t.Context(), "scope")
		names := []string{"a", "b", "c", "d"}
		for _, name := range names {
			s.Go(name, func(context.Context) error { <-release; return nil })
		}
		require.Error(t, s.End(nil))
		for _, name := range names {
			require.Equal(t, 1, stuck[fmt.Sprintf("ctxreq: child %q ignores its context: still running 1s after it was cancelled", name)], "%v", stuck)
		}
	})
}

func TestDumpsAreRationed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(recorder)
		c := &ctxreq.Config{Reporter: rec, Grace: time.Millisecond}
		release := make(chan struct{})
		for range 3 {
			_, s := c.Start(t.Context(), "scope")
			s.Go("stuck", func(context.Context) error { <-release; return nil })
			s.End(nil)
		}
		time.Sleep(time.Second)
		_, s := c.Start(t.Context(), "scope")
		s.Go("stuck", func(context.Context) error { <-release; return nil })
		s.End(nil)
		close(release)
		stuck := rec.of(ctxreq.KindStuck)
		require.Len(t, stuck, 4)
		for i, taken := range []bool{true, false, false, true} {
			require.Equal(t, taken, strings.Contains(stuck[i].Stack, "TestDumpsAreRationed"), "report %d: %s", i, stuck[i].Stack)
		}
	})
}

func TestCleanupThatBlocks(t *testing.T) {
	for name, heeds := range map[string]bool{"until its deadline": true, "for good": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := new(recorder)
				_, s := (&ctxreq.Config{Reporter: rec, CleanupTimeout: time.Second, Grace: time.Millisecond}).Start(t.Context(), "scope")
				release := make(chan struct{})
				others := 0
				s.Defer(func(context.Context) error { others++; return nil })
				s.Defer(func(ctx context.Context) error {
					if heeds {
						<-ctx.Done()
						return ctx.Err()
					}
					return ignoresItsContext(release)
				})
				s.Defer(func(context.Context) error { others++; return nil })
				err := s.End(nil)
				require.Equal(t, 2, others, "the others run")
				if heeds {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Len(t, rec.of(ctxreq.KindCleanup), 1)
					return
				}
				require.ErrorContains(t, err, `cleanup "1" ignores its context: still running 1.001s after`)
				require.Contains(t, rec.of(ctxreq.KindStuck)[0].Stack, "ignoresItsContext")
				close(release)
				synctest.Wait()
				require.Len(t, rec.of(ctxreq.KindError), 1, "what it returns in the end is not lost")
			})
		})
	}
}

func TestCleanupThatCallsGoexit(t *testing.T) {
	_, s := (&ctxreq.Config{Reporter: new(recorder)}).Start(t.Context(), "scope")
	ran := false
	s.Defer(func(context.Context) error { ran = true; return nil })
	s.Defer(func(context.Context) error { runtime.Goexit(); return nil })
	require.ErrorContains(t, s.End(nil), "Goexit")
	require.True(t, ran)
}

func TestRun(t *testing.T) {
	boom := errors.New("boom")
	rec := new(recorder)
	c := &ctxreq.Config{Reporter: rec}
	cleaned := 0
	run := func(fn func(context.Context) error) error {
		return c.Run(t.Context(), "run", func(ctx context.Context) error {
			ctxreq.From(ctx).Defer(func(context.Context) error { cleaned++; return nil })
			return fn(ctx)
		})
	}
	require.NoError(t, run(func(context.Context) error { return nil }))
	require.True(t, run(func(context.Context) error { return boom }) == boom, "a lone error is not wrapped")
	require.Empty(t, rec.all(), "an error that is returned is not reported too")

	err := run(func(context.Context) error { return panicHere() })
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Len(t, rec.of(ctxreq.KindPanic), 1)
	require.Contains(t, rec.of(ctxreq.KindPanic)[0].Stack, "panicHere")

	exited := make(chan struct{})
	go func() {
		defer close(exited)
		run(func(context.Context) error { runtime.Goexit(); return nil })
	}()
	<-exited

	repanic := &ctxreq.Config{Reporter: rec, Repanic: true}
	require.PanicsWithValue(t, io.ErrUnexpectedEOF, func() {
		repanic.Run(t.Context(), "run", func(context.Context) error { return panicHere() })
	})
	require.Equal(t, 4, cleaned)
	require.Empty(t, c.InFlight())
	require.Empty(t, repanic.InFlight())
}

func TestNilAndEndedScopes(t *testing.T) {
	_, s := (&ctxreq.Config{Reporter: new(recorder)}).Start(t.Context(), "scope")
	s.End(nil)
	for name, s := range map[string]*ctxreq.Scope{"nil": nil, "zero": new(ctxreq.Scope), "ended": s} {
		t.Run(name, func(t *testing.T) {
			assert.Error(t, s.Go("x", idle))
			assert.Error(t, s.Defer(idle))
			assert.NoError(t, s.Wait())
			assert.NoError(t, s.End(nil))
			s.Report(nil)
			s.Info()
		})
	}
	assert.Nil(t, ctxreq.From(t.Context()))
}

func TestMisuseOfStart(t *testing.T) {
	var none context.Context
	assert.PanicsWithValue(t, "ctxreq: Start: nil parent; use context.Background()", func() { ctxreq.Start(none, "x") })
}

func TestNestedScopeInherits(t *testing.T) {
	rec := new(recorder)
	ctx, outer := (&ctxreq.Config{Reporter: rec}).Start(t.Context(), "outer")
	_, inner := ctxreq.Start(ctx, "inner")
	inner.Report(io.EOF)
	require.Len(t, rec.all(), 1, "the Config of the outer one")
	require.Equal(t, outer.Info().ID, inner.Info().ID)
	inner.End(nil)
	require.Equal(t, outer.Info().ID, inner.Info().ID)
	require.NoError(t, ctx.Err(), "the outer scope lives on")
	outer.End(nil)
}

func TestReporterThatPanics(t *testing.T) {
	_, s := (&ctxreq.Config{Reporter: panicky{}}).Start(t.Context(), "scope")
	s.Report(io.EOF)
	require.NoError(t, s.End(nil))
}

type panicky struct{}

func (panicky) Report(context.Context, *ctxreq.Report) { panic("reporter") }

func TestReusedStateNeverAnswersForAnotherScope(t *testing.T) {
	type held struct {
		ctx context.Context
		id  string
	}
	kept := make(chan held, 64)
	var users, makers sync.WaitGroup
	for range 2 { // use scopes that end meanwhile
		users.Go(func() {
			for k := range kept {
				for range 3 {
					if v := k.ctx.Value(outsideKey{}); v != nil {
						assert.Equal(t, k.id, v)
					}
					if v, ok := owner.Get(k.ctx); ok {
						assert.Equal(t, k.id, v)
					}
					s := ctxreq.From(k.ctx)
					s.Defer(func(c context.Context) error {
						assert.Equal(t, k.id, c.Value(outsideKey{}))
						return nil
					})
					assert.Equal(t, k.id, s.Info().Name)
				}
			}
		})
	}
	for maker := range 2 { // end scopes, and reuse their states at once
		makers.Go(func() {
			for i := range 3000 {
				id := fmt.Sprint(maker, "-", i)
				ctx, s := ctxreq.Start(context.WithValue(context.Background(), outsideKey{}, id), id)
				owner.Set(ctx, id)
				kept <- held{ctx, id}
				s.End(nil)
			}
		})
	}
	makers.Wait()
	close(kept)
	users.Wait()
}
