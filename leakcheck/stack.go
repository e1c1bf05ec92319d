package leakcheck

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// labelKey is the profiler label that ties a goroutine to its test; its value
// is the number of the scope and the name of the test: "7 TestPut/empty". The
// space makes every Go release print it in quotes, and within quotes a quote is
// escaped: no other label can look like it.
const labelKey = "leakcheck test"

// A goroutine is one entry of a look.
type goroutine struct {
	id     int
	state  string // as the runtime prints it: "chan receive, 2 minutes"
	bubble int    // of testing/synctest; 0 outside
	leaked bool   // the goroutineleak profile proved it

	scope int    // of its label; 0 without
	test  string // of its label

	frames  []frame // innermost first
	creator frame   // zero where the runtime does not say
	parent  int     // id of the creating goroutine; 0 where it does not say
}

// root is the function the goroutine was started with. It does not change
// while the goroutine lives.
func (g *goroutine) root() string {
	if len(g.frames) == 0 {
		return ""
	}
	return g.frames[len(g.frames)-1].function
}

func (g *goroutine) top() string {
	if len(g.frames) == 0 {
		return ""
	}
	return g.frames[0].function
}

// A look is all goroutines of the process at one moment, by id.
type look map[int]*goroutine

// lookBuf is kept between looks; its mutex also keeps two looks from changing
// GODEBUG at once.
var lookBuf struct {
	sync.Mutex
	b []byte
}

// lookAll stops the world and reads every goroutine with its label. ok is
// false where this Go does not print labels in a form that is known here.
func lookAll() (_ look, ok bool) {
	lookBuf.Lock()
	defer lookBuf.Unlock()
	restore, ok := printLabels()
	if !ok {
		return nil, false
	}
	defer restore()
	if lookBuf.b == nil {
		lookBuf.b = make([]byte, 64<<10)
	}
	for {
		n := runtime.Stack(lookBuf.b, true)
		if n < len(lookBuf.b) {
			return parseStacks(string(lookBuf.b[:n])), true
		}
		lookBuf.b = make([]byte, 2*len(lookBuf.b))
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

// labelsShown plants a label and looks whether it can be read back.
func labelsShown() bool {
	shown := make(chan bool)
	go func() {
		setLabel(-1, "self-test \"[]{}")
		buf := make([]byte, 4<<10)
		g := parseStack(string(buf[:runtime.Stack(buf, false)]))
		shown <- g != nil && g.scope == -1
	}()
	return <-shown
}

// setLabel labels the calling goroutine, and all it will start.
func setLabel(scope int, test string) {
	pprof.SetGoroutineLabels(withLabel(context.Background(), scope, test))
}

func withLabel(ctx context.Context, scope int, test string) context.Context {
	return pprof.WithLabels(ctx, pprof.Labels(labelKey, strconv.Itoa(scope)+" "+test))
}

// self is the calling goroutine.
func self() *goroutine {
	buf := make([]byte, 16<<10)
	return parseStack(string(buf[:runtime.Stack(buf, false)]))
}

// parseStacks reads the output of runtime.Stack. What it does not understand
// it leaves out.
func parseStacks(text string) look {
	l := make(look, strings.Count(text, "\ngoroutine ")+1)
	for text != "" {
		var one string
		one, text, _ = strings.Cut(text, "\n\n")
		if g := parseStack(one); g != nil {
			l[g.id] = g
		}
	}
	return l
}

func parseStack(text string) *goroutine {
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
			g.creator = parseFrame(by, at)
			g.parent, _ = strconv.Atoi(in)
			break
		}
		// A goroutine that has not run yet shows runtime.goexit.
		if i := strings.LastIndexByte(call, '('); i > 0 && call[:i] != "runtime.goexit" {
			g.frames = append(g.frames, parseFrame(call[:i], at))
		}
	}
	return g
}

