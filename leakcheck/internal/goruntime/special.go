package goruntime

import (
	"encoding/binary"
	"fmt"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

// A special is a record that the runtime attaches to an object, other than a sample.
type special struct {
	kind   uint8
	object uint64
	at     uint64 // of its struct
	word   uint64 // the function of a finalizer or cleanup, the handle of a weak pointer
	more   uint64 // the argument of a cleanup
	code   uint64
	dead   bool // the object waits for its finalizer
	types  [2]uint64
}

// Kinds of specials.
const (
	specialFinalizer = 2
	specialWeak      = 3
	specialProfile   = 4
	specialCleanup   = 7
	maxKind          = 31 // there are ten
)

// A Finalizer is set for an object, or about to run.
type Finalizer struct {
	Object, Func, Code uint64
	Types              [2]uint64 // of its argument, and of a pointer to the object
}

// A Sample says which bucket of the heap profile an object was counted in.
type Sample struct{ Object, Bucket uint64 }

// Records reads what the runtime has attached to objects. It is called while the process is
// stopped, after Survey.
func (r *Runtime) Records() error {
	r.specials, r.finalizers = nil, nil
	r.samples = nil
	f := r.specialFields()
	if err := r.take(); err != nil {
		return fmt.Errorf("read the records of objects: %w", err)
	}
	for i := range r.spans {
		s := &r.spans[i]
		limit := int(s.nelems)*16 + 16 // in all, of an object there are few
		for at := s.specials; at != 0 && r.err == nil; {
			if limit--; limit < 0 {
				r.fail("the records of the span at %#x have no end", s.base)
			}
			at = r.readSpecial(s, at, f)
		}
		if err := r.take(); err != nil {
			return fmt.Errorf("read the records of the span at %#x: %w", s.base, err)
		}
	}
	r.readQueue()
	if err := r.take(); err != nil {
		return fmt.Errorf("read the finalizers: %w", err)
	}
	return nil
}

// specialFields is where the fields of every record are: with a sample for each object there are
// millions.
type specialFields struct{ next, kind, offset, bucket, size uint64 }

func (r *Runtime) specialFields() specialFields {
	f := specialFields{
		next: r.at(0, "runtime.special.next"), kind: r.at(0, "runtime.special.kind"), offset: r.at(0, "runtime.special.offset"),
		bucket: r.at(0, "runtime.specialprofile.b"),
	}
	f.size = max(f.next+8, f.kind+1, f.offset+8)
	if f.size > uint64(len(r.scratch)) {
		r.fail("records of %d bytes: this version is not known", f.size)
	}
	return f
}

// readSpecial reads the record at this address, and returns the address of the next.
func (r *Runtime) readSpecial(s *span, at uint64, f specialFields) (next uint64) {
	b := r.small(at, int(f.size))
	next = binary.LittleEndian.Uint64(b[f.next:])
	x := special{kind: b[f.kind], at: at}
	off := binary.LittleEndian.Uint64(b[f.offset:])
	if off >= s.npages*pageSize {
		r.fail("a record for offset %d of a span of %d bytes: this version is not known", off, s.npages*pageSize)
		return 0
	}
	if x.kind == 0 || x.kind > maxKind {
		r.fail("a record of kind %d: this version is not known", x.kind)
		return 0
	}
	x.object = s.base + off/s.elem*s.elem
	switch x.kind {
	case specialFinalizer:
		x.word = r.field(at, "runtime.specialfinalizer.fn")
		x.types = [2]uint64{r.field(at, "runtime.specialfinalizer.fint"), r.field(at, "runtime.specialfinalizer.ot")}
		x.code = r.codeOf(x.word)
	case specialWeak:
		x.word = r.field(at, "runtime.specialWeakHandle.handle")
	case specialProfile:
		r.samples = append(r.samples, Sample{x.object, r.u64(at + f.bucket)})
		return next
	case specialCleanup:
		c := r.at(at, "runtime.specialCleanup.cleanup")
		x.word, x.more = r.field(c, "runtime.cleanupFn.fn"), r.field(c, "runtime.cleanupFn.arg")
		x.code = r.codeOf(x.word)
	default:
		return next
	}
	r.specials = append(r.specials, x)
	return next
}

// codeOf is where the code of a function value is.
func (r *Runtime) codeOf(fn uint64) uint64 {
	if fn == 0 {
		return 0
	}
	return r.u64(fn)
}

const maxQueue = 1 << 20

// readQueue reads the finalizers that are about to run.
func (r *Runtime) readQueue() {
	block := r.u64(r.variable("runtime.allfin"))
	room := (r.x.size["runtime.finBlock"] - r.x.offset["runtime.finBlock.fin"]) / max(r.x.size["runtime.finalizer"], 1)
	for n := 0; block != 0 && n < maxQueue && r.err == nil; n++ {
		count := uint64(r.u32(r.at(block, "runtime.finBlock.cnt")))
		if count > room {
			r.fail("a queue of finalizers with %d in a block for %d: this version is not known", count, room)
		}
		for i := uint64(0); i < count && r.err == nil; i++ {
			f := r.at(block, "runtime.finBlock.fin") + i*r.x.size["runtime.finalizer"]
			fn := r.field(f, "runtime.finalizer.fn")
			r.finalizers = append(r.finalizers, Finalizer{r.field(f, "runtime.finalizer.arg"), fn, r.codeOf(fn),
				[2]uint64{r.field(f, "runtime.finalizer.fint"), r.field(f, "runtime.finalizer.ot")}})
		}
		block = r.field(block, "runtime.finBlock.alllink")
	}
}

// Finalizers are those that are set, and those that are about to run. One whose object the
// collector found dead, and whose span it has not swept, counts as the latter.
func (r *Runtime) Finalizers() (set, queued []Finalizer) {
	queued = r.finalizers
	for _, x := range r.specials {
		if x.kind != specialFinalizer {
			continue
		}
		f := Finalizer{x.object, x.word, x.code, x.types}
		if x.dead {
			queued = append(queued, f)
		} else {
			set = append(set, f)
		}
	}
	return set, queued
}

// Samples are the objects that the heap profile counted one by one.
func (r *Runtime) Samples() []Sample { return r.samples }

const weakRoot = "the runtime's record of a weak pointer"

// Roots are the references that the format of heap dumps has no record for.
func (r *Runtime) Roots() (out []Root) {
	for _, x := range r.specials {
		switch x.kind {
		case specialCleanup:
			out = append(out, Root{heapdump.CleanupRoot, x.word}, Root{heapdump.CleanupRoot, x.more})
		case specialWeak:
			out = append(out, Root{weakRoot, x.word})
		}
	}
	for i := range r.modules[1:] {
		m := &r.modules[i+1]
		for _, s := range []*Segment{&m.dataSegment, &m.bssSegment} {
			for off := uint64(0); off < s.End-s.Addr; off += 8 {
				if s.Pointer(off) {
					if p := r.u64(s.Addr + off); r.InHeap(p) {
						out = append(out, Root{fmt.Sprintf("a package variable of plugin %s, %#x bytes into its variables", m.plugin, off), p})
					}
				}
			}
		}
	}
	r.take()
	return out
}

// A Call is a line of an allocation's stack.
type Call struct {
	Func, File string
	Line       int
}

// A Bucket is an allocation site of the heap profile.
type Bucket struct {
	Addr, Size    uint64
	Stack         []Call // innermost first
	Allocs, Frees uint64
}

const (
	maxBuckets = 1 << 24
	maxDepth   = 1 << 12
)

// Buckets calls visit for each allocation site.
func (r *Runtime) Buckets(visit func(*Bucket) error) error {
	at := r.u64(r.variable("runtime.mbuckets"))
	for n := 0; at != 0 && r.err == nil; n++ {
		if n > maxBuckets {
			r.fail("the heap profile has no end")
		}
		b := r.bucket(at)
		if r.err != nil {
			break
		}
		if err := visit(&b); err != nil {
			return err
		}
		at = r.field(at, "runtime.bucket.allnext")
	}
	if err := r.take(); err != nil {
		return fmt.Errorf("read the heap profile: %w", err)
	}
	return nil
}

func (r *Runtime) bucket(at uint64) Bucket {
	b := Bucket{Addr: at, Size: r.field(at, "runtime.bucket.size")}
	n := r.field(at, "runtime.bucket.nstk")
	if n > maxDepth {
		r.fail("a stack of %d calls", n)
		return b
	}
	stack := at + r.x.size["runtime.bucket"]
	for i := range n {
		b.Stack = append(b.Stack, r.call(r.u64(stack+8*i), i > 0))
	}
	record := r.at(stack+8*n, "runtime.memRecord.active")
	b.Allocs, b.Frees = r.field(record, "runtime.memRecordCycle.allocs"), r.field(record, "runtime.memRecordCycle.frees")
	return b
}

func (r *Runtime) call(pc uint64, called bool) Call {
	f, ok := r.function(pc)
	if !ok {
		return Call{fmt.Sprintf("(%#x)", pc), "?", 0}
	}
	if called && pc > f.entry {
		pc-- // the call, not where it returns to
	}
	file, line := r.line(f, pc)
	return Call{f.name, file, line}
}
