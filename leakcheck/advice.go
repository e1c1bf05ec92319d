package leakcheck

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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

// states lists what the group does, most frequent first: "select (3), IO wait".
func states(group []*goroutine) string {
	return tally(group, func(g *goroutine) string {
		if len(group) > 1 {
			return stateOf(g)
		}
		return g.state
	})
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
