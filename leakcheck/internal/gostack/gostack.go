// Package gostack reads goroutines as runtime.Stack and the goroutine profile show them, with the
// labels that tie them to tests.
package gostack

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// labelKey is the profiler label that ties a goroutine to its test; its value
// is the number of the scope and the name of the test: "7 TestPut/empty". The
// space makes every Go release print it in quotes, and within quotes a quote is
// escaped: no other label can look like it.
const labelKey = "leakcheck test"

// A Goroutine is one entry of a look.
type Goroutine struct {
	ID     int
	State  string // as the runtime prints it: "chan receive, 2 minutes"
	Bubble int    // of testing/synctest; 0 outside
	Leaked bool   // the goroutineleak profile proved it

	Scope int    // of its label; 0 without
	Test  string // of its label

	Frames  []source.Frame // innermost first
	Creator source.Frame   // zero where the runtime does not say
	Parent  int            // id of the creating goroutine; 0 where it does not say
}

// Root is the function the goroutine was started with. It does not change
// while the goroutine lives.
func (g *Goroutine) Root() string {
	if len(g.Frames) == 0 {
		return ""
	}
	return g.Frames[len(g.Frames)-1].Func
}

func (g *Goroutine) Top() string {
	if len(g.Frames) == 0 {
		return ""
	}
	return g.Frames[0].Func
}

// A Snapshot is all goroutines of the process at one moment, by id.
type Snapshot map[int]*Goroutine

// lookBuf is kept between looks; its mutex also keeps two looks from changing
// GODEBUG at once.
var buffer struct {
	sync.Mutex
	b []byte
}

// Take stops the world and reads every goroutine with its label. ok is
// false where this Go does not print labels in a form that is known here.
func Take() (_ Snapshot, ok bool) {
	buffer.Lock()
	defer buffer.Unlock()
	restore, ok := printLabels()
	if !ok {
		return nil, false
	}
	defer restore()
	if buffer.b == nil {
		buffer.b = make([]byte, 64<<10)
	}
	for {
		n := runtime.Stack(buffer.b, true)
		if n < len(buffer.b) {
			return Parse(string(buffer.b[:n])), true
		}
		buffer.b = make([]byte, 2*len(buffer.b))
	}
}

// printLabels makes runtime.Stack print labels. Go 1.27 does by itself; before,
// GODEBUG asks for it, which the runtime reads again whenever the variable is
// set. It is put back at once, unless somebody else has set it meanwhile. Where it
// was not set it stays, empty: package syscall never gives up the place of a
// variable that is unset, so that each look would add one.
func printLabels() (restore func(), ok bool) {
	restore = func() {}
	if labelsShown() {
		return restore, true
	}
	old := os.Getenv("GODEBUG")
	mine := "tracebacklabels=1"
	if old != "" {
		mine = old + "," + mine
	}
	os.Setenv("GODEBUG", mine)
	restore = func() {
		if os.Getenv("GODEBUG") == mine {
			os.Setenv("GODEBUG", old)
		}
	}
	if !labelsShown() {
		restore()
		return nil, false
	}
	return restore, true
}

// Announce shows text to whoever reads the runtime's last words: until stop is called a goroutine
// waits that carries text as a label, and a runtime that dies prints all goroutines with their
// labels. [Take] waits until stop is called.
func Announce(text string) (stop func()) {
	buffer.Lock()
	restore, ok := printLabels()
	if !ok {
		restore = func() {}
	}
	over, waiting := make(chan struct{}), make(chan struct{})
	go func() {
		pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("leakcheck verdict", text)))
		close(waiting)
		<-over
	}()
	<-waiting
	return func() {
		close(over)
		restore()
		buffer.Unlock()
	}
}

// labelsShown plants a label and looks whether it can be read back.
func labelsShown() bool {
	shown := make(chan bool)
	go func() {
		SetLabel(-1, "self-test \"[]{}")
		buf := make([]byte, 4<<10)
		g := ParseOne(string(buf[:runtime.Stack(buf, false)]))
		shown <- g != nil && g.Scope == -1
	}()
	return <-shown
}

// SetLabel labels the calling goroutine, and all it will start.
func SetLabel(scope int, test string) {
	pprof.SetGoroutineLabels(WithLabel(context.Background(), scope, test))
}

func WithLabel(ctx context.Context, scope int, test string) context.Context {
	return pprof.WithLabels(ctx, pprof.Labels(labelKey, strconv.Itoa(scope)+" "+test))
}

// Self is the calling goroutine.
func Self() *Goroutine {
	buf := make([]byte, 16<<10)
	return ParseOne(string(buf[:runtime.Stack(buf, false)]))
}

// Parse reads the output of runtime.Stack. What it does not understand
// it leaves out.
func Parse(text string) Snapshot {
	l := make(Snapshot, strings.Count(text, "\ngoroutine ")+1)
	for text != "" {
		var one string
		one, text, _ = strings.Cut(text, "\n\n")
		if g := ParseOne(one); g != nil {
			l[g.ID] = g
		}
	}
	return l
}

