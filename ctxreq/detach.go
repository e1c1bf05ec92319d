package ctxreq

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// detachedCtx is a Scope seen as a context that is never cancelled.
type detachedCtx Scope

func (*detachedCtx) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*detachedCtx) Done() <-chan struct{}       { return nil }
func (*detachedCtx) Err() error                  { return nil }
func (*detachedCtx) String() string              { return "ctxreq.Detach" }

func (c *detachedCtx) Value(key any) any {
	s := (*Scope)(c)
	switch k := key.(type) {
	case *keyInfo:
		return s.kept.Load().value(k)
	case scopeKey:
		return s
	}
	return nil
}

// Detach returns a new root context for work that outlives the request. It is not cancelled, and of
// ctx it retains only Info and the values of keys made with Carry. (context.WithoutCancel retains
// everything, see golang/go#40221.) From on the returned context yields an ended Scope; its Go
// fails: use Jobs or Run instead. The caller has to wait for the work.
func Detach(ctx context.Context) context.Context {
	return From(ctx).configOrZero().detach(ctx)
}

func (c *Config) detach(ctx context.Context) *detachedCtx {
	info := From(ctx).Info()
	d := &Scope{name: info.Name, start: info.Start.Sub(epoch), took: info.Duration}
	d.bits.Store(uint32(info.Status) & statusMask)
	next := kept{id: info.ID}
	for _, k := range registry.carried() {
		if v := ctx.Value(k); v != nil {
			next.vals = put(next.vals, k, v)
		}
	}
	d.kept.Store(&next)
	c.once.Do(c.init)
	d.state.Store(&c.tomb)
	return (*detachedCtx)(d)
}

// Jobs owns work that outlives requests. The zero value is ready to use; call Shutdown after the
// server has stopped. Do not copy it once it is in use.
type Jobs struct {
	// Config is the Config of the jobs' scopes; nil means the zero Config. Its MaxChildren bounds
	// the jobs that run at once.
	Config *Config

	once   sync.Once
	config *Config
	scope  *Scope
}

func (j *Jobs) owner() *Scope {
	j.once.Do(func() {
		if j.config = j.Config; j.config == nil {
			j.config = new(Config)
		}
		s, st := j.config.begin(context.Background(), "jobs")
		s.register(st)
		st.mu.Unlock()
		j.scope = s
	})
	return j.scope
}

// Go runs fn in a scope of its own below Detach(ctx). A key made with Carry, or fn itself, must
// carry what the job needs from the request. While Config.MaxChildren jobs run, Go waits until one
// returns or ctx ends. After Shutdown, or if ctx has ended, it returns an error and does not run
// fn. An error or a panic of fn is reported and stops no other job.
func (j *Jobs) Go(ctx context.Context, name string, fn func(context.Context) error) error {
	if fn == nil {
		panic(nilFunction("Jobs.Go", name))
	}
	owner := j.owner()
	root := j.config.detach(ctx)
	if d := (*Scope)(root); d.name == "" { // there is no request
		d.name = name
	}
	return owner.spawn(ctx.Done(), name, func(stop context.Context) error {
		ctx, cancel := context.WithCancelCause(root)
		defer cancel(nil)
		defer context.AfterFunc(stop, func() { cancel(context.Cause(stop)) })()
		if err := fresh(j.config.Run(ctx, name, fn)); err != nil {
			From(root).report(KindError, fmt.Errorf("ctxreq: job %q: %w", name, err), "")
		}
		return nil
	})
}

// Shutdown refuses new jobs, waits for the running ones until ctx ends, then cancels them and waits
// Config.Grace more. Its error names the jobs that still run.
func (j *Jobs) Shutdown(ctx context.Context) error {
	owner := j.owner()
	st := owner.lock()
	if st == nil {
		return nil
	}
	st.refusing = true
	st.signal()
	idle := st.wait(func() bool { return st.owner != owner || st.active == 0 }, nil, ctx.Done())
	st.mu.Unlock()
	if idle {
		return owner.End(nil)
	}
	cause := fmt.Errorf("ctxreq: Jobs.Shutdown cancelled jobs that were still running: %w", context.Cause(ctx))
	return join(cause, owner.End(cause))
}
