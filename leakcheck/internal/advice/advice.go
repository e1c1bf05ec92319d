// Package advice says how to fix what a verdict names, and with which option to silence it.
package advice

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// FileFix says how to close what an open file of a kind leads to.
func FileFix(kind string) string {
	switch kind {
	case "socket":
		return "close the connection or listener; for HTTP read the body to its end and close it, then call CloseIdleConnections on the client"
	case "pipe":
		return "close both ends of the pipe; after exec.Cmd's StdoutPipe and the like, call Wait"
	}
	return "close the file, with defer or t.Cleanup"
}

// Group puts goroutines together that one change would mend, largest
// group first: those that stand in one function and were started at one place.
func Group(all []*gostack.Goroutine) [][]*gostack.Goroutine {
	groups := failure.Group(all, func(g *gostack.Goroutine) string { return fmt.Sprint(g.Where().Func, g.Creator) })
	for _, group := range groups {
		slices.SortFunc(group, func(a, b *gostack.Goroutine) int { return cmp.Compare(a.ID, b.ID) })
	}
	slices.SortFunc(groups, func(a, b []*gostack.Goroutine) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a[0].ID, b[0].ID))
	})
	return groups
}

// states lists what the group does, most frequent first: "select (3), IO wait".
func states(group []*gostack.Goroutine) string {
	return failure.Tally(group, func(g *gostack.Goroutine) string {
		if len(group) > 1 {
			return gostack.StateOf(g)
		}
		return g.State
	})
}

// Describe says what, where and the remedy.
func Describe(group []*gostack.Goroutine, whose string) *failure.Failure {
	g := group[0]
	f := &failure.Failure{Title: fmt.Sprintf("%d goroutines outlive %s", len(group), whose)}
	if len(group) == 1 {
		f.Title = "1 goroutine outlives " + whose
	}
	at := g.Where()
	f.Add("state", states(group))
	f.Add("stands at", at.String())
	f.File, f.Line = at.File, at.Line
	switch by := g.Creator; {
	case by.Func == "time.goFunc":
		f.Add("started by", "time.AfterFunc; the runtime does not say who called it")
	case by.Func != "":
		f.Add("started at", by.String())
		if !by.InLibrary() {
			f.File, f.Line = by.File, by.Line
		}
	}
	f.Add("remedy", Fix(g)...)
	f.Add("to ignore", Silence(g))
	return f
}

// Silence is the option that makes the checks overlook goroutines like g.
func Silence(g *gostack.Goroutine) string {
	if by := g.Creator; by.Func != "" && !by.InLibrary() {
		return fmt.Sprintf("leakcheck.IgnoreCreatedBy(%q)", by.Func)
	}
	return fmt.Sprintf("leakcheck.IgnoreFunc(%q)", g.Where().Func)
}

// remedies by what the stack shows, most telling first.
var fixesByFunction = []struct{ function, remedy string }{
	{"net/http.(*persistConn)", "a kept HTTP connection: read the response's body to its end and close it, then call CloseIdleConnections on the client; share one transport"},
	{"net/http.(*http2ClientConn)", "a kept HTTP/2 connection: close the response's body, then call CloseIdleConnections on the client"},
	{"net/http.(*conn).serve", "a server's connection: call Close or Shutdown on the server (httptest.Server: Close), and close the client's idle connections"},
	{"net.(*TCPListener).Accept", "a listener: close it, or the server it belongs to"},
	{"database/sql.(*DB).connectionOpener", "an open database: call Close on the *sql.DB"},
	{"os/exec.(*Cmd)", "a started command: call Wait"},
}

var fixesByState = []struct{ state, remedy string }{
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

// Rank is the first entry of remediesByFunction that applies to g, or
// their number.
func Rank(g *gostack.Goroutine) int {
	for i, r := range fixesByFunction {
		if g != nil && slices.ContainsFunc(g.Frames, func(f source.Frame) bool { return strings.HasPrefix(f.Func, r.function) }) {
			return i
		}
	}
	return len(fixesByFunction)
}

func Fix(g *gostack.Goroutine) []string {
	if i := Rank(g); i < len(fixesByFunction) {
		return []string{fixesByFunction[i].remedy}
	}
	for _, r := range fixesByState {
		if strings.HasPrefix(g.State, r.state) {
			return []string{r.remedy}
		}
	}
	return []string{"end it before the test ends: cancel its context or close what it waits for"}
}