func ParseOne(text string) *Goroutine {
	header, body, _ := strings.Cut(text, "\n")
	g := parseHeader(header)
	if g == nil {
		return nil
	}
	for body != "" {
		var call, at string
		call, body, _ = strings.Cut(body, "\n")
		if strings.HasPrefix(call, "...") { // "...23 frames elided..."
			continue
		}
		at, body, _ = strings.Cut(body, "\n")
		if by, ok := strings.CutPrefix(call, "created by "); ok {
			by, in, _ := strings.Cut(by, " in goroutine ")
			g.Creator = parseFrame(by, at)
			g.Parent, _ = strconv.Atoi(in)
			break
		}
		// A goroutine that has not run yet shows runtime.goexit.
		if i := strings.LastIndexByte(call, '('); i > 0 && call[:i] != "runtime.goexit" {
			g.Frames = append(g.Frames, parseFrame(call[:i], at))
		}
	}
	return g
}

// parseHeader reads "goroutine 7 [chan receive, 2 minutes, synctest bubble 1]:",
// with the labels inside the brackets (Go 1.26) or after them (Go 1.27).
func parseHeader(line string) *Goroutine {
	rest, ok := strings.CutPrefix(line, "goroutine ")
	if !ok {
		return nil
	}
	number, _, _ := strings.Cut(rest, " ")
	id, err := strconv.Atoi(number)
	if err != nil {
		return nil
	}
	g := &Goroutine{ID: id}
	g.Scope, g.Test = parseLabel(rest, labelKey+`": "`)
	_, state, _ := strings.Cut(rest, " [")
	state, _, _ = strings.Cut(state, " labels:{")
	state, _, _ = strings.Cut(state, "]")
	state, bubble, ok := strings.Cut(state, ", synctest bubble ")
	if ok {
		g.Bubble, _ = strconv.Atoi(bubble)
	}
	g.Leaked = strings.Contains(state, " (leaked)")
	g.State = strings.NewReplacer(" (leaked)", "", " (scan)", "", " (durable)", "").Replace(state)
	return g
}

// parseLabel reads the value of the label that begins with prefix.
func parseLabel(s, prefix string) (scope int, test string) {
	_, value, ok := strings.Cut(s, prefix)
	if !ok {
		return 0, ""
	}
	number, name, _ := strings.Cut(value, " ")
	scope, err := strconv.Atoi(number)
	if err != nil {
		return 0, ""
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' {
			i++
		} else if name[i] == '"' {
			test, err = strconv.Unquote(`"` + name[:i] + `"`)
			if err != nil {
				test = name[:i]
			}
			return scope, test
		}
	}
	return scope, ""
}

// parseFrame reads "\t/src/store.go:77 +0x1d".
func parseFrame(function, at string) source.Frame {
	at = strings.TrimPrefix(at, "\t")
	if i := strings.LastIndex(at, " +0x"); i >= 0 {
		at = at[:i]
	}
	f := source.Frame{Func: function, File: at}
	if i := strings.LastIndexByte(at, ':'); i >= 0 {
		if n, err := strconv.Atoi(at[i+1:]); err == nil {
			f.File, f.Line = at[:i], n
		}
	}
	return f
}

// A Headcount counts the goroutines of the process. It costs a fraction of a
// look, and stops the world for a moment only.
type Headcount struct {
	ByScope map[int]int    // labelled ones
	ByRoot  map[string]int // the others, by the function they were started with; "" before they run
	Tests   []RunningTest  // tests that run their own code
}

// A RunningTest is a test's own goroutine that neither waits in t.Parallel nor for subtests after
// the test's function has returned.
type RunningTest struct {
	Scope int    // of its label; 0 without
	Name  string // of its label; else the function: "TestPut" for a subtest of TestPut, too
}

// CountStarted counts when no goroutine is about to start: one that has not run
// yet does not show what it is.
func CountStarted() Headcount {
	h := countHeads()
	for range 100 {
		if h.ByRoot[""] == 0 {
			break
		}
		runtime.Gosched()
		h = countHeads()
	}
	return h
}

func countHeads() Headcount {
	var b bytes.Buffer
	// Writing to a Buffer cannot fail.
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	return parseHeadcount(b.String())
}

// parseHeadcount reads records of the form
//
//	2 @ 0x48412e 0x4168ee
//	# labels: {"leakcheck test":"7 TestPut"}
//	#	0x535af8	cache.(*Store).janitor+0x18	/src/store.go:77
func parseHeadcount(text string) Headcount {
	c := Headcount{ByScope: map[int]int{}, ByRoot: map[string]int{}}
	_, text, _ = strings.Cut(text, "\n") // "goroutine profile: total 9"
	for text != "" {
		var record string
		record, text, _ = strings.Cut(text, "\n\n")
		count, _, ok := strings.Cut(record, " @ ")
		n, err := strconv.Atoi(count)
		if !ok || err != nil {
			continue
		}
		root := rootOf(record)
		scope, test := 0, ""
		if _, labels, ok := strings.Cut(record, "\n# labels: "); ok {
			labels, _, _ = strings.Cut(labels, "\n")
			scope, test = parseLabel(labels, labelKey+`":"`)
		}
		if function, runs := testOf(record); root == "testing.tRunner" && runs && (scope != 0 || function != "") {
			c.Tests = append(c.Tests, RunningTest{scope, cmp.Or(test, function)})
		}
		if OfHarness(root) {
			continue
		}
		if scope != 0 {
			c.ByScope[scope] += n
		} else {
			c.ByRoot[root] += n
		}
	}
	return c
}

