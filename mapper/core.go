package mapper

import "unsafe"

// A core is what all Mappers have, whatever their types.
type core struct {
	plan *plan
	flat *link // the whole plan, if it consists of moves only
}

func newPlan(root *node, cfg *config) *plan {
	p := &plan{root: root, cfg: cfg}
	p.plan = p
	if k := &root.kernel; k.flat && !onlyReflect {
		p.flat = k.once.flat
	}
	return p
}

// into maps *src to *dst by the Mapper whose core is at mapper. If the plan consists of moves, into
// makes them itself: Into and Map are inlined in their callers, so into is then the only call. The
// Mapper may be nil, and m knows its types. (The first two parameters are one pointer in two forms,
// because one conversion more would make Map too long for the compiler to inline.)
//
// The addresses of four strings are computed before the first string is moved, so that the compiled
// code looks only once whether the collector wants to know of stores.
func into(mapper unsafe.Pointer, m interface{ misused() error }, dst, src unsafe.Pointer) error {
	c := (*core)(mapper)
	if c != nil && dst != nil && src != nil {
		if l := c.flat; l != nil {
			has := l.has
			if has&hasWords != 0 {
				w := &l.words
				*(*[8]byte)(unsafe.Add(dst, uintptr(w[0].dst))) = *(*[8]byte)(unsafe.Add(src, uintptr(w[0].src)))
				*(*[8]byte)(unsafe.Add(dst, uintptr(w[1].dst))) = *(*[8]byte)(unsafe.Add(src, uintptr(w[1].src)))
				*(*[8]byte)(unsafe.Add(dst, uintptr(w[2].dst))) = *(*[8]byte)(unsafe.Add(src, uintptr(w[2].src)))
				*(*[8]byte)(unsafe.Add(dst, uintptr(w[3].dst))) = *(*[8]byte)(unsafe.Add(src, uintptr(w[3].src)))
			}
			if has&hasBytes1 != 0 {
				*(*[1]byte)(unsafe.Add(dst, uintptr(l.bytes1.dst))) = *(*[1]byte)(unsafe.Add(src, uintptr(l.bytes1.src)))
			}
			if has&hasTimes != 0 {
				*(*timeBits)(unsafe.Add(dst, uintptr(l.times.dst))) = *(*timeBits)(unsafe.Add(src, uintptr(l.times.src)))
			}
			if has&hasRare != 0 {
				if has&hasBytes4 != 0 {
					*(*[4]byte)(unsafe.Add(dst, uintptr(l.bytes4.dst))) = *(*[4]byte)(unsafe.Add(src, uintptr(l.bytes4.src)))
				}
				if has&hasBytes16 != 0 {
					*(*[16]byte)(unsafe.Add(dst, uintptr(l.bytes16.dst))) = *(*[16]byte)(unsafe.Add(src, uintptr(l.bytes16.src)))
				}
				if has&hasBytes32 != 0 {
					*(*block32)(unsafe.Add(dst, uintptr(l.bytes32.dst))) = *(*block32)(unsafe.Add(src, uintptr(l.bytes32.src)))
				}
			}
			if has&hasStrings != 0 {
				q := &l.strings
				d0, d1, d2, d3 := unsafe.Add(dst, uintptr(q[0].dst)), unsafe.Add(dst, uintptr(q[1].dst)), unsafe.Add(dst, uintptr(q[2].dst)), unsafe.Add(dst, uintptr(q[3].dst))
				s0, s1, s2, s3 := unsafe.Add(src, uintptr(q[0].src)), unsafe.Add(src, uintptr(q[1].src)), unsafe.Add(src, uintptr(q[2].src)), unsafe.Add(src, uintptr(q[3].src))
				*(*stringBits)(d0) = *(*stringBits)(s0)
				*(*stringBits)(d1) = *(*stringBits)(s1)
				*(*stringBits)(d2) = *(*stringBits)(s2)
				*(*stringBits)(d3) = *(*stringBits)(s3)
			}
			if has&hasMore != 0 {
				l.more(dst, src)
			}
			return nil
		}
	}
	return c.slowInto(m, dst, src)
}

// more makes the moves that have no slot, and those of the next link.
func (l *link) more(dst, src unsafe.Pointer) {
	if l.rest != nil {
		l.rest.runAll(dst, src, 0, 0, 1)
	}
	if l.next.flat != nil {
		_ = into(unsafe.Pointer(&l.next), nil, dst, src)
	}
}
