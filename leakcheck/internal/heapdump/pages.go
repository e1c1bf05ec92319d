package heapdump

import (
	"sort"
	"strings"
)

const (
	pageShift  = 13 // of the runtime's pages
	pageSize   = 1 << pageShift
	blockShift = 20
	blockPages = 1 << (blockShift - pageShift)
)

// pages find the object at an address. The objects of a page follow each other in the file, and
// have one size: where none is missing, a multiplication tells which it is.
type pages struct {
	start  uint64           // number of the first block
	direct []int32          // by number of the block, less start: its index in blocks, or None
	sparse map[uint64]int32 // the same, where the blocks are far apart
	blocks [][blockPages]page
}

// A page is a page of the heap.
type page struct {
	first, last int32  // the objects that begin in it
	before      int32  // the object that begins before it and reaches into it, or None
	offset      uint32 // of the first
	size        uint32 // of each, if none is missing between them; otherwise 0
	magic       uint32 // 1<<32 / size, rounded up
}

// newPages returns nil when the objects of a page do not follow each other, when objects overlap,
// or when the pages are so far apart that the index would be larger than the dump.
func newPages(d *Dump) *pages {
	if len(d.addr) == 0 {
		return &pages{}
	}
	least, most := d.addr[0], d.addr[0]
	for _, a := range d.addr {
		least, most = min(least, a), max(most, a)
	}
	x := &pages{start: least >> blockShift}
	if n := most>>blockShift - x.start + 1; n < uint64(d.size)/4+1<<12 {
		x.direct = make([]int32, n)
		for i := range x.direct {
			x.direct[i] = None
		}
	} else {
		x.sparse = map[uint64]int32{}
	}
	for i := 0; i < len(d.addr); {
		number := d.addr[i] >> pageShift
		last := i + 1
		for last < len(d.addr) && d.addr[last]>>pageShift == number {
			if d.addr[last]-d.addr[last-1] < d.Size(int32(last-1)) || d.addr[last] < d.addr[last-1] {
				return nil
			}
			last++
		}
		if !x.add(d, number, i, last) {
			return nil
		}
		i = last
	}
	return x
}

// add enters the objects of one page. It fails when the page is known already.
func (x *pages) add(d *Dump, number uint64, first, last int) bool {
	p := x.make(d, number)
	start := uint32(d.addr[first] & (pageSize - 1))
	if p == nil || p.first != p.last {
		return false
	}
	if p.before != None && d.addr[p.before]+d.Size(p.before) > d.addr[first] {
		return false
	}
	p.first, p.last, p.offset = int32(first), int32(last), start
	if size := d.Size(int32(first)); size <= pageSize {
		p.size, p.magic = uint32(size), uint32((1<<32+size-1)/size)
	}
	for i := first + 1; i < last; i++ {
		if d.addr[i]-d.addr[i-1] != uint64(p.size) || d.words[i] != d.words[first] {
			p.size = 0
			break
		}
	}
	return x.reach(d, int32(last-1))
}

// reach enters an object into the pages that it reaches into.
func (x *pages) reach(d *Dump, o int32) bool {
	end := (d.addr[o] + d.Size(o) - 1) >> pageShift
	for number := d.addr[o]>>pageShift + 1; number <= end; number++ {
		p := x.make(d, number)
		if p == nil || p.before != None {
			return false
		}
		p.before = o
		if p.first != p.last && d.addr[o]+d.Size(o) > d.addr[p.first] {
			return false
		}
	}
	return true
}

// make returns a page, and makes its block; nil when there are too many blocks.
func (x *pages) make(d *Dump, number uint64) *page {
	if p := x.at(number); p != nil {
		return p
	}
	block := number >> (blockShift - pageShift)
	if len(x.blocks) > 64+int(d.size>>7) {
		return nil
	}
	if x.direct != nil && block-x.start >= uint64(len(x.direct)) {
		x.direct = append(x.direct, None) // the last object reaches beyond it
		return x.make(d, number)
	}
	x.blocks = append(x.blocks, [blockPages]page{})
	b := &x.blocks[len(x.blocks)-1]
	for i := range b {
		b[i].before = None
	}
	if x.direct != nil {
		x.direct[block-x.start] = int32(len(x.blocks) - 1)
	} else {
		x.sparse[block] = int32(len(x.blocks) - 1)
	}
	return &b[number%blockPages]
}

