package ctxreq

import (
	"context"
	"time"
)

// scopeCtx is a Scope seen as a context: the same memory, other methods.
//
// Once Done is called on an active scope, there is an ordinary cancelCtx inside. Value returns it
// to the context package, which then attaches derived contexts to it without a goroutine for each.
// After End the cancelCtx is released, because it refers to the parent, and a shared, cancelled
// context takes its place.
type scopeCtx Scope

// A live is the cancelCtx inside and its channel; ctx is nil after End. It is replaced, never
// changed, so that the many calls of the context package take no lock.
type live struct {
	done <-chan struct{}
	ctx  context.Context
}

// These contexts take the place of the context of an ended scope.
var (
	ended    = endedCtx(context.WithCancelCause(context.Background()))
	expired  = expiredCtx(context.WithDeadlineCause(context.Background(), time.Unix(0, 0), ErrEnded))
	closedCh = ended.Done()
)

func endedCtx(ctx context.Context, cancel context.CancelCauseFunc) context.Context {
	cancel(ErrEnded)
	return ctx
}

func expiredCtx(ctx context.Context, cancel context.CancelFunc) context.Context {
	cancel()
	return ctx
}

// substitute returns the shared context that takes the place of s after End.
func (s *Scope) substitute() context.Context {
	if s.bits.Load()&deadlineBit != 0 {
		return expired
	}
	return ended
}

func (c *scopeCtx) Deadline() (time.Time, bool) {
	s := (*Scope)(c)
	if st := s.lock(); st != nil {
		defer st.mu.Unlock()
		d, ok := st.until()
		st.deadlineSeen = st.deadlineSeen || ok
		return d, ok
	}
	if k := s.kept.Load(); k != nil {
		return k.deadline, !k.deadline.IsZero()
	}
	return time.Time{}, false
}

func (c *scopeCtx) Done() <-chan struct{} {
	s := (*Scope)(c)
	if l := s.live.Load(); l != nil {
		return l.done
	}
	if st := s.lock(); st != nil {
		defer st.mu.Unlock()
		return st.cancellable().Done()
	}
	if l := s.live.Load(); l != nil {
		return l.done
	}
	return closedCh
}

func (c *scopeCtx) Err() error {
	s := (*Scope)(c)
	if l := s.live.Load(); l != nil && l.ctx != nil {
		return l.ctx.Err()
	}
	if st := s.lock(); st != nil {
		defer st.mu.Unlock()
		return st.err()
	}
	return s.substitute().Err()
}

func (c *scopeCtx) Value(key any) any {
	s := (*Scope)(c)
	switch k := key.(type) {
	case *keyInfo:
		if v := s.kept.Load().value(k); v != nil {
			return v
		}
	case scopeKey:
		return s
	}
	if l := s.live.Load(); l != nil && l.ctx != nil {
		return l.ctx.Value(key)
	}
	if st := s.lock(); st != nil {
		next := st.inner
		if next == nil {
			next = st.parent
		}
		st.mu.Unlock()
		return next.Value(key)
	}
	return s.substitute().Value(key)
}

func (c *scopeCtx) String() string { return "ctxreq.Scope(" + (*Scope)(c).title() + ")" }

// cancellable returns the cancelCtx inside, made when first asked for; mu is held.
func (st *state) cancellable() context.Context {
	if st.inner != nil {
		return st.inner
	}
	parent := st.parent
	if !st.deadline.IsZero() {
		parent, st.release = context.WithDeadline(parent, st.deadline)
	}
	st.inner, st.cancel = context.WithCancelCause(parent)
	st.owner.live.Store(&live{st.inner.Done(), st.inner})
	if st.closed {
		st.cancel(st.cause)
	}
	return st.inner
}

// until is the scope's deadline; mu is held.
func (st *state) until() (time.Time, bool) {
	d, ok := st.parent.Deadline()
	if !st.deadline.IsZero() && (!ok || st.deadline.Before(d)) {
		return st.deadline, true
	}
	return d, ok
}

// err is the context's error; mu is held.
func (st *state) err() error {
	if st.inner != nil {
		return st.inner.Err()
	}
	if err := st.parent.Err(); err != nil {
		return err
	}
	if !st.deadline.IsZero() && !time.Now().Before(st.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}
