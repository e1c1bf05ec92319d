// Package ownheap takes a heap dump of the process it runs in, and names what is in it.
package ownheap

import (
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

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// Options of Take.
type Options struct {
	Keep   string // the directory to keep the dump's file in; empty: it is deleted
	Source func(file string, line int) string
}

// deadly is not 0 once the goroutineleak profile has found a leak: the runtime then throws in WriteHeapDump,
// because it does not know the status that the profile gave to the goroutine.
var deadly atomic.Int32

// Forbid makes every later Take fail, until lift is called: call it before the profile runs, and lift it where
// the profile has found nothing.
func Forbid() (lift func()) {
	deadly.Add(1)
	return sync.OnceFunc(func() { deadly.Add(-1) })
}

// planted proves that dumps of this runtime are understood: each must show it under its own address.
var planted = newPlant()

type plant struct {
	self *plant
	pad  [5]uint64
}

//go:noinline
func newPlant() *plant { return &plant{self: &plant{}} } // inlined, both would be static data

// open is held from Take to Close: the symbols, which are read when a question needs them, are shared by all dumps.
var open sync.Mutex

// A Dump is a heap dump of this process, ready for questions.
type Dump struct {
	*retain.Heap
	file *os.File
	keep bool
}

// File is the name of the dump's file.
func (d *Dump) File() string { return d.file.Name() }

// Close deletes the file, unless it is to be kept. It must be called once.
func (d *Dump) Close() {
	defer open.Unlock()
	d.file.Close()
	if !d.keep {
		os.Remove(d.file.Name()) // where it could not be done at once
	}
}

// Take collects garbage, stops the world, writes a dump and reads it. It waits until the dump before is closed.
func Take(o Options) (*Dump, error) {
	if deadly.Load() != 0 {
		return nil, errors.New("the goroutineleak profile has found a leak in this process, and the runtime would die in a heap dump now")
	}
	open.Lock()
	f, err := create(o.Keep)
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

// create makes a file that only this user can read. Where the system allows, it has no name from the start, so that
// nothing is left behind even when the process dies.
func create(keep string) (*os.File, error) {
	f, err := os.CreateTemp(keep, "leakcheck-*.dump")
	if err == nil && keep == "" && runtime.GOOS != "windows" {
		os.Remove(f.Name())
	}
	return f, err
}

// clockAhead is far enough that the timer that tells the runtime's clock never fires.
const clockAhead = 1000 * time.Hour

func (d *Dump) take(o Options) error {
	clock := time.AfterFunc(clockAhead, func() {})
	defer clock.Stop()
	runtime.GC()
	debug.WriteHeapDump(d.file.Fd())
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
	n.Source = o.Source
	n.Now = retain.Clock(h, uint64(uintptr(unsafe.Pointer(clock))), clockAhead)
	d.Heap = retain.New(h, n)
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
