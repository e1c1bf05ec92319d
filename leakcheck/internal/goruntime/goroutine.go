package goruntime

import (
	"fmt"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/process"
)

// Status of a goroutine, as the runtime numbers them.
const (
	statusIdle      = 0
	statusRunnable  = 1
	statusRunning   = 2
	statusSyscall   = 3
	statusWaiting   = 4
	statusPreempted = 9
	statusLeaked    = 10
	statusScan      = 0x1000 // its stack is being read by the collector
)

const (
	maxGoroutines = 1 << 26
	maxMachines   = 1 << 20
	maxStack      = 1 << 32
	maxChain      = 1 << 20 // deferred calls of a goroutine
)

// A Goroutine is one goroutine.
type Goroutine struct {
	Addr, SP, ID, CreatedPC uint64
	Status                  uint64
	System                  bool
	WaitSince               uint64
	WaitReason              string
	Context                 uint64
	Machine, Defer, Panic   uint64
	Frames                  []Frame // innermost first
	Defers                  []Defer
	Panics                  []Panic
}

// A Defer is a deferred call.
type Defer struct{ Addr, SP, PC, Func, Code, Next uint64 }

// A Panic is a panic in flight.
type Panic struct{ Addr, Type, Data, Next uint64 }

// machines knows the thread of each of the runtime's machines, which run goroutines.
func (r *Runtime) machines(threads []process.Thread) map[uint64]process.Thread {
	byID := map[uint64]process.Thread{}
	for _, t := range threads {
		byID[t.ID] = t
	}
	out := map[uint64]process.Thread{}
	m := r.u64(r.variable("runtime.allm"))
	for i := 0; m != 0 && i < maxMachines && r.err == nil; i++ {
		if t, ok := byID[r.field(m, "runtime.m.procid")]; ok {
			out[m] = t
		}
		m = r.field(m, "runtime.m.alllink")
	}
	return out
}

// stackOf is the memory of a goroutine's stack.
func (r *Runtime) stackOf(g uint64) (lo, hi uint64) {
	s := r.at(g, "runtime.g.stack")
	lo, hi = r.field(s, "runtime.stack.lo"), r.field(s, "runtime.stack.hi")
	if hi < lo || hi-lo > maxStack || lo%8 != 0 || hi%8 != 0 {
		return 0, 0
	}
	return lo, hi
}

// readGoroutines lists the goroutines that are alive, and returns the parts of their stacks that
// are in use.
func (r *Runtime) readGoroutines() ([]process.Range, error) {
	all := r.slice(r.variable("runtime.allgs"))
	if all.len > maxGoroutines {
		r.fail("%d goroutines", all.len)
	}
	r.goroutines = nil
	var out []process.Range
	for i := uint64(0); i < all.len && r.err == nil; i++ {
		g := r.u64(all.at + 8*i)
		if !r.alive(g) {
			continue
		}
		r.goroutines = append(r.goroutines, g)
		lo, hi := r.stackOf(g)
		if p := r.position(g, lo, hi); p.sp > lo && p.sp <= hi {
			lo = p.sp &^ 7
		}
		if hi > lo {
			out = append(out, process.Range{Start: lo, End: hi})
		}
	}
	if err := r.take(); err != nil {
		return nil, fmt.Errorf("read the goroutines: %w", err)
	}
	return out, nil
}

func (r *Runtime) status(g uint64) uint64 {
	return uint64(r.u32(r.at(g, "runtime.g.atomicstatus"))) &^ statusScan
}

func (r *Runtime) alive(g uint64) bool {
	switch r.status(g) {
	case statusRunnable, statusRunning, statusSyscall, statusWaiting, statusPreempted, statusLeaked, 8: // 8: its stack is being moved
		return true
	}
	return false
}

// A position is where a goroutine is.
type position struct {
	pc, sp, lr uint64
	anywhere   bool // it was stopped between two instructions, where no stack map holds
	registers  []uint64
}

