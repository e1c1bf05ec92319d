package leakcheck

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
)

// A fileGroup is the checked tests that overlapped. Descriptors carry no owner:
// they are judged together when the last of them ends.
type fileGroup struct {
	before map[fd.Descriptor]bool
	open   int
	names  []string
}

// files holds the group that is open, and its lock while a group begins or
// ends: what one group opens must not be another's before.
var files struct {
	sync.Mutex
	group *fileGroup
}

func (s *scope) checkFiles() {
	if s.files != nil {
		return
	}
	fd.StartPoller()
	if s.planted { // judged by itself: the test around it must not see the leak
		s.files = &fileGroup{before: openNow(), open: 1, names: []string{s.Name}}
		return
	}
	files.Lock()
	defer files.Unlock()
	if files.group == nil {
		files.group = &fileGroup{before: openNow()}
	}
	s.files = files.group
	s.files.open++
	s.files.names = append(s.files.names, s.Name)
}

// endFiles judges the group when s is its last.
func (s *scope) endFiles(t testing.TB) {
	t.Helper()
	group := s.files
	leaked, last := group.leave(s)
	if !last {
		return
	}
	for _, group := range failure.Group(leaked, func(f fd.File) string { return f.Target }) {
		s.reportFiles(t, group)
	}
}

// leave returns what the group left open when s was its last test. It waits
// for it, up to the grace, while a new group may begin.
func (g *fileGroup) leave(s *scope) (leaked []fd.File, last bool) {
	files.Lock()
	g.open--
	last = g.open == 0
	if last {
		if files.group == g {
			files.group = nil
		}
		leaked = g.opened() // what is opened after this is not the group's
	}
	files.Unlock()
	leaked = slices.DeleteFunc(leaked, s.knows)
	if len(leaked) > 0 {
		closeIdle()
	}
	end := time.Now().Add(s.cfg.grace)
	for pause := time.Millisecond; len(leaked) > 0; pause = min(2*pause, 50*time.Millisecond) {
		now := openNow()
		leaked = slices.DeleteFunc(leaked, func(f fd.File) bool { return !now[f.Descriptor] })
		if s.bubble != 0 || !time.Now().Before(end) {
			break
		}
		time.Sleep(pause)
	}
	return leaked, last
}

// opened are the files that are open now and were not before the group.
func (g *fileGroup) opened() []fd.File {
	return slices.DeleteFunc(fd.List(), func(f fd.File) bool { return g.before[f.Descriptor] })
}

func openNow() map[fd.Descriptor]bool {
	now := map[fd.Descriptor]bool{}
	for _, f := range fd.List() {
		now[f.Descriptor] = true
	}
	return now
}

// knows asks the baseline. Neither descriptors nor the numbers in temporary names
// are the same in the next run: the test and the rest of the name are.
func (s *scope) knows(f fd.File) bool {
	kind, _, _ := strings.Cut(f.Target, ":")
	if strings.HasPrefix(f.Target, "/") {
		kind = strings.TrimSuffix(filepath.Base(f.Target), " (deleted)")
	}
	return !s.planted && baseline.Known("file", s.Name+" "+digits.ReplaceAllString(kind, "#"))
}

var digits = regexp.MustCompile("[0-9]+")

// reportFiles fails the test for descriptors that lead to the same thing.
func (s *scope) reportFiles(t testing.TB, group []fd.File) {
	t.Helper()
	open := group[0]
	after, note := s.Name, ""
	if len(s.files.names) > 1 {
		after = failure.OneOf(s.files.names)
		note = "descriptors have no owner, and these tests overlapped: go test -parallel=1 tells which"
	} else if l, ok := s.look(); !ok || !blame.Sequential(l, &s.Test) {
		note = "descriptors have no owner: it may also belong to a test beside this one that has no leakcheck.Check"
	}
	f := &failure.Failure{Title: fmt.Sprintf("file leak: descriptor %d is still open after %s", open.Number, after)}
	if len(group) > 1 {
		f.Title = fmt.Sprintf("file leak: %d descriptors (%s) are still open after %s", len(group), numbers(group), after)
	}
	f.Add("open", open.Describe())
	f.Add("fix", advice.FileFix(open.Kind()))
	f.Add("silence", "leakcheck.Goroutines(t) instead of Check, which then checks no files; or "+baseline.Command())
	if note != "" {
		f.Add("note", note)
	}
	report(t, f)
}

// numbers lists the descriptors' numbers: "5, 7, 9 and 20 more".
func numbers(group []fd.File) string {
	const most = 8
	var list []string
	for i, f := range group {
		if i == most {
			return fmt.Sprintf("%s and %d more", strings.Join(list, ", "), len(group)-most)
		}
		list = append(list, strconv.Itoa(f.Number))
	}
	return strings.Join(list, ", ")
}
