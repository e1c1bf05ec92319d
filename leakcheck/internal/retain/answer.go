package retain

import (
	"debug/dwarf"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// answer says in one sentence what retains the object, and what to do where that is known.
func (w *walker) answer() string {
	holder := w.holder()
	if part := w.part(); part != "" {
		return holder + ": " + part
	}
	for _, x := range w.hops {
		if x.via.stepped {
			return holder + ", in a slot that the slice has stepped over: clear the slot before that"
		}
	}
	for _, x := range w.hops {
		if x.via.cut {
			return holder + ", in the array behind the slice, at a slot that is not part of it: clear the slot before cutting the slice"
		}
	}
	if w.contextChild() {
		among, of, fix := "its children", "the children of a context that is not cancelled", "call the cancel function that came with it"
		if w.passesType("context.afterFuncCtx") {
			among, of, fix = "what waits for its end", "what waits for the end of a context", "call the stop function that context.AfterFunc returned"
		}
		switch byTest := w.h.byTest(w.root); {
		case byTest && !w.passesType("testing."):
			return "retained by a context of your test, among " + among + ": " + fix
		case byTest:
			return "retained by the test's context, among " + among + ": " + fix
		}
		return holder + ", among " + of + ": " + fix
	}
	if w.passes("context value") {
		return holder + ", through a context value: use ctxreq.Detach or a smaller value"
	}
	return holder
}

func (w *walker) holder() string {
	r := w.root
	switch r.kind {
	case rootVariable:
		return w.variableAnswer()
	case rootFrame, rootContext, rootDefer, rootPanic:
		return w.goroutineAnswer(r)
	case rootFinalizer:
		if r.rank == Ring {
			return w.ringAnswer()
		}
		return "retained by an object with a finalizer: it lives until the finalizer has run"
	case rootFinalizerFunc:
		return "retained by a finalizer's function"
	case rootFinalizerQueue:
		return "retained by a finalizer that is about to run: not a leak, unless it never gets to run"
	case rootCleanup:
		return "retained by a runtime.AddCleanup, as its argument or in its function (the dump does not say of which object)"
	case rootPool:
		return "retained by nothing but a sync.Pool: not a leak, the next two collections empty it"
	}
	return "retained by " + w.h.Others[r.index].Description
}

func (w *walker) variableAnswer() string {
	if d, ok := w.pending(); ok {
		w.hops[0].Hop = Hop{Kind: "timer", Name: "pending"}
		w.hops[0].group = "timer"
		if d > 0 {
			w.hops[0].Name = "pending for " + inWords(d)
		}
		if w.h.timerOfContext(w.hops[4].object) {
			w.hops[0].Name += OfContext
			return fmt.Sprintf("retained by the timer of a context, %s: call the cancel function that came with the context", strings.TrimSuffix(w.hops[0].Name, OfContext))
		}
		if d > 0 {
			return fmt.Sprintf("retained by a timer pending for %s: stop it when it is no longer needed", inWords(d))
		}
		return "retained by a pending timer: stop it when it is no longer needed"
	}
	if w.h.byTest(w.root) {
		return "retained by your test, in a Cleanup or in what it gave to its testing.T (" + w.variableName + ")"
	}
	if w.variableName == "" {
		return "retained by package " + w.hops[0].what()
	}
	s := "retained by package variable " + w.variableName
	if w.expr != "" && w.expr != w.variableName {
		s += ": " + w.expr
	}
	return s
}

// pending tells whether a path goes through a timer, and how long that still waits.
func (w *walker) pending() (time.Duration, bool) {
	name := w.hops[0].Name
	if !strings.HasPrefix(name, "runtime.allp") || strings.HasPrefix(name, "runtime.allpT") || len(w.hops) < 5 {
		return 0, false
	}
	// variable → []*p → p → []timerWhen → timer
	heap, timer := w.hops[3], w.hops[4]
	word := timer.step.word
	b, err := w.h.Contents(heap.object, uint64(word+1)*uint64(w.h.PtrSize), 8)
	if err != nil || len(b) < 8 {
		return 0, false
	}
	for i := 1; i <= 4; i++ {
		w.hops[i].group, w.hops[i].Kind, w.hops[i].Name, w.hops[i].Type = "timer", "timer", "", ""
	}
	if w.h.names.Now == 0 {
		return 0, true
	}
	return time.Duration(signed(b) - w.h.names.Now), true
}

// OfContext ends the name of a timer that context.WithTimeout or WithDeadline started.
const OfContext = ", of a context"

// timerOfContext tells whether a timer calls a function of package context.
func (h *Heap) timerOfContext(timer int32) bool {
	to, _ := h.Edges(timer)
	for _, o := range to {
		if f, ok := h.closure(o, hop{}); ok && strings.HasPrefix(f.Name, "context.") {
			return true
		}
	}
	return false
}

// inWords rounds a duration to its largest unit.
func inWords(d time.Duration) string {
	units := []struct {
		unit time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}, {time.Millisecond, "ms"}}
	for _, u := range units {
		if n := d.Round(u.unit) / u.unit; n > 0 {
			return fmt.Sprintf("%d %s", n, u.name)
		}
	}
	return "less than 1 ms"
}

