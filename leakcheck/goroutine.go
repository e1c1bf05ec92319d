package leakcheck

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func (s *scope) checkGoroutines() {
	if s.goroutines {
		return
	}
	s.goroutines = true
	s.Before = countStarted().byRoot
	setLabel(s.ID, s.Name)
}

func (s *scope) endGoroutines(t testing.TB) {
	t.Helper()
	leaked, ok := s.await()
	if !ok {
		t.Errorf("leakcheck: goroutines of %s were not judged: %s prints goroutine labels in a form unknown here; update leaksafe, or leave the verdict to leakcheck.Main", s.Name, runtime.Version())
		return
	}
	s.leaked, s.failedBefore = leaked, t.Failed()
	for _, group := range groupGoroutines(leaked) {
		s.report(t, group)
	}
}

// await waits until no goroutine of the test is left, and returns those that
// are when the grace ends.
func (s *scope) await() (leaked []*goroutine, ok bool) {
	if s.bubble != 0 {
		// The clock of a bubble is not the world's: instead of a grace,
		// wait until every goroutine of the bubble is blocked for good.
		synctest.Wait()
	}
	suspects, clean := s.Suspects(countStarted())
	if clean {
		return nil, true
	}
	closeIdle()
	end := time.Now().Add(s.cfg.grace)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		l, ok := s.look()
		if !ok {
			return nil, false
		}
		leaked = s.leakedIn(l, suspects)
		if len(leaked) == 0 || s.bubble != 0 || !time.Now().Before(end) {
			return leaked, true
		}
		time.Sleep(pause)
	}
}

// look takes a look, and forgets what is known of goroutines that have ended.
func (s *scope) look() (look, bool) {
	mark := record.Mark()
	l, ok := lookAll()
	if ok {
		record.Forget(l, mark)
	}
	return l, ok
}

// leakedIn returns the goroutines in l that are the test's and not ignored.
func (s *scope) leakedIn(l look, suspects map[string]bool) []*goroutine {
	t, open := tests.view(s)
	found := Find(l, t, suspects, open)
	for _, id := range found.Unowned {
		record.NoteUnowned(id, t.Company())
	}
	s.reasons = found.Reasons
	return slices.DeleteFunc(found.Leaked, s.ignores)
}

// closeIdle ends the connections that net/http keeps for everyone.
func closeIdle() {
	if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		transport.CloseIdleConnections()
	}
}

// mentions reports whether g runs, or was started in, function or a closure
// of it.
func (g *goroutine) mentions(function string) bool {
	return inFunction(g.creator.function, function) || slices.ContainsFunc(g.frames, func(f frame) bool {
		return inFunction(f.function, function)
	})
}

func (g *goroutine) calls(function string) bool {
	return slices.ContainsFunc(g.frames, func(f frame) bool { return f.function == function })
}

func inFunction(name, function string) bool {
	return name == function || strings.HasPrefix(name, function+".")
}

func (s *scope) ignores(g *goroutine) bool {
	return s.cfg.ignoresGoroutine(g) || !s.planted && knownGoroutine(g)
}

func (c *config) ignoresGoroutine(g *goroutine) bool {
	for _, prefix := range c.ignoreCreators {
		if strings.HasPrefix(g.creator.function, prefix) {
			return true
		}
	}
	for _, prefix := range c.ignoreFuncs {
		if slices.ContainsFunc(g.frames, func(f frame) bool { return strings.HasPrefix(f.function, prefix) }) {
			return true
		}
	}
	return false
}

// knownGoroutine asks the baseline by names that change neither with line numbers nor with
// what the goroutine is about: the outermost function of the module under test,
// where one is on the stack, and the function it was started with, which may be an
// errgroup's.
func knownGoroutine(g *goroutine) bool {
	outermost := g.root()
	for _, f := range g.frames {
		if strings.HasPrefix(f.function, modulePath()) {
			outermost = f.function
		}
	}
	by := " created by " + g.creator.function
	return known("goroutine", outermost+by) || known("goroutine", g.root()+by)
}

