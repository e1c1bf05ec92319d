package vet

import (
	"go/ast"
	"go/constant"
	"go/types"
	"strings"

	"golang.org/x/tools/go/types/typeutil"
)

// checkTests looks at calls of package leakcheck.
func checkTests(r *reporter, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.FuncDecl:
			if x.Body != nil {
				checkFirst(r, x.Body)
			}
		case *ast.FuncLit:
			checkFirst(r, x.Body)
		case *ast.CallExpr:
			if hints {
				checkKey(r, x)
			}
		}
		return true
	})
}

// checkFirst reports a leakcheck.Check behind a statement that starts something: that is not
// checked.
func checkFirst(r *reporter, body *ast.BlockStmt) {
	started := ""
	for _, s := range body.List {
		if e, ok := s.(*ast.ExprStmt); ok {
			if call, ok := e.X.(*ast.CallExpr); ok {
				switch name := r.leakcheckFunc(call); name {
				case "Check", "Goroutines", "Files":
					if started != "" {
						r.report(call.Pos(), nil, "leakcheck.%s stands behind %s: what was started before it is not checked; make it the first line of the test", name, started)
					}
					return
				}
			}
		}
		if started == "" {
			started = r.starts(s)
		}
	}
}

// starts says what a statement starts that Check would watch; empty for nothing.
func (r *reporter) starts(s ast.Stmt) (what string) {
	switch x := s.(type) {
	case *ast.GoStmt:
		return "a go statement"
	case *ast.AssignStmt:
		for _, right := range x.Rhs {
			call, ok := right.(*ast.CallExpr)
			if ok && closes(r.pass.TypesInfo.TypeOf(call)) {
				return "a statement that opens something"
			}
		}
	case *ast.ExprStmt:
		if call, ok := x.X.(*ast.CallExpr); ok {
			if f := typeutil.Callee(r.pass.TypesInfo, call); f != nil && f.Name() == "Cleanup" && f.Pkg() != nil && f.Pkg().Path() == "testing" {
				return "a t.Cleanup"
			}
		}
	}
	return ""
}

// closes reports whether a value, or the first of several, has a method that closes it.
func closes(t types.Type) bool {
	if tuple, ok := t.(*types.Tuple); ok {
		if tuple.Len() == 0 {
			return false
		}
		t = tuple.At(0).Type()
	}
	if t == nil {
		return false
	}
	methods := types.NewMethodSet(t)
	for _, name := range []string{"Close", "Stop", "Shutdown"} {
		if methods.Lookup(nil, name) != nil {
			return true
		}
	}
	return false
}

// leakcheckFunc is the name of the function of package leakcheck that is called.
func (r *reporter) leakcheckFunc(call *ast.CallExpr) string {
	f, ok := typeutil.Callee(r.pass.TypesInfo, call).(*types.Func)
	if !ok || f.Pkg() == nil || f.Pkg().Path() != root+"leakcheck" {
		return ""
	}
	return f.Name()
}

// checkKey gives a hint where every operation of a NoGrowth uses the same text, and nothing in it
// varies: a map that grows by key does not grow then.
func checkKey(r *reporter, call *ast.CallExpr) {
	if r.leakcheckFunc(call) != "NoGrowth" || len(call.Args) < 2 {
		return
	}
	op, ok := call.Args[1].(*ast.FuncLit)
	if !ok {
		return
	}
	var key ast.Expr
	varies := false
	ast.Inspect(op.Body, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.IncDecStmt:
			varies = true
		case *ast.AssignStmt:
			for _, l := range x.Lhs {
				if id, ok := l.(*ast.Ident); ok && r.pass.TypesInfo.Defs[id] == nil && id.Name != "_" {
					varies = true
				}
			}
		case *ast.CallExpr:
			if f, ok := typeutil.Callee(r.pass.TypesInfo, x).(*types.Func); ok && f.Pkg() != nil {
				switch path := f.Pkg().Path(); {
				case path == "fmt", path == "strconv", path == "sync/atomic", path == "time", strings.Contains(path, "rand"), strings.Contains(path, "uuid"):
					varies = true
				}
			}
			for _, a := range x.Args {
				if v := r.pass.TypesInfo.Types[a].Value; key == nil && v != nil && v.Kind() == constant.String {
					key = a
				}
			}
		}
		return true
	})
	if key != nil && !varies {
		r.report(key.Pos(), nil, "every operation uses the same key: a map that grows by key is not seen; vary it, as with strconv.Itoa(n)")
	}
}