// rootOf is the function in the last line of a record.
func rootOf(record string) string { return functionIn(record[strings.LastIndexByte(record, '\n')+1:]) }

// functionIn is the function of a line of a record:
// "#	0x535af8	cache.New+0x18	/src/store.go:77".
func functionIn(line string) string {
	fields := strings.FieldsFunc(line, func(r rune) bool { return r == '\t' })
	if len(fields) < 3 {
		return ""
	}
	function, _, _ := strings.Cut(fields[2], "+0x")
	return function
}

// testOf is the function of the test that a record of package testing's goroutine runs. A test that
// waits in t.Parallel or for its subtests does not run. One that is between its function and a
// Cleanup, or between two of them, does, and function is empty.
func testOf(record string) (function string, runs bool) {
	returned, cleanup := false, false
	for line := range strings.Lines(record) {
		f := functionIn(line)
		switch f {
		case "testing.(*T).Parallel":
			return "", false
		case "testing.(*common).runCleanup":
			cleanup = true
		case "testing.tRunner.func1":
			returned = true
		}
		if f != "" && !(source.Frame{Func: f}).InTesting() {
			function = f // the last is the test's own
		}
	}
	_, function, _ = strings.Cut(function[strings.LastIndexByte(function, '/')+1:], ".")
	function, _, _ = strings.Cut(function, ".")
	return function, function != "" || cleanup || !returned
}

// RecorderRun is where the goroutine of a negative control begins. The test of package recorder
// pins it.
const RecorderRun = "github.com/leaksafe/leaksafe/leakcheck/internal/recorder.Plant.func1"

// OfHarness tells the goroutines that belong to the runtime and to package
// testing: they come and go without the tests' doing.
func OfHarness(root string) bool {
	return strings.HasPrefix(root, "runtime.") ||
		strings.HasPrefix(root, "testing.") ||
		strings.HasPrefix(root, "testing/synctest.") ||
		strings.HasPrefix(root, RecorderRun) ||
		root == "os/signal.loop" // one, for the rest of the process, from the first signal.Notify
}

// Mentions reports whether g runs, or was started in, function or a closure
// of it.
func (g *Goroutine) Mentions(function string) bool {
	return InFunction(g.Creator.Func, function) || slices.ContainsFunc(g.Frames, func(f source.Frame) bool {
		return InFunction(f.Func, function)
	})
}

func (g *Goroutine) Calls(function string) bool {
	return slices.ContainsFunc(g.Frames, func(f source.Frame) bool { return f.Func == function })
}

func InFunction(name, function string) bool {
	return name == function || strings.HasPrefix(name, function+".")
}

// Where is the innermost frame outside the standard library, which is where a
// person can change something; without one, the function it was started with. One
// that is ending has left all of them: where it was started.
func (g *Goroutine) Where() source.Frame {
	for _, f := range g.Frames {
		if !f.InLibrary() {
			return f
		}
	}
	if root := g.Root(); root == "" || root == "runtime.goexit1" {
		return g.Creator
	}
	return g.Frames[len(g.Frames)-1]
}

// StateOf is the state without the minutes.
func StateOf(g *Goroutine) string {
	state, _, _ := strings.Cut(g.State, ",")
	return state
}

// A Text is one goroutine as runtime.Stack prints it. Thousands are read
// in a look, most of which need no more than a number and a place.
type Text []byte

func (t Text) ID() int {
	n := 0
	for _, c := range bytes.TrimPrefix(t, []byte("goroutine ")) {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}

func (t Text) HasWork() bool {
	_, state, _ := bytes.Cut(t, []byte(" ["))
	return bytes.HasPrefix(state, []byte("run")) || bytes.HasPrefix(state, []byte("copystack"))
}

// Creation is the place of the go statement: the last line, "\t/a/b.go:7 +0x1d".
func (t Text) Creation() []byte {
	i := bytes.LastIndex(t, []byte("\ncreated by "))
	if i < 0 {
		return nil
	}
	_, at, _ := bytes.Cut(t[i+1:], []byte("\n"))
	return bytes.TrimRight(at, "\n")
}

// HasProven reports whether the goroutineleak profile has marked a goroutine.
func (l Snapshot) HasProven() bool {
	for _, g := range l {
		if g.Leaked {
			return true
		}
	}
	return false
}

func (g *Goroutine) Name() string {
	return fmt.Sprintf("goroutine %d (%s)", g.ID, g.Where().Name())
}
