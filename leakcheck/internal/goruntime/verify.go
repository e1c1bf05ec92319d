package goruntime

import (
	"fmt"
	"slices"
)

const checked = 64 // goroutines

// Verify refuses a process in which objects of the runtime are not found where they must be, or do
// not look as they must. Then a field does not mean what it meant, and a dump would be wrong in
// ways that nobody sees. It covers each of the ways in which objects say where their pointers are,
// but for those with a span of their own, of which a small process has none.
func (r *Runtime) Verify() error {
	err := r.verify()
	if failed := r.take(); err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("a dump of this process would not be trustworthy: %w (%s is not known, or the process was not stopped)", err, r.Version)
	}
	return nil
}

func (r *Runtime) verify() error {
	for _, check := range []func() error{r.verifyVariables, r.verifyProcessors, r.verifyGoroutines, r.verifyStacks, r.verifyRecords} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// verifyVariables looks at the masks of variables: a slice is a pointer and two numbers, a string a
// pointer and one.
func (r *Runtime) verifyVariables() error {
	for name, kind := range map[string]string{"runtime.allp": "pnn", "runtime.allgs": "pnn", "runtime.waitReasonStrings": "pnpnpnpnpn"} {
		for i, k := range kind {
			at := r.variable(name) + 8*uint64(i)
			if r.isPointer(at) != (k == 'p') {
				return fmt.Errorf("the word at %#x, of the variable %s, is marked as what it is not", at, name)
			}
		}
	}
	return nil
}

// verifyProcessors looks at the runtime's processors: a variable refers to an array, and that to
// structs of a known type.
func (r *Runtime) verifyProcessors() error {
	all := r.slice(r.variable("runtime.allp"))
	if all.len == 0 || all.len > 1<<16 {
		return fmt.Errorf("runtime.allp has %d elements", all.len)
	}
	array, err := r.object(all.at, "the array of runtime.allp")
	if err != nil {
		return err
	}
	words := slices.Collect(array.Pointers())
	for i := range all.len {
		p := r.u64(all.at + 8*i)
		what := fmt.Sprintf("the struct of P %d", i)
		if !slices.Contains(words, 8*i) {
			return fmt.Errorf("the array of runtime.allp has no pointer to %s", what)
		}
		o, err := r.object(p, what)
		if err != nil {
			return err
		}
		if name := r.typeName(o.Type); name != "runtime.p" {
			return fmt.Errorf("%s at %#x has the type %q", what, p, name)
		}
		if o.mask == nil || o.mask.size != r.x.size["runtime.p"] || !slices.Contains(slices.Collect(o.Pointers()), 8+r.x.offset["runtime.p.sudogcache"]) {
			return fmt.Errorf("%s at %#x has no pointer in its field sudogcache", what, p)
		}
		if id := r.u32(r.at(p, "runtime.p.id")); uint64(id) != i {
			return fmt.Errorf("%s at %#x says that it is %d", what, p, id)
		}
	}
	return nil
}

// verifyGoroutines looks at the structs of goroutines, which are small objects.
func (r *Runtime) verifyGoroutines() error {
	n := 0
	for _, g := range r.goroutines {
		if !r.InHeap(g) {
			continue // the first thread's is a variable
		}
		what := fmt.Sprintf("the struct of goroutine %d", r.field(g, "runtime.g.goid"))
		o, err := r.object(g, what)
		if err != nil {
			return err
		}
		if o.Size < r.x.size["runtime.g"] {
			return fmt.Errorf("%s at %#x has %d bytes", what, g, o.Size)
		}
		words := slices.Collect(o.Pointers())
		for _, f := range []string{"m", "_defer", "_panic"} {
			if !slices.Contains(words, r.x.offset["runtime.g."+f]) {
				return fmt.Errorf("%s at %#x has no pointer in its field %s", what, g, f)
			}
		}
		if n++; n == checked {
			break
		}
	}
	if n == 0 {
		return fmt.Errorf("none of its %d goroutines is an object of its heap", len(r.goroutines))
	}
	return nil
}

// verifyStacks looks at where goroutines began, and at the stacks of those that sleep.
func (r *Runtime) verifyStacks() error {
	asleep, known := 0, 0
	for _, addr := range r.goroutines[:min(checked, len(r.goroutines))] {
		g := r.goroutine(addr)
		start := r.field(addr, "runtime.g.startpc")
		f, _ := r.function(start)
		if start != 0 && f.entry != start {
			return fmt.Errorf("goroutine %d began at %#x, where no function begins", g.ID, start)
		}
		if g.ID == 1 && f.name != "runtime.main" {
			return fmt.Errorf("goroutine 1 began with the function %q", f.name)
		}
		if g.Status != statusWaiting || len(g.Frames) == 0 {
			continue
		}
		asleep++
		last := &g.Frames[len(g.Frames)-1]
		if last.Func == "runtime.goexit" && !slices.ContainsFunc(g.Frames, func(f Frame) bool { return f.Guessed }) {
			known++
		}
	}
	if asleep > 0 && known == 0 {
		return fmt.Errorf("of %d goroutines that sleep no stack could be read to its end", asleep)
	}
	return nil
}

// verifyRecords looks at what is attached to objects: functions are code, and samples are of the
// heap profile.
func (r *Runtime) verifyRecords() error {
	buckets := map[uint64]bool{}
	at := r.u64(r.variable("runtime.mbuckets"))
	for ; at != 0 && len(buckets) < maxBuckets && !buckets[at] && r.err == nil; at = r.field(at, "runtime.bucket.allnext") {
		buckets[at] = true
	}
	for _, x := range r.samples {
		if !buckets[x.Bucket] {
			return fmt.Errorf("the object at %#x was sampled by %#x, which is not in the heap profile", x.Object, x.Bucket)
		}
	}
	for _, x := range r.specials {
		switch {
		case x.kind == specialFinalizer && !r.IsFunction(x.code):
			return fmt.Errorf("the object at %#x has a finalizer at %#x, where no function begins", x.object, x.code)
		case x.kind == specialCleanup && !r.IsFunction(x.code):
			return fmt.Errorf("the object at %#x has a cleanup at %#x, where no function begins", x.object, x.code)
		}
	}
	return nil
}

// isPointer tells whether an address is in a segment of variables, at a word that is marked as a
// pointer.
func (r *Runtime) isPointer(addr uint64) bool {
	for _, s := range []*Segment{r.Data(), r.BSS()} {
		if addr >= s.Addr && addr < s.End {
			return s.Pointer(addr - s.Addr)
		}
	}
	return false
}

// object is the object whose first value begins at an address.
func (r *Runtime) object(addr uint64, what string) (*Object, error) {
	s := r.spanOf(addr)
	if s == nil {
		return nil, fmt.Errorf("%s at %#x is not in the heap", what, addr)
	}
	i := (addr - s.base) / s.elem
	start := s.base + i*s.elem
	o := &Object{Addr: start, Size: s.elem}
	if !s.noPointers() && s.elem > bitsInSpan && !s.large() {
		start += 8 // its type comes first
	}
	if addr != start || !s.used(i) {
		return nil, fmt.Errorf("%s at %#x is no object that is in use", what, addr)
	}
	memory := r.bytes(s.base, s.npages*pageSize, 1<<30)
	if r.err != nil {
		return nil, r.take()
	}
	o.Contents = memory[o.Addr-s.base : o.Addr-s.base+s.elem]
	r.layOut(o, s, r.bitmap(s, memory))
	return o, r.take()
}
