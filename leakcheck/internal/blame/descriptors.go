package blame

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
)

// A Ledger attributes file descriptors to tests. A descriptor does not say who opened it. But one
// that is new between two looks was opened by a test that was running between them: at one of the
// looks, or one that was heard to start. A test that waited in t.Parallel at both looks was not: a
// test waits there once.
//
// The zero value is ready to use. It is not safe for concurrent use.
type Ledger struct {
	known   map[fd.Descriptor]bool
	opened  map[fd.Descriptor]Opened
	running []string
	heard   []string
}

// An Opened is a descriptor that was opened while tests ran, and the tests that may have opened it,
// sorted by name.
type Opened struct {
	fd.File
	Tests    []string
	doubtful bool
	judged   []string // tests whose verdict has looked at it
}

// Look compares what is open now with the look before. running are the tests that are running now:
// not those that wait in t.Parallel, and not one that is about to start.
func (l *Ledger) Look(now []fd.File, running []string) {
	if l.known == nil {
		l.known, l.opened = map[fd.Descriptor]bool{}, map[fd.Descriptor]Opened{}
		for _, f := range now {
			l.known[f.Descriptor] = true
		}
	}
	tests := union(l.running, running, l.heard)
	l.heard = nil
	open := map[fd.Descriptor]bool{}
	for _, f := range now {
		open[f.Descriptor] = true
		if !l.known[f.Descriptor] {
			l.known[f.Descriptor] = true
			l.opened[f.Descriptor] = Opened{File: f, Tests: tests}
		}
	}
	maps.DeleteFunc(l.known, func(d fd.Descriptor, _ bool) bool { return !open[d] })
	maps.DeleteFunc(l.opened, func(d fd.Descriptor, _ Opened) bool { return !open[d] })
	l.running = running
}

// Hear notes that a top-level test is about to start, whether or not it checks its files: it may
// have ended when the next look is taken.
func (l *Ledger) Hear(test string) { l.heard = append(l.heard, test) }

// Begin looks before the first line of test, which runs from then on. Two tests may have one name,
// as one in a synctest bubble and the test around it.
func (l *Ledger) Begin(test string, now []fd.File, running []string) {
	top, _, _ := strings.Cut(test, "/")
	l.heard = slices.DeleteFunc(l.heard, func(name string) bool { return name == top })
	l.Look(now, running)
	l.running = append(slices.Clip(l.running), test)
}

// End notes that test has ended.
func (l *Ledger) End(test string) {
	if i := slices.Index(l.running, test); i >= 0 {
		l.running = slices.Delete(slices.Clone(l.running), i, i+1)
	}
}

// Of is the verdict's look at the end of test. own are the descriptors that only test and its
// subtests can have opened. doubtful are those that test or another test has opened, once the
// verdict of the last of these tests looks: mayCome tells whether the verdict of another test is
// still to come. What a test around test may have opened is left to its verdict.
func (l *Ledger) Of(test string, mayCome func(name string) bool) (own, doubtful []Opened) {
	for d, o := range l.opened {
		if !slices.Contains(o.Tests, test) {
			continue
		}
		o.judged = append(slices.Clip(o.judged), test)
		others := slices.DeleteFunc(slices.Clone(o.Tests), func(name string) bool {
			return name == test || Within(name, test) || Within(test, name) && !mayCome(name)
		})
		outer := slices.ContainsFunc(others, func(name string) bool { return Within(test, name) })
		if len(others) > 0 && !outer {
			o.doubtful = true
		}
		l.opened[d] = o
		switch {
		case outer:
		case len(others) == 0:
			own = append(own, o)
		case !slices.ContainsFunc(others, func(name string) bool { return mayCome(name) && !slices.Contains(o.judged, name) }):
			doubtful = append(doubtful, o)
		}
	}
	for _, list := range [][]Opened{own, doubtful} {
		slices.SortFunc(list, func(a, b Opened) int { return a.Number - b.Number })
	}
	return own, doubtful
}

// Replaced are those of opened that took the place of a connection that was open before: what has
// connections to an address in a pool may close one and open another at any time. before and now
// are all descriptors that were open before the test, and those that are. An address has no more
// connections in the end than it had.
func Replaced(before, now []fd.File, opened []Opened) map[fd.Descriptor]bool {
	open := map[fd.Descriptor]bool{}
	for _, f := range now {
		open[f.Descriptor] = true
	}
	to, at := map[string]int{}, map[string]int{} // closed ones of clients, and of servers, by address
	for _, f := range before {
		if f.Remote != "" && !open[f.Descriptor] {
			to[f.Remote]++
			at[f.Local]++
		}
	}
	replaced := map[fd.Descriptor]bool{}
	for _, o := range opened {
		switch {
		case to[o.Remote] > 0:
			to[o.Remote]--
		case at[o.Local] > 0:
			at[o.Local]--
		default:
			continue
		}
		replaced[o.Descriptor] = true
	}
	return replaced
}

// Unowned are those of files that no test can have opened: they were open before the first test.
func (l *Ledger) Unowned(files []fd.File) []fd.File {
	return slices.DeleteFunc(slices.Clone(files), func(f fd.File) bool { return len(l.opened[f.Descriptor].Tests) > 0 })
}

// Pooled are the new connections that a shared HTTP client may keep for later: to an address that
// had one before the first test, and has no more in all than a client keeps idle unless told
// otherwise. shared was open before the first test. before and now are as for Replaced.
func Pooled(shared, before, now []fd.File) []fd.File {
	had, has := map[string]bool{}, map[string]int{}
	old := map[fd.Descriptor]bool{}
	for _, f := range shared {
		had[f.Remote] = f.Remote != ""
	}
	for _, f := range before {
		old[f.Descriptor] = true
	}
	for _, f := range now {
		has[f.Remote]++
	}
	return slices.DeleteFunc(slices.Clone(now), func(f fd.File) bool {
		return old[f.Descriptor] || !had[f.Remote] || has[f.Remote] > http.DefaultMaxIdleConnsPerHost
	})
}

// Forget makes descriptors known: they have failed a test.
func (l *Ledger) Forget(list []Opened) {
	for _, o := range list {
		delete(l.opened, o.Descriptor)
	}
}

// Doubted are the descriptors that no single test could be blamed for and that are open still.
func (l *Ledger) Doubted() []Opened {
	all := slices.SortedFunc(maps.Values(l.opened), func(a, b Opened) int { return a.Number - b.Number })
	return slices.DeleteFunc(all, func(o Opened) bool { return !o.doubtful })
}

func union(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}
