// Package heapdump reads the files that runtime/debug.WriteHeapDump writes.
//
// The format is that of runtime/heapdump.go, unchanged since Go 1.7. A dump
// becomes flat arrays: objects, numbered from 0 in the order of the file, one array
// of edges, one of roots. The contents of objects stay in the file and are read
// again on demand, so that a dump of a gigabyte does not need a gigabyte.
package heapdump

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

var errClosed = errors.New("heapdump: the dump's file is closed")

// None is the number of no object.
const None = -1

// A Dump is one heap dump. It is immutable once read; Contents and Word read
// from the file it came from, which must stay open as long as they are used.
type Dump struct {
	Arch      string // GOARCH of the process
	GoVersion string // its runtime's version
	PtrSize   int
	bigEndian bool

	HeapStart, HeapEnd uint64

	file io.ReaderAt
	size int64

	// By object.
	addr      []uint64
	words     []uint32 // size in words of PtrSize
	pos       []int64  // where in the file its contents start
	edgeStart []uint32 // one more than there are objects
	layout    []int32  // which of layouts
	sample    []int32  // which of Allocs it was sampled by, None, or nil for no samples at all
	pages     *pages   // nil when the objects are sorted by address

	layouts [][]uint32

	edges     []int32  // the object pointed to
	edgeWord  []uint32 // which word of the source holds the pointer
	edgeDelta []uint8  // how many bytes into the object it points, or one of the two below

	Data, BSS  Segment
	Goroutines []Goroutine
	Frames     []Frame
	Finalizers []Finalizer
	Others     []OtherRoot
	Defers     []Defer
	Panics     []Panic

	rootObject []int32
	rootWord   []uint32

	types  map[uint64]Type
	itabs  map[uint64]uint64
	Allocs []Alloc
	Sample int // how many objects have an allocation stack
}

// A Segment is one of the two segments of package variables.
type Segment struct {
	Addr   uint64
	Len    int64
	Roots  Roots
	filePo int64
}

// Roots are the pointers into the heap that a segment or a frame holds.
type Roots struct{ lo, hi int }

// A Goroutine is one goroutine and what it waits for.
type Goroutine struct {
	Addr       uint64
	ID         uint64
	CreatedPC  uint64
	Status     uint64
	System     bool
	WaitSince  uint64 // runtime's monotonic clock, nanoseconds; 0 when unknown
	WaitReason string
	Context    int32 // the closure it is about to enter, or None
	Frames     []int // indexes of Dump.Frames, innermost first
}

// A Frame is one call on a goroutine's stack.
type Frame struct {
	Goroutine int
	Depth     int
	SP        uint64
	Len       int64
	Entry, PC uint64
	Func      string
	Roots     Roots
	Guessed   bool // it was read without a stack map: Roots are all words that would lead into the heap
	filePo    int64
}

// GuessedFrame is the continuation address by which a writer marks a frame as guessed. The runtime
// writes 0 or an address of code there.
const GuessedFrame = 1

// A Finalizer keeps the function, and what the object reaches, alive.
type Finalizer struct {
	Object, Func int32
	Code         uint64
	Type         uint64 // of the pointer to the object
	Queued       bool   // its object is dead, and the finalizer is about to run
}

// An OtherRoot is a root the runtime describes in words.
type OtherRoot struct {
	Description string
	Object      int32
}

// A Defer is a deferred call of a running function.
type Defer struct {
	Goroutine int // index of Dump.Goroutines, or None
	Func      int32
	Code      uint64
}

// A Panic is a panic in flight.
type Panic struct {
	Goroutine int
	Arg       int32
}

// A Type is what the dump says about a type: those with methods used through an interface.
type Type struct {
	Size uint64
	Name string
}

// An Alloc is an allocation site of the heap profile.
type Alloc struct {
	Bucket        uint64
	Size          uint64 // of one object, as asked for
	Stack         []Call // innermost first
	Allocs, Frees uint64
}

// A Call is one line of an allocation stack.
type Call struct {
	Func string
	File string
	Line int
}

// Len returns the number of objects.
func (d *Dump) Len() int { return len(d.addr) }

// NumEdges returns the number of pointers between objects.
func (d *Dump) NumEdges() int { return len(d.edges) }

// Addr returns the address of object i.
func (d *Dump) Addr(i int32) uint64 { return d.addr[i] }

// Size returns the bytes that object i takes in the heap: its size class, not
// what was asked for.
func (d *Dump) Size(i int32) uint64 { return uint64(d.words[i]) * uint64(d.PtrSize) }

// Edges returns the objects that object i points to, and for each the word of i
// that holds the pointer. The caller must not modify them.
func (d *Dump) Edges(i int32) (to []int32, word []uint32) {
	return d.EdgesIn(d.EdgeRange(i))
}

// EdgeRange returns the numbers of the first edge of object i and of the one behind its last.
func (d *Dump) EdgeRange(i int32) (first, last uint32) { return d.edgeStart[i], d.edgeStart[i+1] }

// EdgesIn is Edges for a range of edges.
func (d *Dump) EdgesIn(first, last uint32) (to []int32, word []uint32) {
	return d.edges[first:last], d.edgeWord[first:last]
}

const (
	farAway   = 255 // more than fit, or more than none and behind a word that may be an itab
	afterItab = 254 // none, and behind a word that may be an itab
)

