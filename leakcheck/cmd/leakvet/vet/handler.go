package vet

import (
	"golang.org/x/tools/go/ssa"
)

// inHandler reports whether fn, or a function around it, is called for each HTTP request.
func inHandler(fn *ssa.Function) bool {
	for f := fn; f != nil; f = f.Parent() {
		if handler(f) {
			return true
		}
	}
	return false
}

// handler reports whether fn has the parameters of an http.HandlerFunc.
func handler(fn *ssa.Function) bool {
	w, r := false, false
	for _, p := range fn.Params {
		switch p.Type().String() {
		case "net/http.ResponseWriter":
			w = true
		case "*net/http.Request":
			r = true
		}
	}
	return w && r && fn.Signature.Results().Len() == 0
}

// checkHandler reports a goroutine of a handler that uses w or r and that the handler does not wait
// for.
func checkHandler(r *reporter, fn *ssa.Function) {
	if !handler(fn) || waits(fn) {
		return
	}
	for _, b := range fn.Blocks {
		for _, in := range b.Instrs {
			g, ok := in.(*ssa.Go)
			if !ok {
				continue
			}
			if r.imports("ctxreq") && usesContext(g, fn) {
				r.report(g.Pos(), nil, "the request's context is used by a goroutine that may outlive the handler: it is cancelled, and its values are gone, when the handler returns; use ctxreq.Detach, or a job of ctxreq.Jobs")
				continue
			}
			if name := captured(g, fn); name != "" {
				r.report(g.Pos(), nil, "%s is used by a goroutine that may outlive the handler: net/http uses its memory for other requests; wait for the goroutine, or give a job what it needs with ctxreq.Jobs", name)
			}
		}
	}
}

// waits reports whether fn may wait for a goroutine: it receives, selects, ranges over a channel,
// or calls a method with a name for that.
func waits(fn *ssa.Function) bool {
	for _, b := range fn.Blocks {
		for _, in := range b.Instrs {
			switch x := in.(type) {
			case *ssa.Select:
				return true
			case *ssa.UnOp:
				if x.Op.String() == "<-" {
					return true
				}
			case ssa.CallInstruction:
				switch name := calledName(x.Common()); name {
				case "Wait", "Join", "Lock", "Shutdown", "Close", "Hijack", "ServeHTTP":
					return true
				case "":
					return true // a function value may wait
				}
			}
		}
	}
	return false
}

func calledName(c *ssa.CallCommon) string {
	if c.IsInvoke() {
		return c.Method.Name()
	}
	if b, ok := c.Value.(*ssa.Builtin); ok {
		return b.Name()
	}
	if f, ok := c.Value.(*ssa.MakeClosure); ok {
		return f.Fn.Name() // func() { … }() in place
	}
	_, name := callee(c)
	if name == "" && c.StaticCallee() != nil {
		return c.StaticCallee().Name()
	}
	return name
}

// captured is the parameter of a handler that a go statement uses: "w" or "r".
func captured(g *ssa.Go, fn *ssa.Function) string {
	for _, v := range used(g) {
		if c, ok := v.(*ssa.ChangeInterface); ok {
			v = c.X // w as an io.Writer
		}
		for _, p := range fn.Params {
			t := p.Type().String()
			if t != "net/http.ResponseWriter" && t != "*net/http.Request" {
				continue
			}
			if v == ssa.Value(p) || holds(v, p) {
				return p.Name()
			}
		}
	}
	return ""
}

// usesContext reports whether a go statement uses the context of the handler's request.
func usesContext(g *ssa.Go, fn *ssa.Function) bool {
	contexts := map[ssa.Value]bool{}
	eachCall(fn, func(_ *ssa.BasicBlock, _ int, call *ssa.Call) {
		if pkg, name := callee(call.Common()); pkg == "net/http" && name == "Context" {
			contexts[call] = true
		}
	})
	follow(contexts)
	for _, v := range used(g) {
		if contexts[v] {
			return true
		}
	}
	return false
}

// used are the arguments of a go statement and the variables that its function captures.
func used(g *ssa.Go) []ssa.Value {
	values := append([]ssa.Value{}, g.Call.Args...)
	if c, ok := g.Call.Value.(*ssa.MakeClosure); ok {
		values = append(values, c.Bindings...)
	}
	return values
}

// imports reports whether the package uses a package of leaksafe's.
func (r *reporter) imports(name string) bool {
	for _, p := range r.pass.Pkg.Imports() {
		if p.Path() == root+name {
			return true
		}
	}
	return false
}

// holds reports whether v is the variable that parameter p was stored to because a closure uses it.
func holds(v ssa.Value, p *ssa.Parameter) bool {
	a, ok := v.(*ssa.Alloc)
	if !ok {
		return false
	}
	for _, ref := range *a.Referrers() {
		if s, ok := ref.(*ssa.Store); ok && s.Addr == a && s.Val == ssa.Value(p) {
			return true
		}
	}
	return false
}
