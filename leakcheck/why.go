package leakcheck

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// A Path says who keeps an object alive: a chain of references that begins at a root, such as
// a package variable or a goroutine's frame, and ends at the object.
type Path struct {
	Answer        string // who keeps it, in one sentence
	Expr          string // the same as a Go expression, when there is one: cache.defaultStore.items["x"].buf
	Hops          []Hop  // root first, the object last
	Count         int    // how many objects like this one are kept on this path
	RetainedBytes int64  // what would be freed if they were let go
}

// A Hop is one step of a [Path]: a root, or an object that the step before refers to.
type Hop struct {
	Kind   string // "variable", "goroutine", "map", "closure", "object" and so on
	Name   string `json:",omitempty"` // of the variable, function or field
	Type   string `json:",omitempty"` // Go type, when known
	File   string `json:",omitempty"` // where it was allocated, or for a goroutine where it stands
	Line   int    `json:",omitempty"`
	Source string `json:",omitempty"` // text of that line
}

// String returns the answer, and below it the path, one hop a line.
func (p Path) String() string {
	q := retain.Path{Answer: p.Answer, Expr: p.Expr, Count: p.Count, RetainedBytes: p.RetainedBytes}
	for _, h := range p.Hops {
		q.Hops = append(q.Hops, retain.Hop(h))
	}
	return q.String()
}

func pathOf(q retain.Path) Path {
	p := Path{Answer: q.Answer, Expr: q.Expr, Count: q.Count, RetainedBytes: q.RetainedBytes}
	for _, h := range q.Hops {
		p.Hops = append(p.Hops, Hop(h))
	}
	return p
}

// WhyAlive says who else keeps *p alive: what only the caller holds is said to be the caller's.
//
// It collects garbage, stops the world, and writes the whole heap to a temporary file that only this
// user can read and that is deleted at once: about a second per 160 MB. It is for
// tests and for an operator's request, not for a hot path. With Go 1.26 and 1.27 the runtime can, very rarely, die while it
// writes (golang/go's dumpgs throws when a goroutine is just leaving a system call).
//
// The error says why there is no path: the dump could not be written or read. An
// object that nothing keeps has a path without hops, and an Answer that says so.
func WhyAlive[T any](p *T) (Path, error) {
	if p == nil {
		return Path{}, errors.New("leakcheck: WhyAlive of a nil pointer: pass the object to look for")
	}
	path, err := whyAlive(uintptr(unsafe.Pointer(p)))
	runtime.KeepAlive(p)
	return path, err
}

func whyAlive(addr uintptr) (Path, error) {
	paths, err := explain(nil, []uintptr{addr})
	if err != nil {
		return Path{}, fmt.Errorf("leakcheck: %w", err)
	}
	return paths[0], nil
}

// explain finds who keeps the object at each address: path i is that of address i. The addresses are uintptr, so
// that the caller does not keep the objects itself. The frames of the calling goroutine rank last. t may be nil.
//
// The runtime can die while it writes a dump: the verdict, with its allocation
// site, must be on the test's log and on standard error before explain is called.
func explain(t testing.TB, addrs []uintptr) ([]Path, error) {
	d, err := takeDump(t)
	if err != nil {
		return nil, err
	}
	defer d.close()
	var objects []int32
	for _, a := range addrs {
		if o, ok := d.heap.ObjectAt(uint64(a)); ok {
			objects = append(objects, o)
		}
	}
	s := d.heap.Search(objects)
	paths := make([]Path, len(addrs))
	for i, a := range addrs {
		o, ok := d.heap.ObjectAt(uint64(a))
		if !ok {
			paths[i] = Path{Answer: "nothing keeps it: the heap has no object there", Count: 1}
			continue
		}
		paths[i] = pathOf(s.Explain([]int32{o}))
	}
	return paths, nil
}

// explainSites finds who keeps the objects that were allocated at each stack: path i is that of most of the objects of
// site i, with their count and what they retain. A stack is that of a [runtime.MemProfileRecord] whose objects were allocated
// while MemProfileRate was 1, whole or cut short at its outer end. The same order applies as for explain.
func explainSites(t testing.TB, sites [][]uintptr) ([]Path, error) {
	d, err := takeDump(t)
	if err != nil {
		return nil, err
	}
	defer d.close()
	var all []int32
	objects := make([][]int32, len(sites))
	for i, pcs := range sites {
		objects[i] = d.heap.AllocatedAt(lines(pcs))
		all = append(all, objects[i]...)
	}
	s := d.heap.Search(all)
	paths := make([]Path, len(sites))
	for i, os := range objects {
		paths[i] = pathOf(s.Explain(os))
	}
	return paths, nil
}

