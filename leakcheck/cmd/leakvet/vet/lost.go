package vet

import (
	"fmt"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/ssa"
)

// A walk follows one resource through a function.
type walk struct {
	res    resource
	values map[ssa.Value]bool // the resource and its copies
	errs   map[ssa.Value]bool // the error that came with it
	seen   map[*ssa.BasicBlock]bool
	lost   token.Pos // of a return that is reached without an end
}

// checkLost reports a resource that is not ended on some path and that nobody else can end.
func checkLost(r *reporter, fn *ssa.Function, b *ssa.BasicBlock, i int, call *ssa.Call, res resource) {
	w := newWalk(call, res)
	if w.dropped() && r.isTest(call.Pos()) {
		return // _, err := batch.New(wrong): the test expects the error
	}
	if w.handedOn() || w.path(b, i+1) {
		return
	}
	where := "it is never ended"
	switch {
	case !ended(fn, w):
	case w.lost.IsValid():
		where = fmt.Sprintf("it is lost on the path that returns at line %d", r.line(w.lost))
	default:
		where = "it is lost on a path to the end of the function"
	}
	fixes, advice := r.deferEnd(call, res)
	r.report(call.Pos(), fixes, "%s is not ended by %s: %s; %s; %s", res.what, res.end, where, res.lost, advice)
}

// dropped reports whether nothing uses the resource: it was assigned to _.
func (w *walk) dropped() bool {
	for v := range w.values {
		if v.Referrers() != nil && len(*v.Referrers()) > 0 {
			return false
		}
	}
	return true
}

// ended reports whether any instruction of fn ends the resource.
func ended(fn *ssa.Function, w *walk) bool {
	for _, b := range fn.Blocks {
		for _, in := range b.Instrs {
			if w.ends(in) {
				return true
			}
		}
	}
	return false
}

// newWalk collects the copies of what call hands out.
func newWalk(call *ssa.Call, res resource) *walk {
	w := &walk{res: res, values: map[ssa.Value]bool{}, errs: map[ssa.Value]bool{}, seen: map[*ssa.BasicBlock]bool{}}
	if _, ok := call.Type().(*types.Tuple); !ok {
		w.values[call] = true
	} else {
		for _, ref := range *call.Referrers() {
			if e, ok := ref.(*ssa.Extract); ok {
				switch {
				case is(e.Type(), res):
					w.values[e] = true
				case types.Identical(e.Type(), types.Universe.Lookup("error").Type()):
					w.errs[e] = true
				}
			}
		}
	}
	follow(w.values)
	follow(w.errs)
	return w
}

// follow adds copies through local variables and phis.
func follow(values map[ssa.Value]bool) {
	for grew := true; grew; {
		grew = false
		add := func(v ssa.Value) {
			if !values[v] {
				values[v], grew = true, true
			}
		}
		for v := range values {
			if v.Referrers() == nil {
				continue
			}
			for _, ref := range *v.Referrers() {
				switch x := ref.(type) {
				case *ssa.Store:
					if a, ok := x.Addr.(*ssa.Alloc); ok && x.Val == v {
						add(a)
						for _, load := range *a.Referrers() {
							if l, ok := load.(*ssa.UnOp); ok && l.Op == token.MUL {
								add(l)
							}
						}
					}
				case *ssa.Phi:
					add(x)
				case *ssa.ChangeType:
					add(x)
				}
			}
		}
	}
}

// handedOn reports whether somebody else may end the resource.
func (w *walk) handedOn() bool {
	for v := range w.values {
		if v.Referrers() == nil {
			continue
		}
		for _, ref := range *v.Referrers() {
			if w.keeps(v, ref) {
				return true
			}
		}
	}
	return false
}

// keeps reports whether an instruction gives v to somebody who may end it.
func (w *walk) keeps(v ssa.Value, in ssa.Instruction) bool {
	switch x := in.(type) {
	case *ssa.Return, *ssa.Send, *ssa.MakeClosure, *ssa.MapUpdate, *ssa.Go, *ssa.FieldAddr, *ssa.Field:
		return true
	case *ssa.MakeInterface:
		return !onlyRead(x)
	case *ssa.Store:
		_, local := x.Addr.(*ssa.Alloc)
		return x.Val == v && !local
	case ssa.CallInstruction:
		name, recv := method(x)
		for i, a := range x.Common().Args {
			if a == v && !(i == 0 && recv == v && name != "") {
				return true
			}
		}
	}
	return false
}