func (w *walker) goroutineAnswer(r root) string {
	h, g, frame := w.h, w.h.goroutineOf(r), heapdump.None
	if r.kind == rootFrame {
		frame = w.frame
	}
	at := h.standing(g, frame)
	where := at.shown()
	if at.File != "" {
		where += fmt.Sprintf(" (%s:%d)", h.short(at.File), at.Line)
	}
	what := w.frameWords(r, at)
	switch {
	case h.byTest(r):
		return fmt.Sprintf("retained by your test, in %s (%s)", where, what)
	case g == h.caller:
		return fmt.Sprintf("retained by nothing but the calling goroutine, in %s (%s)", where, what)
	}
	if h.isMain(g) {
		return fmt.Sprintf("retained by the main goroutine, %s, in %s (%s)", h.state(g), where, what)
	}
	s := fmt.Sprintf("retained by a goroutine %s, in %s (%s)", h.state(g), where, what)
	if by := h.creator(g); by != "" {
		s += ", created by " + by
	}
	return s
}

// wrapper matches the function that the compiler makes of a go statement with arguments.
var wrapper = regexp.MustCompile(`\.gowrap\d+$`)

// frameWords says how a goroutine that is blocked at this line holds something.
func (w *walker) frameWords(r root, at Func) string {
	switch r.kind {
	case rootContext:
		return "its closure"
	case rootDefer:
		return "in a deferred call"
	case rootPanic:
		return "the value of a panic"
	}
	fn := w.h.Frames[w.frame].Func
	variable := "variable"
	if w.frameVariable != "" && (fn == at.Name || !internalFunc(fn)) { // a runtime function's variables mean nothing to a reader
		variable += " " + w.frameVariable
	}
	if wrapper.MatchString(w.h.Frames[r.index].Func) {
		return strings.Replace(variable, "variable", "argument", 1) + " of its go statement"
	}
	if checks(fn) {
		return "in a variable of the function passed to leakcheck"
	}
	whose := "its frame"
	if fn != at.Name && !internalFunc(fn) {
		whose = symbols.Short(fn) + ", which called it"
	}
	if r.rank >= Stack {
		return "on the stack of " + whose + ": a variable whose address was taken"
	}
	return variable + " of " + whose
}

// checks tells functions of leakcheck itself, which call the operation.
func checks(fn string) bool { return ours(fn) && !strings.HasPrefix(fn, "runtime") }

// HeldByTest tells whether only tests themselves retain the object: the goroutine that runs one, or
// what package testing knows of it.
func (s *Search) HeldByTest(o int32) bool {
	if s.rank[o] == Unreachable {
		return false
	}
	r, _ := s.path(o)
	return s.h.byTest(r)
}

func (h *Heap) byTest(r root) bool {
	switch r.kind {
	case rootVariable:
		return r.rank == Test
	case rootFrame, rootContext, rootDefer, rootPanic:
		return h.testOf(h.goroutineOf(r))
	}
	return false
}

// goroutineOf is the goroutine whose frame, closure, deferred call or panic the root is.
func (h *Heap) goroutineOf(r root) int {
	if r.kind == rootFrame {
		return h.Frames[r.index].Goroutine
	}
	return r.index
}

// testOf tells whether a goroutine runs a test.
func (h *Heap) testOf(g int) bool {
	for _, f := range h.Goroutines[g].Frames {
		if strings.HasPrefix(h.Frames[f].Func, "testing.") {
			return true
		}
	}
	return false
}

