package retain

import (
	"debug/dwarf"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/symbols"
)

// A kind is what is known of an object.
type kind struct {
	view  view
	text  string
	known bool   // the text is a type or a function
	fn    string // of a closure
	file  string
	line  int
}

// A linkTemplate is a link of every object of one kind.
type linkTemplate struct {
	link
	from string // "main.node.next"
	back uint64 // how far before the pointer the reference starts

	// What it leads to is of one kind, which is kept here once it is known (0: not yet): if it leads
	// to the start, or by how far it leads inside.
	fixed  bool
	start  int32
	inside map[uint64]int32
}

type linkKey struct {
	kind int32
	off  uint64
}

// firstLinks are the links of the first words of a kind: they need no look at a map.
type firstLinks [32]*linkTemplate

type seenKind struct {
	view view
	typ  dwarf.Type // of the reference
}

// A typer finds what every object is, from the roots on. It knows kinds and links already met: a
// heap of millions of objects has some hundred of each.
type typer struct {
	h      *Heap
	kinds  []int32 // by object, an index of list
	list   []kind
	ids    map[kind]int32
	seen   map[seenKind]int32 // those that depend on nothing else
	links  map[linkKey]*linkTemplate
	near   []*firstLinks // by kind
	opaque linkTemplate  // of an object of which the type is not known

	instances map[uint64]string // of functions, by where they begin

	samples []int32          // the kinds of objects of which nothing else is known; 0 and -1 are none
	unknown map[uint64]int32 // by size
	allocs  map[int32]string // what allocation stacks say, by sample
}

func newTyper(h *Heap) typer {
	return typer{h: h, kinds: make([]int32, h.Len()), list: make([]kind, 1), near: make([]*firstLinks, 1), ids: map[kind]int32{}, seen: map[seenKind]int32{}, links: map[linkKey]*linkTemplate{}, unknown: map[uint64]int32{}, allocs: map[int32]string{}, instances: map[uint64]string{}}
}

// walk finds the kinds of objects by the way on which the search has reached them, in the order in
// which it has. found is called for each, with its parent, or None, and words for the reference.
func (t *typer) walk(s *Search, part []arrival, found func(o, parent int32, from string)) {
	word := uint64(t.h.PtrSize)
	for _, a := range part {
		if a.parent < 0 {
			via, from := t.first(&s.seeds[^a.parent])
			t.kinds[a.object] = t.kindOf(a.object, via)
			found(a.object, heapdump.None, from)
			continue
		}
		via, x := t.next(a.parent, uint64(a.word)*word)
		via.delta, via.near, via.plain = t.h.EdgeDelta(a.edge)
		t.kinds[a.object] = t.end(a.object, via, x)
		found(a.object, a.parent, x.from)
	}
}

// walkEverything is walk for everything that a root retains. It follows the search on a goroutine
// of its own, because both wait for memory most of the time.
func (t *typer) walkEverything() {
	s := t.h.Search(nil)
	parts, done := make(chan []arrival, 64), make(chan struct{})
	go func() {
		defer close(done)
		for part := range parts {
			t.walk(s, part, func(int32, int32, string) {})
			s.untold.Done()
		}
	}()
	s.follow = parts
	s.tell(s.order)
	t.h.everything()
	s.follow = nil
	close(parts)
	<-done
}

// end is the kind of the object that a reference leads to.
func (t *typer) end(o int32, via link, x *linkTemplate) int32 {
	if !x.fixed || !via.near {
		return t.kindOf(o, via)
	}
	i := x.start
	if via.delta != 0 {
		i = x.inside[via.delta]
	}
	if i != 0 {
		return i
	}
	if i = t.kindOf(o, via); !t.list[i].known {
		return i
	}
	if via.delta == 0 {
		x.start = i
		return i
	}
	if x.inside == nil {
		x.inside = map[uint64]int32{}
	}
	x.inside[via.delta] = i
	return i
}

