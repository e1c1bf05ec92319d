package vet

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/ast/astutil"
	"golang.org/x/tools/go/ssa"
)

// deferEnd is the fix that defers the end after the statement that makes the resource, and after
// the check of its error; advice says the same in words.
func (r *reporter) deferEnd(call *ssa.Call, res resource) (fixes []analysis.SuggestedFix, advice string) {
	for _, file := range r.pass.Files {
		if file.FileStart > call.Pos() || call.Pos() > file.FileEnd {
			continue
		}
		path, _ := astutil.PathEnclosingInterval(file, call.Pos(), call.Pos())
		assign, block := assignment(path)
		if assign == nil {
			return nil, "keep it in a variable, and call " + res.end
		}
		ident := r.holder(assign, res)
		if ident == "" {
			return nil, "keep it in a variable, and call " + res.end
		}
		statement := fmt.Sprintf(res.fix, ident)
		advice = "write " + statement
		if inLoop(call.Block()) || strings.Contains(res.fix, "(ctx)") && !r.hasContext(path) {
			return nil, "call " + res.end + " on every path"
		}
		after := ast.Stmt(assign)
		if next := r.errorCheck(block, assign); next != nil {
			after = next
		}
		indent := strings.Repeat("\t", max(1, r.pass.Fset.Position(assign.Pos()).Column-1))
		return []analysis.SuggestedFix{{
			Message:   advice,
			TextEdits: []analysis.TextEdit{{Pos: r.lineEnd(after.End()), End: r.lineEnd(after.End()), NewText: []byte("\n" + indent + statement)}},
		}}, advice
	}
	return nil, "call " + res.end + " on every path"
}

// lineEnd is the end of the line of pos, behind a comment.
func (r *reporter) lineEnd(pos token.Pos) token.Pos {
	file := r.pass.Fset.File(pos)
	if line := file.Line(pos); line < file.LineCount() {
		return file.LineStart(line+1) - 1
	}
	return pos
}

// assignment is the innermost assignment on a path, and the block it stands in.
func assignment(path []ast.Node) (*ast.AssignStmt, *ast.BlockStmt) {
	for i, n := range path {
		if a, ok := n.(*ast.AssignStmt); ok && i+1 < len(path) {
			block, _ := path[i+1].(*ast.BlockStmt)
			if block == nil {
				return nil, nil // the head of an if or a for
			}
			return a, block
		}
		if _, ok := n.(*ast.FuncLit); ok {
			break
		}
	}
	return nil, nil
}

// holder is the variable on the left that gets the resource.
func (r *reporter) holder(assign *ast.AssignStmt, res resource) string {
	for _, l := range assign.Lhs {
		if id, ok := l.(*ast.Ident); ok && id.Name != "_" {
			if obj := r.pass.TypesInfo.ObjectOf(id); obj != nil && is(obj.Type(), res) {
				return id.Name
			}
		}
	}
	return ""
}

// hasContext reports whether a parameter called ctx is in reach.
func (r *reporter) hasContext(path []ast.Node) bool {
	for _, n := range path {
		var params *ast.FieldList
		switch f := n.(type) {
		case *ast.FuncDecl:
			params = f.Type.Params
		case *ast.FuncLit:
			params = f.Type.Params
		default:
			continue
		}
		for _, field := range params.List {
			for _, id := range field.Names {
				if obj := r.pass.TypesInfo.ObjectOf(id); id.Name == "ctx" && obj != nil && types.TypeString(obj.Type(), nil) == "context.Context" {
					return true
				}
			}
		}
	}
	return false
}

// errorCheck is the if statement behind an assignment that leaves when its error is not nil.
func (r *reporter) errorCheck(block *ast.BlockStmt, assign *ast.AssignStmt) ast.Stmt {
	for i, s := range block.List {
		if s != assign || i+1 == len(block.List) {
			continue
		}
		check, ok := block.List[i+1].(*ast.IfStmt)
		if !ok || check.Init != nil || check.Else != nil {
			return nil
		}
		cond, ok := check.Cond.(*ast.BinaryExpr)
		if !ok {
			return nil
		}
		id, ok := cond.X.(*ast.Ident)
		if !ok {
			return nil
		}
		if obj := r.pass.TypesInfo.ObjectOf(id); obj != nil && types.Identical(obj.Type(), types.Universe.Lookup("error").Type()) {
			return check
		}
	}
	return nil
}
