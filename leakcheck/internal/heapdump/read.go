package heapdump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

const header = "go1.7 heap dump\n"

// Tags of runtime/heapdump.go.
const (
	tagEOF = iota
	tagObject
	tagOtherRoot
	tagType
	tagGoroutine
	tagStackFrame
	tagParams
	tagFinalizer
	tagItab
	tagOSThread
	tagMemStats
	tagQueuedFinalizer
	tagData
	tagBSS
	tagDefer
	tagPanic
	tagMemProf
	tagAllocSample
)

const (
	maxString  = 1 << 20
	maxStack   = 1 << 12
	maxSegment = 1 << 40
	maxFrame   = 1 << 31
	windowSize = 1 << 18 // of the file in memory at once: it fits into a core's cache
	windowRoom = windowSize
	maxLayout  = 100 // bytes of a list of pointers that name more than shownWords
)

// ErrNotDump is wrapped by the error for a file that is no heap dump.
var ErrNotDump = errors.New("not a Go heap dump")

// ErrShort is wrapped by the error for a dump that ends too early.
var ErrShort = errors.New("the heap dump is cut short")

// ErrDamaged is wrapped by the error for a dump that contains what no Go runtime writes.
var ErrDamaged = errors.New("the heap dump is damaged")

// Read reads a dump of the given size. It keeps r for Contents. progress, which may be nil,
// is called now and then with the bytes read so far.
func Read(r io.ReaderAt, size int64, progress func(done, total int64)) (*Dump, error) {
	c, err := openCompact(r, size)
	if err != nil {
		return nil, fmt.Errorf("heapdump: %w", err)
	}
	if c != nil {
		return read(c, c.size, min(c.size/bytesAnObject, size/leastAnObject), progress)
	}
	return read(r, size, size/bytesAnObject, progress)
}

// ReadObjects is Read for a dump of which the number of objects is known. Read reserves memory for
// what a dump of that size usually holds, which is too much where objects are large: what is
// reserved counts as live heap.
func ReadObjects(r io.ReaderAt, size int64, objects int) (*Dump, error) {
	return read(r, size, min(int64(objects)+1, size/bytesAnObject), nil)
}

func read(r io.ReaderAt, size, objects int64, progress func(done, total int64)) (*Dump, error) {
	p := &parser{
		d:         &Dump{file: newCache(r), size: size, types: map[uint64]Type{}, itabs: map[uint64]uint64{}},
		leastItab: math.MaxUint64,
		c:         cursor{r: r, size: size, ahead: newAhead(r, size)},
		strings:   map[string]string{},
		progress:  progress,
	}
	p.reserve(objects)
	err := p.run()
	p.c.ahead.stop()
	if err == nil {
		err = p.resolve()
	}
	if err != nil {
		return nil, fmt.Errorf("heapdump: %w", err)
	}
	return p.d, nil
}

// A parser holds what a dump is before addresses become object numbers.
type parser struct {
	d *Dump
	c cursor

	at   int64 // where the record that is being read begins
	tell int64 // from where on to call progress again

	// By object, in the order of the file.
	addr      []uint64
	words     []uint32
	pos       []int64
	edgeStart []uint32
	layout    []int32

	page       pageRead
	list       []byte // the pointers of the object that is being read, where they are not in the window
	lastList   []byte
	lastLayout int32
	layouts    map[string]int32 // by the bytes of the list

	target     []uint64 // address, by edge, or with behindItab
	targetWord []uint32

	leastItab, mostItab uint64
	lateItabs           bool // some came after objects

	rootTarget  []uint64
	buckets     map[uint64]int32
	samples     []sample
	goroutineAt map[uint64]int
	fixups      []fixup
	strings     map[string]string
	progress    func(done, total int64)
}

type sample struct{ addr, bucket uint64 }

// A fixup is an address to turn into an object number once all objects are known.
type fixup struct {
	addr uint64
	set  func(int32)
}

