package heapdump

import (
	"cmp"
	"fmt"
	"slices"
)

// resolve numbers the objects by address and turns addresses into numbers.
func (p *parser) resolve() error {
	if err := p.sort(); err != nil {
		return err
	}
	p.d.pages = newPageIndex(p.d)
	p.resolveEdges()
	p.resolveRoots()
	p.resolveSamples()
	for _, f := range p.fixups {
		if f.addr >= p.d.HeapStart && f.addr < p.d.HeapEnd {
			f.set(p.d.Find(f.addr))
		}
	}
	return nil
}

// An order says which stretches of the file's order follow each other by address. The runtime
// writes span by span, so the objects of a page stand together.
type order []run

type run struct{ lo, hi int }

func (p *parser) sort() error {
	var runs order
	for i := range p.addr {
		if i == 0 || p.addr[i]>>pageShift != p.addr[i-1]>>pageShift || p.addr[i] < p.addr[i-1] {
			runs = append(runs, run{i, i})
		}
		runs[len(runs)-1].hi = i + 1
	}
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(p.addr[a.lo], p.addr[b.lo]) })
	runs = p.interleave(runs)
	p.sorted = runs
	p.d.addr = permute(runs, p.addr)
	p.d.words = permute(runs, p.words)
	p.words = nil
	p.d.pos = permute(runs, p.pos)
	p.pos = nil
	for i := 1; i < len(p.d.addr); i++ {
		if p.d.addr[i]-p.d.addr[i-1] < p.d.Size(int32(i-1)) {
			return fmt.Errorf("objects at %#x and %#x overlap", p.d.addr[i-1], p.d.addr[i])
		}
	}
	return nil
}

// interleave splits runs, sorted by their start, until none reaches into the next. No runtime writes a dump that needs it.
func (p *parser) interleave(runs order) order {
	if p.disjoint(runs) {
		return runs
	}
	var all []int
	for _, r := range runs {
		for i := r.lo; i < r.hi; i++ {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b int) int { return cmp.Compare(p.addr[a], p.addr[b]) })
	var out order
	for _, i := range all {
		if n := len(out); n > 0 && out[n-1].hi == i {
			out[n-1].hi++
		} else {
			out = append(out, run{i, i + 1})
		}
	}
	return out
}

func (p *parser) disjoint(runs order) bool {
	for i := 1; i < len(runs); i++ {
		if p.addr[runs[i-1].hi-1] > p.addr[runs[i].lo] {
			return false
		}
	}
	return true
}

func permute[T any](runs order, from []T) []T {
	out := make([]T, 0, len(from))
	for _, r := range runs {
		out = append(out, from[r.lo:r.hi]...)
	}
	return out
}

// resolveEdges leaves the edges in the order of the file, without those that point to no object.
func (p *parser) resolveEdges() {
	d := p.d
	d.edges = make([]int32, 0, len(p.target))
	d.edgeWord = p.targetWord[:0]
	end := make([]uint32, len(p.edgeStart))
	p.edgeStart = append(p.edgeStart, uint32(len(p.target)))
	for i := range end {
		lo, hi := p.edgeStart[i], p.edgeStart[i+1]
		p.edgeStart[i] = uint32(len(d.edges))
		for e := lo; e < hi; e++ {
			if o := d.Find(p.target[e]); o != None {
				d.edges = append(d.edges, o)
				d.edgeWord = append(d.edgeWord, p.targetWord[e])
			}
		}
		end[i] = uint32(len(d.edges))
	}
	d.edgeStart = permute(p.sorted, p.edgeStart)
	d.edgeEnd = permute(p.sorted, end)
	p.target, p.targetWord, p.edgeStart, p.addr = nil, nil, nil, nil
}

// resolveRoots leaves None where a root points to no object: into a stack, or to freed memory.
func (p *parser) resolveRoots() {
	p.d.rootObject = make([]int32, len(p.rootTarget))
	for i, a := range p.rootTarget {
		p.d.rootObject[i] = p.d.Find(a)
	}
}

func (p *parser) resolveSamples() {
	if len(p.samples) == 0 {
		return
	}
	d := p.d
	d.sample = make([]int32, len(d.addr))
	for i := range d.sample {
		d.sample[i] = None
	}
	for _, s := range p.samples {
		o := d.Find(s.addr)
		b, ok := p.buckets[s.bucket]
		if o == None || !ok {
			continue
		}
		if d.sample[o] == None {
			d.Sample++
		}
		d.sample[o] = b
	}
}

// A pageIndex finds the objects around an address without a search of all.
type pageIndex struct {
	start uint64
	first []int32 // by page, the first object that starts in it or later
}

const pageShift = 13

func newPageIndex(d *Dump) pageIndex {
	if len(d.addr) == 0 {
		return pageIndex{}
	}
	start := d.addr[0] >> pageShift
	n := d.addr[len(d.addr)-1]>>pageShift - start + 1
	if n > uint64(d.size)/4+1024 {
		return pageIndex{} // spread so wide that the index would be larger than the dump
	}
	x := pageIndex{start, make([]int32, n+1)}
	page := uint64(0)
	for i, a := range d.addr {
		for ; page <= a>>pageShift-start; page++ {
			x.first[page] = int32(i)
		}
	}
	x.first[n] = int32(len(d.addr))
	return x
}

// around returns the range whose last object at or below addr is the one to look at.
func (x pageIndex) around(addr uint64, n int) (lo, hi int) {
	if x.first == nil {
		return 0, n
	}
	page := addr>>pageShift - x.start
	switch {
	case addr>>pageShift < x.start:
		return 0, 0
	case page >= uint64(len(x.first)-1):
		return n, n
	}
	return int(x.first[page]), int(x.first[page+1])
}
