package mapper

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"sync"
	"unsafe"
)

// A state is the state of one call of an executor.
type state struct {
	ctx     context.Context // for ConvertContext
	depth   int             // how much deeper recursive types may nest
	levels  int             // how many more nodes the stack has room for
	many    bool            // the plan runs once for each element of a list
	trees   bool            // copy what several paths lead to once for each path
	repeats int             // additional copies because of trees
	weight  uint64          // the bytes of the parts that were looked up
	weighed uint64          // from this weight on, see whether they overlap
	copies  *copies         // of the kernels
	values  map[place]*shared
	patched map[patching]*shared // of Patch
}

// maxLevels bounds the nodes that are on the stack at once, so that no MaxDepth can exhaust it: a
// node takes less than 3 KiB of it, and Go's limit is 1 GB, or 250 MB on 32 bits.
const maxLevels = 80_000

// start prepares a state for a call. It sets one field after the other: a state that was made as a
// whole would be copied, which takes as long as mapping four fields.
func (st *state) start(p *plan, ctx context.Context) {
	st.ctx = ctx
	st.depth = p.cfg.MaxDepth
	st.levels = maxLevels
	st.trees = p.cfg.Trees
}

// enter counts a recursive node or one that an interface led to. The caller calls leave, unless
// enter fails, which ends the call.
func (st *state) enter(n *node) *failure {
	st.depth--
	st.levels -= n.height
	switch {
	case st.depth < 0:
		return n.fail(errDepth)
	case st.levels < 0:
		return n.fail(errStack)
	}
	return nil
}

func (st *state) leave(n *node) {
	st.depth++
	st.levels += n.height
}

// An origin is a part of the source that several paths may lead to, and how it is mapped: the
// target of a pointer, a map, the array of a slice, what an interface holds. Nodes with the same
// identity make the same copy of it: a plan has one of them, and so has each plan of a type that is
// met in an interface.
type origin struct {
	at   unsafe.Pointer
	node *node
	len  int // of a slice
}

// An identity says what a node makes of an origin. Pointers and slices of all names lead to the
// same, and so do maps.
type identity struct {
	op        op
	elem, key key
}

func (n *node) identity() identity {
	switch {
	case n.op == opOptional && n.from.form == pointer && n.to.form == pointer, n.op == opSlice:
		return identity{op: n.op, elem: n.elem.id()}
	case n.op == opMap:
		return identity{n.op, n.elem.id(), n.key.id()}
	}
	return identity{op: n.op, elem: n.id()}
}

func (n *node) id() key { return key{pair{n.src, n.dst}, n.cfg} }

// is reports whether two origins are one part that is mapped in one way.
func (o *origin) is(other *origin) bool {
	return o.at == other.at && o.len == other.len && (o.node == other.node || o.node.identity() == other.node.identity())
}

// A copied is the copy of an origin. Its field to is nil until the copy is finished. If the origin
// is met again before that, the data is cyclic.
type copied struct {
	origin
	to   unsafe.Pointer
	done bool
}

// copies is a hash table of what one call has copied, by open addressing. At most half of it is
// used.
type copies struct {
	table []copied
	used  int
}

const (
	firstCopies = 32
	mostCopies  = 1 << 12 // a larger table is not reused for the next call
)

var copiesPool = sync.Pool{New: func() any { return &copies{table: make([]copied, firstCopies)} }}

// release empties the table before it is used again: it must not retain what was mapped.
func (st *state) release() {
	c := st.copies
	if c == nil || len(c.table) > mostCopies {
		return
	}
	clear(c.table)
	c.used = 0
	st.copies = nil
	copiesPool.Put(c)
}

// meet looks up the copy of o. From the second time on it returns the copy, or an error if the copy
// is not finished.
func (st *state) meet(o origin) (to unsafe.Pointer, f *failure) {
	if st.copies == nil {
		st.copies = copiesPool.Get().(*copies)
	}
	c := st.copies.find(&o)
	switch {
	case c.done && st.copiesAgain(&o):
		c.done = false
		return nil, st.repeat(&o)
	case c.done:
		return c.to, nil
	case c.at != nil:
		return nil, o.node.fail(errCyclic)
	}
	c.origin = o
	if st.copies.used++; 2*st.copies.used > len(st.copies.table) {
		st.copies.grow()
	}
	return nil, st.weigh(&o)
}

// maxRepeats bounds the additional copies that Options.Trees makes in one call. Otherwise a small
// source could fill the memory.
const maxRepeats = 100_000

func (st *state) copiesAgain(o *origin) bool {
	return st.trees && o.node.op != opDetach && o.node.op != opBytes
}

func (st *state) repeat(o *origin) *failure {
	if st.repeats++; st.repeats > maxRepeats {
		return o.node.fail(errTrees)
	}
	return nil
}

// finish records the copy of o.
func (st *state) finish(o origin, to unsafe.Pointer) {
	c := st.copies.find(&o)
	c.to, c.done = to, true
}

// find returns the entry of o, or the free one where it belongs.
func (c *copies) find(o *origin) *copied {
	mask := len(c.table) - 1
	for i := o.hash() & mask; ; i = (i + 1) & mask {
		if e := &c.table[i]; e.at == nil || e.is(o) {
			return e
		}
	}
}