func (t *typer) kindOf(o int32, via link) int32 {
	h := t.h
	k := kind{view: h.target(via, o)}
	if k.view.typ == nil {
		k.view.delta = 0
	} else if k.view.many {
		k.view.delta %= uint64(max(k.view.typ.Size(), 1)) // the start of a slice of it says nothing here
	}
	if k.view == (view{}) && via.typ == nil && h.names.Func == nil {
		return t.ofSample(o)
	}
	seen := seenKind{k.view, via.typ}
	if i, ok := t.seen[seen]; ok {
		return i
	}
	k.text = h.typeName(k.view, via)
	if group := groupOfType(k.view.typ); group != "" {
		k.text = group
	}
	if k.known = k.text != ""; k.known && (k.view.typ != nil || k.view.name == "string") {
		i := t.add(k)
		t.seen[seen] = i
		return i
	}
	t.describe(&k, o)
	return t.add(k)
}

// ofSample is the kind of an object of which nothing is known but where it was allocated, or not
// even that.
func (t *typer) ofSample(o int32) int32 {
	sample := t.h.SampleOf(o)
	if sample == heapdump.None {
		return t.unknownOf(t.h.Size(o))
	}
	if t.samples == nil {
		t.samples = make([]int32, len(t.h.Allocs))
	}
	i := t.samples[sample]
	if i == 0 {
		i = -1
		if text := t.allocated(sample); text != "" {
			i = t.add(kind{text: text})
		}
		t.samples[sample] = i
	}
	if i < 0 {
		return t.unknownOf(t.h.Size(o))
	}
	return i
}

// unknownOf is the kind of objects of which only the size is known.
func (t *typer) unknownOf(size uint64) int32 {
	i, ok := t.unknown[size]
	if !ok {
		i = t.add(kind{text: "object of " + figure.Bytes(int64(size))})
		t.unknown[size] = i
	}
	return i
}

func (t *typer) add(k kind) int32 {
	i, ok := t.ids[k]
	if !ok {
		i = int32(len(t.list))
		t.ids[k], t.list, t.near = i, append(t.list, k), append(t.near, nil)
	}
	return i
}

// groupOfType names the insides of what is one thing to the user.
func groupOfType(t dwarf.Type) string {
	s, ok := bare(t).(*dwarf.StructType)
	if !ok {
		return ""
	}
	if s.StructName == "runtime.timer" {
		return "timer"
	}
	for _, k := range typeKinds {
		if (k.group == "sync.Map" || k.group == "pool") && strings.HasPrefix(s.StructName, k.prefix) {
			return k.kind
		}
	}
	return ""
}

// describe says what an object without a known type is.
func (t *typer) describe(k *kind, o int32) {
	h := t.h
	if f, ok := h.closure(o, hop{}); ok {
		k.fn, k.file, k.line = t.instance(f), f.File, f.Line
		k.known = true
		k.text = "func " + symbols.Short(f.Name)
		if method, ok := strings.CutSuffix(k.text, "-fm"); ok {
			k.text = "method value " + strings.TrimPrefix(method, "func ")
		}
		return
	}
	if k.text != "" {
		return
	}
	if k.text = t.allocated(h.SampleOf(o)); k.text == "" {
		k.text = "object of " + figure.Bytes(int64(h.Size(o)))
	}
}

// instance is h.instance, once for each function.
func (t *typer) instance(f Func) string {
	name, ok := t.instances[f.Entry]
	if !ok {
		name = t.h.instance(f)
		t.instances[f.Entry] = name
	}
	return name
}

// allocated is what an allocation's stack says of its objects; "" where it says nothing.
func (t *typer) allocated(sample int32) string {
	if sample == heapdump.None {
		return ""
	}
	text, ok := t.allocs[sample]
	if !ok {
		text = t.ofStack(t.h.Allocs[sample].Stack)
		t.allocs[sample] = text
	}
	return text
}

func (t *typer) ofStack(stack []heapdump.Call) string {
	if kind, _ := kindOfAlloc(stack); kind != "object" {
		return kind
	}
	if c, ok := t.h.userCall(stack); ok {
		return "object made in " + symbols.Short(t.h.function(heapdump.Call(c)))
	}
	return ""
}