// ringAnswer names the references that lead from an object with a finalizer back to it.
func (w *walker) ringAnswer() string {
	h := w.h
	f := h.Finalizers[w.root.index]
	v := h.finalized(w.root.index)
	what := h.typeName(v, link{})
	if what == "" {
		what = "an object of " + figure.Bytes(int64(h.Size(f.Object)))
	}
	ring, at, closing := what, f.Object, ""
	for _, st := range h.ringOf(f.Object) {
		l := h.follow(h.Addr(at), v, uint64(st.word)*uint64(h.PtrSize))
		name := h.typeName(v, link{})
		if ring += l.expr; l.expr == "" {
			ring += " → an object of " + figure.Bytes(int64(h.Size(st.object)))
		}
		switch expr := l.expr; {
		case isMapPart(v.typ):
			closing = "the entry " + expr
		case v.many: // an index is that of an example
			_, field, _ := strings.Cut(expr, "]")
			closing = name + field
		default:
			closing = name + expr
		}
		v, at = h.target(l, st.object), st.object
	}
	return "retained by a cycle with a finalizer: " + ring + " leads back to " + what + ", so it is never collected and the finalizer never runs. " +
		"Clear " + closing + " when it is no longer used, or use runtime.AddCleanup in place of the finalizer"
}

// contextChild tells whether a context refers to the object, or to what holds it, as to one of its
// children.
func (w *walker) contextChild() bool {
	for _, x := range w.hops {
		if s, ok := bare(x.view.typ).(*dwarf.StructType); ok && s.StructName == "context.cancelCtx" && strings.Contains(x.Name, ".children") {
			return true
		}
	}
	return false
}

func (w *walker) passesType(prefix string) bool {
	for _, x := range w.hops {
		if strings.HasPrefix(strings.TrimPrefix(x.Type, "*"), prefix) {
			return true
		}
	}
	return false
}

func (w *walker) passes(kind string) bool {
	for _, x := range w.hops {
		if x.Kind == kind {
			return true
		}
	}
	return false
}

// part tells when only a little of a large object is used.
func (w *walker) part() string {
	x := w.hops[len(w.hops)-1]
	h := w.h
	size := h.Size(x.object)
	if size < 1024 || x.via.addr == 0 {
		return ""
	}
	b, err := h.memory(x.via.addr, 3*h.PtrSize)
	if err != nil || len(b) < 2*h.PtrSize {
		return ""
	}
	elem, kind := uint64(1), ""
	if x.via.typ != nil {
		elem, kind = elements(x.via.typ)
	} else if to, _ := h.Edges(x.object); len(to) == 0 {
		kind = h.looksLike(b, x.object)
	}
	used := h.Word(b[h.PtrSize:]) * elem
	if kind == "" || used == 0 || used > size/4 {
		return ""
	}
	if kind == "string" {
		return fmt.Sprintf("a substring of %s retains the whole string of %s: use strings.Clone", bytesInWords(used), figure.Bytes(int64(size)))
	}
	return fmt.Sprintf("a slice of %s retains the whole array of %s: use slices.Clone", bytesInWords(used), figure.Bytes(int64(size)))
}

func bytesInWords(n uint64) string {
	if n == 1 {
		return "1 byte"
	}
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	return figure.Bytes(int64(n))
}

// elements returns the size of an element, and whether the type is a slice or a string.
func elements(t dwarf.Type) (elem uint64, kind string) {
	s, ok := bare(t).(*dwarf.StructType)
	switch {
	case !ok:
		return 0, ""
	case isString(s):
		return 1, "string"
	}
	if t, ok := sliceElem(s); ok {
		return uint64(max(t.Size(), 1)), "slice"
	}
	return 0, ""
}

// looksLike tells, without types, a slice's or string's header by its numbers.
func (h *Heap) looksLike(b []byte, o int32) string {
	if len(b) < 3*h.PtrSize {
		return ""
	}
	delta, n, c := h.Word(b)-h.Addr(o), h.Word(b[h.PtrSize:]), h.Word(b[2*h.PtrSize:])
	if size := h.Size(o); n > 0 && n <= c && c <= size && delta+c <= size {
		return "slice"
	}
	return ""
}