const (
	// bytesAnObject is how many bytes of a dump most programs have for each object, or less.
	bytesAnObject = 64
	// leastAnObject is the same of a compact file, in which contents take no place.
	leastAnObject = 10
)

// reserve makes room for so many objects, and as many edges. Pages that are never touched cost
// nothing, while growing by doubling would copy, and hold both copies.
func (p *parser) reserve(objects int64) {
	n := int(min(objects, math.MaxInt32))
	p.addr = make([]uint64, 0, n)
	p.words = make([]uint32, 0, n)
	p.pos = make([]int64, 0, n)
	p.edgeStart = make([]uint32, 0, n)
	p.layout = make([]int32, 0, n)
	p.target = make([]uint64, 0, n)
	p.targetWord = make([]uint32, 0, n)
	p.buckets = map[uint64]int32{}
	p.goroutineAt = map[uint64]int{}
	p.layouts = map[string]int32{}
	p.d.layouts = [][]uint32{manyWords: nil}
}

func (p *parser) run() error {
	if err := p.header(); err != nil {
		return err
	}
	for {
		p.begin()
		tag := p.c.uint()
		if p.c.err == nil && tag != tagParams && p.d.PtrSize == 0 {
			return errors.New("the dump does not begin with its parameters: this version is not known")
		}
		if p.c.err == nil && tag == tagEOF {
			p.endPage()
			return nil
		}
		var err error
		if p.c.err == nil {
			err = p.record(tag)
		}
		if p.c.err != nil {
			err = p.c.err // what a cut file says makes no sense
		}
		if err != nil {
			return fmt.Errorf("at byte %d of %d: %w", p.at, p.c.size, err)
		}
	}
}

// damaged is an error for what no Go runtime writes.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// missing is the error for a record that claims n more bytes than the file has: a file that was
// cut, if a process may have so many.
func missing(n, most uint64) error {
	if n > most {
		return damaged("a record of %d bytes", n)
	}
	return ErrShort
}

// begin notes where a record begins, and tells of it now and then.
func (p *parser) begin() {
	p.at = p.c.offset()
	if p.at >= p.tell && p.progress != nil {
		p.progress(p.at, p.c.size)
		p.tell = p.at + 8<<20
	}
}

func (p *parser) header() error {
	b := p.c.bytes(len(header))
	if p.c.err != nil && !errors.Is(p.c.err, ErrShort) {
		return p.c.err
	}
	if string(b) == header {
		return nil
	}
	start := make([]byte, min(p.c.size, 64))
	if _, err := p.c.r.ReadAt(start, 0); err != nil && err != io.EOF {
		return err
	}
	first, _, _ := strings.Cut(string(start), "\n")
	switch {
	case strings.HasPrefix(header, string(start)):
		return ErrShort
	case strings.HasPrefix(first, "go1.") && strings.HasSuffix(first, " heap dump"):
		return fmt.Errorf("a dump of another version: it says %q, known is %q", first, strings.TrimSpace(header))
	}
	if other := otherFile(start); other != "" {
		return fmt.Errorf("%w, but %s", ErrNotDump, other)
	}
	return ErrNotDump
}

func (p *parser) record(tag uint64) error {
	switch tag {
	case tagObject:
		return p.objects()
	case tagOtherRoot:
		p.otherRoot()
	case tagType:
		p.typ()
	case tagGoroutine:
		p.goroutine()
	case tagStackFrame:
		return p.frame()
	case tagParams:
		return p.params()
	case tagFinalizer, tagQueuedFinalizer:
		p.finalizer(tag == tagQueuedFinalizer)
	case tagItab:
		p.itab()
	case tagOSThread:
		p.c.skipUints(3)
	case tagMemStats:
		p.c.skipUints(24 + 256 + 1)
	case tagData:
		return p.segment(&p.d.Data)
	case tagBSS:
		return p.segment(&p.d.BSS)
	case tagDefer:
		p.deferred()
	case tagPanic:
		p.panicking()
	case tagMemProf:
		return p.memProf()
	case tagAllocSample:
		if p.samples == nil {
			p.samples = make([]sample, 0, len(p.addr)) // all objects come before, and each has one at most
		}
		p.samples = append(p.samples, sample{p.c.uint(), p.c.uint()})
	default:
		return damaged("unknown record %d; or it is of a Go release that is newer than this leakcheck", tag)
	}
	return nil
}

