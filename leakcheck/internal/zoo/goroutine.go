package zoo

import (
	"context"
	"errors"
	"sync"
	"time"
)

// stuck is what both detectors must name for a leak of goroutines: the
// function that started them.
func stuck(creator string) []Find {
	return []Find{{Check, creator}, {Goroutines, creator}}
}

var goroutines = []Case{
	{
		Name:  "chan_send_abandoned",
		Issue: "https://github.com/kubernetes/kubernetes/pull/5316",
		Cure:  "a buffer of one",
		Finds: stuck("zoo.finishRequest"),
		Leak:  sendAbandoned, Fixed: sendBuffered,
	},
	{
		Name:  "range_never_closed",
		Issue: "https://github.com/natefinch/lumberjack/issues/219",
		Cure:  "close",
		Finds: stuck("zoo.rangeNeverClosed"),
		Leak:  rangeNeverClosed, Fixed: rangeClosed,
	},
	{
		Name:  "ctx_worker_lost_cancel",
		Issue: "https://github.com/uber/tchannel-go/pull/278",
		Cure:  "defer cancel()",
		Finds: stuck("zoo.lostCancel"),
		Leak:  lostCancel, Fixed: deferredCancel,
	},
	{
		Name:  "ticker_range_after_stop",
		Issue: "https://github.com/InVisionApp/go-health/pull/35",
		Cure:  "a done channel",
		Finds: stuck("zoo.tickerRange"),
		Leak:  tickerRange, Fixed: tickerDone,
	},
	{
		Name:  "waitgroup_missing_done",
		Issue: "https://github.com/moby/moby/pull/25384",
		Cure:  "defer wg.Done()",
		Finds: stuck("zoo.missingDone"),
		Leak:  missingDone, Fixed: deferredDone,
	},
	{
		Name:  "mutex_left_locked",
		Issue: "https://github.com/moby/moby/pull/7559",
		Cure:  "defer mu.Unlock()",
		Finds: stuck("zoo.leftLocked"),
		Leak:  leftLocked, Fixed: unlocked,
	},
	{
		Name:  "pipeline_early_return",
		Issue: "https://github.com/kubernetes/kubernetes/pull/25331",
		Cure:  "ctx in the select",
		Finds: stuck("zoo.generate"),
		Leak:  earlyReturn, Fixed: earlyReturnDone,
	},
	{
		Name:  "janitor_per_reload",
		Issue: "https://github.com/traefik/traefik/issues/13584",
		Cure:  "Close the store that is replaced",
		Finds: stuck("zoo.newStore"),
		Leak:  reload, Fixed: reloadClosing,
	},
}

// finishRequest gives up on an answer; whoever sends it needs room for it.
func finishRequest(room int) {
	ctx, giveUp := context.WithCancel(context.Background())
	answer := make(chan int, room)
	go func() {
		<-ctx.Done() // slow: still busy when the caller gives up
		answer <- 1
	}()
	giveUp()
}

func sendAbandoned(*Env) func() { return func() { finishRequest(0) } }

func sendBuffered(*Env) func() { return func() { finishRequest(1) } }

func rangeNeverClosed(*Env) func() {
	return func() {
		lines := make(chan int)
		go func() {
			for line := range lines {
				use(line)
			}
		}()
		lines <- 1
	}
}

func rangeClosed(*Env) func() {
	return func() {
		lines := make(chan int)
		defer close(lines)
		go func() {
			for line := range lines {
				use(line)
			}
		}()
		lines <- 1
	}
}

func lostCancel(*Env) func() {
	return func() {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-ctx.Done() }()
		use(cancel)
	}
}

func deferredCancel(*Env) func() {
	return func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { <-ctx.Done() }()
	}
}

func tickerRange(*Env) func() {
	return func() {
		t := time.NewTicker(time.Hour)
		go func() {
			for range t.C {
			}
		}()
		t.Stop() // does not close t.C
	}
}

func tickerDone(*Env) func() {
	return func() {
		t, done := time.NewTicker(time.Hour), make(chan struct{})
		go func() {
			for {
				select {
				case <-t.C:
				case <-done:
					return
				}
			}
		}()
		t.Stop()
		close(done)
	}
}

var errRefused = errors.New("refused")

func refuse() error { return use(errRefused) }

func missingDone(*Env) func() {
	return func() {
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			if refuse() != nil {
				return
			}
			wg.Done()
		}()
		go wg.Wait()
	}
}

func deferredDone(*Env) func() {
	return func() {
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			use(refuse())
		}()
		go wg.Wait()
	}
}

// A register refuses what it is given.
type register struct {
	mu sync.Mutex
	n  int
}

func (r *register) add() error {
	r.mu.Lock()
	if err := refuse(); err != nil {
		return err
	}
	r.n++
	r.mu.Unlock()
	return nil
}

func (r *register) addDeferred() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := refuse(); err != nil {
		return err
	}
	r.n++
	return nil
}

func leftLocked(*Env) func() {
	return func() {
		r := new(register)
		use(r.add())
		go func() { use(r.add()) }()
	}
}

func unlocked(*Env) func() {
	return func() {
		r := new(register)
		use(r.addDeferred())
		go func() { use(r.addDeferred()) }()
	}
}

// generate sends until it is told to stop; a nil done never tells.
func generate(done <-chan struct{}) <-chan int {
	out := make(chan int)
	go func() {
		defer close(out)
		for i := range 8 {
			select {
			case out <- i:
			case <-done:
				return
			}
		}
	}()
	return out
}

func earlyReturn(*Env) func() {
	return func() { <-generate(nil) }
}

func earlyReturnDone(*Env) func() {
	return func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		<-generate(ctx.Done())
	}
}

// A store sweeps itself until it is closed.
type store struct{ closed chan struct{} }

func newStore() *store {
	s := &store{make(chan struct{})}
	go s.sweep()
	return s
}

func (s *store) sweep() {
	t := time.NewTicker(time.Hour)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.closed:
			return
		}
	}
}

func (s *store) Close() { close(s.closed) }

var current *store

func reload(*Env) func() {
	return func() {
		old := current
		current = newStore()
		use(old) // dropped, and still sweeping
	}
}

func reloadClosing(env *Env) func() {
	current := newStore()
	env.Cleanup(func() { current.Close() })
	return func() {
		old := current
		current = newStore()
		old.Close()
	}
}
