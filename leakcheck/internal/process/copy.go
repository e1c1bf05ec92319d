package process

import (
	"cmp"
	"slices"
)

// A Copy holds pieces of memory as they were while the process stood still.
type Copy struct {
	pieces []piece // by address, none overlaps another
	hot    int     // the piece that was found last
}

type piece struct {
	addr uint64
	data []byte
}

// Slice returns the n bytes at addr, if the copy has them in one piece.
func (c *Copy) Slice(addr uint64, n int) ([]byte, bool) {
	if n < 0 || len(c.pieces) == 0 {
		return nil, false
	}
	if b, ok := c.pieces[c.hot].slice(addr, n); ok {
		return b, true
	}
	i, found := slices.BinarySearchFunc(c.pieces, addr, func(p piece, a uint64) int { return cmp.Compare(p.addr, a) })
	if !found {
		i--
	}
	if i < 0 {
		return nil, false
	}
	c.hot = i
	return c.pieces[i].slice(addr, n)
}

func (p *piece) slice(addr uint64, n int) ([]byte, bool) {
	off := addr - p.addr
	if addr < p.addr || off > uint64(len(p.data)) || uint64(n) > uint64(len(p.data))-off {
		return nil, false
	}
	return p.data[off : off+uint64(n)], true
}

// maxGap is less than a page, so what is between two ranges that are so close is in pages that are
// wanted anyway.
const maxGap = 512

// merge sorts ranges and joins those that overlap or nearly touch: a piece has its price.
func merge(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var out []Range
	for _, r := range ranges {
		if r.End <= r.Start {
			continue
		}
		if n := len(out); n > 0 && r.Start <= out[n-1].End+maxGap {
			out[n-1].End = max(out[n-1].End, r.End)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Total is how many bytes Copy takes for ranges.
func Total(ranges []Range) uint64 { return total(merge(ranges)) }

// total is the number of bytes in ranges.
func total(ranges []Range) uint64 {
	var n uint64
	for _, r := range ranges {
		n += r.End - r.Start
	}
	return n
}
