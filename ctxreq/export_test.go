package ctxreq

import (
	"context"
	"fmt"
	"net/http"
	"time"
	"unsafe"
)

// Patient raises the default limits, so that a busy machine fails no test.
func Patient() { defaultGrace, defaultCleanup = time.Minute, time.Minute }

// ErrRetained is what the probe reports.
var ErrRetained = errRetained

// HandleSize is how many bytes a retained context retains.
const HandleSize = unsafe.Sizeof(Scope{})

// Registered is how many states c's shards hold, at most a thousand each.
func (c *Config) Registered() (n int) {
	for i := range c.active {
		limit := n + 1000
		for st := c.active[i].first; st != nil && n < limit; st = st.next {
			n++
		}
	}
	return n
}

// Leftovers returns what a state that is ready for reuse still holds of its last scope.
func Leftovers(use func(s *Scope)) string {
	_, s := Start(context.Background(), "used")
	use(s)
	st := s.state.Load()
	s.End(nil)
	clean := new(state)
	clean.cleanups, clean.shot.header = st.cleanups[:0], st.shot.header[:0]
	for _, f := range st.shot.header[:cap(st.shot.header)] {
		if f != (field{}) {
			return "header " + f.name
		}
	}
	if a, b := fmt.Sprintf("%+v", st.exchange), fmt.Sprintf("%+v", clean.exchange); a != b {
		return a
	}
	return ""
}

// TaskLeftovers takes the tasks that are ready for reuse. It returns how many, and what one still
// holds of its last child.
func TaskLeftovers() (n int, left string) {
	for {
		t, ok := tasks.Get().(*task)
		if !ok {
			return n, left
		}
		n++
		if t.scope != nil || t.name != "" || t.fn != nil || t.prev != nil || t.next != nil {
			left = fmt.Sprintf("%+v", t)
		}
	}
}

// UseAsRequest makes the scope look as if a request had used all of its fields.
func UseAsRequest(s *Scope, w http.ResponseWriter, r *http.Request) {
	st := s.lock()
	defer st.mu.Unlock()
	s.open(st, w, r, http.NewServeMux())
	st.capture()
	st.bodySeen, st.bodyCut, st.status, st.written, st.hijacked = []byte("x"), true, 200, 1, true
	st.router.sealed, st.panicked = true, new(panicked)
}

// RestoreKeys returns a function that forgets the keys made meanwhile.
func RestoreKeys() func() {
	all, carry := registry.all.Load(), registry.carry.Load()
	return func() {
		registry.all.Store(all)
		registry.carry.Store(carry)
	}
}
