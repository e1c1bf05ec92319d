package goruntime

import "encoding/binary"

// A Frame is one call on a stack.
type Frame struct {
	SP, PC, Entry uint64
	Func          string
	Contents      []byte // valid until the next goroutine
	// Pointers are offsets of words that may be pointers, by the stack map of the compiler. Where
	// there is none Guessed is set, and they are the words that would lead into the heap if they
	// were.
	Pointers []uint64
	Guessed  bool
}

// Indexes of a function's tables.
const (
	tableStackMap = 1
	mapArgs       = 0
	mapLocals     = 1
)

// A walk goes up one stack.
type walk struct {
	r      *Runtime
	stack  []byte
	base   uint64 // the address of stack[0]
	hi     uint64
	frames []Frame
	child  region // what the frame before has in this one
}

// A region is the arguments of a call, which are in the frame of the caller.
type region struct {
	off  uint64 // from the caller's stack pointer
	bits []byte
	n    uint64 // words
}

// frames walks the stack of a goroutine.
func (r *Runtime) frames(g uint64) (sp uint64, frames []Frame) {
	lo, hi := r.stackOf(g)
	p := r.position(g, lo, hi)
	from := p.sp &^ 7
	if from <= lo || from > hi {
		from, p = lo, position{}
	}
	if from >= hi {
		return from, nil
	}
	w := &walk{r: r, base: from, hi: hi, stack: r.bytes(from, hi-from, maxStack)}
	if r.err != nil {
		return from, nil
	}
	w.registers(p)
	w.up(p)
	return from, w.frames
}

// registers adds a frame of words that are not on the stack.
func (w *walk) registers(p position) {
	f, ok := w.r.function(p.pc)
	if !ok || len(p.registers) == 0 {
		return
	}
	b := make([]byte, 8*len(p.registers))
	for i, x := range p.registers {
		binary.LittleEndian.PutUint64(b[8*i:], x)
	}
	w.add(Frame{SP: w.base - uint64(len(b)), PC: p.pc, Entry: f.entry, Func: f.name, Contents: b, Guessed: true})
}

// up adds the frames from a position on. Where the tables do not say how to go on, the rest of the
// stack is one frame.
func (w *walk) up(p position) {
	guess, callee := p.anywhere, ""
	arm := w.r.Arch == "arm64"
	for first := true; ; first = false {
		f, ok := w.r.function(p.pc)
		fp, lr, ok := w.size(f, ok, p, first)
		if !ok {
			w.rest(p, f)
			return
		}
		x := Frame{SP: p.sp, PC: p.pc, Entry: f.entry, Func: f.name, Contents: w.stack[p.sp-w.base : fp-w.base]}
		// A goroutine that was preempted between two instructions has saved its registers in the
		// frame of asyncPreempt.
		x.Guessed = guess || f.name == "runtime.asyncPreempt"
		guess = f.name == "runtime.asyncPreempt"
		at := p.pc
		if callee == "runtime.sigpanic" { // it goes on, if at all, where deferred calls return to
			if at = 0; f.deferreturn != 0 {
				at = f.entry + f.deferreturn + 1
			}
		}
		if !x.Guessed {
			x.Pointers = w.exact(f, at, p.sp, fp)
		}
		w.child = w.arguments(f, at)
		w.add(x)
		if lr == 0 || fp >= w.hi {
			return
		}
		callee = f.name
		p = position{pc: lr, sp: fp}
		if arm && (callee == "runtime.sigpanic" || callee == "runtime.asyncPreempt") {
			p = w.injected(p)
		}
	}
}

// size finds where the frame of a call ends, and where it returns to: 0 at the end of the stack.
func (w *walk) size(f function, known bool, p position, first bool) (fp, lr uint64, ok bool) {
	if !known || f.pcsp == 0 || p.sp < w.base || p.sp > w.hi {
		return 0, 0, false
	}
	delta := w.r.value(f, f.pcsp, p.pc)
	if delta < 0 || w.r.take() != nil {
		return 0, 0, false
	}
	fp = p.sp + uint64(delta)
	if w.r.Arch == "amd64" {
		fp += 8
	}
	if fp > w.hi || fp%8 != 0 || fp <= p.sp && w.r.Arch == "amd64" {
		return 0, 0, false
	}
	switch {
	case f.flag&flagTop != 0:
		return fp, 0, true
	case f.flag&flagWriteSP != 0 && !first && f.name != "runtime.cgocallback":
		return 0, 0, false
	case w.r.Arch == "amd64":
		return fp, w.word(fp - 8), true
	case p.lr != 0 && (!first || p.sp == fp):
		return fp, p.lr, true
	case p.sp >= fp:
		return 0, 0, false // it has no frame, and where it returns to is in a register
	}
	return fp, w.word(p.sp), true
}

