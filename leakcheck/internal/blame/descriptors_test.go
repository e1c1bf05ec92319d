package blame

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
)

// A story is a Ledger with short words for what happens.
type story struct {
	Ledger
	open    []fd.File
	running []string // not paused
}

func (s *story) opens(number int) {
	s.open = append(s.open, fd.File{Descriptor: fd.Descriptor{Number: number}})
}

// connects opens a connection to an address.
func (s *story) connects(number int, remote string) {
	s.open = append(s.open, fd.File{Descriptor: fd.Descriptor{Number: number}, Remote: remote, Local: fmt.Sprint("here:", number)})
}

func (s *story) closes(number int) {
	s.open = slices.DeleteFunc(slices.Clone(s.open), func(f fd.File) bool { return f.Number == number })
}

func (s *story) starts(test string) {
	s.Begin(test, s.open, s.running)
	s.running = append(s.running, test)
}

func (s *story) pauses(test string) { s.running = without(s.running, test) }

func (s *story) resumes(test string) { s.running = append(s.running, test) }

// ends looks and returns the numbers that test is judged for.
func (s *story) ends(test string, checked ...string) (own, doubtful []int) {
	s.Look(s.open, s.running)
	o, d := s.Of(test, func(name string) bool {
		for _, c := range checked {
			if c == name {
				return true
			}
		}
		return false
	})
	s.End(test)
	s.running = without(s.running, test)
	return numbers(o), numbers(d)
}

func without(names []string, name string) (left []string) {
	for _, n := range names {
		if n != name {
			left = append(left, n)
		}
	}
	return left
}

func numbers(list []Opened) (n []int) {
	for _, o := range list {
		n = append(n, o.Number)
	}
	return n
}

func TestLedger(t *testing.T) {
	for _, row := range []struct {
		name          string
		tell          func(s *story) (own, doubtful []int)
		own, doubtful []int
	}{
		{name: "open before", tell: func(s *story) (own, doubtful []int) {
			s.opens(3)
			s.starts("TestA")
			return s.ends("TestA")
		}},
		{name: "opened by the only test", own: []int{4}, tell: func(s *story) (own, doubtful []int) {
			s.starts("TestA")
			s.opens(4)
			return s.ends("TestA")
		}},
		{name: "opened and closed", tell: func(s *story) (own, doubtful []int) {
			s.starts("TestA")
			s.opens(4)
			s.starts("TestB")
			s.open = nil
			return s.ends("TestA")
		}},
		{name: "by a test beside one that waits in Parallel", own: []int{4}, tell: func(s *story) (own, doubtful []int) {
			s.starts("TestPaused")
			s.pauses("TestPaused")
			s.starts("TestGuilty")
			s.opens(4)
			return s.ends("TestGuilty")
		}},
		{name: "by another test while this one waited", tell: func(s *story) (own, doubtful []int) {
			s.starts("TestPaused")
			s.pauses("TestPaused")
			s.starts("TestGuilty")
			s.opens(4)
			s.ends("TestGuilty")
			s.resumes("TestPaused")
			return s.ends("TestPaused")
		}},
		{name: "before it waited", own: []int{4}, tell: func(s *story) (own, doubtful []int) {
			s.starts("TestA")
			s.opens(4)
			s.pauses("TestA")
			s.starts("TestB")
			s.ends("TestB")
			s.resumes("TestA")
			return s.ends("TestA")
		}},
		{name: "two tests run", doubtful: []int{4}, tell: func(s *story) (own, doubtful []int) {
			s.starts("TestA")
			s.starts("TestB")
			s.opens(4)
			s.ends("TestA", "TestB")
			return s.ends("TestB", "TestA")
		}},
		{name: "two tests run, and the verdict of one is to come", tell: func(s *story) (own, doubtful []int) {
			s.starts("TestA")
			s.starts("TestB")
			s.opens(4)
			return s.ends("TestA", "TestB")
		}},
		{name: "one of two, while the other waited for its turn", own: []int{5}, tell: func(s *story) (own, doubtful []int) {
			s.starts("TestA")
			s.pauses("TestA")
			s.starts("TestB")
			s.pauses("TestB")
			s.resumes("TestA")
			s.ends("TestA")
			s.resumes("TestB")
			s.opens(5)
			return s.ends("TestB")
		}},
		{name: "a test without a Check ran too", doubtful: []int{4}, tell: func(s *story) (own, doubtful []int) {
			s.starts("TestA")
			s.opens(4)
			s.resumes("TestUnchecked")
			return s.ends("TestA")
		}},
		{name: "a test without a Check started and ended meanwhile", doubtful: []int{4}, tell: func(s *story) (own, doubtful []int) {
			s.Hear("TestA")
			s.starts("TestA")
			s.pauses("TestA")
			s.Hear("TestUnchecked")
			s.opens(4)
			s.resumes("TestA")
			return s.ends("TestA")
		}},
		{name: "a test without a Check had ended before", own: []int{5}, tell: func(s *story) (own, doubtful []int) {
			s.Hear("TestUnchecked")
			s.opens(4)
			s.Hear("TestA")
			s.starts("TestA")
			s.opens(5)
			return s.ends("TestA")
		}},
		{name: "a subtest is judged with the checked test around it", tell: func(s *story) (own, doubtful []int) {
			s.starts("TestA")
			s.starts("TestA/sub")
			s.opens(4)
			return s.ends("TestA/sub", "TestA")
		}},
		{name: "the test around it is judged", own: []int{4}, tell: func(s *story) (own, doubtful []int) {
			s.starts("TestA")
			s.starts("TestA/sub")
			s.opens(4)
			s.ends("TestA/sub", "TestA")
			return s.ends("TestA")
		}},
		{name: "a subtest of a test without a Check", own: []int{4}, tell: func(s *story) (own, doubtful []int) {
			s.resumes("TestA")
			s.starts("TestA/sub")
			s.opens(4)
			return s.ends("TestA/sub")
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			own, doubtful := row.tell(&story{})
			assert.Equal(t, row.own, own)
			assert.Equal(t, row.doubtful, doubtful)
		})
	}
}

