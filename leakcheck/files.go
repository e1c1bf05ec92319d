package leakcheck

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/openfile"
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

func (s *scope) beginFiles(heads gostack.Headcount) {
	s.files = &descriptors
	if s.Planted { // judged by itself: the test around it must not see the leak
		s.files = &ledger{}
	}
	s.files.Lock()
	defer s.files.Unlock()
	s.openBefore = fd.List()
	s.files.Begin(s.Name, s.openBefore, s.beside(heads))
}

// beside names the other tests that run. The caller holds the lock of the ledger, so that no other
// test ends meanwhile.
func (s *scope) beside(heads gostack.Headcount) []string {
	if s.Planted {
		return nil
	}
	return tests.running(heads, s)
}

// openedFiles are the descriptors that a verdict is about.
type openedFiles struct {
	own      []blame.Opened // only the test can have opened them
	doubtful []blame.Opened // one of several tests has
	replaced []blame.Opened // connections that took the place of others: they are in neither
}

func (o *openedFiles) none() bool { return len(o.own) == 0 && len(o.doubtful) == 0 }

// openedFiles are the descriptors that the test may have opened and that no option ignores. Main
// judges the doubtful ones, if there is one.
func (s *scope) openedFiles(heads gostack.Headcount) *openedFiles {
	o := &openedFiles{}
	if s.files == nil {
		return o
	}
	s.files.Lock()
	defer s.files.Unlock()
	now := fd.List()
	s.files.Look(now, append(s.beside(heads), s.Name))
	tests.startVerdict(s)
	o.own, o.doubtful = s.files.Of(s.Name, tests.checksFiles)
	s.files.End(s.Name)
	s.dropReplaced(o, now)
	o.own = slices.DeleteFunc(o.own, s.knowsFile)
	o.doubtful = slices.DeleteFunc(o.doubtful, func(f blame.Opened) bool { return mainJudges() || s.knowsFile(f) })
	return o
}

// dropReplaced takes the connections out of o that took the place of others.
func (s *scope) dropReplaced(o *openedFiles, now []fd.File) {
	replaced := blame.Replaced(s.openBefore, now, slices.Concat(o.replaced, o.own, o.doubtful))
	for _, f := range slices.Concat(o.own, o.doubtful) {
		if replaced[f.Descriptor] {
			o.replaced = append(o.replaced, f)
		}
	}
	o.drop(func(f blame.Opened) bool { return replaced[f.Descriptor] })
}

// clientsReplaced is how many connections of clients took the place of others. The other end of
// one, where it is in this process, has an address that no connection had before.
func (s *scope) clientsReplaced(o *openedFiles) (n int) {
	for _, f := range o.replaced {
		if slices.ContainsFunc(s.openBefore, func(b fd.File) bool { return b.Remote == f.Remote }) {
			n++
		}
	}
	return n
}

// refresh drops what has been closed, and connections that took the place of others.
func (o *openedFiles) refresh(s *scope) {
	if o.none() {
		return
	}
	now := fd.List()
	o.drop(closedIn(now))
	s.dropReplaced(o, now)
	if pooled := slices.DeleteFunc(slices.Clone(o.own), func(f blame.Opened) bool { return !f.Pooled() }); len(pooled) > 0 && len(pooled) == len(o.own) {
		o.collect()
	}
}

// collect drops pipes that a pool of the standard library holds: io.Copy between two connections
// uses one, and only the second collection closes it. A dropped *os.File is closed by a collection
// too; but its verdict is known by then.
func (o *openedFiles) collect() {
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		runtime.GC()
		closed := closedIn(fd.List())
		o.drop(func(f blame.Opened) bool { return f.Pooled() && closed(f) })
		if !slices.ContainsFunc(slices.Concat(o.own, o.doubtful), func(f blame.Opened) bool { return f.Pooled() }) {
			return
		}
	}
}

func (o *openedFiles) drop(which func(blame.Opened) bool) {
	o.own, o.doubtful = slices.DeleteFunc(o.own, which), slices.DeleteFunc(o.doubtful, which)
}

// closedIn reports of a descriptor that it is not among those that are open now.
func closedIn(now []fd.File) func(blame.Opened) bool {
	open := map[fd.Descriptor]bool{}
	for _, f := range now {
		open[f.Descriptor] = true
	}
	return func(f blame.Opened) bool { return !open[f.Descriptor] }
}

// takeSockets removes the sockets from o when the goroutines are those of connections: one cause,
// one failure.
func (o *openedFiles) takeSockets(group []*gostack.Goroutine) (sockets []blame.Opened) {
	if !advice.OfConnection(group[0]) {
		return nil
	}
	o.own = slices.DeleteFunc(o.own, func(f blame.Opened) bool {
		if f.Kind() == "socket" {
			sockets = append(sockets, f)
			return true
		}
		return false
	})
	return sockets
}

// endFiles fails the test for what it has left open, and says what one of several tests has.
func (s *scope) endFiles(t testing.TB, o *openedFiles) {
	t.Helper()
	if s.files == nil {
		return
	}
	if slices.ContainsFunc(o.own, func(f blame.Opened) bool { return f.Pooled() }) {
		o.collect()
	}
	for _, group := range openfile.Group(o.own) {
		report(t, s.describeLeak(group))
	}
	for _, group := range openfile.Group(o.doubtful) {
		f := openfile.DescribeDoubt(group)
		f.Add("note", "no test fails for it; with func TestMain(m *testing.M) { leakcheck.Main(m) } the run fails")
		t.Log(f)
		fmt.Fprintln(os.Stderr, f)
	}
	s.files.Lock()
	defer s.files.Unlock()
	s.files.Forget(slices.Concat(o.own, o.doubtful, o.replaced))
}

// describeLeak is the failure for descriptors that only the test can have opened.
func (s *scope) describeLeak(group []blame.Opened) *failure.Failure {
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
func doubtfulFiles(cfg config) []blame.Opened {
	descriptors.Lock()
	defer descriptors.Unlock()
	end := time.Now().Add(cfg.grace)
	s := &scope{cfg: cfg}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		descriptors.Look(fd.List(), nil)
		o := openedFiles{own: slices.DeleteFunc(descriptors.Doubted(), s.knowsFile)}
		if o.none() {
			return nil
		}
		if !time.Now().Before(end) {
			o.collect()
			return o.own
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
func (s *scope) knowsFile(f blame.Opened) bool {
	if slices.ContainsFunc(s.cfg.ignoreFiles, func(text string) bool { return strings.Contains(f.Describe(), text) }) {
		return true
	}
	return !s.Planted && baseline.Known("file", strings.TrimSpace(s.Name+" "+openfile.Key(f)))
}
