package gostack

import (
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Go 1.26 prints labels inside the brackets, Go 1.27 after them, quoted only
// where they must be.
func TestParseStacks(t *testing.T) {
	const text = `goroutine 17 [running labels:{"leakcheck test": "7 TestA/\"x\"", "z": "leakcheck test"}]:
probe.TestStacks(0x21158eaac248?)
	/tmp/probe/probe_test.go:14 +0x225
testing.tRunner(0x21158eaac248, 0x59c2c0)
	/usr/local/go/src/testing/testing.go:2036 +0xea
created by testing.(*T).Run in goroutine 1
	/usr/local/go/src/testing/testing.go:2101 +0x4c5

goroutine 8 [chan receive (durable), 2 minutes, locked to thread, synctest bubble 3] {a: b, "leakcheck test": "9 TestB"}:
probe.work[...](...)
	/tmp/probe/probe_test.go:9
...additional frames elided...
probe.(*T).run(0x0, {0x1, 0x2})
	C:/probe/probe_test.go:10 +0x1
created by time.goFunc
	/usr/local/go/src/time/sleep.go:215 +0x2d

goroutine 9 [chan send (leaked)]:
probe.send()
	/tmp/probe/probe_test.go:9 +0x19
created by probe.Test in goroutine 17
	/tmp/probe/probe_test.go:11 +0x1eb
[originating from goroutine 17]:
probe.Test()
	/tmp/probe/probe_test.go:11 +0x1eb

goroutine 10 [runnable] {k: "\"leakcheck test\": \"3 TestC\""}:
probe.Test.gowrap1()
	/tmp/probe/probe_test.go:9 +0x19
runtime.goexit({})
	/usr/local/go/src/runtime/asm_amd64.s:1771 +0x1
`
	assert.Equal(t, []string{
		`10|runnable|bubble 0|leaked false|0 |probe.Test.gowrap1|probe.Test.gowrap1|by 0`,
		`17|running|bubble 0|leaked false|7 TestA/"x"|probe.TestStacks|testing.tRunner|by 1`,
		`8|chan receive, 2 minutes, locked to thread|bubble 3|leaked false|9 TestB|probe.work[...]|probe.(*T).run|by 0`,
		`9|chan send|bubble 0|leaked true|0 |probe.send|probe.send|by 17`,
	}, describe(text))
}

func TestWhereIsInNoLibrary(t *testing.T) {
	_, ownFile, _, _ := runtime.Caller(0)
	libraryFile, _ := runtime.FuncForPC(reflect.ValueOf(os.Getenv).Pointer()).FileLine(0)
	frame := func(function, file string) string { return function + "()\n\t" + file + ":9 +0x1\n" }
	own := func(function string) string { return frame(function, ownFile) }
	library := func(function string) string { return frame(function, libraryFile) }
	const head, created = "goroutine 7 [runnable]:\n", "created by probe.New in goroutine 5\n\t/probe/probe.go:8 +0x1\n"
	for text, want := range map[string]string{
		head + library("runtime.gopark") + own("probe.wait") + own("probe.work") + created: "probe.wait",
		head + library("runtime.gopark") + library("time.goFunc") + created:                "time.goFunc",
		head + library("runtime.goexit") + created:                                         "probe.New", // it has not run yet
		head + library("runtime.mcall") + library("runtime.goexit1") + created:             "probe.New", // it is ending
		head + library("runtime.goexit1") + library("runtime.goexit") + created:            "probe.New",
	} {
		assert.Equal(t, want, ParseOne(text).Where().Func, text)
	}
}

// describe shows what the parser understood.
func describe(stacks string) []string {
	var all []string
	for _, g := range Parse(stacks) {
		all = append(all, fmt.Sprintf("%d|%s|bubble %d|leaked %t|%d %s|%s|%s|by %d", g.ID, g.State, g.Bubble, g.Leaked, g.Scope, g.Test, g.Top(), g.Root(), g.Parent))
	}
	slices.Sort(all)
	return all
}

func requireTake(t *testing.T) {
	t.Helper()
	_, ok := Take()
	require.True(t, ok)
}

// Package syscall never gives up the place of a variable that is unset: a look
// that unset GODEBUG again would cost 16 bytes for ever.
func TestLookPutsGODEBUGBack(t *testing.T) {
	for _, value := range []string{"", "execerrdot=1"} {
		t.Setenv("GODEBUG", value)
		requireTake(t)
		now, set := os.LookupEnv("GODEBUG")
		assert.True(t, set)
		assert.Equal(t, value, now)
	}
	os.Unsetenv("GODEBUG")
	requireTake(t)
	now, set := os.LookupEnv("GODEBUG")
	assert.Empty(t, now)
	assert.Equal(t, !labelsShown(), set)
}

func FuzzParseStacks(f *testing.F) {
	f.Add("goroutine 1 [x]:\nf(0)\n\tf.go:1 +0x1\ncreated by g in goroutine 2\n\tg.go:1\n")
	f.Add("goroutine 1 [x] {\"leakcheck test\": \"1 a\\\"b")
	f.Add("goroutine -1 [")
	f.Fuzz(func(t *testing.T, text string) { describe(text) })
}

// A runtime that dies prints what was announced.
func TestAnnounce(t *testing.T) {
	if os.Getenv("GOSTACK_CHILD") != "" {
		Announce("memory leak: \"quoted\" at cache.go:77")
		debug.SetTraceback("all") // as the runtime does when it is the runtime that fails
		var mu sync.Mutex
		mu.Unlock() // a fatal error, which nothing recovers
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAnnounce$")
	cmd.Env = append(os.Environ(), "GOSTACK_CHILD=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "fatal error: ")
	assert.Contains(t, string(out), `memory leak: \"quoted\" at cache.go:77`)

	stop := Announce("nothing")
	stop()
	requireTake(t)
}