// first is the reference of a root, and words for it.
func (t *typer) first(r *root) (via link, from string) {
	h := t.h
	switch r.kind {
	case rootVariable:
		at := r.seg.Addr + uint64(r.word)*uint64(h.PtrSize)
		if v, ok := h.static(at, 0); ok {
			return v.link, plainExpr(v.name)
		}
		return link{addr: at, opaque: true}, ""
	case rootDefer:
		return link{opaque: true}, "deferred call"
	case rootPanic:
		return link{opaque: true}, "value of a panic"
	case rootFrame:
		via, variable, frame := h.frameLink(*r)
		if variable != "" {
			variable += plainExpr(via.expr)
		}
		switch fn := h.Frames[frame].Func; {
		case wrapper.MatchString(h.Frames[r.index].Func):
			from = strings.TrimSpace("argument "+variable) + " of its go statement"
		case !internalFunc(fn):
			from = strings.TrimSpace("variable "+variable) + " of " + symbols.Short(fn)
		}
		return via, from
	case rootFinalizer:
		f := h.Finalizers[r.index]
		return h.follow(h.Addr(f.Object), h.finalized(r.index), uint64(r.word)*uint64(h.PtrSize)), ""
	}
	return link{opaque: true}, ""
}

// next is the reference of the word at off of an object.
func (t *typer) next(o int32, off uint64) (via link, x *linkTemplate) {
	h, k := t.h, t.kinds[o]
	v := &t.list[k].view
	if v.typ == nil && t.list[k].fn == "" { // no name for any of its words
		return link{addr: h.Addr(o) + off, opaque: true}, &t.opaque
	}
	at := off // in what repeats
	if v.typ != nil && v.many && off >= v.delta {
		at = (off - v.delta) % uint64(max(v.typ.Size(), 1))
	}
	x = t.link(o, k, at, off)
	via = x.link
	via.addr = h.Addr(o) + off - x.back
	return via, x
}

// link is the link at an offset of a kind. If it is not known yet, the word at off of an object
// shows it.
func (t *typer) link(o, kind int32, at, off uint64) *linkTemplate {
	word := uint64(t.h.PtrSize)
	if i := at / word; i < uint64(len(firstLinks{})) && at%word == 0 {
		links := t.near[kind]
		if links == nil {
			links = &firstLinks{}
			t.near[kind] = links
		}
		if links[i] == nil {
			links[i] = t.template(o, kind, off)
		}
		return links[i]
	}
	key := linkKey{kind, at}
	x := t.links[key]
	if x == nil {
		x = t.template(o, kind, off)
		t.links[key] = x
	}
	return x
}

func (t *typer) template(o, kind int32, off uint64) *linkTemplate {
	h, k := t.h, &t.list[kind]
	at := h.Addr(o) + off
	if k.fn != "" {
		x := &linkTemplate{link: link{addr: at, opaque: true}, from: k.text}
		if h.names.Types == nil {
			return x
		}
		if strings.HasSuffix(k.fn, "-fm") {
			x.link, x.from = h.receiver(o, k.fn, off), "receiver of "+k.text
			x.back = at - x.link.addr
			return x
		}
		if c, ok := h.names.Types.Captured(k.fn, off); ok {
			x.link = h.field(c.Type, at-off+c.Off, off-c.Off)
			x.from = "variable " + strings.TrimPrefix(c.Name, "&") + " of " + k.text
			x.back = at - x.link.addr
		}
		return x
	}
	x := &linkTemplate{link: h.follow(h.Addr(o), k.view, off)}
	if expr := plainExpr(x.link.expr); k.text != "" && !isTimers(k.view.typ) && (x.link.typ != nil || expr != "") {
		x.from = k.text + expr
	}
	x.back = at - x.link.addr
	x.fixed = fixed(x.link.typ)
	return x
}

// fixed tells references by which the type of what they lead to is known, without a look at it.
func fixed(t dwarf.Type) bool {
	switch t := bare(t).(type) {
	case *dwarf.StructType:
		return isReference(t) && !isInterface(t)
	case *dwarf.PtrType:
		s, ok := bare(t.Type).(*dwarf.StructType)
		return ok && !strings.HasPrefix(s.StructName, "internal/sync.")
	}
	return false
}
