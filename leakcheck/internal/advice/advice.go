// Package advice says how to fix what a verdict names, and which option silences it.
package advice

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// FileFix says how to close what an open file of a kind leads to.
func FileFix(kind string) string {
	switch kind {
	case "socket":
		return "close the connection or listener; for HTTP read the response's body to the end and close it, then call CloseIdleConnections on the client"
	case "pipe":
		return "close both ends of the pipe; after exec.Cmd's StdoutPipe and the like, call Wait"
	}
	return "close the file, with defer or t.Cleanup"
}

// Group puts together goroutines that one change would fix: those that are blocked in one function
// and were started at one place. The largest group is first.
func Group(all []*gostack.Goroutine) [][]*gostack.Goroutine {
	groups := failure.Group(all, func(g *gostack.Goroutine) string {
		if function := connection(g); function != "" {
			return function // an HTTP connection has two goroutines
		}
		return fmt.Sprint(g.Where().Func, g.Creator)
	})
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

// Describe is the failure for goroutines of one [Group] that still run after what when says:
// "TestPut", or "all tests; …".
func Describe(group []*gostack.Goroutine, when string) *failure.Failure {
	g := group[0]
	are := "are"
	if len(group) == 1 {
		are = "is"
	}
	f := &failure.Failure{Title: fmt.Sprintf("goroutine leak: %s %s still running after %s", figure.Plural(len(group), "goroutine"), are, when)}
	Goroutine(f, group)
	at := g.Where()
	f.File, f.Line = at.File, at.Line
	switch by := g.Creator; {
	case by.Func == "time.goFunc":
		f.Add("started by", "time.AfterFunc; the runtime does not record who called it")
	case by.Func != "":
		f.Add("started at", by.String())
		if !by.InLibrary() {
			f.File, f.Line = by.File, by.Line
		}
	}
	f.Add("fix", Fix(g)...)
	f.Add("silence", Silence(g))
	return f
}

// Goroutine adds to f what the goroutines of a group do, and where.
func Goroutine(f *failure.Failure, group []*gostack.Goroutine) {
	g := group[0]
	f.Add("state", states(group))
	where := "blocked in"
	if strings.HasPrefix(g.State, "run") {
		where = "running in"
	}
	f.Add(where, g.Where().String())
}

// Silence is the option that makes the checks ignore goroutines like g, and as few others as can
// be: it names a function of the module under test where there is one on the stack.
func Silence(g *gostack.Goroutine) string {
	for i := len(g.Frames) - 1; i >= 0; i-- {
		if f := g.Frames[i]; f.InModule() {
			return fmt.Sprintf("leakcheck.IgnoreFunc(%q)", f.Name())
		}
	}
	if i := Rank(g); i < len(fixesByFunction) && strings.HasSuffix(fixesByFunction[i].function, ")") {
		return fmt.Sprintf("leakcheck.IgnoreFunc(%q)", fixesByFunction[i].function) // a group of several methods
	}
	if by := g.Creator; by.Func != "" && !by.InLibrary() {
		return fmt.Sprintf("leakcheck.IgnoreCreatedBy(%q)", by.Name())
	}
	return fmt.Sprintf("leakcheck.IgnoreFunc(%q)", g.Where().Name())
}

// fixesByFunction are fixes by a function on the stack, the most telling first.
var fixesByFunction = []struct{ function, fix string }{
	{"net/http.(*persistConn)", "an open HTTP connection: find the call (http.Get, Client.Do) whose response is not closed, read the response's body to the end and close it, then call CloseIdleConnections on the client; share one transport"},
	{"net/http.(*http2ClientConn)", "an open HTTP/2 connection: close the response's body, then call CloseIdleConnections on the client"},
	{"net/http.(*conn).serve", "a server's connection: call Close or Shutdown on the server (httptest.Server: Close), and close the client's idle connections"},
	{"net.(*TCPListener).Accept", "a listener: close it, or the server that uses it"},
	{"database/sql.(*DB).connectionOpener", "an open database: call Close on the *sql.DB"},
	{"os/exec.(*Cmd)", "a started command: call Wait"},
}

// fixesByState are fixes by what the goroutine waits for, longer states before their prefixes.
var fixesByState = []struct{ state, fix string }{
	{"chan receive (nil chan)", "it receives from a nil channel, which blocks forever: make the channel"},
	{"chan send (nil chan)", "it sends to a nil channel, which blocks forever: make the channel"},
	{"select (no cases)", "select{} blocks forever: wait for a context or a channel that is closed"},
	{"chan receive", "close the channel it receives from, or select on a context's Done as well"},
	{"chan send", "nobody receives: give the channel a buffer for this value, or select on a context's Done as well"},
	{"select", "cancel its context or call its owner's Close or Stop, and wait for it, before the test ends"},
	{"sleep", "replace the sleep by a select on a timer and a context's Done, and cancel the context"},
	{"IO wait", "close the connection, listener or pipe it waits for"},
	{"sync.WaitGroup.Wait", "a Done is missing: call it with defer, or use WaitGroup.Go"},
	{"sync.Mutex.Lock", "the mutex was never unlocked: unlock it with defer"},
	{"sync.RWMutex", "the mutex was never unlocked: unlock it with defer"},
	{"sync.Cond.Wait", "nobody signals it: call Broadcast when the owner closes"},
	{"semacquire", "what it waits for was never released: release it with defer"},
	{"syscall", "close what it reads, or end the process it waits for"},
	{"running", "it is still working: give its loop a context, cancel that, and wait for the goroutine before the test ends"},
	{"runnable", "it is still working: give its loop a context, cancel that, and wait for the goroutine before the test ends"},
}

// connection is the function that g was started with if it is one of fixesByFunction: then g
// belongs to a connection. A goroutine of the module under test that waits for one does not, nor a
// handler.
func connection(g *gostack.Goroutine) string {
	i := Rank(g)
	inModule := slices.ContainsFunc(g.Frames, func(f source.Frame) bool { return f.InModule() })
	if i == len(fixesByFunction) || inModule || !strings.HasPrefix(g.Root(), fixesByFunction[i].function) {
		return ""
	}
	return fixesByFunction[i].function
}

// OfConnection reports whether g serves or uses a connection or a listener.
func OfConnection(g *gostack.Goroutine) bool {
	i := Rank(g)
	return i < len(fixesByFunction) && strings.HasPrefix(fixesByFunction[i].function, "net")
}

// Rank is the index of the first of fixesByFunction that applies to g, or their number. A nil g has
// none.
func Rank(g *gostack.Goroutine) int {
	for i, r := range fixesByFunction {
		if g != nil && slices.ContainsFunc(g.Frames, func(f source.Frame) bool { return strings.HasPrefix(f.Func, r.function) }) {
			return i
		}
	}
	return len(fixesByFunction)
}

// Fix says how to make g end.
func Fix(g *gostack.Goroutine) []string {
	if i := Rank(g); i < len(fixesByFunction) {
		return []string{fixesByFunction[i].fix}
	}
	if strings.HasPrefix(g.State, "chan receive") {
		at := g.Where()
		switch line := source.Line(at.File, at.Line); {
		case ticks(line):
			return []string{"Stop does not close a ticker's channel: select on ticker.C and on a context's Done or a closed channel, and return"}
		case strings.Contains(line, ".Done()"):
			return []string{"cancel the context it waits for when its work ends; a context without a cancel function never ends"}
		}
	}
	for _, r := range fixesByState {
		if strings.HasPrefix(g.State, r.state) {
			return []string{r.fix}
		}
	}
	return []string{"end it before the test ends: cancel its context or close what it waits for"}
}

// ticks reports whether a line of source receives from a ticker or a timer.
func ticks(line string) bool {
	return strings.Contains(line, "time.Tick(") || strings.Contains(line, "time.After(") || channelC.MatchString(line)
}

var channelC = regexp.MustCompile(`\.C\b`)
