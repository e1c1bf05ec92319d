package ctxreq

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// maxKeys bounds the registry. A program has a handful of keys; one that needs more makes them for
// each request.
const maxKeys = 256

// A KeyOption says what may be done with a key's values.
type KeyOption uint8

const (
	// Carry keeps the key's value after End and through Detach.
	Carry KeyOption = 1 << iota
	// Log puts the key's value into reports. A single text or number is shown unless its name or
	// its form suggests a secret. Fields of a struct and entries of a map are shown by the rules
	// for parameters of the request, see Config.Show. A slog.LogValuer, a fmt.Stringer or an error
	// is shown by its own method. Values of other keys never leave the scope.
	Log
)

// A Key reads and writes one value of a scope. Keys are package-level variables made by NewKey.
type Key[T any] struct{ info *keyInfo }

// A keyInfo is what all keys have, whatever their type.
type keyInfo struct {
	name   string
	index  int
	option KeyOption
	where  string // the line that made it
}

// NewKey makes a key. The name appears in reports and must be unique in the program. NewKey panics
// if the name is taken, and if there are 256 keys already. Both mean that keys are made for each
// request, which would never be freed.
func NewKey[T any](name string, options ...KeyOption) Key[T] {
	k := &keyInfo{name: name, where: "unknown"}
	for _, o := range options {
		k.option |= o
	}
	if _, file, line, ok := runtime.Caller(1); ok {
		k.where = fmt.Sprintf("%s:%d", file, line)
	}
	registry.add(k)
	return Key[T]{k}
}

// Get returns the value set in the scope of ctx or, failing that, in the scopes around it. After
// End it still returns the values of keys made with Carry. Its cost does not depend on how many
// keys are set. It takes a lock only if it has to look in outer scopes (as within Seal).
func (k Key[T]) Get(ctx context.Context) (T, bool) {
	var zero T
	if k.info == nil {
		return zero, false
	}
	switch v := ctx.Value(k.info).(type) {
	case nil:
		return zero, false
	case nilValue:
		return zero, true
	default:
		t, ok := v.(T)
		return t, ok
	}
}

// Set sets the value in the innermost scope of ctx, or within Seal in the request's scope. All code
// that has the scope's context, or a context derived from it, can read it. Set fails if ctx has no
// scope. After End it returns ErrEnded.
func (k Key[T]) Set(ctx context.Context, v T) error {
	if k.info == nil {
		return fmt.Errorf("ctxreq: Set: the zero Key; make one with NewKey")
	}
	s := From(ctx)
	if s == nil {
		return fmt.Errorf("ctxreq: Set of %q: the context has no scope; open one with Middleware or Start", k.info.name)
	}
	var boxed any = v
	if boxed == nil { // T is an interface type
		boxed = nilValue{}
	}
	return s.set(k.info, boxed)
}

// nilValue marks a nil that was set; nil itself means that nothing was set.
type nilValue struct{}

func (s *Scope) set(k *keyInfo, v any) error {
	st := s.lock()
	if st == nil {
		return refused(fmt.Sprintf("Set of %q", k.name))
	}
	if st.sealed { // the value is the request's, and outlives Seal
		outer := From(st.parent)
		st.mu.Unlock()
		return outer.set(k, v)
	}
	defer st.mu.Unlock()
	next := kept{}
	if old := s.kept.Load(); old != nil {
		next = *old
	}
	next.vals = put(next.vals, k, v)
	s.kept.Store(&next)
	return nil
}

// put returns a copy of vals with k set to v.
func put(vals []any, k *keyInfo, v any) []any {
	next := make([]any, max(len(vals), k.index+1))
	copy(next, vals)
	next[k.index] = v
	return next
}

// value is nil when k is not set.
func (k *kept) value(key *keyInfo) any {
	if k == nil || key.index >= len(k.vals) {
		return nil
	}
	return k.vals[key.index]
}

// keys is the registry: appended to, never shrunk.
type keys struct {
	mu  sync.Mutex
	all atomic.Pointer[[]*keyInfo]
	// carry are the keys with Carry, so that End need not look at the others.
	carry atomic.Pointer[[]*keyInfo]
}

var registry keys

func (r *keys) add(k *keyInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := load(&r.all)
	for _, other := range all {
		if other.name == k.name {
			panic(fmt.Sprintf("ctxreq: NewKey(%q) at %s: the name is taken by %s; a key is a package-level variable", k.name, k.where, other.where))
		}
	}
	if len(all) == maxKeys {
		panic(fmt.Sprintf("ctxreq: NewKey(%q) at %s: there are %d keys already; a key is a package-level variable", k.name, k.where, maxKeys))
	}
	k.index = len(all)
	all = append(slices.Clip(all), k)
	r.all.Store(&all)
	if k.option&Carry != 0 {
		carry := append(slices.Clip(load(&r.carry)), k)
		r.carry.Store(&carry)
	}
}

func (r *keys) carried() []*keyInfo { return load(&r.carry) }

func load(p *atomic.Pointer[[]*keyInfo]) []*keyInfo {
	if s := p.Load(); s != nil {
		return *s
	}
	return nil
}
