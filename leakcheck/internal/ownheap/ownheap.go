// Package ownheap takes a heap dump of the process it runs in, and names what is in it.
package ownheap

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/leaksafe/leaksafe/leakcheck/internal/dumpwrite"
	"github.com/leaksafe/leaksafe/leakcheck/internal/frozen"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// Options of Take.
type Options struct {
	Keep   string                             // the directory to keep the dump's file in; empty: it is deleted
	In     string                             // the directory of a file that is deleted; empty: the one for temporary files
	Name   string                             // of the file, with a * for what makes it unique; empty: leakcheck-*.dump
	Source func(file string, line int) string // as in retain.Names
	File   func(file string) string           // the same
	// OnlyFrozen refuses a dump that would stop the world.
	OnlyFrozen bool
	// Redact leaves strings and other contents out of a dump of a frozen copy. A dump that stops
	// the world has them.
	Redact bool
}

// coverMode is the coverage mode of this test process; nil in a service. Package testing is not
// imported, because it would be linked into every service that imports watch.
var coverMode func() string

// InTest says that this process is a test, and gives its testing.CoverMode. Call it from an init
// function.
func InTest(mode func() string) { coverMode = mode }

func inTest() bool { return coverMode != nil }

// deadly is not 0 once the goroutineleak profile has found a leak: the runtime then throws in
// WriteHeapDump, because it does not know the status that the profile gave to the goroutine.
var deadly atomic.Int32

// Forbid makes every later Take fail, until lift is called: call it before the profile runs, and
// lift it where the profile has found nothing.
func Forbid() (lift func()) {
	deadly.Add(1)
	return sync.OnceFunc(func() { deadly.Add(-1) })
}

// planted proves that dumps of this runtime are understood: each must show it under its own
// address.
var planted = newPlant()

type plant struct {
	self *plant
	pad  [5]uint64
}

//go:noinline
func newPlant() *plant { return &plant{self: &plant{}} } // inlined, both would be static data

// open is held from Take to Close: the symbols, which are read when a question needs them, are
// shared by all dumps.
var open sync.Mutex

// A Dump is a heap dump of this process, ready for questions.
type Dump struct {
	*retain.Heap
	file  *os.File
	keep  bool
	stood time.Duration // of a frozen copy: for how long the kernel made it
	why   error         // there is no frozen copy

	objects int               // in the file; 0: not known yet
	compact *heapdump.Compact // nil: file has all of the dump
	size    int64
}

// Frozen tells whether the dump is of a frozen copy, and for how long that was made; otherwise why
// it is not.
func (d *Dump) Frozen() (stood time.Duration, why error) { return d.stood, d.why }

// File is the name of the dump's file.
func (d *Dump) File() string { return d.file.Name() }

// Detach is Close, but for the file, which is the caller's to close.
func (d *Dump) Detach() *File {
	defer open.Unlock()
	return &File{d.file, d.compact, d.size}
}

// Close deletes the file, unless it is to be kept. It must be called once.
func (d *Dump) Close() {
	defer open.Unlock()
	d.file.Close()
	if !d.keep {
		os.Remove(d.file.Name()) // where it could not be done at once
	}
}

// Take collects garbage, writes a dump and reads it. It waits until the dump before is closed. The
// dump is of a frozen copy where the system has one and this executable, or one built again, says
// how the runtime's structures are laid out. Elsewhere the world stops for it.
func Take(o Options) (*Dump, error) {
	open.Lock()
	f, err := o.create()
	if err != nil {
		open.Unlock()
		return nil, fmt.Errorf("cannot write a heap dump: %w", err)
	}
	d := &Dump{file: f, keep: o.Keep != ""}
	if err := d.take(o); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// create makes a file that only this user can read. Where the system allows, it has no name from
// the start, so that nothing is left behind even when the process dies.
func (o *Options) create() (*os.File, error) {
	f, err := os.CreateTemp(cmp.Or(o.Keep, o.In), cmp.Or(o.Name, "leakcheck-*.dump"))
	if err == nil && o.Keep == "" && runtime.GOOS != "windows" {
		os.Remove(f.Name())
	}
	return f, err
}

// clockAhead is far enough that the timer that tells the runtime's clock never fires.
const clockAhead = 1000 * time.Hour

func (d *Dump) take(o Options) error {
	clock := time.AfterFunc(clockAhead, func() {})
	defer clock.Stop()
	h, err := d.written(func() error { return d.freeze(!o.Redact) })
	if err != nil && !o.OnlyFrozen {
		d.why = err
		h, err = d.written(d.stopTheWorld)
	}
	if err != nil {
		return err
	}
	n := namesOf(h)
	n.Source, n.File = o.Source, o.File
	n.Now = retain.Clock(h, uint64(uintptr(unsafe.Pointer(clock))), clockAhead)
	d.Heap = retain.New(h, n)
	return nil
}

// written empties the file, has a dump written to it, reads the dump and checks it.
func (d *Dump) written(write func() error) (*heapdump.Dump, error) {
	d.objects, d.compact = 0, nil
	if err := d.file.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if err := write(); err != nil {
		return nil, err
	}
	h, err := d.read()
	if err != nil {
		return nil, err
	}
	return h, selfTest(h)
}

func (d *Dump) read() (h *heapdump.Dump, err error) {
	if d.compact != nil {
		d.size = d.compact.Size()
		return heapdump.ReadObjects(d.compact, d.size, d.objects)
	}
	if d.size, err = d.file.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	if d.objects > 0 {
		return heapdump.ReadObjects(d.file, d.size, d.objects)
	}
	return heapdump.Read(d.file, d.size, nil)
}

// frozenLife is far longer than a dump of a frozen copy takes.
const frozenLife = 2 * time.Minute

func (d *Dump) freeze(contents bool) error {
	exe, err := layout()
	if err != nil {
		return err
	}
	c, err := frozen.Take(frozenLife, collected)
	if err != nil {
		return err
	}
	defer c.Close()
	d.stood = c.Stood()
	if contents || d.keep {
		stats, err := dumpwrite.Memory(c, exe, contents, d.file)
		d.objects = stats.Objects
		return err
	}
	d.compact = heapdump.NewCompact(d.file)
	stats, err := dumpwrite.Memory(c, exe, contents, d.compact)
	d.objects = stats.Objects
	return errors.Join(err, d.compact.Flush())
}

// collected makes the copy after a collection. In a test no other goroutine runs meanwhile: of one
// that runs nobody knows where on its stack it is. A service is left alone: it may have the runtime
// choose GOMAXPROCS, which ends when somebody else chooses.
func collected(copy func()) {
	runtime.GC()
	if inTest() {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	copy()
}

func (d *Dump) stopTheWorld() error {
	if deadly.Load() != 0 {
		return fmt.Errorf("the goroutineleak profile has found a leak in this process, and the runtime would die in a heap dump now; no frozen copy: %w", d.why)
	}
	runtime.GC()
	debug.WriteHeapDump(d.file.Fd())
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
			if o == heapdump.None || o != object || s.Addr+uint64(word[i])*uint64(h.PtrSize) != variable {
				continue
			}
			if edges, _ := h.Edges(o); len(edges) == 1 && edges[0] == child {
				return nil
			}
		}
	}
	return fmt.Errorf("the heap dump of %s is not understood: an object planted in it was not found", runtime.Version())
}
