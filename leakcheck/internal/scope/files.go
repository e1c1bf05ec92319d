package scope

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/openfile"
	"github.com/leaksafe/leaksafe/leakcheck/internal/option"
	"github.com/leaksafe/leaksafe/leakcheck/internal/recorder"
)

// A ledger is blame's, with its lock.
type ledger struct {
	sync.Mutex
	blame.Ledger
}

// descriptors is the ledger of all tests but negative controls.
var descriptors ledger

func (l *ledger) hear(test string) {
	l.Lock()
	defer l.Unlock()
	l.Hear(test)
}

func (s *Scope) beginFiles(heads gostack.Headcount) {
	s.files = &descriptors
	if s.Planted { // judged by itself: the test around it must not see the leak
		s.files = &ledger{}
	}
	s.files.Lock()
	defer s.files.Unlock()
	s.openBefore = fd.List()
	s.files.Begin(s.Name, s.openBefore, s.beside(heads))
	s.unowned = s.files.Unowned(s.openBefore)
}

// beside names the other tests that run. The caller holds the lock of the ledger, so that no other
// test ends meanwhile.
func (s *Scope) beside(heads gostack.Headcount) []string {
	if s.Planted {
		return nil
	}
	return tests.running(heads, s)
}

// openedFiles are the descriptors that the test may have opened and that no option ignores. Main
// judges the doubtful ones, if there is one.
func (s *Scope) openedFiles(heads gostack.Headcount) *openfile.Left {
	o := &openfile.Left{Before: s.openBefore, Unowned: s.unowned}
	if s.files == nil {
		return o
	}
	s.files.Lock()
	defer s.files.Unlock()
	now := fd.List()
	s.files.Look(now, append(s.beside(heads), s.Name))
	tests.startVerdict(s)
	o.Own, o.Doubtful = s.files.Of(s.Name, tests.checksFiles)
	s.files.End(s.Name)
	o.DropReplaced(now)
	o.Own = slices.DeleteFunc(o.Own, s.knowsFile)
	o.Doubtful = slices.DeleteFunc(o.Doubtful, func(f blame.Opened) bool { return option.InSuite() || s.knowsFile(f) })
	return o
}

// endFiles fails the test for what it has left open, and says what one of several tests has.
func (s *Scope) endFiles(t testing.TB, o *openfile.Left) {
	t.Helper()
	if s.files == nil {
		return
	}
	if slices.ContainsFunc(o.Own, func(f blame.Opened) bool { return f.Pooled() }) {
		o.Collect()
	}
	for _, group := range openfile.Group(o.Own) {
		recorder.Report(t, s.describeLeak(group))
	}
	for _, group := range openfile.Group(o.Doubtful) {
		f := openfile.DescribeDoubt(group)
		f.Add("note", "no test fails for it; with func TestMain(m *testing.M) { leakcheck.Main(m) } the run fails")
		t.Log(f)
		fmt.Fprintln(os.Stderr, f)
	}
	s.files.Lock()
	defer s.files.Unlock()
	s.files.Forget(slices.Concat(o.Own, o.Doubtful, o.Replaced, o.Shared))
}

// describeLeak is the failure for descriptors that only the test can have opened.
func (s *Scope) describeLeak(group []blame.Opened) *failure.Failure {
	f := openfile.Describe(group, s.Name)
	if len(group[0].Tests) > 1 {
		f.Add("note", "the test or one of its subtests opened it")
	}
	if s.failedBefore {
		f.Add("note", "the test had already failed: the leak may be a consequence")
	}
	return f
}

// doubtfulFiles are the descriptors that one of several tests has opened and that are open when all
// have ended.
func doubtfulFiles(cfg option.Config) []blame.Opened {
	descriptors.Lock()
	defer descriptors.Unlock()
	end := time.Now().Add(cfg.Grace)
	s := &Scope{cfg: cfg}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		descriptors.Look(fd.List(), nil)
		o := openfile.Left{Own: slices.DeleteFunc(descriptors.Doubted(), s.knowsFile)}
		if o.None() {
			return nil
		}
		if !time.Now().Before(end) {
			o.Collect()
			return o.Own
		}
		time.Sleep(pause)
	}
}

func reportProcessFiles(left []blame.Opened) {
	for _, group := range openfile.Group(left) {
		f := openfile.DescribeDoubt(group)
		fmt.Fprintln(os.Stderr, f)
		f.Annotate(os.Stderr)
	}
}

// knowsFile asks the options and the baseline.
func (s *Scope) knowsFile(f blame.Opened) bool {
	return s.cfg.IgnoresFile(f.Describe()) || !s.Planted && baseline.Known("file", strings.TrimSpace(s.Name+" "+openfile.Key(f)))
}
