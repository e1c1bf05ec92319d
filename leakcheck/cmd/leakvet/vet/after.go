package vet

import (
	"go/token"

	"golang.org/x/tools/go/ssa"
)

// checkAfter reports a lease, or memory of it, that is used after Release, or kept by somebody else
// when the function that releases it returns.
func checkAfter(r *reporter, fn *ssa.Function) {
	eachCall(fn, func(b *ssa.BasicBlock, i int, call *ssa.Call) {
		res, ok := made(call)
		if !ok || res.pkg != "pool" {
			return
		}
		w := newWalk(call, res)
		memory := lent(w.values)
		for _, b := range fn.Blocks {
			for i, in := range b.Instrs {
				name, recv := method(in)
				if name != "Release" || !w.values[recv] {
					continue
				}
				if _, deferred := in.(*ssa.Defer); deferred {
					reportKept(r, fn, memory)
					continue
				}
				reportUses(r, b, i+1, call, w, memory, in.Pos())
			}
		}
	})
}

// lent are the values that point into the memory of a lease: the results of Bytes, Slice,
// AvailableBuffer and Value, and slices of these.
func lent(lease map[ssa.Value]bool) map[ssa.Value]bool {
	memory := map[ssa.Value]bool{}
	for v := range lease {
		if v.Referrers() == nil {
			continue
		}
		for _, ref := range *v.Referrers() {
			call, ok := ref.(*ssa.Call)
			if !ok {
				continue
			}
			switch name, recv := method(call); {
			case recv != v:
			case name == "Bytes" || name == "Slice" || name == "AvailableBuffer" || name == "Value":
				memory[call] = true
			}
		}
	}
	for grew := true; grew; {
		grew = false
		for v := range memory {
			for _, ref := range *v.Referrers() {
				if s, ok := ref.(*ssa.Slice); ok && s.X == v && !memory[s] {
					memory[s], grew = true, true
				}
			}
		}
		n := len(memory)
		follow(memory)
		grew = grew || len(memory) > n
	}
	return memory
}

// reportKept reports memory that a function returns or stores although it releases the lease when
// it returns.
func reportKept(r *reporter, fn *ssa.Function, memory map[ssa.Value]bool) {
	for v := range memory {
		if v.Referrers() == nil {
			continue
		}
		for _, ref := range *v.Referrers() {
			switch x := ref.(type) {
			case *ssa.Return:
				if !x.Pos().IsValid() {
					continue // the one behind a recover
				}
				r.report(x.Pos(), nil, "memory of a lease is returned, and the deferred Release gives it to somebody else; return a Clone, or the lease")
			case *ssa.Store:
				if _, local := x.Addr.(*ssa.Alloc); x.Val == v && !local && !argument(x) {
					r.report(x.Pos(), nil, "memory of a lease is stored, and the deferred Release gives it to somebody else; store a Clone")
				}
			case *ssa.Send:
				r.report(x.Pos(), nil, "memory of a lease is sent to a channel, and the deferred Release gives it to somebody else; send a Clone, or the lease")
			}
		}
	}
}

// argument reports whether a store fills the argument list of a variadic call.
func argument(s *ssa.Store) bool {
	at, ok := s.Addr.(*ssa.IndexAddr)
	if !ok {
		return false
	}
	a, ok := at.X.(*ssa.Alloc)
	return ok && a.Comment == "varargs"
}

// reportUses reports what is used on the paths that go on from a Release. A path ends where the
// lease is taken again.
func reportUses(r *reporter, b *ssa.BasicBlock, from int, maker *ssa.Call, w *walk, memory map[ssa.Value]bool, released token.Pos) {
	seen := map[*ssa.BasicBlock]bool{}
	var follow func(b *ssa.BasicBlock, from int)
	follow = func(b *ssa.BasicBlock, from int) {
		for _, in := range b.Instrs[from:] {
			if in == ssa.Instruction(maker) {
				return
			}
			if what := uses(in, w, memory); what != "" {
				r.report(in.Pos(), nil, "%s is used after Release at line %d: somebody else may have its memory; release later, or use a Clone", what, r.line(released))
				return
			}
		}
		for _, next := range b.Succs {
			if !seen[next] {
				seen[next] = true
				follow(next, 0)
			}
		}
	}
	follow(b, from)
}

// uses says what an instruction uses: a lease or memory of it.
func uses(in ssa.Instruction, w *walk, memory map[ssa.Value]bool) string {
	if _, deferred := in.(*ssa.Defer); deferred {
		return ""
	}
	switch name, recv := method(in); {
	case recv == nil || !w.values[recv]:
	case name != "Release" && name != "Format":
		return "a lease"
	default:
		return ""
	}
	switch in.(type) {
	case *ssa.Phi, *ssa.Store, *ssa.UnOp, *ssa.Slice, *ssa.DebugRef:
		return ""
	}
	var operands [8]*ssa.Value
	for _, o := range in.Operands(operands[:0]) {
		if *o != nil && memory[*o] {
			return "memory of a lease"
		}
	}
	return ""
}
