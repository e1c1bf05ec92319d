package scope

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/option"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
	"github.com/leaksafe/leaksafe/leakcheck/internal/testhook"
)

// tests are the scopes that are open.
var tests = registry{open: map[testKey]*Scope{}}

type registry struct {
	sync.Mutex
	open  map[testKey]*Scope
	last  int
	ended recent
}

// recent holds the names of the tests that ended last.
type recent struct {
	list [24]string
	n    int
}

func (r *recent) add(name string) {
	if !slices.Contains(r.list[:], name) {
		r.list[r.n%len(r.list)] = name
		r.n++
	}
}

// names are the newest first.
func (r *recent) names() (names []string) {
	for i := r.n - 1; i >= 0 && i >= r.n-len(r.list); i-- {
		names = append(names, r.list[i%len(r.list)])
	}
	return names
}

// A testKey tells tests apart without keeping them: a bubble's T has the name of
// the one around it.
type testKey struct {
	name    string
	address uintptr
}

func keyOf(t testing.TB) testKey {
	k := testKey{name: t.Name()}
	if v := reflect.ValueOf(t); v.Kind() == reflect.Pointer {
		k.address = v.Pointer()
	}
	return k
}

func (r *registry) enter(t testing.TB, caller string, options func(*option.Config)) (_ *Scope, isNew bool) {
	key := keyOf(t)
	r.Lock()
	defer r.Unlock()
	if s := r.open[key]; s != nil {
		s.cfg.Add(caller, options)
		return s, false
	}
	r.last++
	s := newScope(t, r.last, caller, options)
	s.History = r.history(t)
	for _, other := range r.open {
		s.Meet(&other.Test)
		other.Meet(&s.Test)
	}
	r.open[key] = s
	return s, true
}

func (r *registry) leave(s *Scope) {
	r.Lock()
	defer r.Unlock()
	maps.DeleteFunc(r.open, func(_ testKey, other *Scope) bool { return other == s })
	if !s.Planted {
		r.ended.add(s.Name)
	}
}

// history is what is known of the time before t. The caller holds the lock.
func (r *registry) history(t testing.TB) blame.History {
	names := slices.DeleteFunc(r.ended.names(), func(name string) bool { return name == t.Name() })
	return blame.History{
		Tests: names, Sibling: len(names) > 0 || testhook.SiblingRan(t),
		TestMain: hasTestMain(), Early: record.Early(),
	}
}

// running names the tests that run their own code: checked tests whose verdict has not begun, but
// for except, and tests without a Check.
func (r *registry) running(h gostack.Headcount, except *Scope) (names []string) {
	r.Lock()
	defer r.Unlock()
	byID := map[int]*Scope{}
	functions := map[string]bool{}
	for _, s := range r.open {
		byID[s.ID] = s
		functions[s.function()] = true
	}
	for _, t := range h.Tests {
		switch s := byID[t.Scope]; {
		case s != nil && s != except && !s.ending:
			names = append(names, s.Name)
		case s == nil && !functions[t.Name]:
			names = append(names, t.Name)
		}
	}
	return names
}

// startVerdict is the moment after which s runs no code of its own.
func (r *registry) startVerdict(s *Scope) {
	r.Lock()
	defer r.Unlock()
	s.ending = true
}

// checksFiles reports whether an open test called name checks its files.
func (r *registry) checksFiles(name string) bool {
	r.Lock()
	defer r.Unlock()
	for _, s := range r.open {
		if s.Name == name && s.files != nil {
			return true
		}
	}
	return false
}

// hasTestMain reports whether the package under test has a TestMain: then the main goroutine runs
// it.
var hasTestMain = sync.OnceValue(func() bool {
	l, _ := gostack.Take()
	main := l[1]
	return main == nil || slices.ContainsFunc(main.Frames, func(f source.Frame) bool {
		return strings.HasSuffix(f.Func, ".TestMain")
	})
})

// of is the open scope of t, or else of the nearest test around it.
func (r *registry) of(t testing.TB) *Scope {
	r.Lock()
	defer r.Unlock()
	if s := r.open[keyOf(t)]; s != nil {
		return s
	}
	return r.nearest(t.Name())
}

// around is the nearest open scope around s.
func (r *registry) around(s *Scope) *Scope {
	r.Lock()
	defer r.Unlock()
	return r.nearest(s.Name)
}

func (r *registry) nearest(name string) *Scope {
	var nearest *Scope
	for _, s := range r.open {
		if blame.Within(name, s.Name) && (nearest == nil || len(s.Name) > len(nearest.Name)) {
			nearest = s
		}
	}
	return nearest
}

// view is a copy of what blame must know: s, and all tests that are open, in the order of their
// start.
func (r *registry) view(s *Scope) (of blame.Test, open []blame.Test) {
	r.Lock()
	defer r.Unlock()
	for _, other := range r.open {
		open = append(open, other.view())
	}
	slices.SortFunc(open, func(a, b blame.Test) int { return cmp.Compare(a.ID, b.ID) })
	return s.view(), open
}

func (s *Scope) view() blame.Test {
	t := s.Test
	t.Beside = maps.Clone(t.Beside)
	return t
}

// starts notes that package testing starts a top-level test, and returns a number for its label.
func (r *registry) starts(test string) int {
	descriptors.hear(test)
	r.Lock()
	defer r.Unlock()
	r.ended.add(test) // it will have ended, or wait in t.Parallel, when the next one starts
	r.last++
	return r.last
}