// position is where a goroutine is. sp is 0 if that is not known.
func (r *Runtime) position(g, lo, hi uint64) position {
	if sp := r.field(g, "runtime.g.syscallsp"); sp != 0 {
		return position{pc: r.field(g, "runtime.g.syscallpc"), sp: sp}
	}
	sched := r.at(g, "runtime.g.sched")
	saved := position{pc: r.field(sched, "runtime.gobuf.pc"), sp: r.field(sched, "runtime.gobuf.sp")}
	if lr, ok := r.x.offset["runtime.gobuf.lr"]; ok {
		saved.lr = r.u64(sched + lr)
	}
	if r.status(g) != statusRunning {
		return saved
	}
	m := r.field(g, "runtime.g.m")
	t, ok := r.byThread[m]
	if !ok || r.field(m, "runtime.m.curg") != g {
		return position{}
	}
	if t.SP > lo && t.SP <= hi {
		p := position{pc: t.PC, sp: t.SP, anywhere: true, registers: append([]uint64{t.FP}, t.Other...)}
		if r.Arch == "arm64" && len(t.Other) > 30 {
			p.lr = t.Other[30]
		}
		return p
	}
	signalLo, signalHi := r.stackOf(r.field(m, "runtime.m.gsignal"))
	if t.SP > signalLo && t.SP <= signalHi {
		return position{} // in a signal handler: what it had in its registers is in the handler's frame
	}
	return saved // on the stack of its thread, to which it switched by a call
}

// Goroutines calls visit for every goroutine that is alive.
func (r *Runtime) Goroutines(visit func(*Goroutine) error) error {
	for _, addr := range r.goroutines {
		g := r.goroutine(addr)
		if err := r.take(); err != nil {
			return fmt.Errorf("read the goroutine at %#x: %w", addr, err)
		}
		if err := visit(&g); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runtime) goroutine(addr uint64) Goroutine {
	word := func(f string) uint64 { return r.field(addr, "runtime.g."+f) }
	g := Goroutine{Addr: addr, ID: word("goid"), CreatedPC: word("gopc"), Status: r.status(addr), WaitSince: word("waitsince"),
		Context: r.field(r.at(addr, "runtime.g.sched"), "runtime.gobuf.ctxt"), Machine: word("m"), Defer: word("_defer"), Panic: word("_panic")}
	if g.Status == statusWaiting {
		g.WaitReason = r.waitReason(uint64(r.u8(r.at(addr, "runtime.g.waitreason"))))
	}
	g.System = r.system(word("startpc"))
	g.SP, g.Frames = r.frames(addr)
	r.deferred(&g)
	return g
}

const maxReasons = 255

func (r *Runtime) waitReason(i uint64) string {
	at := r.variable("runtime.waitReasonStrings") + 16*min(i, maxReasons)
	if n := r.u64(at + 8); n > 100 {
		return ""
	}
	return r.gostring(at)
}

// system tells the runtime's own goroutines by the function they were started with.
func (r *Runtime) system(startPC uint64) bool {
	f, ok := r.function(startPC)
	switch f.name {
	case "runtime.main", "runtime.handleAsyncEvent":
		return false
	}
	return ok && strings.HasPrefix(f.name, "runtime.")
}

func (r *Runtime) deferred(g *Goroutine) {
	for d := g.Defer; d != 0 && len(g.Defers) < maxChain && r.err == nil; {
		fn := r.field(d, "runtime._defer.fn")
		x := Defer{Addr: d, SP: r.field(d, "runtime._defer.sp"), PC: r.field(d, "runtime._defer.pc"), Func: fn, Next: r.field(d, "runtime._defer.link")}
		if fn != 0 {
			x.Code = r.u64(fn)
		}
		g.Defers = append(g.Defers, x)
		d = x.Next
	}
	for p := g.Panic; p != 0 && len(g.Panics) < maxChain && r.err == nil; {
		arg := r.at(p, "runtime._panic.arg")
		x := Panic{Addr: p, Type: r.u64(arg), Data: r.u64(arg + 8), Next: r.field(p, "runtime._panic.link")}
		g.Panics = append(g.Panics, x)
		p = x.Next
	}
	if len(g.Defers) == maxChain || len(g.Panics) == maxChain {
		r.fail("more than %d deferred calls", maxChain)
	}
}