func (p *parser) params() error {
	d := p.d
	d.bigEndian = p.c.uint() != 0
	ptr := p.c.uint()
	d.HeapStart, d.HeapEnd = p.c.uint(), p.c.uint()
	d.Arch = p.string()
	d.GoVersion = p.string()
	p.c.uint()
	if p.c.err == nil && ptr != 4 && ptr != 8 {
		return fmt.Errorf("pointers of %d bytes: this dump's version is not known", ptr)
	}
	d.PtrSize = int(ptr)
	return nil
}

// objects reads one object, and the objects that follow it in the window. All the time is spent
// here.
func (p *parser) objects() error {
	for {
		if err := p.object(); err != nil || p.c.err != nil {
			return err
		}
		if p.c.i >= len(p.c.buf) || p.c.buf[p.c.i] != tagObject {
			return nil
		}
		p.begin()
		p.c.i++
	}
}

// object reads one object. The record is in the window as a whole, unless it is large.
func (p *parser) object() error {
	addr, n := p.c.uint(), p.c.uint()
	if err := p.addObject(addr, n); err != nil || p.c.err != nil {
		return err
	}
	if n > windowSize/4 || p.d.PtrSize != 8 || p.d.bigEndian {
		p.list = p.list[:0]
		err := p.fields(n, func(off, ptr uint64) {
			p.addEdge(off, ptr)
			if len(p.list) < maxLayout {
				p.list = binary.AppendUvarint(append(p.list, 1), off)
			}
		})
		p.addLayout(p.list)
		return err
	}
	if len(p.c.buf)-p.c.i < int(n)*2+16 {
		p.c.need(int(n)*2 + 16)
	}
	rest := p.c.buf[p.c.i:]
	if uint64(len(rest)) < n {
		return ErrShort
	}
	read, err := p.addEdges(rest[:n], rest[n:])
	p.c.i += int(n) + read
	return err
}

// addEdges adds the pointers in the contents that the list names, and returns how long the list is.
func (p *parser) addEdges(contents, list []byte) (read int, err error) {
	start, end := p.d.HeapStart, p.d.HeapEnd
	for i := 0; i < len(list); {
		switch kind := list[i]; kind {
		case 0:
			p.addLayout(list[:i])
			return i + 1, nil
		case 1:
		default:
			return 0, unknownField(uint64(kind))
		}
		off, n := uint64(0), 1
		if i+1 < len(list) && list[i+1] < 0x80 {
			off = uint64(list[i+1])
		} else if off, n = binary.Uvarint(list[i+1:]); n <= 0 {
			break
		}
		if off > uint64(len(contents)) || uint64(len(contents))-off < 8 {
			return 0, damaged("pointer at offset %d of an object of %d bytes", off, len(contents))
		}
		if ptr := binary.LittleEndian.Uint64(contents[off:]); ptr >= start && ptr < end {
			if off >= 8 && p.isItab(binary.LittleEndian.Uint64(contents[off-8:])) {
				ptr |= behindItab
			}
			p.target = append(p.target, ptr)
			p.targetWord = append(p.targetWord, uint32(off/8))
		}
		i += 1 + n
	}
	if p.c.base+int64(len(p.c.buf)) < p.c.size {
		return 0, damaged("an object of %d bytes with a list of pointers that does not end", len(contents))
	}
	return 0, ErrShort
}

