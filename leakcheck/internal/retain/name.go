package retain

import (
	"debug/dwarf"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// Names says what a dump does not. The zero value knows nothing.
type Names struct {
	Table  *symbols.Table                     // of the executable, or nil
	Types  *symbols.Types                     // or nil
	Func   func(pc uint64) Func               // the function at a code address
	Source func(file string, line int) string // text of a line, or ""
	File   func(file string) string           // a file's name for a reader; nil: its folder and name
	// Enclosing names the function around a line: the dump names inlined calls by the function they
	// were inlined into. It may be nil.
	Enclosing func(file string, line int) string
	Now       int64  // the runtime's clock at the dump, or 0
	NoNames   string // why variables have no names, or how they get them: it follows an address
}

// A Func is a place in the code.
type Func struct {
	Name    string // of the function as it was compiled
	Inlined string // of the function whose line it is, when that was inlined into it
	File    string
	Line    int
	Entry   uint64
}

// A walker turns one path into hops.
type walker struct {
	h            *Heap
	root         root
	hops         []hop
	expr         string // "" once there is no expression
	variableName string

	frame         int    // that holds, of a root in a frame
	frameVariable string // its variable, if it is known
}

// A hop knows more about a Hop than is printed.
type hop struct {
	Hop
	object int32 // or None
	view   view
	group  string // hops of one group become one
	via    link   // from the hop before
	step   step
	more   int    // how many more like it follow
	tail   int32  // the last of them, or the object itself
	made   string // by which function of another module, where File is a line of the program's own
}

// Path names the way to the object.
func (s *Search) Path(o int32) Path {
	p := s.pathTo(o, nil)
	p.Grew = 0
	return p
}

// pathTo names the way to the object, and notes the last hop that is the root or one of the objects
// in before.
func (s *Search) pathTo(o int32, before map[int32]bool) Path {
	r, steps := s.path(o)
	w := &walker{h: s.h, root: r}
	v, via := w.begin(r)
	for i, st := range compress(s.h, steps) {
		if i > 0 {
			via = w.next(&v, st)
		}
		w.add(st, &v, via)
	}
	p := Path{Expr: w.expr, Count: 1, Rank: s.rank[o]}
	p.Answer = w.answer()
	p.ByTest = s.h.byTest(r)
	p.Hops, p.Grew = w.collapse(before)
	p.Also = s.also(o, r)
	return p
}

// A stop is a step, and how many like it were left out after it.
type stop struct {
	step
	more int
	tail int32 // the last object like it
}

const shownRepeats = 3

// compress leaves out the middle of runs, such as the nodes of a long list.
func compress(h *Heap, steps []step) []stop {
	var out []stop
	for i := 0; i < len(steps); {
		period, n := repeats(h, steps[i:len(steps)-1]) // the last is the object itself
		if n <= shownRepeats {
			out = append(out, stop{step: steps[i], tail: steps[i].object})
			i++
			continue
		}
		for k := range period {
			out = append(out, stop{step: steps[i+k], tail: steps[i+k+(n-1)*period].object})
		}
		out[len(out)-1].more = n - 1
		i += n * period
	}
	return out
}

// repeats returns how often the steps at the start repeat, and after how many.
func repeats(h *Heap, steps []step) (period, n int) {
	for period = 1; period <= 4; period++ {
		same := period
		for same < len(steps) && alike(h, steps[same-period], steps[same]) {
			same++
		}
		if n = same / period; n > shownRepeats {
			return period, n
		}
	}
	return 1, 1
}

// alike minds that the heap profile may have sampled some nodes of a list and not others.
func alike(h *Heap, a, b step) bool {
	if a.word != b.word || h.Size(a.object) != h.Size(b.object) {
		return false
	}
	x, y := h.SampleOf(a.object), h.SampleOf(b.object)
	return x == y || x == heapdump.None || y == heapdump.None
}

// begin names the root.
func (w *walker) begin(r root) (view, link) {
	h := w.h
	switch r.kind {
	case rootVariable:
		return w.variable(r)
	case rootFrame:
		l, variable, frame := h.frameLink(r)
		w.frame, w.frameVariable = frame, variable
		w.goroutine(h.Frames[frame].Goroutine, frame)
		return view{}, l
	case rootContext, rootDefer, rootPanic:
		w.goroutine(r.index, heapdump.None)
		if r.kind == rootDefer {
			w.hops = append(w.hops, hop{Hop: Hop{Kind: "deferred call"}, object: heapdump.None})
		}
	case rootFinalizer:
		return w.waiting(r)
	case rootFinalizerFunc, rootFinalizerQueue:
		w.finalizer(r)
	case rootCleanup:
		w.say("cleanup", "runtime.AddCleanup")
	case rootPool:
		w.say("sync.Pool", "(emptied by the next two collections)")
	default:
		w.say("root", h.Others[r.index].Description)
	}
	return view{}, link{opaque: true}
}

func (w *walker) say(kind, name string) {
	w.expr = ""
	w.hops = append(w.hops, hop{Hop: Hop{Kind: kind, Name: name}, object: heapdump.None})
}

func (w *walker) variable(r root) (view, link) {
	at := r.seg.Addr + uint64(r.word)*uint64(w.h.PtrSize)
	v, ok := w.h.static(at, 0)
	if !ok {
		w.say("variable", w.unnamed(r, at))
		return view{}, link{addr: at, opaque: true}
	}
	w.variableName = v.root
	w.hops = append(w.hops, hop{Hop: Hop{Kind: "variable", Name: v.name, Type: v.typ}, object: heapdump.None})
	if !v.partial {
		w.expr = v.name
	}
	return view{}, v.link
}

func (w *walker) unnamed(r root, at uint64) string {
	segment := "data"
	if r.seg == &w.h.BSS {
		segment = "bss"
	}
	return fmt.Sprintf("at %s+%#x%s", segment, at-r.seg.Addr, w.h.names.NoNames)
}

func (w *walker) finalizer(r root) {
	name := symbols.Short(w.h.code(w.h.Finalizers[r.index].Code).Name)
	if r.kind == rootFinalizerQueue {
		name += " (about to run)"
	}
	w.say("finalizer", strings.TrimSpace(name))
}

// waiting begins with an object that has a finalizer.
func (w *walker) waiting(r root) (view, link) {
	h := w.h
	f := h.Finalizers[r.index]
	v := h.finalized(r.index)
	x := hop{object: f.Object, view: v, Hop: Hop{Kind: "object with a finalizer", Type: h.typeName(v, link{})}}
	h.locate(&x)
	w.hops = append(w.hops, x)
	return v, h.follow(h.Addr(f.Object), v, uint64(r.word)*uint64(h.PtrSize))
}

// finalized is the view of an object with a finalizer, which knows its type.
func (h *Heap) finalized(finalizer int) view {
	if t := h.Finalizers[finalizer].Type; t != 0 {
		return h.boxed(t, 0)
	}
	return view{}
}

// locate says where the object of a hop was allocated.
func (h *Heap) locate(x *hop) {
	a := h.Alloc(x.object)
	if a == nil {
		return
	}
	c, ok := h.userCall(a.Stack)
	if !ok {
		return
	}
	if own, ok := h.ownCall(a.Stack); ok {
		x.made = "made by " + symbols.Short(h.function(heapdump.Call(c)))
		c = own
	}
	x.File, x.Line = c.File, c.Line
	x.Source = h.source(c.File, c.Line)
}

// ownCall is the innermost call of the program's own modules, where another module has allocated
// for it.
func (h *Heap) ownCall(stack []heapdump.Call) (call, bool) {
	foreign := false
	for _, c := range stack {
		switch {
		case h.standard(c):
		case otherModule(c.File):
			foreign = true
		default:
			return call(c), foreign
		}
	}
	return call{}, false
}

// otherModule tells files of modules that were downloaded, and of a vendor directory.
func otherModule(file string) bool {
	file = strings.ReplaceAll(file, `\\`, "/")
	return strings.Contains(file, "@v") || strings.Contains(file, "/vendor/")
}

// code is the user's call at a code address.
func (h *Heap) code(pc uint64) Func {
	if h.names.Func == nil {
		return Func{}
	}
	c := h.names.Func(pc)
	at, known := uint64(0), false
	if h.names.Table != nil && h.names.Types != nil {
		at, known = h.names.Table.Text(pc)
	}
	if known && c.Inlined == "" {
		if entry, ok := h.names.Table.Text(c.Entry); ok {
			c.Inlined, _ = h.names.Types.Inlined(entry, at)
		}
	}
	if c.Inlined == "" || !h.standard(heapdump.Call{Func: c.Inlined, File: c.File}) {
		return c
	}
	// The line is the library's: find that of the call to it.
	entry := h.names.Func(c.Entry)
	c.Inlined, c.File, c.Line = "", entry.File, entry.Line
	if known {
		if line, ok := h.names.Types.CallLine(c.Name, at); ok {
			c.Line = line
		}
	}
	return c
}

// shown is the function to name for a line.
func (f Func) shown() string {
	if f.Inlined != "" {
		return symbols.Short(f.Inlined)
	}
	return symbols.Short(f.Name)
}

// goroutine names who runs, where it stands, and which of its calls holds.
func (w *walker) goroutine(g, frame int) {
	w.expr = ""
	c := w.h.standing(g, frame)
	w.hops = append(w.hops, hop{object: heapdump.None, Hop: Hop{
		Kind: "goroutine", Name: w.h.describe(g, c.shown()), File: c.File, Line: c.Line, Source: w.h.source(c.File, c.Line),
	}})
}

func (h *Heap) describe(g int, fn string) string {
	s := fmt.Sprintf("%d, %s, in %s", h.Goroutines[g].ID, h.state(g), fn)
	switch by := h.creator(g); {
	case h.isMain(g):
		s = fmt.Sprintf("%d, the main goroutine, %s, in %s", h.Goroutines[g].ID, h.state(g), fn)
	case by != "":
		s += ", created by " + by
	}
	return s
}

// creator is the function whose go statement made a goroutine, and the line of that statement; ""
// for the main goroutine.
func (h *Heap) creator(g int) string {
	pc := h.Goroutines[g].CreatedPC
	if pc == 0 || h.isMain(g) {
		return ""
	}
	c := h.code(pc - 1) // the call, not where it returns to
	if c.File == "" || c.shown() == "" {
		return c.shown()
	}
	return fmt.Sprintf("%s (%s:%d)", c.shown(), h.short(c.File), c.Line)
}

// isMain tells the goroutine that runs main.main.
func (h *Heap) isMain(g int) bool {
	frames := h.Goroutines[g].Frames
	for k := len(frames) - 1; k >= 0 && k >= len(frames)-3; k-- {
		if h.Frames[frames[k]].Func == "runtime.main" {
			return true
		}
	}
	return false
}

// Status of a goroutine, as the runtime numbers them.
const (
	syscall = 3
	waiting = 4
)

// state says what a goroutine does, in words.
func (h *Heap) state(g int) string {
	switch x := &h.Goroutines[g]; {
	case g == h.caller:
		return "running"
	case x.Status == waiting && x.WaitReason != "":
		return "blocked in " + x.WaitReason
	case x.Status == syscall:
		return "in a system call"
	}
	return "runnable"
}

// standing is the user's line at which a goroutine stands: of a test, which goes on, the call that
// holds.
func (h *Heap) standing(g, frame int) Func {
	frames := h.framesOf(g)
	if h.rankOf(g) >= Test {
		frames = frames[max(0, slices.Index(frames, frame)):]
	}
	var library, first Func // where no call is the user's
	for i, f := range frames {
		c := h.line(f, f != h.Goroutines[g].Frames[0])
		if c.File == "<autogenerated>" {
			continue
		}
		if !h.standard(heapdump.Call{Func: c.Name, File: c.File}) {
			return c
		}
		if library.Name == "" && !internalFunc(c.Name) {
			library = c
		}
		if i == 0 {
			first = c
		}
	}
	if frame != heapdump.None { // all of the stack is the library's: the call that holds says most
		if c := h.line(frame, frame != h.Goroutines[g].Frames[0]); !internalFunc(c.Name) && c.File != "<autogenerated>" {
			return c
		}
	}
	if library.Name != "" {
		return library
	}
	return first
}

// line is the user's line of one frame.
func (h *Heap) line(frame int, called bool) Func {
	f := &h.Frames[frame]
	pc := f.PC
	if called {
		pc-- // the call, not where it returns to
	}
	if c := h.code(pc); c.Name != "" {
		return c
	}
	return Func{Name: f.Func}
}

func (h *Heap) source(file string, line int) string {
	if h.names.Source == nil || file == "" {
		return ""
	}
	return h.names.Source(file, line)
}

// next goes from the last hop through the word that refers to the step.
func (w *walker) next(v *view, st stop) link {
	last := &w.hops[len(w.hops)-1]
	h, o := w.h, last.tail
	off := uint64(st.word) * uint64(h.PtrSize)
	switch last.Kind {
	case "closure":
		return w.captured(last, off)
	case "method value":
		return h.receiver(o, last.view.name, off)
	}
	l := h.follow(h.Addr(o), *v, off)
	if h.cutOff(last.via, *v, off) {
		l.expr, l.cut, l.opaque = "(a slot beyond its length)", true, true
	}
	if last.more > 0 {
		l.expr = "…" + l.expr
	}
	return l
}

// cutOff tells whether the word at an offset of an array is not part of the slice by which the
// array was reached.
func (h *Heap) cutOff(via link, v view, off uint64) bool {
	if v.typ == nil || !v.many || via.typ == nil || off < v.delta {
		return false
	}
	if _, kind := elements(via.typ); kind != "slice" {
		return false
	}
	b, err := h.memory(via.addr, 2*h.PtrSize)
	if err != nil || len(b) < 2*h.PtrSize {
		return false
	}
	return (off-v.delta)/uint64(max(v.typ.Size(), 1)) >= h.Word(b[h.PtrSize:])
}

// receiver is the reference of a method value to its receiver. The receiver has the type of the
// method's first parameter.
func (h *Heap) receiver(o int32, function string, off uint64) link {
	at := h.Addr(o) + off
	if h.names.Types == nil {
		return link{addr: at, opaque: true}
	}
	c, ok := h.names.Types.Receiver(strings.TrimSuffix(function, "-fm"))
	if !ok {
		return link{addr: at, opaque: true}
	}
	l := h.field(c.Type, h.Addr(o)+uint64(h.PtrSize), off-uint64(h.PtrSize))
	l.opaque = true
	return l
}

// instance is the name of a function in the executable. In the process all instances of a generic
// function have one name.
func (h *Heap) instance(f Func) string {
	if h.names.Types == nil || h.names.Table == nil || !strings.Contains(f.Name, "[...]") {
		return f.Name
	}
	entry, ok := h.names.Table.Text(f.Entry)
	if !ok {
		return f.Name
	}
	if name, ok := h.names.Types.Instance(entry); ok {
		return name
	}
	return f.Name
}

// captured names the variable of a closure.
func (w *walker) captured(last *hop, off uint64) link {
	l := link{addr: w.h.Addr(last.tail) + off, opaque: true}
	if w.h.names.Types == nil {
		return l
	}
	c, ok := w.h.names.Types.Captured(last.view.name, off)
	if !ok {
		return l
	}
	name := strings.TrimPrefix(c.Name, "&")
	last.Name += ", its variable " + name
	if w.expr == "" { // an expression may begin here
		l.expr = ""
	}
	f := w.h.field(c.Type, w.h.Addr(last.tail)+c.Off, off-c.Off)
	f.opaque = true
	return f
}

// add names the object of a step.
func (w *walker) add(st stop, v *view, via link) {
	h, o := w.h, st.object
	*v = h.target(via, o)
	x := hop{object: o, step: st.step, view: *v, via: via, more: st.more, tail: st.tail, Hop: Hop{Kind: "object"}}
	w.extend(&x, via)
	x.Type = h.typeName(*v, via)
	if a := h.Alloc(o); a != nil {
		x.Kind, x.group = kindOfAlloc(a.Stack)
		h.locate(&x)
	}
	kindOfType(&x)
	if f, ok := h.closure(o, x); ok {
		x.Kind, x.Name, x.File, x.Line, x.Type = "closure", symbols.Short(f.Name), f.File, f.Line, ""
		x.Source = h.source(f.File, f.Line)
		x.view.name = h.instance(f)
		if method, ok := strings.CutSuffix(x.Name, "-fm"); ok {
			x.Hop = Hop{Kind: "method value", Name: method}
		}
	}
	if x.Kind == "object" && x.Type == "" && x.File == "" {
		x.Name = "of " + figure.Bytes(int64(h.Size(o)))
	}
	w.hops = append(w.hops, x)
}

// extend lengthens the expression, and says of the hop before by which of its fields it holds this
// one.
func (w *walker) extend(x *hop, via link) {
	n := len(w.hops)
	if n > 0 && w.hops[n-1].object != heapdump.None && via.expr != "" && w.hops[n-1].Kind != "closure" {
		w.hops[n-1].Name += via.expr
	}
	if n == 1 && w.root.kind == rootVariable {
		return // the variable's name has its fields already
	}
	if via.opaque {
		w.expr = ""
	}
	if w.expr != "" {
		w.expr += via.expr
	}
}

// closure tells whether the object is a function value, by its first word.
func (h *Heap) closure(o int32, x hop) (Func, bool) {
	if h.names.Func == nil || (x.view.typ != nil && x.Kind != "closure") {
		return Func{}, false
	}
	b, err := h.Contents(o, 0, h.PtrSize)
	if err != nil {
		return Func{}, false
	}
	pc := h.Word(b)
	if pc == 0 || pc >= h.HeapStart && pc < h.HeapEnd {
		return Func{}, false
	}
	f := h.names.Func(pc)
	return f, f.Name != "" && f.Entry == pc
}

func (h *Heap) typeName(v view, via link) string {
	if via.typ != nil {
		s, ok := bare(via.typ).(*dwarf.StructType)
		if ok && isReference(s) && !isInterface(s) || isChan(via.typ) {
			return symbols.Name(via.typ)
		}
	}
	switch {
	case v.typ != nil && v.delta != 0 && !(v.many || v.delta == mallocHeader):
		return "" // only a part of it is known
	case v.typ != nil && isMapPart(v.typ):
		return mapName(symbols.Name(v.typ))
	case v.typ != nil:
		return symbols.Name(v.typ)
	}
	return v.name
}

// mapName is the map that a part of its insides belongs to: map[K]V for map<K,V>, table<K,V> or
// map.group[K]V.
func mapName(part string) string {
	part = strings.TrimPrefix(part, "*")
	if group, ok := strings.CutPrefix(part, "map.group"); ok {
		return "map" + group
	}
	_, args, ok := strings.Cut(strings.TrimSuffix(part, ">"), "<")
	if !ok {
		return part
	}
	depth := 0
	for i, r := range args {
		switch {
		case strings.ContainsRune("[{(<", r):
			depth++
		case strings.ContainsRune("]})>", r):
			depth--
		case r == ',' && depth == 0:
			return "map[" + args[:i] + "]" + args[i+1:]
		}
	}
	return part
}

// place is the function and line of a call.
func (h *Heap) place(c call) string {
	return fmt.Sprintf("%s (%s:%d)", symbols.Short(h.function(heapdump.Call(c))), h.short(c.File), c.Line)
}

// function is the one whose line a call is at.
func (h *Heap) function(c heapdump.Call) string {
	if h.names.Types != nil && !h.otherCode() {
		if name, ok := h.names.Types.Enclosing(c.Func, c.File, c.Line); ok {
			return name
		}
	}
	if h.names.Enclosing != nil {
		if name := h.names.Enclosing(c.File, c.Line); name != "" {
			return name
		}
	}
	return c.Func
}

// otherCode tells that the executable has other code than the process, although its variables are
// the same.
func (h *Heap) otherCode() bool {
	_, ok := h.names.Table.Text(0)
	return !ok
}

type call heapdump.Call

// userCall is the innermost line of an allocation stack that is not the standard library's; if
// there is none, the innermost that is not the runtime's.
func (h *Heap) userCall(stack []heapdump.Call) (call, bool) {
	for _, c := range stack {
		if !h.standard(c) {
			return call(c), true
		}
	}
	for _, c := range stack {
		if !internalFunc(c.Func) && !strings.Contains(c.File, "/src/runtime/") {
			return call(c), true
		}
	}
	return call{}, false
}

// standard tells the standard library's calls by where its sources are; with -trimpath, by the
// first element of the file's name, which is that of the package. The function says less: what was
// inlined has the name of the function around it.
func (h *Heap) standard(c heapdump.Call) bool {
	switch {
	case c.File == "", c.File == "<autogenerated>":
		return standardPath(packageOf(c.Func))
	case h.goroot != "":
		return strings.HasPrefix(c.File, h.goroot)
	case filepath.IsAbs(c.File) || strings.HasPrefix(c.File, "./"):
		return false
	}
	return standardPath(c.File)
}

// findGoroot is the directory of the standard library's sources, or "" when they are named without
// one.
func (h *Heap) findGoroot() string {
	for _, f := range h.Frames {
		if f.Func == "runtime.gopark" && h.names.Func != nil {
			dir, _ := strings.CutSuffix(h.names.Func(f.PC).File, "runtime/proc.go")
			return dir
		}
	}
	for _, a := range h.Allocs {
		for _, c := range a.Stack {
			if dir, ok := strings.CutSuffix(c.File, "runtime/proc.go"); ok {
				return dir
			}
		}
	}
	return ""
}

func internalFunc(name string) bool {
	for _, prefix := range []string{"runtime.", "internal/runtime/", "internal/sync.", "internal/poll.", "internal/race.", "sync.", "reflect.",
		"time.", "slices.", "maps.", "strings.", "bytes.", "context.", "syscall.", "unique.", "weak.", "iter."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// kindOfAlloc tells what the runtime or the standard library made the object for.
func kindOfAlloc(stack []heapdump.Call) (kind, group string) {
	for _, c := range stack {
		for _, k := range allocKinds {
			if strings.HasPrefix(c.Func, k.prefix) {
				return k.kind, k.group
			}
		}
		if !internalFunc(c.Func) {
			break
		}
	}
	return "object", ""
}

var allocKinds = []struct{ prefix, kind, group string }{
	{"runtime.makechan", "channel buffer", "channel"},
	{"runtime.makemap", "map", "map"},
	{"internal/runtime/maps.", "map", "map"},
	{"runtime.mapassign", "map", "map"},
	{"internal/sync.", "sync.Map", "sync.Map"},
	{"internal/sync.(*HashTrieMap", "sync.Map", "sync.Map"},
	{"time.newTimer", "timer", "timer"},
	{"time.AfterFunc", "timer", "timer"},
	{"sync.(*Pool).", "sync.Pool", "pool"},
	{"sync.(*poolChain).", "sync.Pool", "pool"},
	{"runtime.AddCleanup", "cleanup", ""},
	{"context.WithValue", "context value", ""},
	{"context.WithoutCancel", "context", ""},
}

// kindOfType tells the same by type.
func kindOfType(x *hop) {
	name := x.Type
	if x.view.typ != nil {
		if s, ok := bare(x.view.typ).(*dwarf.StructType); ok && x.view.delta == 0 {
			name = s.StructName
		}
	}
	for _, k := range typeKinds {
		if strings.HasPrefix(name, k.prefix) || isMapPart(x.view.typ) && k.kind == "map" {
			x.Kind, x.group = k.kind, k.group
			if k.group != "" && k.group != "channel" {
				x.Type = ""
			}
			return
		}
	}
}

var typeKinds = []struct{ prefix, kind, group string }{
	{"map<", "map", "map"},
	{"hchan<", "channel buffer", "channel"},
	{"internal/sync.", "sync.Map", "sync.Map"},
	{"time.Timer", "timer", "timer"},
	{"time.timeTimer", "timer", "timer"},
	{"runtime.p", "timer", "timer"},
	{"runtime.timerWhen", "timer", "timer"},
	{"runtime.timeTimer", "timer", "timer"},
	{"sync.poolLocal", "sync.Pool", "pool"},
	{"sync.poolChain", "sync.Pool", "pool"},
	{"sync.poolDequeue", "sync.Pool", "pool"},
	{"context.valueCtx", "context value", ""},
}

// collapse makes one hop of those that belong to one thing of the user's. grew is the number of the
// last that has one of the objects in before, from 1.
func (w *walker) collapse(before map[int32]bool) (out []Hop, grew int) {
	var last hop // the last that was not left out
	grew = 1
	for i, x := range w.hops {
		end := i == len(w.hops)-1
		switch {
		case x.group != "" && x.group == last.group && !end:
			out[len(out)-1].Name += x.Name
		case !end && w.h.insideOf(last, x):
			if pattern := w.h.muxPattern(x); pattern != "" {
				out[len(out)-1].Name = pattern
			}
		default:
			if x.made != "" && x.Kind == "object" {
				x.Name = strings.TrimSpace(x.Name + ", " + x.made)
			}
			out = append(out, x.Hop)
			last = x
		}
		if before[x.object] {
			grew = len(out)
		}
		if x.more > 0 {
			out = append(out, Hop{Kind: "…", Name: figure.Number(x.more) + " more like it"})
		}
	}
	return out, grew
}