func (o *origin) hash() int {
	const odd uint64 = 0x9E3779B97F4A7C15
	h := uint64(uintptr(o.at))>>3 ^ uint64(o.len)<<32
	return int(h * odd >> 33)
}

func (c *copies) grow() {
	old := c.table
	size := 2 * len(old)
	if size < mostCopies {
		size *= 2
	}
	c.table = make([]copied, size)
	for i := range old {
		if old[i].at != nil {
			*c.find(&old[i].origin) = old[i]
		}
	}
}

// A shared is what a copied is, for the executor that uses reflection.
type shared struct {
	origin
	value reflect.Value
	done  bool
}

// A place is an origin that can be the key of a map.
type place struct {
	at  unsafe.Pointer
	len int
	identity
}

// meetValue returns the entry of o. If it is a new one, it is not done.
func (st *state) meetValue(o origin) (*shared, *failure) {
	k := place{o.at, o.len, o.node.identity()}
	if s := st.values[k]; s != nil {
		switch {
		case !s.done:
			return nil, o.node.fail(errCyclic)
		case st.copiesAgain(&o):
			s.done = false
			return s, st.repeat(&o)
		}
		return s, nil
	}
	if st.values == nil {
		st.values = map[place]*shared{}
	}
	s := &shared{origin: o}
	st.values[k] = s
	return s, st.weigh(&o)
}

// finish records the copy.
func (s *shared) finish(v reflect.Value) { s.value, s.done = v, true }

// Slices of one array may overlap, and so may pointers into one object. Each is copied apart.
// Without a bound, a source of 1 MB could so become a result of 100 GB.
const (
	freeWeight = 1 << 20 // the bytes of a call that are not checked
	maxOverlap = 4       // how many times the bytes of the source may be copied to one type
)

// weigh counts the bytes of a part that is copied. Whenever their sum has doubled, it checks
// whether the parts overlap too much.
func (st *state) weigh(o *origin) *failure {
	st.weight += o.bytes()
	if st.weight < max(st.weighed, freeWeight) {
		return nil
	}
	st.weighed = 2 * st.weight
	if st.weight > maxOverlap*st.extent() {
		return o.node.fail(errOverlap)
	}
	return nil
}

// bytes is the size of the part. It is 0 for a map, because maps cannot overlap.
func (o *origin) bytes() uint64 { return uint64(o.node.kernel.extent) * uint64(max(o.len, 1)) }

// extent returns how many bytes of the source were copied, each counted once for each type that it
// was mapped to.
func (st *state) extent() (sum uint64) {
	parts := map[identity][]*origin{}
	if st.copies != nil {
		for i := range st.copies.table {
			if o := &st.copies.table[i].origin; o.at != nil {
				parts[o.node.identity()] = append(parts[o.node.identity()], o)
			}
		}
	}
	for k, s := range st.values {
		parts[k.identity] = append(parts[k.identity], &s.origin)
	}
	for _, list := range parts {
		sum += union(list)
	}
	return sum
}

// union returns how many bytes the parts have together.
func union(parts []*origin) (sum uint64) {
	slices.SortFunc(parts, func(a, b *origin) int { return cmp.Compare(uintptr(a.at), uintptr(b.at)) })
	end := uint64(0)
	for _, o := range parts {
		from := uint64(uintptr(o.at))
		if to := from + o.bytes(); to > end {
			sum += to - max(from, end)
			end = to
		}
	}
	return sum
}

// weighText weighs a text whose bytes are copied for each path to it.
func (n *node) weighText(s string, st *state) *failure {
	if len(s) < longText || !n.shares(st) {
		return nil
	}
	o := origin{unsafe.Pointer(unsafe.StringData(s)), n, len(s)}
	switch again, f := st.meet(o); {
	case f != nil:
		return f
	case again != nil:
		return st.weigh(&o)
	}
	st.finish(o, o.at)
	return nil
}

// shares reports whether this call may have mapped the same part with this node before.
func (n *node) shares(st *state) bool { return n.many || st.many }

// findMany marks the nodes that one call may reach twice, and measures all. It follows the plan
// from its root.
func (n *node) findMany(many bool, seen map[identity]*node) {
	id := n.identity()
	switch first := seen[id]; {
	case first == nil:
		seen[id] = n
	case n.many:
		return
	default:
		many = true
		if first != n {
			first.findMany(true, seen)
		}
	}
	n.many = n.many || many
	if n.key != nil {
		n.key.findMany(true, seen)
	}
	if n.elem != nil {
		n.elem.findMany(n.many || n.op == opSlice || n.op == opArray || n.op == opMap, seen)
	}
	for i := range n.fields {
		n.fields[i].node.findMany(n.many, seen)
	}
}

// measure sets the height of n and of what is inside it.
func (n *node) measure() int {
	if n.height > 0 {
		return n.height
	}
	n.height = 1 // also while it is being measured
	h := 0
	inner := func(m *node) {
		if m != nil && !m.recursive {
			h = max(h, m.measure())
		} else if m != nil {
			m.measure()
			h = max(h, 1)
		}
	}
	inner(n.key)
	inner(n.elem)
	for i := range n.fields {
		inner(n.fields[i].node)
	}
	n.height = 1 + h
	return n.height
}