func (p *parser) addObject(addr, n uint64) error {
	d := p.d
	word := uint64(d.PtrSize)
	switch {
	case p.c.err != nil:
		return nil
	case n == 0 || n&(word-1) != 0 || n/word > math.MaxUint32 || addr < d.HeapStart || addr > d.HeapEnd || n > d.HeapEnd-addr:
		return damaged("an object of %d bytes at %#x", n, addr)
	case n > uint64(p.c.size-p.c.offset()):
		return ErrShort
	case len(p.addr) == math.MaxInt32-1 || uint64(len(p.target)) >= math.MaxUint32:
		return errors.New("more than 2 billion objects or 4 billion pointers")
	}
	if page := addr >> pageShift; page != p.page.number || len(p.addr) == 0 {
		p.endPage()
		p.page = pageRead{number: page, first: len(p.addr)}
	}
	p.addr = append(p.addr, addr)
	p.words = append(p.words, uint32(n/word))
	p.pos = append(p.pos, p.c.offset())
	p.edgeStart = append(p.edgeStart, uint32(len(p.target)))
	return nil
}

// addLayout notes which words of the last object may hold pointers.
func (p *parser) addLayout(list []byte) {
	if len(list) > 0 {
		p.page.pointers = true
	}
	if len(p.layout) == 0 || !bytes.Equal(list, p.lastList) {
		p.lastList = append(p.lastList[:0], list...)
		p.lastLayout = p.layoutOf(list)
	}
	p.layout = append(p.layout, p.lastLayout)
}

func (p *parser) layoutOf(list []byte) int32 {
	if id, ok := p.layouts[string(list)]; ok {
		return id
	}
	var words []uint32
	for rest := list; len(rest) > 0; {
		if len(words) == shownWords {
			return manyWords
		}
		off, n := binary.Uvarint(rest[1:])
		rest = rest[1+n:]
		words = append(words, uint32(off/uint64(p.d.PtrSize)))
	}
	id := int32(len(p.d.layouts))
	p.d.layouts = append(p.d.layouts, words)
	p.layouts[string(list)] = id
	return id
}

// behindItab marks the address that an edge leads to when the word before the pointer may be an
// itab. No heap is there.
const behindItab = 1 << 63

func (p *parser) isItab(word uint64) bool {
	if word < p.leastItab || word > p.mostItab {
		return false
	}
	_, ok := p.d.itabs[word]
	return ok
}

// addEdge does not see the word before the pointer.
func (p *parser) addEdge(off, ptr uint64) {
	if ptr >= p.d.HeapStart && ptr < p.d.HeapEnd {
		p.target = append(p.target, ptr|behindItab)
		p.targetWord = append(p.targetWord, uint32(off/uint64(p.d.PtrSize)))
	}
}

func unknownField(kind uint64) error {
	return damaged("unknown kind of field %d", kind)
}

// fields reads n bytes of contents and the list of pointers that follows, through a second
// cursor, so that neither has to fit into memory.
func (p *parser) fields(n uint64, f func(off, ptr uint64)) error {
	if n > uint64(p.c.size-p.c.offset()) {
		return missing(n, maxSegment)
	}
	contents := cursor{r: p.c.r, size: p.c.size, base: p.c.offset(), buf: make([]byte, 0, min(windowSize, n+16))}
	start := p.c.offset()
	p.c.skip(int64(n))
	for {
		switch kind := p.c.uint(); {
		case p.c.err != nil || kind == 0:
			return p.c.err
		case kind != 1:
			return unknownField(kind)
		}
		off := p.c.uint()
		if off >= n || n-off < uint64(p.d.PtrSize) {
			continue // a frame's list may name the caller's part of the stack
		}
		at := start + int64(off)
		if at < contents.offset() {
			return damaged("pointers that are not in order") // seeking back and forth could take without end
		}
		contents.skip(at - contents.offset())
		b := contents.bytes(p.d.PtrSize)
		if contents.err != nil {
			return contents.err
		}
		f(off, wordOf(b, p.d.PtrSize, p.d.bigEndian))
	}
}