// where is the innermost frame outside the standard library, which is where a
// person can change something; without one, the function it was started with.
func (g *goroutine) where() frame {
	for _, f := range g.frames {
		if !f.inLibrary() {
			return f
		}
	}
	if len(g.frames) == 0 {
		return g.creator
	}
	return g.frames[len(g.frames)-1]
}

// librarySource is the folder of the standard library's source, as stacks name
// it; empty in a binary built with -trimpath.
var librarySource = sync.OnceValue(func() string {
	f := runtime.FuncForPC(reflect.ValueOf(strings.Cut).Pointer())
	file, _ := f.FileLine(f.Entry())
	return strings.TrimSuffix(file, "strings/strings.go")
})

func (f frame) inLibrary() bool {
	if root := librarySource(); root != "" {
		return strings.HasPrefix(f.file, root)
	}
	domain, _, _ := strings.Cut(f.file, "/")
	return !strings.Contains(domain, ".") && !strings.HasPrefix(f.file, modulePath()+"/")
}

// groupGoroutines puts goroutines together that one change would mend, largest
// group first: those that stand in one function and were started at one place.
func groupGoroutines(all []*goroutine) [][]*goroutine {
	groups := groupBy(all, func(g *goroutine) string { return fmt.Sprint(g.where().function, g.creator) })
	for _, group := range groups {
		slices.SortFunc(group, func(a, b *goroutine) int { return cmp.Compare(a.id, b.id) })
	}
	slices.SortFunc(groups, func(a, b []*goroutine) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a[0].id, b[0].id))
	})
	return groups
}

// groupBy puts together what has the same key, in the order of its first.
func groupBy[K comparable, T any](all []T, key func(T) K) [][]T {
	var groups [][]T
	index := map[K]int{}
	for _, x := range all {
		k := key(x)
		i, known := index[k]
		if !known {
			i = len(groups)
			index[k] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], x)
	}
	return groups
}

// states lists what the group does, most frequent first: "select (3), IO wait".
func states(group []*goroutine) string {
	return tally(group, func(g *goroutine) string {
		if len(group) > 1 {
			return stateOf(g)
		}
		return g.state
	})
}

// tally counts a group by what name says of its members: "a (3), b, c, 4 more".
func tally[T any](group []T, name func(T) string) string {
	const most = 6
	count := map[string]int{}
	for _, m := range group {
		count[name(m)]++
	}
	names := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	if len(names) == 1 {
		return names[0]
	}
	for i, n := range names {
		if count[n] > 1 {
			names[i] = fmt.Sprintf("%s (%d)", n, count[n])
		}
	}
	if len(names) > most {
		names = append(names[:most-1], fmt.Sprintf("%d more", len(names)-most+1))
	}
	return strings.Join(names, ", ")
}

// stateOf is the state without the minutes.
func stateOf(g *goroutine) string {
	state, _, _ := strings.Cut(g.state, ",")
	return state
}

// prove logs which of the leaked goroutines are stuck for good. Main does so at
// the end of the process: until then heap dumps stay possible.
func (s *scope) prove(t testing.TB) {
	t.Helper()
	if mainJudges() || s.planted || len(s.leaked) == 0 {
		return
	}
	if proven := prove(s.leaked); len(proven) > 0 {
		t.Logf("leakcheck: PROVEN: nothing can ever wake %s: the goroutineleak profile finds no reference to what it waits for", strings.Join(proven, ", "))
	}
}

// report fails the test for goroutines with one stack.
func (s *scope) report(t testing.TB, group []*goroutine) {
	t.Helper()
	f := describe(group, s.Name)
	switch {
	case s.bubble != 0:
		f.add("note", "in a synctest bubble the runtime panics next, because this goroutine can never end")
	case s.cfg.grace > 0:
		f.add("waited", s.cfg.grace.String()+", see leakcheck.Grace")
	}
	if reason := s.reasons[group[0].id]; reason != "" {
		f.add("blamed", reason)
	}
	if s.failedBefore {
		f.add("note", "the test had failed before: this may be a consequence")
	}
	report(t, f)
	if !s.planted { // Main still wants to see what is not let go
		record.NoteReported(group)
	}
}

