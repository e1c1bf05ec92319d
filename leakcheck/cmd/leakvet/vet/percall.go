package vet

import (
	"go/types"
	"strings"

	"golang.org/x/tools/go/ssa"
)

// built are the functions whose result is made to be used often.
var built = map[string]string{
	"mapper.New":            "a Mapper is compiled",
	"mapper.Must":           "a Mapper is compiled",
	"pool.New":              "a Pool, which is empty and reuses nothing, is made",
	"pool.NewBytes":         "a Bytes, which is empty and reuses nothing, is made",
	"batch.New":             "a Batcher, whose batches have one item, is made",
	"batch.NewCaller":       "a Caller, whose batches have one item, is made",
	"batch.NewKeyedCaller":  "a Caller, whose batches have one item, is made",
	"batch.NewKeyed":        "a Keyed, whose batches have one item, is made",
	"leakcheck/watch.Start": "a Watcher is started",
}

// checkPerCall reports what is built on every call although it is made to be built once: in a
// handler, or, for what has nothing to close, where only the function itself uses it.
func checkPerCall(r *reporter, fn *ssa.Function, b *ssa.BasicBlock, call *ssa.Call) {
	pkg, name := callee(call.Common())
	path, ok := strings.CutPrefix(pkg, root)
	if !ok {
		return
	}
	what, ok := built[path+"."+name]
	if !ok || r.isTest(call.Pos()) || once(fn) {
		return
	}
	local := !escapes(call)
	closes := path == "batch" || path == "leakcheck/watch"
	switch {
	case !local:
	case inHandler(fn):
		r.report(call.Pos(), nil, "%s for every request; make it once, in a variable of the package or a field of the server", what)
	case closes && inLoop(b):
		r.report(call.Pos(), nil, "%s in every round of the loop; make it before the loop", what)
	case !closes && perCall(fn):
		r.report(call.Pos(), nil, "%s on every call of %s; make it once, in a variable of the package", what, fn.Name())
	}
}

// escapes reports whether what a call returns is given to anybody else, who may keep it.
func escapes(call *ssa.Call) bool {
	values := map[ssa.Value]bool{}
	if _, ok := call.Type().(*types.Tuple); ok {
		for _, ref := range *call.Referrers() {
			if e, ok := ref.(*ssa.Extract); ok && e.Index == 0 {
				values[e] = true
			}
		}
	} else {
		values[call] = true
	}
	follow(values)
	for v := range values {
		if v.Referrers() == nil {
			continue
		}
		w := &walk{values: values}
		for _, ref := range *v.Referrers() {
			if w.keeps(v, ref) {
				return true
			}
		}
	}
	return false
}

// perCall reports whether fn runs more than once: it is no main, init or constructor, and no
// closure of one.
func perCall(fn *ssa.Function) bool {
	for f := fn; f != nil; f = f.Parent() {
		name := strings.ToLower(f.Name())
		for _, prefix := range []string{"init", "main", "new", "must", "make", "build", "setup", "open", "start", "run", "serve", "example"} {
			if strings.HasPrefix(name, prefix) {
				return false
			}
		}
	}
	return len(fn.Params) > 0
}

// once reports whether fn, or a function around it, runs once: it is given to sync.Once, OnceFunc,
// OnceValue or OnceValues.
func once(fn *ssa.Function) bool {
	for f := fn; f != nil; f = f.Parent() {
		if f.Referrers() == nil {
			continue
		}
		for _, ref := range *f.Referrers() {
			if givenToOnce(ref) {
				return true
			}
		}
	}
	return false
}

func givenToOnce(in ssa.Instruction) bool {
	switch x := in.(type) {
	case ssa.CallInstruction:
		pkg, name := callee(x.Common())
		return pkg == "sync" && (strings.HasPrefix(name, "Once") || name == "Do")
	case *ssa.MakeClosure:
		for _, ref := range *x.Referrers() {
			if c, ok := ref.(ssa.CallInstruction); ok && givenToOnce(c) {
				return true
			}
		}
	}
	return false
}

// inLoop reports whether a block can be reached from itself.
func inLoop(b *ssa.BasicBlock) bool {
	seen := map[*ssa.BasicBlock]bool{}
	var reach func(*ssa.BasicBlock) bool
	reach = func(from *ssa.BasicBlock) bool {
		for _, next := range from.Succs {
			if next == b {
				return true
			}
			if !seen[next] {
				seen[next] = true
				if reach(next) {
					return true
				}
			}
		}
		return false
	}
	return reach(b)
}