// lines expands the pcs of a profile's stack, innermost first.
func lines(pcs []uintptr) []heapdump.Call {
	var out []heapdump.Call
	for i, pc := range pcs {
		if pc == 0 {
			pcs = pcs[:i]
			break
		}
	}
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		out = append(out, heapdump.Call{Func: f.Function, File: f.File, Line: f.Line})
		if !more {
			return out
		}
	}
}

// deadly is set once the goroutineleak profile has found a leak: the runtime then throws in WriteHeapDump,
// because it does not know the status that the profile gave to the goroutine.
var deadly atomic.Bool

// leakProfileFound tells that the goroutineleak profile has found a leak in this process.
// No heap dump is written any more.
func leakProfileFound() { deadly.Store(true) }

// planted proves that dumps of this runtime are understood: each must show it under its own address.
var planted = newPlant()

type plant struct {
	self *plant
	pad  [5]uint64
}

//go:noinline
func newPlant() *plant { return &plant{self: &plant{}} } // inlined, both would be static data

var dumping sync.Mutex // one dump at a time; the world stands still anyway

// A dump is a heap dump of this process, ready for questions.
type dump struct {
	heap *retain.Heap
	file *os.File
	keep bool
}

func (d *dump) close() {
	d.file.Close()
	if !d.keep {
		os.Remove(d.file.Name())
	}
}

func takeDump(t testing.TB) (*dump, error) {
	if deadly.Load() {
		return nil, errors.New("no path: the goroutineleak profile has found a leak in this process, and the runtime would die in a heap dump now")
	}
	dumping.Lock()
	defer dumping.Unlock()
	f, err := dumpFile(t)
	if err != nil {
		return nil, fmt.Errorf("no path: cannot write a heap dump: %w", err)
	}
	d := &dump{file: f, keep: keepDump()}
	if err := d.take(); err != nil {
		d.close()
		return nil, fmt.Errorf("no path: %w", err)
	}
	return d, nil
}

// clockAhead is far enough that the timer that tells the runtime's clock never fires.
const clockAhead = 1000 * time.Hour

func (d *dump) take() error {
	clock := time.AfterFunc(clockAhead, func() {})
	defer clock.Stop()
	runtime.GC()
	debug.WriteHeapDump(d.file.Fd())
	clockAt := uint64(uintptr(unsafe.Pointer(clock)))
	size, err := d.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	h, err := heapdump.Read(d.file, size, nil)
	if err != nil {
		return err
	}
	if err := selfTest(h); err != nil {
		return err
	}
	n := namesOf(h)
	n.Now = retain.Clock(h, clockAt, clockAhead)
	d.heap = retain.New(h, n)
	return nil
}

// selfTest finds what was planted.
func selfTest(h *heapdump.Dump) error {
	variable := uint64(uintptr(unsafe.Pointer(&planted)))
	object := h.Find(uint64(uintptr(unsafe.Pointer(planted))))
	child := h.Find(uint64(uintptr(unsafe.Pointer(planted.self))))
	for _, s := range []*heapdump.Segment{&h.Data, &h.BSS} {
		to, word := h.RootEdges(s.Roots)
		for i, o := range to {
			if s.Addr+uint64(word[i])*uint64(h.PtrSize) == variable && o == object && o != heapdump.None {
				edges, _ := h.Edges(o)
				if len(edges) == 1 && edges[0] == child {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("the heap dump of %s is not understood: an object planted in it was not found", runtime.Version())
}

func keepDump() bool { return os.Getenv("LEAKSAFE_DUMP") == "1" }

// dumpFile creates a file that only this user can read. Where the system allows it has no name from the start, so that
// nothing is left behind even when the process dies.
func dumpFile(t testing.TB) (*os.File, error) {
	if keepDump() {
		return keptFile(t)
	}
	f, err := os.CreateTemp("", "leakcheck-*.dump")
	if err == nil && runtime.GOOS != "windows" {
		os.Remove(f.Name())
	}
	return f, err
}

func keptFile(t testing.TB) (*os.File, error) {
	dir := os.Getenv("LEAKSAFE_DIR")
	if t != nil && dir == "" {
		dir = t.ArtifactDir()
	}
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := os.CreateTemp(dir, "leakcheck-*.dump")
	if err == nil && t != nil {
		abs, _ := filepath.Abs(f.Name())
		t.Logf("leakcheck: heap dump kept in %s: it holds whatever the process had in memory; read it with the command leakcheck", abs)
	}
	return f, err
}
