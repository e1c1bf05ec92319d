package leakcheck_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

var update = flag.Bool("update", false, "write testdata/failures.txt")

// TestFailureTexts writes what the package says into one file, for a reader: go test -run
// FailureTexts ./leakcheck -update. Numbers that differ from run to run are written N.
func TestFailureTexts(t *testing.T) {
	testgate.Seconds(t)
	if !plainBuild() {
		t.Skip("the texts are those of a plain build with Go 1.26 on Linux")
	}
	var all strings.Builder
	all.WriteString("# What leakcheck says. Written by: go test -run FailureTexts ./leakcheck -update\n")
	section := func(title, text string) {
		fmt.Fprintf(&all, "\n== %s\n\n%s\n", title, strings.TrimSpace(text))
	}
	wait := map[string]func() outcome{}
	for _, c := range childTexts {
		wait[c.test] = start(t, c.mode, "^"+c.test+"$", c.env...)
	}
	for _, c := range childTexts {
		section(c.title, said(wait[c.test]().text))
	}
	for _, m := range misuses {
		section(m.title, said(m.text(t)))
	}
	const file = "testdata/failures.txt"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o777))
		require.NoError(t, os.WriteFile(file, []byte(all.String()), 0o666))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), all.String(), "texts have changed: read them, and run with -update")
}

// plainBuild reports whether this binary was built with the flags, the system and the Go that the
// file was written with.
func plainBuild() bool {
	info, ok := debug.ReadBuildInfo()
	for _, flag := range []string{"-race", "-cover", "-trimpath", "-gcflags", "-asan", "-msan"} {
		ok = ok && !slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == flag && s.Value != "false" })
	}
	return ok && testing.CoverMode() == "" && runtime.GOOS == "linux" && strings.HasPrefix(runtime.Version(), "go1.26")
}

var volatile = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`(?m)^=== .*\n|^\s*(PASS|FAIL|exit status \d+)\n?$|^\s*--- .*\n|^ok .*\n`), ""},
	{regexp.MustCompile(`\.go:\d+`), ".go:N"},
	{regexp.MustCompile(`\[\d+\]`), "[N]"},
	{regexp.MustCompile(`\([\d ,]+ like it, [\d.]+ [KM]?i?B retained\)`), "(N like it, N KiB retained)"},
	{regexp.MustCompile(`goroutine \d+,`), "goroutine N,"},
	{regexp.MustCompile(`\(\+[\d.]+ [KM]?i?B\)`), "(+N B)"},
	{regexp.MustCompile(`(measured +)\d+ operations?: .*`), "${1}20 operations: +20 +20 +20, 80: +80 +80, …"},
	{regexp.MustCompile(`in all \d+ rounds`), "in all N rounds"},
	{regexp.MustCompile(`more than [\d,]+ entries`), "more than N entries"},
	{regexp.MustCompile(`[+]\d\.\d\d `), "+N.NN "},
	{regexp.MustCompile(`descriptor \d+`), "descriptor N"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:N"},
	{regexp.MustCompile(`/tmp/[^ \n]*`), "/tmp/…"},
	{regexp.MustCompile(`\d+(\.\d+)? B per`), "N B per"},
	{regexp.MustCompile(`leakcheck-\d+\.dump`), "leakcheck-N.dump"},
	{regexp.MustCompile(` \(this path retains [^)]*\)`), " (this path retains N of N objects; another path retains the rest)"},
	{regexp.MustCompile(`\([\d.]+ [KM]?i?B retained\)`), "(N KiB retained)"},
	// Whether an object of Track was sampled when it was made is chance.
	{regexp.MustCompile(`(the object: leakcheck_test\.thing \(N KiB retained\)) .*`), "$1"},
	{regexp.MustCompile(`[ \t]+\n`), "\n"},
}

// hops are the lines of a path; the width of their columns depends on the indexes.
var hops = regexp.MustCompile(`→ .*`)

var spaces = regexp.MustCompile(` {2,}`)

// said is a text without what differs from run to run.
func said(text string) string {
	for _, v := range volatile {
		text = v.pattern.ReplaceAllString(text, v.text)
	}
	return hops.ReplaceAllStringFunc(text, func(line string) string { return spaces.ReplaceAllString(line, "  ") })
}