// onlyRead reports whether a value as an interface goes to functions only that read it.
func onlyRead(m *ssa.MakeInterface) bool {
	for _, ref := range *m.Referrers() {
		switch x := ref.(type) {
		case *ssa.Store: // an argument of a variadic function
			if !printed(x) {
				return false
			}
		case *ssa.Call:
			pkg, name := callee(x.Common())
			known := pkg == "fmt" || pkg == "errors" || pkg == "io" && (name == "Copy" || name == "WriteString") ||
				pkg == "encoding/json" && name == "NewEncoder"
			if !known {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// printed reports whether a store fills the argument list of a function of package fmt.
func printed(s *ssa.Store) bool {
	at, ok := s.Addr.(*ssa.IndexAddr)
	if !ok {
		return false
	}
	for _, ref := range *at.X.Referrers() {
		slice, ok := ref.(*ssa.Slice)
		if !ok {
			continue
		}
		for _, use := range *slice.Referrers() {
			call, ok := use.(*ssa.Call)
			if !ok {
				return false
			}
			if pkg, _ := callee(call.Common()); pkg != "fmt" && pkg != "log" && pkg != "log/slog" {
				return false
			}
		}
	}
	return true
}

// ends reports whether an instruction ends the resource, now or deferred.
func (w *walk) ends(in ssa.Instruction) bool {
	name, recv := method(in)
	if recv == nil || !w.values[recv] {
		return false
	}
	for _, end := range w.res.ends {
		if name == end {
			return true
		}
	}
	return false
}

// path goes on from an instruction. It is false when a return is reached with the resource alive.
func (w *walk) path(b *ssa.BasicBlock, from int) bool {
	for _, in := range b.Instrs[from:] {
		if w.ends(in) {
			return true
		}
		switch x := in.(type) {
		case *ssa.Return:
			w.lost = x.Pos()
			return false
		case *ssa.Panic:
			return true
		case ssa.CallInstruction:
			if exits(x.Common()) {
				return true
			}
		}
	}
	for _, next := range w.successors(b) {
		if w.seen[next] {
			continue
		}
		w.seen[next] = true
		if !w.path(next, 0) {
			return false
		}
	}
	return true
}

// exits reports whether a call does not return.
func exits(c *ssa.CallCommon) bool {
	name := ""
	if c.IsInvoke() {
		name = c.Method.Name()
	} else {
		var pkg string
		pkg, name = callee(c)
		if pkg == "os" && name == "Exit" || pkg == "runtime" && name == "Goexit" || pkg == "log" && (name == "Panic" || name == "Panicf") {
			return true
		}
		if pkg != "log" && pkg != "testing" {
			return false
		}
	}
	switch name {
	case "Fatal", "Fatalf", "Fatalln", "FailNow", "Skip", "Skipf", "SkipNow":
		return true
	}
	return false
}

// successors leaves out the branch on which there is no resource: its maker has failed, or it is
// nil.
func (w *walk) successors(b *ssa.BasicBlock) []*ssa.BasicBlock {
	if len(b.Instrs) == 0 || len(b.Succs) != 2 {
		return b.Succs
	}
	cond, ok := b.Instrs[len(b.Instrs)-1].(*ssa.If)
	if !ok {
		return b.Succs
	}
	if dead, known := w.without(cond.Cond); known {
		return b.Succs[1-dead : 2-dead]
	}
	return b.Succs
}

// without is the successor of a condition on which there is no resource.
func (w *walk) without(cond ssa.Value) (succ int, known bool) {
	o, ok := cond.(*ssa.BinOp)
	if !ok {
		return 0, false
	}
	isNil := func(v ssa.Value) bool { c, ok := v.(*ssa.Const); return ok && c.IsNil() }
	switch {
	case w.errs[o.X] && isNil(o.Y), w.errs[o.Y] && isNil(o.X):
		if o.Op == token.NEQ {
			return 0, true
		}
		return 1, o.Op == token.EQL
	case w.values[o.X] && isNil(o.Y):
		if o.Op == token.EQL {
			return 0, true
		}
		return 1, o.Op == token.NEQ
	}
	return 0, false
}