// at returns a page, or nil when no object is near.
func (x *pages) at(number uint64) *page {
	block, i := number>>(blockShift-pageShift), int32(None)
	if x.direct != nil {
		if block-x.start >= uint64(len(x.direct)) {
			return nil
		}
		i = x.direct[block-x.start]
	} else if k, ok := x.sparse[block]; ok {
		i = k
	}
	if i == None {
		return nil
	}
	return &x.blocks[i][number%blockPages]
}

// Find returns the object that contains the address, or None.
func (d *Dump) Find(addr uint64) int32 {
	if d.pages == nil {
		return d.within(addr, 0, int32(len(d.addr)))
	}
	p := d.pages.at(addr >> pageShift)
	if p == nil {
		return None
	}
	off := uint32(addr & (pageSize - 1))
	switch {
	case p.first == p.last || off < p.offset:
		if p.before != None && addr-d.addr[p.before] < d.Size(p.before) {
			return p.before
		}
		return None
	case p.size != 0:
		if i := p.first + int32(uint64(off-p.offset)*uint64(p.magic)>>32); i < p.last {
			return i
		}
		return None
	}
	return d.within(addr, p.first, p.last)
}

// within is Find among objects that are sorted by address.
func (d *Dump) within(addr uint64, first, last int32) int32 {
	i := first + int32(sort.Search(int(last-first), func(i int) bool { return d.addr[first+int32(i)] > addr })) - 1
	if i < first || addr-d.addr[i] >= d.Size(i) {
		return None
	}
	return i
}

// A pageRead is what is known of a page while its objects are read.
type pageRead struct {
	number   uint64
	first    int  // of its objects
	pointers bool // some object may hold pointers
}

// endPage drops what the runtime takes for objects at the end of a page, and is not: it divides the
// page by the size of its objects, although their heap bits and mark bits stand at the page's end
// (runtime/heapdump.go, dumpobjs; runtime/mheap.go, initSpan).
func (p *parser) endPage() {
	n := len(p.addr)
	if n == p.page.first {
		return
	}
	size := uint64(p.words[n-1]) * uint64(p.d.PtrSize)
	reserved := p.reserved(size)
	if reserved == 0 {
		return
	}
	keep := n
	for keep > p.page.first && p.addr[keep-1]&(pageSize-1)+size > pageSize-reserved {
		keep--
	}
	if keep == n {
		return
	}
	edges := p.edgeStart[keep]
	p.addr, p.words, p.pos, p.edgeStart, p.layout = p.addr[:keep], p.words[:keep], p.pos[:keep], p.edgeStart[:keep], p.layout[:keep]
	p.target, p.targetWord = p.target[:edges], p.targetWord[:edges]
}

// reserved is how many bytes at the end of the page hold no objects of this size.
func (p *parser) reserved(size uint64) (n uint64) {
	word := uint64(p.d.PtrSize)
	if size > word*word*8 { // internal/runtime/gc, MinSizeForMallocHeader
		return 0
	}
	if p.page.pointers {
		n += pageSize / word / 8
	}
	if size >= 16 && p.greenTea() {
		n += 128
	}
	return n
}

// greenTea tells whether the runtime marks small objects within their page.
func (p *parser) greenTea() bool {
	version, experiments, _ := strings.Cut(p.d.GoVersion, "X:") // after a space, from Go 1.27 on after a hyphen
	for e := range strings.SplitSeq(experiments, ",") {
		switch strings.TrimSpace(e) {
		case "greenteagc":
			return true
		case "nogreenteagc":
			return false
		}
	}
	_, minor, _ := strings.Cut(version, "go1.")
	minor, _, _ = strings.Cut(minor, ".")
	return len(minor) > 2 || len(minor) == 2 && minor >= "26" || strings.HasPrefix(version, "devel")
}