// EdgeDelta returns how many bytes into its target an edge points. near is false when that is more
// than a few: then the pointer must be read. plain says that the word before the pointer is no
// itab: the pointer is not the second word of an interface with methods.
func (d *Dump) EdgeDelta(edge uint32) (delta uint64, near, plain bool) {
	switch n := d.edgeDelta[edge]; n {
	case farAway:
		return 0, false, false
	case afterItab:
		return 0, true, false
	default:
		return uint64(n), true, true
	}
}

// RootEdges returns the objects that a segment or frame points to, and the words that
// hold the pointers.
func (d *Dump) RootEdges(r Roots) (to []int32, word []uint32) {
	return d.rootObject[r.lo:r.hi], d.rootWord[r.lo:r.hi]
}

// Alloc returns where object i was allocated, or nil when the heap profile did
// not sample it.
func (d *Dump) Alloc(i int32) *Alloc {
	if d.sample == nil || d.sample[i] == None {
		return nil
	}
	return &d.Allocs[d.sample[i]]
}

// Itab returns the address of the concrete type that the interface table at addr is for.
func (d *Dump) Itab(addr uint64) (typ uint64, ok bool) {
	typ, ok = d.itabs[addr]
	return typ, ok
}

// Type returns what the dump says about the type at addr.
func (d *Dump) Type(addr uint64) (Type, bool) {
	t, ok := d.types[addr]
	return t, ok
}

// Types calls f for every type the dump describes.
func (d *Dump) Types(f func(addr uint64, t Type)) {
	for a, t := range d.types {
		f(a, t)
	}
}

// Contents reads up to limit bytes of object i from offset off.
func (d *Dump) Contents(i int32, off uint64, limit int) ([]byte, error) {
	if off > d.Size(i) {
		return nil, fmt.Errorf("heapdump: offset %d in an object of %d bytes", off, d.Size(i))
	}
	return d.read(d.pos[i]+int64(off), min(int64(limit), int64(d.Size(i)-off)))
}

// FrameContents reads the bytes of a frame.
func (d *Dump) FrameContents(f *Frame) ([]byte, error) { return d.read(f.filePo, f.Len) }

// SegmentContents reads up to limit bytes of a segment from offset off.
func (d *Dump) SegmentContents(s *Segment, off uint64, limit int) ([]byte, error) {
	if off > uint64(s.Len) {
		return nil, fmt.Errorf("heapdump: offset %d in a segment of %d bytes", off, s.Len)
	}
	return d.read(s.filePo+int64(off), min(int64(limit), s.Len-int64(off)))
}

// Memory reads up to limit bytes at an address of the heap or of package variables.
func (d *Dump) Memory(addr uint64, limit int) ([]byte, error) {
	for _, s := range []*Segment{&d.Data, &d.BSS} {
		if addr >= s.Addr && addr-s.Addr < uint64(s.Len) {
			return d.SegmentContents(s, addr-s.Addr, limit)
		}
	}
	i := d.Find(addr)
	if i == None {
		return nil, errors.New("heapdump: no such memory in the dump")
	}
	return d.Contents(i, addr-d.addr[i], limit)
}

// Word reads the pointer-sized word at the start of b.
func (d *Dump) Word(b []byte) uint64 {
	if len(b) < d.PtrSize {
		return 0
	}
	return wordOf(b, d.PtrSize, d.bigEndian)
}

func (d *Dump) read(pos, n int64) ([]byte, error) {
	if d.file == nil {
		return nil, errClosed
	}
	b := make([]byte, n)
	if _, err := d.file.ReadAt(b, pos); err != nil && (err != io.EOF || n > 0) {
		return nil, fmt.Errorf("heapdump: read contents: %w", err)
	}
	return b, nil
}

// SampleOf returns the index in Allocs of the site that allocated object i, or None.
func (d *Dump) SampleOf(i int32) int32 {
	if d.sample == nil {
		return None
	}
	return d.sample[i]
}

const (
	shownWords = 8 // of a layout
	manyWords  = 0 // the number of the layout of all objects that have more
)

// Layout returns a number that objects with pointers in the same words share.
func (d *Dump) Layout(i int32) int32 { return d.layout[i] }

// PointerWords returns which words of object i may hold pointers; more tells that there are more
// than eight, and then none is named.
func (d *Dump) PointerWords(i int32) (words []uint32, more bool) {
	return d.layouts[d.layout[i]], d.layout[i] == manyWords
}

// CleanupRoot is the description of a root record for a function or an argument of
// runtime.AddCleanup. The runtime's own dumps have none.
const CleanupRoot = "runtime.AddCleanup"

// RedactedMark begins the description of an OtherRoot, without an object, in a dump whose writer
// left out the contents of memory: pointers, sizes and types are there, text and numbers are zero.
const RedactedMark = "leakcheck: redacted"

// Redacted tells whether the dump lacks the contents of memory.
func (d *Dump) Redacted() bool {
	for _, o := range d.Others {
		if strings.HasPrefix(o.Description, RedactedMark) {
			return true
		}
	}
	return false
}

// Forget frees all but the addresses and sizes of objects.
func (d *Dump) Forget() {
	d.pos, d.edgeStart, d.layout, d.sample, d.layouts, d.edges, d.edgeWord, d.edgeDelta = nil, nil, nil, nil, nil, nil, nil, nil
}
