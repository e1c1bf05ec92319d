package leakcheck

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A descriptor is an open file as it can be told from others: numbers are used
// again, and two files may have one name.
type descriptor struct {
	number int
	target string // "/tmp/x", "socket:[4711]", "pipe:[4712]"
}

// A fileGroup is the checked tests that overlapped. Descriptors carry no owner:
// they are judged together when the last of them ends.
type fileGroup struct {
	before map[descriptor]bool
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
	startPoller()
	files.Lock()
	defer files.Unlock()
	if files.group == nil {
		files.group = &fileGroup{before: openDescriptors()}
	}
	s.files = files.group
	s.files.open++
	s.files.names = append(s.files.names, s.name)
}

// endFiles judges the group when s is its last.
func (s *scope) endFiles() {
	s.t.Helper()
	group := s.files
	leaked, last := group.leave(s)
	if !last {
		return
	}
	for _, d := range leaked {
		s.reportFile(d)
	}
}

// leave returns what the group left open when s was its last test. It waits
// for it, up to the grace, while a new group may begin.
func (g *fileGroup) leave(s *scope) (leaked []descriptor, last bool) {
	files.Lock()
	g.open--
	last = g.open == 0
	if last {
		files.group = nil
		leaked = g.opened() // what is opened after this is not the group's
	}
	files.Unlock()
	leaked = slices.DeleteFunc(leaked, s.knows)
	if len(leaked) > 0 {
		closeIdle()
	}
	end := time.Now().Add(s.cfg.grace)
	for pause := time.Millisecond; len(leaked) > 0; pause = min(2*pause, 50*time.Millisecond) {
		now := openDescriptors()
		leaked = slices.DeleteFunc(leaked, func(d descriptor) bool { return !now[d] })
		if s.bubble != 0 || !time.Now().Before(end) {
			break
		}
		time.Sleep(pause)
	}
	return leaked, last
}

// opened are the descriptors that are open now and were not before the group.
func (g *fileGroup) opened() []descriptor {
	var opened []descriptor
	for d := range openDescriptors() {
		if !g.before[d] {
			opened = append(opened, d)
		}
	}
	slices.SortFunc(opened, func(a, b descriptor) int { return cmp.Compare(a.number, b.number) })
	return opened
}

// knows asks the baseline. Neither numbers nor temporary folders are the same
// in the next run: the name of the test and the kind of file are.
func (s *scope) knows(d descriptor) bool {
	kind, _, _ := strings.Cut(d.target, ":")
	if strings.HasPrefix(d.target, "/") {
		kind = filepath.Base(d.target)
	}
	return !planted(s.t) && known("file", s.name+" "+kind)
}

func (s *scope) reportFile(d descriptor) {
	s.t.Helper()
	whose := s.name
	f := &failure{}
	if len(s.files.names) > 1 {
		whose = oneOf(s.files.names)
		f.add("note", "descriptors carry no owner, and these tests overlapped: go test -parallel=1 tells which")
	} else if !s.sequential() {
		f.add("note", "descriptors carry no owner: it may also be of a test beside it that has no leakcheck.Check")
	}
	f.title = fmt.Sprintf("file descriptor %d outlives %s", d.number, whose)
	f.fields = append([]field{{"open", []string{d.describe()}}}, f.fields...)
	f.add("remedy", d.remedy())
	f.add("to ignore", "leakcheck.Goroutines(t) in place of Check looks at no files; or "+baselineCommand())
	f.report(s.t)
}

func (d descriptor) describe() string {
	if inode, ok := strings.CutPrefix(d.target, "socket:"); ok {
		if address := socketAddress(strings.Trim(inode, "[]")); address != "" {
			return address
		}
	}
	return d.target
}

func (d descriptor) remedy() string {
	kind, _, _ := strings.Cut(d.target, ":")
	switch kind {
	case "socket":
		return "close the connection or listener; for HTTP read the body to its end and close it, then call CloseIdleConnections on the client"
	case "pipe":
		return "close both ends of the pipe; after exec.Cmd's StdoutPipe and the like, call Wait"
	}
	return "close the file, with defer or t.Cleanup"
}

// startPoller makes the runtime open the descriptors it keeps for itself, so
// that they are no test's.
var startPoller = sync.OnceFunc(func() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	r.Close()
	w.Close()
})
