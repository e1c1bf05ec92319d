package dumpwrite

import (
	"encoding/binary"
	"io"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/goruntime"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

const header = "go1.7 heap dump\n"

// Stats are the numbers of a dump.
type Stats struct {
	Objects    int
	Bytes      uint64 // of objects
	Goroutines int
	FileSize   int64
	Stopped    time.Duration // for how long the process was
	Note       string        // what the user should know, or empty
}

// A writer writes one dump.
type writer struct {
	*encoder
	r        *goruntime.Runtime
	contents bool
	stats    Stats
}

// Write writes a dump. Without contents it is redacted: pointers, types and lengths stay, and all
// else is zero.
func Write(w io.Writer, r *goruntime.Runtime, contents bool) (Stats, error) {
	d := &writer{encoder: newEncoder(w), r: r, contents: contents}
	for _, part := range []func() error{d.start, d.types, d.objects, d.goroutines, d.segments, d.finalizers, d.roots, d.memStats, d.profile} {
		if err := part(); err != nil {
			return d.stats, err
		}
		if d.err != nil {
			return d.stats, d.err
		}
	}
	d.uint(tagEOF)
	var err error
	d.stats.FileSize, err = d.close()
	return d.stats, err
}

func (d *writer) start() error {
	d.bytes([]byte(header))
	lo, hi := d.r.Bounds()
	d.uints(tagParams, 0, 8, lo, hi)
	d.string(d.r.Arch)
	d.string(d.r.Version)
	d.uint(1) // processors
	if !d.contents {
		d.uint(tagOtherRoot)
		d.string(heapdump.RedactedMark)
		d.uint(0)
	}
	return nil
}

func (d *writer) types() error {
	return d.r.Interfaces(func(t goruntime.Type) error {
		d.uints(tagType, t.Addr, t.Size)
		d.string(t.Name)
		d.uint(1)
		return nil
	}, func(addr, typ uint64) error {
		d.uints(tagItab, addr, typ)
		return nil
	})
}

func (d *writer) objects() error {
	return d.r.Objects(d.contents, func(o *goruntime.Object) error {
		d.stats.Objects++
		d.stats.Bytes += o.Size
		d.uints(tagObject, o.Addr, o.Size)
		switch {
		case d.contents:
			d.bytes(o.Contents)
		case o.Contents == nil:
			d.zeros(o.Size)
		default:
			d.redactObject(o)
		}
		for off := range o.Pointers() {
			d.uint(fieldPtr)
			d.uint(off)
		}
		d.uint(fieldEnd)
		return d.err
	})
}

func (d *writer) goroutines() error {
	return d.r.Goroutines(func(g *goruntime.Goroutine) error {
		d.stats.Goroutines++
		d.uints(tagGoroutine, g.Addr, g.SP, g.ID, g.CreatedPC, g.Status)
		d.bool(g.System)
		d.uints(0, g.WaitSince)
		d.string(g.WaitReason)
		d.uints(g.Context, g.Machine, g.Defer, g.Panic)
		child := uint64(0)
		for i := range g.Frames {
			d.frame(&g.Frames[i], i, child)
			child = g.Frames[i].SP
		}
		for _, x := range g.Defers {
			d.uints(tagDefer, x.Addr, g.Addr, x.SP, x.PC, x.Func, x.Code, x.Next)
		}
		for _, x := range g.Panics {
			d.uints(tagPanic, x.Addr, g.Addr, x.Type, x.Data, 0, x.Next)
		}
		return d.err
	})
}

func (d *writer) frame(f *goruntime.Frame, depth int, child uint64) {
	d.uints(tagStackFrame, f.SP, uint64(depth), child, uint64(len(f.Contents)))
	if d.contents {
		d.bytes(f.Contents)
	} else {
		d.redactFrame(f)
	}
	goesOn := f.PC
	if f.Guessed {
		goesOn = heapdump.GuessedFrame
	}
	d.uints(f.Entry, f.PC, goesOn)
	name := f.Func
	if name == "" {
		name = "unknown function"
	}
	d.string(name)
	for _, off := range f.Pointers {
		d.uints(fieldPtr, off)
	}
	d.uint(fieldEnd)
}

func (d *writer) segments() error {
	if err := d.segment(tagData, d.r.Data()); err != nil {
		return err
	}
	return d.segment(tagBSS, d.r.BSS())
}

func (d *writer) segment(tag uint64, s *goruntime.Segment) error {
	b, err := d.r.Memory(s.Addr, s.End-s.Addr)
	if err != nil {
		return err
	}
	d.uints(tag, s.Addr, uint64(len(b)))
	if d.contents {
		d.bytes(b)
	} else {
		d.redactSegment(s, b)
	}
	for off := uint64(0); off+8 <= uint64(len(b)); off += 8 {
		if s.Pointer(off) {
			d.uints(fieldPtr, off)
		}
	}
	d.uint(fieldEnd)
	return nil
}

func (d *writer) finalizers() error {
	set, queued := d.r.Finalizers()
	for _, f := range set {
		d.uints(tagFinalizer, f.Object, f.Func, f.Code, f.Types[0], f.Types[1])
	}
	for _, f := range queued {
		d.uints(tagQueuedFinalizer, f.Object, f.Func, f.Code, f.Types[0], f.Types[1])
	}
	return nil
}

func (d *writer) roots() error {
	for _, x := range d.r.Roots() {
		d.uint(tagOtherRoot)
		d.string(x.Description)
		d.uint(x.Addr)
	}
	return nil
}

// memStats writes what is known of runtime.MemStats: bytes and objects in use.
func (d *writer) memStats() error {
	const alloc, heapAlloc, heapObjects, numbers = 0, 6, 11, 24 + 256 + 1
	var m [numbers]uint64
	m[alloc], m[heapAlloc], m[heapObjects] = d.stats.Bytes, d.stats.Bytes, uint64(d.stats.Objects)
	d.uint(tagMemStats)
	d.uints(m[:]...)
	return nil
}

func (d *writer) profile() error {
	err := d.r.Buckets(func(b *goruntime.Bucket) error {
		d.uints(tagMemProf, b.Addr, b.Size, uint64(len(b.Stack)))
		for _, c := range b.Stack {
			d.string(c.Func)
			d.string(c.File)
			d.uint(uint64(c.Line))
		}
		d.uints(b.Allocs, b.Frees)
		return d.err
	})
	for _, s := range d.r.Samples() {
		d.uints(tagAllocSample, s.Object, s.Bucket)
	}
	return err
}

func wordAt(b []byte, off uint64) uint64 { return binary.LittleEndian.Uint64(b[off:]) }
