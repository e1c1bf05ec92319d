package advice

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

func TestHeapFix(t *testing.T) {
	variable, object := Step{Kind: "variable", Name: "app.store"}, Step{Kind: "object", Type: "app.entry"}
	for _, row := range []struct {
		name  string
		line  string
		path  []Step
		fix   string
		cache bool
	}{
		{"a map", "", []Step{variable, {Kind: "map", Name: `["x"]`}, object}, "remove the entry", true},
		{"a map of the runtime's type", "", []Step{variable, {Kind: "object", Type: "map[string]*app.entry"}, object}, "remove the entry", true},
		{"a sync.Map", "", []Step{variable, {Kind: "object", Type: "sync.Map"}, object}, "remove the entry", true},
		{"a slice within a map: the nearer holder", "", []Step{variable, {Kind: "map"}, {Kind: "object", Type: "[]*app.entry", Name: "[3]"}, object}, "remove the element", true},
		{"a list", "", []Step{variable, {Kind: "object", Type: "list.Element", Name: ".next"}, object}, "or bound the list", true},
		{"a context's children, which are a map", "", []Step{variable, {Kind: "object", Type: "context.cancelCtx", Name: ".children"}, {Kind: "map"}, {Kind: "object", Type: "context.cancelCtx"}}, "call the context's cancel function", false},
		{"what waits for the end of a context", "", []Step{variable, {Kind: "object", Type: "context.cancelCtx", Name: ".children"}, {Kind: "map", Grew: true}, {Kind: "object", Type: "context.afterFuncCtx"}}, "call the stop function that context.AfterFunc returned", false},
		{"a list in a variable", "", []Step{{Kind: "variable", Name: "app.all"}, {Kind: "object", Type: "list.List", Name: ".root.prev"}, {Kind: "object", Type: "list.Element", Name: ".prev"}, object}, "remove the element from app.all when", true},
		{"a list in a field", "", []Step{variable, {Kind: "object", Type: "app.lru", Name: ".order"}, {Kind: "object", Type: "list.List", Name: ".root.next"}, {Kind: "object", Type: "list.Element"}, object}, "remove the element from app.lru.order when", true},
		{"a slice behind an atomic pointer", "", []Step{variable, {Kind: "object", Type: "app.bus", Name: ".all"}, {Kind: "object", Type: "atomic.Pointer[[]*app.entry]", Name: ".Load()"}, {Kind: "object", Type: "[]*app.entry", Name: "[3]", Grew: true}, object}, "remove the element from app.bus.all when", true},
		{"a slice that a closure shares with its function", "", []Step{variable, {Kind: "closure", Name: "app.logged.func1, its variable seen"}, {Kind: "object", Type: "[]string"}, {Kind: "object", Type: "[]string", Name: "[3]", Grew: true}, {Kind: "object", Type: "string"}}, "remove the element from variable seen when", true},
		{"a map that the test's own object holds", "", []Step{{Kind: "goroutine", Test: true}, {Kind: "closure", Name: "app.TestPut.func1, its variable s"}, {Kind: "object", Type: "app.cache", Name: ".items"}, {Kind: "map", Grew: true}, object}, "remove the entry from app.cache.items when", true},
		{"a timer", "", []Step{{Kind: "timer", Name: "pending for 1 h"}, {Kind: "closure"}, object}, "call Stop on the timer", false},
		{"a ring with a finalizer", "", []Step{{Kind: "object with a finalizer", Type: "app.vm"}, {Kind: "object", Name: ".owner"}, object}, "runtime.AddCleanup", false},
		{"a goroutine", "", []Step{{Kind: "goroutine", Name: "8, blocked in select"}, object}, "end that goroutine", false},
		{"a map that a goroutine holds", "", []Step{{Kind: "goroutine"}, {Kind: "map"}, object}, "remove the entry", false},
		{"an audit list of requests: the list grew, not the form of each", "", []Step{{Kind: "variable", Name: "app.audit"}, {Kind: "object", Type: "[]*http.Request", Name: "[963]", Grew: true},
			{Kind: "object", Type: "http.Request", Name: ".Form"}, {Kind: "map", Name: `["id"]`}, {Kind: "object", Type: "[]string"}}, "remove the element from app.audit when it is no longer needed, or bound the slice", true},
		{"a list in a map of users: the list of each grew", "", []Step{{Kind: "variable", Name: "app.users"}, {Kind: "map", Name: `["ann"]`}, {Kind: "object", Type: "app.user", Name: ".events"},
			{Kind: "object", Type: "[]*app.event", Name: "[7]", Grew: true}, object}, "remove the element from app.user.events when", true},
		{"a map behind a field", "", []Step{variable, {Kind: "object", Type: "*app.server", Name: ".sessions"}, {Kind: "map", Grew: true}, {Kind: "object", Type: "app.session", Name: ".items"}, {Kind: "slice"}, object}, "remove the entry from app.server.sessions when", true},
		{"a map that a closure refers to", "", []Step{{Kind: "goroutine"}, {Kind: "closure", Name: "app.handler.func1, its variable seen"}, {Kind: "map", Grew: true}, object}, "remove the entry from variable seen when", false},
		{"a map of a variable without a name", "", []Step{{Kind: "variable", Name: "at bss+0x540 (for its name: …)"}, {Kind: "map", Grew: true}, object}, "remove the entry when", true},
		{"a struct that grew, in a map: the map", "", []Step{variable, {Kind: "map"}, {Kind: "object", Type: "app.tree", Name: ".left", Grew: true}, {Kind: "slice"}, object}, "remove the entry from app.store when", true},
		{"a struct that grew, and a list in each of its parts", "", []Step{variable, {Kind: "object", Type: "app.tree", Name: ".left", Grew: true}, {Kind: "object", Type: "app.leaf", Name: ".all"}, {Kind: "slice"}, object}, "remove the reference when", true},
		{"many goroutines, each with a map", "", []Step{{Kind: "goroutine", Grew: true}, {Kind: "map"}, object}, "end that goroutine", false},
		{"many timers, each with a request and its context", "", []Step{{Kind: "timer", Grew: true}, {Kind: "object", Type: "context.cancelCtx", Name: ".children"}, {Kind: "map"}, object}, "call Stop on the timer", false},
		{"contexts that are not cancelled, each with a map", "", []Step{variable, {Kind: "object", Type: "context.cancelCtx", Name: ".children"}, {Kind: "map", Grew: true}, {Kind: "object", Type: "context.valueCtx"}, {Kind: "map"}, object}, "call the context's cancel function", false},
		{"the timer of a context", "", []Step{{Kind: "timer", Name: "pending for 1 h, of a context", Grew: true}, {Kind: "closure"}, object}, "call the context's cancel function", false},
		{"a slot beyond a slice's length", "", []Step{variable, {Kind: "object", Type: "[]*app.entry", Name: "(a slot beyond its length)", Grew: true}, object}, "clear the slot before the slice is cut: slices.Delete does, append(s[:i], s[i+1:]...) and s[1:] do not", true},
		{"such slots in a map that grows", "", []Step{{Kind: "variable", Name: "app.all"}, {Kind: "map", Grew: true}, {Kind: "object", Type: "app.stack", Name: ".free"}, {Kind: "object", Type: "[]*app.entry", Name: "(a slot beyond its length)"}, object},
			"s[1:] do not; and remove the entry from app.all when", true},
		{"a chain that a variable of the test holds", "", []Step{{Kind: "goroutine", Name: "8, running", Test: true}, {Kind: "closure", Name: "app_test.TestX.func1, its variable last"}, object}, "the test itself retains it", false},
		{"a buffer of bytes", "", []Step{{Kind: "variable", Name: "app.log.buf"}, {Kind: "object", Type: "[]byte"}}, "reset the buffer", false},
		{"a text that gets longer", "", []Step{{Kind: "variable", Name: "app.text"}, {Kind: "object", Type: "string"}}, "remove the reference", false},
		{"buffers in a map", "", []Step{variable, {Kind: "map"}, {Kind: "object", Type: "[]byte"}}, "remove the entry", true},
		{"the array of a slice in a package variable", "all = append(all, f)", []Step{{Kind: "variable", Name: "app.all"}, {Kind: "object", Type: "[]func()"}}, "remove elements from app.all when they are no longer needed, or bound the slice", true},
		{"the array of a slice in a variable of known type", "all = append(all, f)", []Step{{Kind: "variable", Name: "app.all", Type: "[]func()"}, {Kind: "object", Type: "[]func()"}}, "remove the element from app.all when", true},
		{"the array of a slice in a field", "s.all = append(s.all, f)", []Step{variable, {Kind: "object", Type: "*app.bus", Name: ".all"}, {Kind: "object", Type: "[]func()"}}, "remove elements from app.bus.all when", true},
		{"no path, a line that appends", "s.all = append(s.all, e)", nil, "declare the slice inside the operation", true},
		{"no path, a line that puts into a map", "s.items[k] = e", nil, "remove the entry", true},
		{"no path, another line", "return &entry{}", nil, "remove the reference", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			assert.Contains(t, HeapFix(row.line, source.Frame{}, row.path), row.fix)
			assert.Equal(t, row.cache, MayBeCache(row.path))
		})
	}
	caller := source.Frame{Func: "example.com/app.sell"}
	assert.Equal(t, "remove the entry when it is no longer needed, or bound the map; what a library retains is bounded by what you give it in app.sell", HeapFix("m[k] = v", caller, nil))
	assert.Contains(t, ObjectFix(nil), "a Cleanup registered before leakcheck's first call")
	assert.Contains(t, ObjectFix([]Step{variable, {Kind: "map"}, object}), "remove the entry")
}