func TestReplaced(t *testing.T) {
	for _, row := range []struct {
		name     string
		before   func(s *story)
		during   func(s *story)
		replaced []int
	}{
		{"none was closed", func(s *story) { s.connects(3, "a:80") }, func(s *story) { s.connects(4, "a:80") }, nil},
		{"one was closed", func(s *story) { s.connects(3, "a:80") }, func(s *story) { s.closes(3); s.connects(4, "a:80") }, []int{4}},
		{"one was closed, two opened", func(s *story) { s.connects(3, "a:80") }, func(s *story) { s.closes(3); s.connects(4, "a:80"); s.connects(5, "a:80") }, []int{4}},
		{"to another address", func(s *story) { s.connects(3, "a:80") }, func(s *story) { s.closes(3); s.connects(4, "b:80") }, nil},
		{"a file was closed", func(s *story) { s.opens(3) }, func(s *story) { s.closes(3); s.opens(4) }, nil},
		{"both ends are in the process", func(s *story) {
			s.open = append(s.open, fd.File{Descriptor: fd.Descriptor{Number: 3}, Local: "x:1", Remote: "a:80"}, fd.File{Descriptor: fd.Descriptor{Number: 4}, Local: "a:80", Remote: "x:1"})
		}, func(s *story) {
			s.closes(3)
			s.closes(4)
			s.open = append(s.open, fd.File{Descriptor: fd.Descriptor{Number: 5}, Local: "x:2", Remote: "a:80"}, fd.File{Descriptor: fd.Descriptor{Number: 6}, Local: "a:80", Remote: "x:2"})
		}, []int{5, 6}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := &story{}
			row.before(s)
			before := s.open
			s.starts("TestA")
			row.during(s)
			s.Look(s.open, s.running)
			own, _ := s.Of("TestA", func(string) bool { return true })
			var numbers []int
			for d := range Replaced(before, s.open, own) {
				numbers = append(numbers, d.Number)
			}
			slices.Sort(numbers)
			assert.Equal(t, row.replaced, numbers)
		})
	}
}

// A client is shared if it was used before the first test: a test's own client is not.
func TestPooled(t *testing.T) {
	connection := func(number int) fd.File {
		return fd.File{Descriptor: fd.Descriptor{Number: number}, Remote: "a:80", Local: fmt.Sprint("here:", number)}
	}
	first, second, third := connection(3), connection(4), connection(5)
	pooled := func(early, before, now []fd.File) []fd.File {
		var l Ledger
		l.Look(early, nil)
		l.Begin("TestA", early, nil)
		l.Look(before, []string{"TestA"})
		l.End("TestA")
		l.Begin("TestB", before, nil)
		return Pooled(l.Unowned(before), before, now)
	}
	both := []fd.File{first, second}
	assert.Equal(t, []fd.File{second}, pooled(both[:1], both[:1], both), "the client of all tests")
	assert.Empty(t, pooled(nil, both[:1], both), "a client of TestA")
	assert.Empty(t, pooled(both[:1], both[:1], []fd.File{first, second, third}), "more than a client keeps")
	assert.Empty(t, pooled(both[:1], both, both), "of the test before")
}
