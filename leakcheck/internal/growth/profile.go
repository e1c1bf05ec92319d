package growth

import (
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/source"

	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
)

// A callStack is an allocation's stack as runtime.MemProfile gives it:
// innermost first, cut after 32 frames, zeros behind its end.
type callStack = [32]uintptr

func trim(s *callStack) []uintptr {
	for i, pc := range s {
		if pc == 0 {
			return s[:i]
		}
	}
	return s[:]
}

type amount struct{ objects, bytes int64 }

// A profile is every allocation stack of the process and what was live of it
// at each look.
type profile struct {
	records []runtime.MemProfileRecord
	index   map[callStack]int
	stacks  []callStack
	looks   [][]amount
	known   map[int]resolved
}

// A resolved stack is one in words.
type resolved struct {
	frames []source.Frame
	from   origin
}

func newProfile() *profile {
	n, _ := runtime.MemProfile(nil, true)
	return &profile{
		records: make([]runtime.MemProfileRecord, 2*n+1000),
		index:   make(map[callStack]int, 2*n+1000),
		known:   map[int]resolved{},
	}
}

// read takes a look. The collector must have run: the profile is as old as
// the last collection.
func (p *profile) read() {
	n, ok := runtime.MemProfile(p.records, true)
	for !ok {
		p.records = make([]runtime.MemProfileRecord, 2*n)
		n, ok = runtime.MemProfile(p.records, true)
	}
	look := make([]amount, len(p.stacks), len(p.stacks)+n)
	for i := range p.records[:n] {
		r := &p.records[i]
		at, known := p.index[r.Stack0]
		if !known {
			at = len(p.stacks)
			p.index[r.Stack0] = at
			p.stacks = append(p.stacks, r.Stack0)
			look = append(look, amount{})
		}
		// The same stack comes once for each size it allocated.
		look[at].objects += r.InUseObjects()
		look[at].bytes += r.InUseBytes()
	}
	p.looks = append(p.looks, look)
}

func (p *profile) resolve(i int) ([]source.Frame, origin) {
	r, ok := p.known[i]
	if !ok {
		r.frames, r.from = resolve(trim(&p.stacks[i]))
		p.known[i] = r
	}
	return r.frames, r.from
}

// at is what the i-th stack had live at a look; a stack that was not yet
// known had nothing.
func (p *profile) at(look, i int) amount {
	if i >= len(p.looks[look]) {
		return amount{}
	}
	return p.looks[look][i]
}

func (p *profile) changed(i int) bool {
	first := p.at(0, i)
	for look := range p.looks {
		if p.at(look, i) != first {
			return true
		}
	}
	return false
}

func (p *profile) series(i int) judge.Series {
	s := judge.Series{Objects: make([]int64, len(p.looks)), Bytes: make([]int64, len(p.looks))}
	for look := range p.looks {
		a := p.at(look, i)
		s.Objects[look], s.Bytes[look] = a.objects, a.bytes
	}
	return s
}

// An origin says on whose behalf a stack allocated.
type origin int

const (
	elsewhere origin = iota // another goroutine: the operation's or a neighbour's
	operation               // beneath the operation, on its goroutine
	harness                 // this package's measuring
	unrelated               // the runtime's own, or another test
)

var (
	packagePath  = reflect.TypeFor[Meter]().PkgPath()
	runName      = packagePath + ".(*Meter).run"
	meterPrefix  = packagePath + ".(*Meter)."
	sentinelName = packagePath + ".plantSentinel"
)

// resolve is the stack up to the operation, whose caller is the harness.
func resolve(stack []uintptr) ([]source.Frame, origin) {
	var out []source.Frame
	next := runtime.CallersFrames(stack)
	onlyRuntime := true
	for more := true; more; {
		var f runtime.Frame
		f, more = next.Next()
		switch {
		case f.Function == runName:
			return out, operation
		case strings.HasPrefix(f.Function, meterPrefix):
			return out, harness
		case f.Function == "testing.tRunner", source.ForRuntime(f.Function):
			return out, unrelated
		}
		out = append(out, source.Frame{Func: f.Function, File: f.File, Line: f.Line})
		onlyRuntime = onlyRuntime && strings.HasPrefix(f.Function, "runtime.")
	}
	if onlyRuntime {
		return out, unrelated
	}
	return out, elsewhere
}

// userFrame is the innermost frame outside the standard library; without one,
// the innermost outside the runtime.
func userFrame(fs []source.Frame) source.Frame {
	var second source.Frame
	for _, f := range fs {
		if !f.InLibrary() {
			return f
		}
		if second.Func == "" && !strings.HasPrefix(f.Func, "runtime.") {
			second = f
		}
	}
	return second
}

// Frames expands the pcs of a profile's stack, innermost call first, up to the operation where it
// is beneath one: each round runs that from another line.
func Frames(pcs []uintptr) []source.Frame {
	if i := slices.Index(pcs, 0); i >= 0 {
		pcs = pcs[:i]
	}
	var out []source.Frame
	frames := runtime.CallersFrames(pcs)
	for more := len(pcs) > 0; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if f.Function == runName {
			break
		}
		out = append(out, source.Frame{Func: f.Function, File: f.File, Line: f.Line})
	}
	return out
}