// parseHeader reads "goroutine 7 [chan receive, 2 minutes, synctest bubble 1]:",
// with the labels inside the brackets (Go 1.26) or after them (Go 1.27).
func parseHeader(line string) *goroutine {
	rest, ok := strings.CutPrefix(line, "goroutine ")
	if !ok {
		return nil
	}
	number, _, _ := strings.Cut(rest, " ")
	id, err := strconv.Atoi(number)
	if err != nil {
		return nil
	}
	g := &goroutine{id: id}
	g.scope, g.test = parseLabel(rest, labelKey+`": "`)
	_, state, _ := strings.Cut(rest, " [")
	state, _, _ = strings.Cut(state, " labels:{")
	state, _, _ = strings.Cut(state, "]")
	state, bubble, ok := strings.Cut(state, ", synctest bubble ")
	if ok {
		g.bubble, _ = strconv.Atoi(bubble)
	}
	g.leaked = strings.Contains(state, " (leaked)")
	g.state = strings.NewReplacer(" (leaked)", "", " (scan)", "", " (durable)", "").Replace(state)
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
func parseFrame(function, at string) frame {
	at = strings.TrimPrefix(at, "\t")
	if i := strings.LastIndex(at, " +0x"); i >= 0 {
		at = at[:i]
	}
	f := frame{function: function, file: at}
	if i := strings.LastIndexByte(at, ':'); i >= 0 {
		if n, err := strconv.Atoi(at[i+1:]); err == nil {
			f.file, f.line = at[:i], n
		}
	}
	return f
}

// A headcount counts the goroutines of the process. It costs a fraction of a
// look, and the world hardly stops for it.
type headcount struct {
	byScope map[int]int    // labelled ones
	byRoot  map[string]int // the others, by the function they were started with; "" before they run
}

// countStarted counts when no goroutine is about to start: one that has not run
// yet does not show what it is.
func countStarted() headcount {
	h := countHeads()
	for range 100 {
		if h.byRoot[""] == 0 {
			break
		}
		runtime.Gosched()
		h = countHeads()
	}
	return h
}

func countHeads() headcount {
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
func parseHeadcount(text string) headcount {
	c := headcount{byScope: map[int]int{}, byRoot: map[string]int{}}
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
		if isOurs(root) {
			continue
		}
		scope := 0
		if _, labels, ok := strings.Cut(record, "\n# labels: "); ok {
			labels, _, _ = strings.Cut(labels, "\n")
			scope, _ = parseLabel(labels, labelKey+`":"`)
		}
		if scope != 0 {
			c.byScope[scope] += n
		} else {
			c.byRoot[root] += n
		}
	}
	return c
}

// rootOf is the function in the last line of a record.
func rootOf(record string) string {
	last := record[strings.LastIndexByte(record, '\n')+1:]
	fields := strings.FieldsFunc(last, func(r rune) bool { return r == '\t' })
	if len(fields) < 3 {
		return ""
	}
	function, _, _ := strings.Cut(fields[2], "+0x")
	return function
}

// recorderRun is where the goroutine of a negative control begins. The test of package recorder pins
// it.
const recorderRun = "github.com/leaksafe/leaksafe/leakcheck/internal/recorder.Plant.func1"

// isOurs tells the goroutines that belong to the runtime and to package
// testing: they come and go without the tests' doing.
func isOurs(root string) bool {
	return strings.HasPrefix(root, "runtime.") ||
		strings.HasPrefix(root, "testing.") ||
		strings.HasPrefix(root, "testing/synctest.") ||
		strings.HasPrefix(root, recorderRun) ||
		root == "os/signal.loop" // one for ever from the first signal.Notify
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

// stateOf is the state without the minutes.
func stateOf(g *goroutine) string {
	state, _, _ := strings.Cut(g.state, ",")
	return state
}

// A stackText is one goroutine as runtime.Stack prints it. Thousands are read
// in a look, most of which need no more than a number and a place.
type stackText []byte

func (t stackText) id() int {
	n := 0
	for _, c := range bytes.TrimPrefix(t, []byte("goroutine ")) {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}

func (t stackText) hasWork() bool {
	_, state, _ := bytes.Cut(t, []byte(" ["))
	return bytes.HasPrefix(state, []byte("run")) || bytes.HasPrefix(state, []byte("copystack"))
}

// creation is the place of the go statement: the last line, "\t/a/b.go:7 +0x1d".
func (t stackText) creation() []byte {
	i := bytes.LastIndex(t, []byte("\ncreated by "))
	if i < 0 {
		return nil
	}
	_, at, _ := bytes.Cut(t[i+1:], []byte("\n"))
	return bytes.TrimRight(at, "\n")
}

// hasProven reports whether the goroutineleak profile has marked a goroutine.
func (l look) hasProven() bool {
	for _, g := range l {
		if g.leaked {
			return true
		}
	}
	return false
}

func (g *goroutine) name() string {
	return fmt.Sprintf("goroutine %d (%s)", g.id, shortFunc(g.where().function))
}
