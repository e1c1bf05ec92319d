package goruntime

import (
	"errors"
	"fmt"

	"github.com/leaksafe/leaksafe/leakcheck/internal/process"
)

// A Runtime is the Go runtime of a process. Its methods must not be called concurrently.
//
// A process that runs is read in three steps: [Runtime.Survey] and [Runtime.Records] while it is
// stopped, between them what Survey returned is copied, and everything else afterwards.
type Runtime struct {
	Version string // as the process itself says
	Arch    string

	x       *Exe
	shift   uint64 // by how much the executable was moved
	modules []module
	reading

	spans  []span // by address
	pages  pages
	lo, hi uint64 // of the heap
	sweep  uint32

	goroutines []uint64
	byThread   map[uint64]process.Thread // by address of the m
	specials   []special
	samples    []Sample
	finalizers []Finalizer // queued
	itabs      map[uint64]uint64

	masks     map[uint64]*mask // by type
	maskWords int
	maskSteps int
	funcs     map[uint64]function
	pcs       map[pcKey]int32
	maps      map[mapKey]stackBits
}

// Source is a process or a core.
type Source interface {
	process.Memory
	Entry() (uint64, error)
}

// New finds the runtime of the executable in the process.
func New(x *Exe, src Source) (*Runtime, error) {
	r := &Runtime{x: x, Arch: x.Arch, reading: reading{mem: src}, masks: map[uint64]*mask{}, funcs: map[uint64]function{}, pcs: map[pcKey]int32{}, maps: map[mapKey]stackBits{}}
	entry, err := src.Entry()
	if err != nil {
		return nil, err
	}
	r.shift = entry - x.entry
	r.Version = r.gostring(r.variable("runtime.buildVersion"))
	if err := r.take(); err != nil {
		return nil, fmt.Errorf("read the version of the runtime: %w", err)
	}
	if r.Version == "" || !sameRelease(r.Version, x.GoVersion) {
		return nil, fmt.Errorf("the process does not run this executable: it says that it is %q, the executable %q", r.Version, x.GoVersion)
	}
	return r, r.readModules()
}

// sameRelease minds that the runtime adds its experiments to its version.
func sameRelease(version, release string) bool {
	return len(version) >= len(release) && version[:len(release)] == release
}

// Shift is by how much the executable was moved in the process.
func Shift(x *Exe, entry uint64) uint64 { return entry - x.entry }

// Use changes the memory that is read.
func (r *Runtime) Use(m process.Memory) { r.mem = m }

// variable is the address of one of the variables.
func (r *Runtime) variable(name string) uint64 { return r.x.variable[name] + r.shift }

// at is the address of a field. All fields are in the table structs.
func (r *Runtime) at(addr uint64, field string) uint64 { return addr + r.x.offset[field] }

// field reads a word of a struct.
func (r *Runtime) field(addr uint64, name string) uint64 { return r.u64(r.at(addr, name)) }

// A Segment is one of the two segments of package variables.
type Segment struct {
	Addr, End uint64
	mask      []byte
}

// Pointer tells whether the word at an offset may be a pointer into the heap.
func (s *Segment) Pointer(off uint64) bool { return bit(s.mask, off/8) }

// Data and BSS are the segments of the program.
func (r *Runtime) Data() *Segment { return &r.modules[0].dataSegment }
func (r *Runtime) BSS() *Segment  { return &r.modules[0].bssSegment }

// A Root is a reference into the heap that the format of heap dumps has no record for.
type Root struct {
	Description string
	Addr        uint64
}

var errNoModule = errors.New("it has no table of modules: this version is not known")

// Memory reads n bytes, of a segment or anything else that Survey returned.
func (r *Runtime) Memory(addr, n uint64) ([]byte, error) {
	b := r.bytes(addr, n, maxSegment)
	return b, r.take()
}