func (p *parser) roots(n uint64) (Roots, error) {
	lo := len(p.rootTarget)
	err := p.fields(n, func(off, ptr uint64) {
		if ptr >= p.d.HeapStart && ptr < p.d.HeapEnd {
			p.rootTarget = append(p.rootTarget, ptr)
			p.d.rootWord = append(p.d.rootWord, uint32(off/uint64(p.d.PtrSize)))
		}
	})
	return Roots{lo, len(p.rootTarget)}, err
}

func (p *parser) segment(s *Segment) error {
	s.Addr = p.c.uint()
	n := p.c.uint()
	if n > uint64(p.c.size-p.c.offset()) {
		return missing(n, maxSegment)
	}
	s.Len, s.filePo = int64(n), p.c.offset()
	var err error
	s.Roots, err = p.roots(n)
	return err
}

func (p *parser) goroutine() {
	g := Goroutine{Context: None}
	g.Addr = p.c.uint()
	p.c.uint() // sp
	g.ID = p.c.uint()
	g.CreatedPC = p.c.uint()
	g.Status = p.c.uint()
	g.System = p.c.uint() != 0
	p.c.uint() // background, never set
	g.WaitSince = p.c.uint()
	g.WaitReason = p.string()
	i := len(p.d.Goroutines)
	p.fix(p.c.uint(), func(o int32) { p.d.Goroutines[i].Context = o })
	p.c.skipUints(3) // m, first defer, first panic
	p.goroutineAt[g.Addr] = i
	p.d.Goroutines = append(p.d.Goroutines, g)
}

func (p *parser) frame() error {
	f := Frame{Goroutine: len(p.d.Goroutines) - 1}
	if f.Goroutine < 0 {
		return damaged("a stack frame before any goroutine")
	}
	f.SP = p.c.uint()
	f.Depth = int(min(p.c.uint(), math.MaxInt32))
	p.c.uint() // sp of the callee
	n := p.c.uint()
	if n > uint64(p.c.size-p.c.offset()) {
		return missing(n, maxFrame)
	}
	f.Len, f.filePo = int64(n), p.c.offset()
	// The words that name the frame stand between its contents and its pointers.
	start := p.c.offset()
	p.c.skip(int64(n))
	f.Entry, f.PC = p.c.uint(), p.c.uint()
	f.Guessed = p.c.uint() == GuessedFrame
	f.Func = p.string()
	lo := len(p.rootTarget)
	if err := p.frameFields(start, n); err != nil {
		return err
	}
	f.Roots = Roots{lo, len(p.rootTarget)}
	g := &p.d.Goroutines[f.Goroutine]
	g.Frames = append(g.Frames, len(p.d.Frames))
	p.d.Frames = append(p.d.Frames, f)
	return nil
}

func (p *parser) frameFields(start int64, n uint64) error {
	var contents []byte
	for {
		switch kind := p.c.uint(); {
		case p.c.err != nil || kind == 0:
			return p.c.err
		case kind != 1:
			return unknownField(kind)
		}
		off := p.c.uint()
		if off >= n || n-off < uint64(p.d.PtrSize) {
			continue // the list may name the caller's part of the stack
		}
		if contents == nil {
			contents = make([]byte, n)
			if _, err := p.c.r.ReadAt(contents, start); err != nil && err != io.EOF {
				return err
			}
		}
		ptr := wordOf(contents[off:], p.d.PtrSize, p.d.bigEndian)
		if ptr >= p.d.HeapStart && ptr < p.d.HeapEnd {
			p.rootTarget = append(p.rootTarget, ptr)
			p.d.rootWord = append(p.d.rootWord, uint32(off/uint64(p.d.PtrSize)))
		}
	}
}