var childTexts = []struct {
	title, mode, test string
	env               []string
}{
	{"Check: a goroutine still runs", "bare", "TestSaysGoroutine", nil},
	{"Check: a goroutine still runs, and the test had failed", "bare", "TestSaysFailed", nil},
	{"Main: goroutines still run", "main", "TestSaysMain", nil},
	{"Check: a file is still open", "bare", "TestSaysFile", nil},
	{"Check: a listener is still open", "bare", "TestSaysListener", nil},
	{"Track: an object is still reachable", "bare", "TestSaysTrack", nil},
	{"Track: only the test itself retains it", "bare", "TestSaysTrackOwn", nil},
	{"Collected: an object is still reachable", "bare", "TestSaysCollected", nil},
	{"NoGrowth: objects", "bare", "TestSaysObjects", nil},
	{"NoGrowth: objects, without a heap dump", "bare", "TestSaysWithoutDump", []string{"TMPDIR=/nonexistent"}},
	{"NoGrowth: bytes in steps", "bare", "TestSaysSteps", nil},
	{"NoGrowth: a list of what has a map", "bare", "TestSaysAudit", nil},
	{"NoGrowth: a list in each of ten", "bare", "TestSaysUsers", nil},
	{"NoGrowth: contexts that are not cancelled", "bare", "TestSaysContexts", nil},
	{"NoGrowth: timers that are not stopped", "bare", "TestSaysTimers", nil},
	{"NoGrowth: what waits for the end of a context", "bare", "TestSaysAfterFunc", nil},
	{"NoGrowth: contexts with a timeout that are not cancelled", "bare", "TestSaysTimeouts", nil},
	{"NoGrowth: a variable of the test", "bare", "TestSaysOwn", nil},
	{"NoGrowth: a buffer", "bare", "TestSaysBuffer", nil},
	{"Track: a goroutine that sends", "bare", "TestSaysSender", nil},
	{"Track: a slot of a slice", "bare", "TestSaysSlot", nil},
	{"NoGrowth: goroutines", "bare", "TestSaysGoroutines", nil},
	{"NoGrowth: files", "bare", "TestSaysFiles", nil},
	{"NoGrowth: a cache that filled", "bare", "TestSaysCache", nil},
	{"NoGrowth: more than AllowPerOp allows", "bare", "TestSaysAllowed", nil},
	{"A baseline that is another file", "bare", "TestSaysGoroutine3", []string{"LEAKSAFE_BASELINE=leakcheck/main.go"}},
	{"A baseline that cannot be read", "bare", "TestSaysGoroutine2", []string{"LEAKSAFE_BASELINE=/nonexistent/leaks.txt"}},
}

// says begins a test of childTexts.
func says(t *testing.T) {
	childTest(t)
}

func TestSaysGoroutine(t *testing.T) {
	says(t)
	leakcheck.Check(t, leakcheck.Grace(500*time.Millisecond))
	leakPlain()
}
func TestSaysGoroutine2(t *testing.T) {
	says(t)
	leakcheck.Check(t, leakcheck.Grace(500*time.Millisecond))
	leakPlain()
}
func TestSaysGoroutine3(t *testing.T) {
	says(t)
	leakcheck.Check(t, leakcheck.Grace(500*time.Millisecond))
	leakPlain()
}
func TestSaysFailed(t *testing.T) {
	says(t)
	leakcheck.Check(t, leakcheck.Grace(500*time.Millisecond))
	leakPlain()
	t.Error("for another reason")
}
func TestSaysMain(t *testing.T) { says(t); leakPlain(); leakPlain(); go waitForever() }
func TestSaysFile(t *testing.T) { says(t); leakcheck.Files(t, short); held = append(held, open(t)) }
func TestSaysListener(t *testing.T) {
	says(t)
	leakcheck.Files(t, short)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	planted = l
}
func TestSaysTrack(t *testing.T)    { says(t); planted = leakcheck.Track(t, newThing()) }
func TestSaysTrackOwn(t *testing.T) { says(t); leakcheck.Track(t, helper(t)) }
func TestSaysCollected(t *testing.T) {
	says(t)
	leakcheck.Collected(t, func() *thing { x := newThing(); planted = x; return x })
}
func TestSaysObjects(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() { defaultStore.put(next()) })
}
func TestSaysWithoutDump(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() { defaultStore.put(next()) })
}

// The list of requests grew, not the form of each.
func TestSaysAudit(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() {
		r := &http.Request{Method: http.MethodGet, URL: saysURL}
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		audit = append(audit, r)
	})
}

var (
	audit   []*http.Request
	saysURL = &url.URL{RawQuery: "customer=" + strings.Repeat("%20", 1000)}
)

// The users are always the same ten. The events of each grow.
func TestSaysUsers(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() {
		id := next() % 10
		if users[id] == nil {
			users[id] = new(user)
		}
		e := new(entry) // on a line of its own: the slice is made at the next
		users[id].events = append(users[id].events, e)
	})
}

type user struct {
	events []*entry
}

var users = map[int]*user{}

func TestSaysSteps(t *testing.T) { says(t); leakcheck.NoGrowth(t, func() { ints = append(ints, 1) }) }
func TestSaysCache(t *testing.T) {
	says(t)
	cache := map[int]*entry{}
	leakcheck.NoGrowth(t, func() { cache[next()%1500] = new(entry) })
}
func TestSaysAllowed(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() { defaultStore.put(next()) }, leakcheck.AllowPerOp(1<<10))
}

var saysRoot, saysCancel = contextWithCancel()

func TestSaysAfterFunc(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() { context.AfterFunc(saysRoot, func() {}) })
}

func TestSaysContexts(t *testing.T) {
	says(t)
	defer saysCancel()
	leakcheck.NoGrowth(t, func() { childOf(saysRoot) })
}
func TestSaysTimers(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() { x := new(entry); time.AfterFunc(time.Hour, func() { x.key++ }) })
}
func TestSaysTimeouts(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() { withTimeout(context.Background()) })
}

