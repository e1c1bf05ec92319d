package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
)

// sources are the source files that are on this machine, by name; nil for those that are not.
type sources map[string]*source

type source struct {
	lines []string
	set   *token.FileSet
	file  *ast.File
}

func (s *sources) open(name string) *source {
	if *s == nil {
		*s = sources{}
	}
	if f, ok := (*s)[name]; ok {
		return f
	}
	(*s)[name] = nil
	text, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	f := &source{lines: strings.Split(string(text), "\n"), set: token.NewFileSet()}
	f.file, _ = parser.ParseFile(f.set, name, text, parser.SkipObjectResolution)
	(*s)[name] = f
	return f
}

// line is the text of a line.
func (s *sources) line(name string, n int) string {
	f := s.open(name)
	if f == nil || n < 1 || n > len(f.lines) {
		return ""
	}
	return strings.TrimSpace(f.lines[n-1])
}

// function is the one around a line: pkg.F or pkg.(*T).M.
func (s *sources) function(name string, n int) string {
	f := s.open(name)
	if f == nil || f.file == nil {
		return ""
	}
	for _, d := range f.file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || f.set.Position(fn.Pos()).Line > n || f.set.Position(fn.End()).Line < n {
			continue
		}
		return f.file.Name.Name + "." + receiver(fn) + fn.Name.Name
	}
	return ""
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	t, pointer := fn.Recv.List[0].Type, false
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t, pointer = x.X, true
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			if pointer {
				return "(*" + x.Name + ")."
			}
			return x.Name + "."
		default:
			return ""
		}
	}
}