func (w *walk) word(addr uint64) uint64 {
	if addr < w.base || addr+8 > w.hi {
		return 0
	}
	return binary.LittleEndian.Uint64(w.stack[addr-w.base:])
}

// injected finds the frame below a call that the signal handler of arm64 pushed: it has saved the
// link register.
func (w *walk) injected(p position) position {
	saved := w.word(p.sp)
	p.sp += 16
	f, ok := w.r.function(p.pc)
	switch {
	case !ok:
		p.pc = saved
	case w.r.value(f, f.pcsp, p.pc) == 0:
		p.lr = saved
	}
	return p
}

// rest takes what is left of the stack as one frame.
func (w *walk) rest(p position, f function) {
	sp := p.sp &^ 7
	if sp < w.base || sp >= w.hi {
		if len(w.frames) > 0 {
			return
		}
		sp = w.base
	}
	w.add(Frame{SP: sp, PC: p.pc, Entry: f.entry, Func: f.name, Contents: w.stack[sp-w.base:], Guessed: true})
}

func (w *walk) add(f Frame) {
	if f.Guessed {
		for off := 0; off+8 <= len(f.Contents); off += 8 {
			if w.r.InHeap(binary.LittleEndian.Uint64(f.Contents[off:])) {
				f.Pointers = append(f.Pointers, uint64(off))
			}
		}
	}
	w.frames = append(w.frames, f)
}

// exact are the pointers of a frame: the arguments of the call it made, then its own variables.
func (w *walk) exact(f function, pc, sp, fp uint64) (out []uint64) {
	size := fp - sp
	for i := range w.child.n {
		if off := w.child.off + 8*i; bit(w.child.bits, i) && off+8 <= size {
			out = append(out, off)
		}
	}
	if pc == 0 {
		return out
	}
	bits, n := w.r.stackMap(f, mapLocals, pc)
	top := fp
	if w.r.Arch == "amd64" {
		top -= 8 // the return address
	}
	if top > sp {
		top -= 8 // the frame pointer of the caller
	}
	if 8*n > top-sp {
		return out
	}
	for i := range n {
		if bit(bits, i) {
			out = append(out, top-sp-8*n+8*i)
		}
	}
	return out
}

// arguments are the pointers among a function's arguments.
func (w *walk) arguments(f function, pc uint64) region {
	var g region
	if w.r.Arch == "arm64" {
		g.off = 8
	}
	if pc != 0 {
		g.bits, g.n = w.r.stackMap(f, mapArgs, pc)
	}
	return g
}

// A mapKey is a function's map of arguments or variables at a code address.
type mapKey struct{ function, which, pc uint64 }

type stackBits struct {
	bits []byte
	n    uint64
}

// stackMap is the map of a function's arguments or variables that holds where it goes on at pc.
func (r *Runtime) stackMap(f function, which, pc uint64) (bits []byte, n uint64) {
	key := mapKey{f.at, which, pc}
	if m, ok := r.maps[key]; ok {
		return m.bits, m.n
	}
	bits, n = r.readStackMap(f, which, pc)
	if len(r.maps) >= maxCache {
		clear(r.maps)
	}
	r.maps[key] = stackBits{bits, n}
	return bits, n
}

func (r *Runtime) readStackMap(f function, which, pc uint64) (bits []byte, n uint64) {
	at := r.funcdata(f, which)
	if at == 0 {
		return nil, 0
	}
	index := int32(0)
	if pc != f.entry {
		index = max(0, r.pcdata(f, tableStackMap, pc-1))
	}
	maps, width := int32(r.u32(at)), int32(r.u32(at+4))
	if maps <= 0 || width <= 0 || index >= maps || width > 1<<24 {
		return nil, 0
	}
	n = uint64(width)
	each := (n + 7) / 8
	return r.bytes(at+8+uint64(index)*each, each, 1<<24), n
}
