package heapdump

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// resolve turns addresses into numbers of objects.
func (p *parser) resolve() error {
	d := p.d
	d.addr, d.words, d.pos, d.layout = p.addr, p.words, p.pos, p.layout
	d.edgeStart = append(p.edgeStart, uint32(len(p.target)))
	if d.pages = newPages(d); d.pages == nil {
		if err := p.sort(); err != nil {
			return err
		}
		d.pages = newPages(d) // nil again where the objects are too far apart
	}
	p.resolveEdges()
	p.resolveRoots()
	p.resolveSamples()
	for _, f := range p.fixups {
		if f.addr >= d.HeapStart && f.addr < d.HeapEnd {
			f.set(d.Find(f.addr))
		}
	}
	return nil
}

// sort numbers the objects by address. No runtime writes a dump that needs it: it writes span by
// span, and each page belongs to one span.
func (p *parser) sort() error {
	d := p.d
	order := make([]int32, len(d.addr))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(d.addr[a], d.addr[b]) })
	target, word, start := p.target, p.targetWord, d.edgeStart
	p.target, p.targetWord, d.edgeStart = nil, nil, make([]uint32, 0, len(start))
	for _, o := range order {
		d.edgeStart = append(d.edgeStart, uint32(len(p.target)))
		p.target = append(p.target, target[start[o]:start[o+1]]...)
		p.targetWord = append(p.targetWord, word[start[o]:start[o+1]]...)
	}
	d.edgeStart = append(d.edgeStart, uint32(len(p.target)))
	d.addr, d.words, d.pos, d.layout = permute(order, d.addr), permute(order, d.words), permute(order, d.pos), permute(order, d.layout)
	for i := 1; i < len(d.addr); i++ {
		if d.addr[i]-d.addr[i-1] < d.Size(int32(i-1)) {
			return damaged("objects at %#x and %#x overlap", d.addr[i-1], d.addr[i])
		}
	}
	return nil
}

func permute[T any](order []int32, from []T) []T {
	out := make([]T, 0, len(from))
	for _, o := range order {
		out = append(out, from[o])
	}
	return out
}

// resolveEdges leaves the edges in the order of the file, without those that point to no object.
func (p *parser) resolveEdges() {
	d := p.d
	d.edges = make([]int32, len(p.target))
	d.edgeDelta = make([]uint8, len(p.target))
	parallel(len(p.target), func(lo, hi int) {
		for e := lo; e < hi; e++ {
			target := p.target[e] &^ behindItab
			o := d.Find(target)
			if d.edges[e] = o; o != None {
				d.edgeDelta[e] = edgeDelta(target-d.addr[o], p.lateItabs || target != p.target[e])
			}
		}
	})
	d.edgeWord, p.target = p.targetWord, nil
	n, e := uint32(0), uint32(0)
	for i := range len(d.addr) {
		hi := d.edgeStart[i+1]
		d.edgeStart[i] = n
		for ; e < hi; e++ {
			if d.edges[e] == None {
				continue
			}
			d.edges[n], d.edgeWord[n], d.edgeDelta[n] = d.edges[e], d.edgeWord[e], d.edgeDelta[e]
			n++
		}
	}
	d.edgeStart[len(d.addr)] = n
	d.edges, d.edgeWord, d.edgeDelta = d.edges[:n], d.edgeWord[:n], d.edgeDelta[:n]
}

func edgeDelta(delta uint64, mayBeItab bool) uint8 {
	switch {
	case mayBeItab && delta == 0:
		return afterItab
	case mayBeItab || delta >= afterItab:
		return farAway
	}
	return uint8(delta)
}

// parallel calls f for parts of the numbers below n, at once for a few, and waits.
func parallel(n int, f func(lo, hi int)) {
	const part = 1 << 18
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), 4, n/part+1) {
		wg.Go(func() {
			for lo := int(next.Add(part)) - part; lo < n; lo = int(next.Add(part)) - part {
				f(lo, min(lo+part, n))
			}
		})
	}
	wg.Wait()
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