func (p *parser) otherRoot() {
	i := len(p.d.Others)
	p.d.Others = append(p.d.Others, OtherRoot{Description: p.string(), Object: None})
	p.fix(p.c.uint(), func(o int32) { p.d.Others[i].Object = o })
}

func (p *parser) finalizer(queued bool) {
	i := len(p.d.Finalizers)
	p.d.Finalizers = append(p.d.Finalizers, Finalizer{Object: None, Func: None, Queued: queued})
	p.fix(p.c.uint(), func(o int32) { p.d.Finalizers[i].Object = o })
	p.fix(p.c.uint(), func(o int32) { p.d.Finalizers[i].Func = o })
	p.d.Finalizers[i].Code = p.c.uint()
	p.c.uint() // type of the function's parameter
	p.d.Finalizers[i].Type = p.c.uint()
}

func (p *parser) deferred() {
	i := len(p.d.Defers)
	p.c.uint() // address of the record
	p.d.Defers = append(p.d.Defers, Defer{Goroutine: p.goroutineOf(p.c.uint()), Func: None})
	p.c.skipUints(2) // sp, pc
	p.fix(p.c.uint(), func(o int32) { p.d.Defers[i].Func = o })
	p.d.Defers[i].Code = p.c.uint()
	p.c.uint() // next
}

func (p *parser) panicking() {
	i := len(p.d.Panics)
	p.c.uint() // address of the record
	p.d.Panics = append(p.d.Panics, Panic{Goroutine: p.goroutineOf(p.c.uint()), Arg: None})
	p.c.uint() // type of the argument
	p.fix(p.c.uint(), func(o int32) { p.d.Panics[i].Arg = o })
	p.c.skipUints(2)
}

func (p *parser) goroutineOf(addr uint64) int {
	if i, ok := p.goroutineAt[addr]; ok {
		return i
	}
	return None
}

func (p *parser) typ() {
	addr := p.c.uint()
	t := Type{Size: p.c.uint(), Name: p.string()}
	p.c.uint() // indirect in an interface
	p.d.types[addr] = t
}

func (p *parser) itab() {
	addr := p.c.uint()
	p.d.itabs[addr] = p.c.uint()
	p.leastItab, p.mostItab = min(p.leastItab, addr), max(p.mostItab, addr)
	p.lateItabs = p.lateItabs || len(p.addr) > 0
}

func (p *parser) memProf() error {
	a := Alloc{Bucket: p.c.uint(), Size: p.c.uint()}
	n := p.c.uint()
	if n > maxStack {
		return damaged("an allocation stack of %d calls", n)
	}
	for range n {
		c := Call{Func: p.string(), File: p.string(), Line: int(min(p.c.uint(), math.MaxInt32))}
		if p.c.err != nil {
			return nil
		}
		a.Stack = append(a.Stack, c)
	}
	a.Allocs, a.Frees = p.c.uint(), p.c.uint()
	p.buckets[a.Bucket] = int32(len(p.d.Allocs))
	p.d.Allocs = append(p.d.Allocs, a)
	return nil
}

func (p *parser) fix(addr uint64, set func(int32)) {
	if addr != 0 {
		p.fixups = append(p.fixups, fixup{addr, set})
	}
}

// string reads a string; equal ones share memory, because files and functions repeat in every
// stack.
func (p *parser) string() string {
	n := p.c.uint()
	if n > maxString {
		p.c.fail(damaged("a name of %d bytes", n))
		return ""
	}
	b := p.c.bytes(int(n))
	if s, ok := p.strings[string(b)]; ok {
		return s
	}
	s := string(b)
	p.strings[s] = s
	return s
}

func wordOf(b []byte, size int, big bool) uint64 {
	switch {
	case size == 8 && !big:
		return binary.LittleEndian.Uint64(b)
	case size == 8:
		return binary.BigEndian.Uint64(b)
	case !big:
		return uint64(binary.LittleEndian.Uint32(b))
	default:
		return uint64(binary.BigEndian.Uint32(b))
	}
}