func TestFixOfAContextsWaiter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wait.go")
	require.NoError(t, os.WriteFile(file, []byte("package app\nfunc wait() { <-ctx.Done() }\nfunc get() { <-c }\n"), 0o600))
	fix := func(line int) string {
		return Fix(&gostack.Goroutine{State: "chan receive", Frames: []source.Frame{{Func: "app.wait", File: file, Line: line}}})[0]
	}
	assert.Contains(t, fix(2), "cancel the context it waits for")
	assert.Contains(t, fix(3), "close the channel it receives from")
}

func TestFix(t *testing.T) {
	fix := func(state string, functions ...string) string {
		g := &gostack.Goroutine{State: state}
		for _, f := range functions {
			g.Frames = append(g.Frames, source.Frame{Func: f})
		}
		return Fix(g)[0]
	}
	http := fix("select", "net/http.(*persistConn).writeLoop")
	assert.Contains(t, http, "HTTP connection", "the function says more than the state")
	assert.Contains(t, http, "find the call (http.Get, Client.Do)", "the stack has no line of the user's")
	assert.Contains(t, fix("chan receive (nil chan)"), "nil channel", "the longer state first")
	assert.Contains(t, fix("chan receive, 2 minutes"), "close the channel")
	assert.Contains(t, fix("a state of a later Go"), "cancel its context")
}