// withTimeout forgets the cancel function of a context.
func withTimeout(parent context.Context) {
	_, cancel := context.WithTimeout(parent, time.Hour)
	_ = cancel
}

func TestSaysOwn(t *testing.T) {
	says(t)
	seen := map[int]*entry{}
	leakcheck.NoGrowth(t, func() { seen[next()] = new(entry) })
}

var log bytes.Buffer

func TestSaysBuffer(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() { fmt.Fprintln(&log, "visited by", next()) })
}
func TestSaysSender(t *testing.T) {
	says(t)
	results := make(chan *thing)
	x := leakcheck.Track(t, newThing())
	go func() { results <- x }()
}
func TestSaysSlot(t *testing.T) {
	says(t)
	s := []*thing{leakcheck.Track(t, newThing()), leakcheck.Track(t, newThing())}
	things = append(s[:0], s[1:]...)
	things[0] = nil
}

var things []*thing

func TestSaysGoroutines(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() { go wait(forever) }, leakcheck.Grace(0))
}
func TestSaysFiles(t *testing.T) {
	says(t)
	leakcheck.NoGrowth(t, func() { held = append(held, must(os.Open(os.DevNull))) }, leakcheck.Grace(0))
}

func contextWithCancel() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}

// childOf forgets the cancel function of a context.
func childOf(parent context.Context) {
	_, cancel := context.WithCancel(parent)
	_ = cancel
}

// planting is what a check says on the t of a negative control.
func planting(f func(t testing.TB)) func(*testing.T) string {
	return func(t *testing.T) string {
		_, said := leakcheck.Plant(t, f)
		return said
	}
}

// detecting is what MustDetect says about f.
func detecting(f func(t testing.TB)) func(*testing.T) string {
	return func(t *testing.T) string { return verdict(t, f) }
}

// panicking is what f panics with.
func panicking(f func()) func(*testing.T) string {
	return func(t *testing.T) (said string) {
		defer func() { said = fmt.Sprint("panic: ", recover()) }()
		f()
		return ""
	}
}

var misuses = []struct {
	title string
	text  func(t *testing.T) string
}{
	{"t is nil", panicking(func() { leakcheck.Check(nil) })},
	{"m is nil", panicking(func() { leakcheck.Main(nil) })},
	{"Check when the test ends", planting(func(t testing.TB) { t.Cleanup(func() { leakcheck.Check(t) }) })},
	{"A negative grace", planting(func(t testing.TB) { leakcheck.Check(t, leakcheck.Grace(-1)) })},
	{"An empty prefix", planting(func(t testing.TB) { leakcheck.Check(t, leakcheck.IgnoreFunc("")) })},
	{"No operations", planting(func(t testing.TB) { leakcheck.NoGrowth(t, func() {}, leakcheck.Iterations(0)) })},
	{"Negative bytes", planting(func(t testing.TB) { leakcheck.NoGrowth(t, func() {}, leakcheck.AllowPerOp(-1)) })},
	{"An option that means nothing", planting(func(t testing.TB) { leakcheck.Check(t, leakcheck.Warmup(5)) })},
	{"Track of nil", planting(func(t testing.TB) { leakcheck.Track[thing](t, nil) })},
	{"Track of a package variable", planting(func(t testing.TB) { leakcheck.Track(t, &together) })},
	{"Track of a value without size", planting(func(t testing.TB) { leakcheck.Track(t, new(struct{})) })},
	{"Track of a tiny value", planting(func(t testing.TB) { leakcheck.Track(t, new(int)) })},
	{"Collected without a function", planting(func(t testing.TB) { leakcheck.Collected[thing](t, nil) })},
	{"NoGrowth without an operation", planting(func(t testing.TB) { leakcheck.NoGrowth(t, nil) })},
	{"NoGrowth within NoGrowth", planting(func(t testing.TB) {
		var once sync.Once
		leakcheck.NoGrowth(t, func() { once.Do(func() { leakcheck.NoGrowth(t, func() {}) }) })
	})},
	{"NoGrowth while the profiler's rate changes", planting(func(t testing.TB) {
		rate := runtime.MemProfileRate
		defer func() { runtime.MemProfileRate = rate }()
		leakcheck.NoGrowth(t, func() { runtime.MemProfileRate = 0 })
	})},
	{"WhyAlive of nil", func(*testing.T) string { _, err := leakcheck.WhyAlive[thing](nil); return err.Error() }},
	{"MustDetect without a leak", detecting(func(t testing.TB) { leakcheck.Check(t) })},
	{"MustDetect, and another failure", detecting(func(t testing.TB) { leakcheck.Check(t); t.Error("broken") })},
	{"MustDetect, and a panic", detecting(func(t testing.TB) { panic("oops") })},
	{"MustDetect, and a skip", detecting(func(t testing.TB) { t.Skip("not here") })},
	{"MustDetect without a function", detecting(nil)},
}
