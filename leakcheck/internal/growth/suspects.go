package growth

import (
	"cmp"
	"slices"

	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"

	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
)

// A suspect is a site that grew at every scale.
type suspect struct {
	kind Kind
	site source.Frame

	direct  bool               // all of it was allocated beneath the operation
	stack   []uintptr          // the stack that grew most, for a search of the heap dump
	sample  *gostack.Goroutine // the newest of those that stay
	started []int              // ids of those that stay
	opens   string             // the kind of file whose struct this is; empty for others
	target  string             // of the last such file
	series  judge.Series
}

type Kind string

const (
	Heap      Kind = "heap"
	Goroutine Kind = "goroutine"
	File      Kind = "file"
)

// suspects are the sites to look at again. Allocation stacks are added up by
// their innermost frame outside the standard library, which finds recursion
// and many callers; a stack counts by itself where the sum hides it.
func (m *Meter) suspects() []suspect {
	found := m.heapSuspects()
	for key := range m.routines.keys {
		if s, ok := m.routineSuspect(key); ok {
			found = append(found, s)
		}
	}
	for key := range m.files.keys {
		s := suspect{kind: File, opens: key, target: m.targets[key], series: m.files.series(key)}
		if !judge.Suspicious(m.rounds, s.series) {
			continue
		}
		if i := slices.IndexFunc(found, func(h suspect) bool { return h.kind == Heap && h.opens == key }); i >= 0 {
			s.site, s.stack = found[i].site, found[i].stack
		}
		found = append(found, s)
	}
	return found
}

func (m *Meter) heapSuspects() []suspect {
	sums := map[source.Frame]*suspect{}
	var single []suspect
	for i := range m.profile.stacks {
		if !m.profile.changed(i) {
			continue
		}
		s, ok := m.stackSuspect(i)
		if !ok {
			continue
		}
		if sum, known := sums[s.site]; known {
			sum.add(s)
		} else {
			sums[s.site] = &s
		}
		single = append(single, s)
	}
	var found []suspect
	for _, sum := range sums {
		if judge.Suspicious(m.rounds, sum.series) {
			found = append(found, *sum)
		}
	}
	for _, s := range single {
		if sum := sums[s.site]; !judge.Suspicious(m.rounds, sum.series) && judge.Suspicious(m.rounds, s.series) {
			found = append(found, s)
		}
	}
	return found
}

// stackSuspect resolves one allocation stack; false where it is not the
// operation's, or ignored.
func (m *Meter) stackSuspect(i int) (suspect, bool) {
	fs, from := m.profile.resolve(i)
	if from == harness || from == unrelated || m.ignored(fs) {
		return suspect{}, false
	}
	s := suspect{
		kind:   Heap,
		site:   userFrame(fs),
		direct: from == operation,
		stack:  trim(&m.profile.stacks[i]),
		series: m.profile.series(i),
		opens:  opens(fs),
	}
	s.series.Arrays = makesArray(fs) || grown(s.series.Bytes) <= 0
	return s, true
}

// makesArray reports whether the stack makes a slice's array or a map's table in place of a full
// one.
func makesArray(fs []source.Frame) bool {
	return slices.ContainsFunc(fs, func(f source.Frame) bool {
		switch f.Func {
		case "runtime.growslice", "internal/runtime/maps.(*table).grow", "internal/runtime/maps.(*table).split", "internal/runtime/maps.(*Map).growToTable":
			return true
		}
		return false
	})
}

// opens is the kind of file that the stack makes the struct of.
func opens(fs []source.Frame) string {
	for _, f := range fs {
		switch f.Func {
		case "os.newFile":
			return "file"
		case "net.newFD":
			return "socket"
		}
	}
	return ""
}

func (m *Meter) ignored(fs []source.Frame) bool {
	return slices.ContainsFunc(m.config.IgnoreSites, func(prefix string) bool {
		return slices.ContainsFunc(fs, func(f source.Frame) bool { return f.Matches(prefix) })
	})
}

// add takes another stack of the same site into s.
func (s *suspect) add(other suspect) {
	if grown(other.series.Bytes) > grown(s.series.Bytes) {
		s.stack = other.stack
	}
	s.direct = s.direct && other.direct
	s.opens = cmp.Or(s.opens, other.opens)
	s.series = judge.Series{
		Objects: Sum(s.series.Objects, other.series.Objects),
		Bytes:   Sum(s.series.Bytes, other.series.Bytes),
		Arrays:  s.series.Arrays && other.series.Arrays,
	}
}

func grown(live []int64) int64 { return live[len(live)-1] - live[0] }

func Sum(a, b []int64) []int64 {
	out := make([]int64, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

// routineSuspect is the go statement at by.
func (m *Meter) routineSuspect(by source.Frame) (suspect, bool) {
	s := suspect{kind: Goroutine, site: by, series: m.routines.series(by)}
	if by.Func == "" || by.InTesting() || m.ignored([]source.Frame{by}) || !judge.Suspicious(m.rounds, s.series) {
		return suspect{}, false
	}
	s.sample, s.started = m.startedAt(by)
	return s, s.sample == nil || !m.config.Ignores(s.sample)
}