// describe says what, where and the remedy.
func describe(group []*goroutine, whose string) *failure {
	g := group[0]
	f := &failure{title: fmt.Sprintf("%d goroutines outlive %s", len(group), whose)}
	if len(group) == 1 {
		f.title = "1 goroutine outlives " + whose
	}
	at := g.where()
	f.add("state", states(group))
	f.add("stands at", at.String())
	f.file, f.line = at.file, at.line
	switch by := g.creator; {
	case by.function == "time.goFunc":
		f.add("started by", "time.AfterFunc; the runtime does not say who called it")
	case by.function != "":
		f.add("started at", by.String())
		if !by.inLibrary() {
			f.file, f.line = by.file, by.line
		}
	}
	f.add("remedy", remedy(g)...)
	f.add("to ignore", silence(g))
	return f
}

// silence is the option that makes the checks overlook goroutines like g.
func silence(g *goroutine) string {
	if by := g.creator; by.function != "" && !by.inLibrary() {
		return fmt.Sprintf("leakcheck.IgnoreCreatedBy(%q)", by.function)
	}
	return fmt.Sprintf("leakcheck.IgnoreFunc(%q)", g.where().function)
}

// remedies by what the stack shows, most telling first.
var remediesByFunction = []struct{ function, remedy string }{
	{"net/http.(*persistConn)", "a kept HTTP connection: read the response's body to its end and close it, then call CloseIdleConnections on the client; share one transport"},
	{"net/http.(*http2ClientConn)", "a kept HTTP/2 connection: close the response's body, then call CloseIdleConnections on the client"},
	{"net/http.(*conn).serve", "a server's connection: call Close or Shutdown on the server (httptest.Server: Close), and close the client's idle connections"},
	{"net.(*TCPListener).Accept", "a listener: close it, or the server it belongs to"},
	{"database/sql.(*DB).connectionOpener", "an open database: call Close on the *sql.DB"},
	{"os/exec.(*Cmd)", "a started command: call Wait"},
}

var remediesByState = []struct{ state, remedy string }{
	{"chan receive (nil chan)", "it receives from a nil channel, which blocks for ever: make the channel"},
	{"chan send (nil chan)", "it sends to a nil channel, which blocks for ever: make the channel"},
	{"select (no cases)", "select{} blocks for ever: wait for a context or a channel that is closed"},
	{"chan receive", "close the channel it receives from, or let it select on a context's Done as well"},
	{"chan send", "nobody receives: give the channel a buffer for this value, or let it select on a context's Done as well"},
	{"select", "cancel its context or call its owner's Close or Stop, and wait for it, before the test ends"},
	{"sleep", "wait with a timer in a select, next to a context's Done, and cancel that"},
	{"IO wait", "close the connection, listener or pipe it waits for"},
	{"sync.WaitGroup.Wait", "a Done is missing: call it with defer, or use WaitGroup.Go"},
	{"sync.Mutex.Lock", "the mutex was never unlocked: unlock it with defer"},
	{"sync.RWMutex", "the mutex was never unlocked: unlock it with defer"},
	{"sync.Cond.Wait", "nobody signals any more: Broadcast when the owner closes"},
	{"semacquire", "what it waits for was never released: release it with defer"},
	{"syscall", "close what it reads, or end the process it waits for"},
	{"running", "it still runs: wait for it before the test ends; give its loop a context, and cancel that"},
	{"runnable", "it still runs: wait for it before the test ends; give its loop a context, and cancel that"},
}

// remedyRank is the first entry of remediesByFunction that applies to g, or
// their number.
func remedyRank(g *goroutine) int {
	for i, r := range remediesByFunction {
		if g != nil && slices.ContainsFunc(g.frames, func(f frame) bool { return strings.HasPrefix(f.function, r.function) }) {
			return i
		}
	}
	return len(remediesByFunction)
}

func remedy(g *goroutine) []string {
	if i := remedyRank(g); i < len(remediesByFunction) {
		return []string{remediesByFunction[i].remedy}
	}
	for _, r := range remediesByState {
		if strings.HasPrefix(g.state, r.state) {
			return []string{r.remedy}
		}
	}
	return []string{"end it before the test ends: cancel its context or close what it waits for"}
}
