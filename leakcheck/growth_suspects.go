package leakcheck

import (
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// A suspect is a site that grew at every scale.
type suspect struct {
	kind kind
	site runtime.Frame

	direct bool      // all of it was allocated beneath the operation
	stack  []uintptr // the stack that grew most, for a search of the heap dump
	series series
}

type kind string

const (
	kindHeap      kind = "heap"
	kindGoroutine kind = "goroutine"
	kindFile      kind = "file"
)

// suspects are the sites to look at again. Allocation stacks are added up by
// their innermost frame outside the standard library, which finds recursion
// and many callers; a stack counts by itself where the sum hides it.
func (m *meter) suspects() []suspect {
	found := m.heapSuspects()
	for key := range m.routines.keys {
		if s, ok := m.routineSuspect(key); ok {
			found = append(found, s)
		}
	}
	for key := range m.files.keys {
		s := suspect{kind: kindFile, site: runtime.Frame{Function: key}, series: m.files.series(key)}
		if suspicious(m.rounds, s.series) {
			found = append(found, s)
		}
	}
	return found
}

func (m *meter) heapSuspects() []suspect {
	sums := map[string]*suspect{}
	var single []suspect
	for i := range m.profile.stacks {
		if !m.profile.changed(i) {
			continue
		}
		s, ok := m.stackSuspect(i)
		if !ok {
			continue
		}
		key := siteKey(s.site)
		if sum, known := sums[key]; known {
			sum.add(s)
		} else {
			sums[key] = &s
		}
		single = append(single, s)
	}
	var found []suspect
	for _, sum := range sums {
		if suspicious(m.rounds, sum.series) {
			found = append(found, *sum)
		}
	}
	for _, s := range single {
		if sum := sums[siteKey(s.site)]; !suspicious(m.rounds, sum.series) && suspicious(m.rounds, s.series) {
			found = append(found, s)
		}
	}
	return found
}

func siteKey(f runtime.Frame) string { return f.Function + "\n" + f.File + ":" + strconv.Itoa(f.Line) }

// stackSuspect resolves one allocation stack; false where it is not the
// operation's, or ignored.
func (m *meter) stackSuspect(i int) (suspect, bool) {
	stack := trim(&m.profile.stacks[i])
	fs, from := frames(stack)
	if from == harness || from == unrelated || m.ignored(fs) {
		return suspect{}, false
	}
	s := suspect{
		kind:   kindHeap,
		site:   userFrame(fs),
		direct: from == operation,
		stack:  stack,
		series: m.profile.series(i),
	}
	return s, true
}

func (m *meter) ignored(fs []runtime.Frame) bool {
	return slices.ContainsFunc(fs, func(f runtime.Frame) bool { return startsWithAny(f.Function, m.config.ignoreSites) })
}

// startsWithAny matches a function by its full name and as failures print it.
func startsWithAny(function string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return strings.HasPrefix(function, p) || strings.HasPrefix(shortFunc(function), p)
	})
}

// add takes another stack of the same site into s.
func (s *suspect) add(other suspect) {
	if grown(other.series.bytes) > grown(s.series.bytes) {
		s.stack = other.stack
	}
	s.direct = s.direct && other.direct
	s.series = series{sum(s.series.objects, other.series.objects), sum(s.series.bytes, other.series.bytes)}
}

func grown(live []int64) int64 { return live[len(live)-1] - live[0] }

func sum(a, b []int64) []int64 {
	out := make([]int64, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

// routineSuspect is the go statement of key, as creation gives it.
func (m *meter) routineSuspect(key string) (suspect, bool) {
	function, at, _ := strings.Cut(key, "\n")
	if function == "" || strings.HasPrefix(function, "testing.") || strings.HasPrefix(function, "runtime.") ||
		startsWithAny(function, m.config.ignoreSites) || startsWithAny(function, m.config.ignoreCreators) {
		return suspect{}, false
	}
	file, line := at, 0
	if i := strings.LastIndexByte(at, ':'); i >= 0 {
		file = at[:i]
		line, _ = strconv.Atoi(at[i+1:])
	}
	s := suspect{
		kind:   kindGoroutine,
		site:   runtime.Frame{Function: function, File: file, Line: line},
		series: m.routines.series(key),
	}
	return s, suspicious(m.rounds, s.series)
}
