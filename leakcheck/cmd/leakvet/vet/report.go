package vet

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// A reporter reports what no comment silences.
type reporter struct {
	pass     *analysis.Pass
	skipped  map[string]bool         // generated files
	silenced map[string]map[int]bool // lines by file
}

var nolint = regexp.MustCompile(`^//\s*nolint:\s*(?:[\w,]+,)?leakvet\b(?:,[\w,]+)?(.*)$`)

func newReporter(pass *analysis.Pass) *reporter {
	r := &reporter{pass: pass, skipped: map[string]bool{}, silenced: map[string]map[int]bool{}}
	for _, f := range pass.Files {
		name := pass.Fset.Position(f.Pos()).Filename
		if ast.IsGenerated(f) {
			r.skipped[name] = true
			continue
		}
		lines := map[int]bool{}
		for _, group := range f.Comments {
			for _, c := range group.List {
				m := nolint.FindStringSubmatch(c.Text)
				if m == nil {
					continue
				}
				if strings.Trim(m[1], " /:-") == "" {
					pass.Reportf(c.Pos(), "say why: //nolint:leakvet // the reason")
					continue
				}
				line := pass.Fset.Position(c.Pos()).Line
				lines[line], lines[line+1] = true, true
			}
		}
		r.silenced[name] = lines
	}
	return r
}

// skips reports whether the file of pos is not checked.
func (r *reporter) skips(pos token.Pos) bool {
	return !pos.IsValid() || r.skipped[r.pass.Fset.Position(pos).Filename]
}

func (r *reporter) isTest(pos token.Pos) bool {
	return strings.HasSuffix(r.pass.Fset.Position(pos).Filename, "_test.go")
}

func (r *reporter) report(pos token.Pos, fixes []analysis.SuggestedFix, format string, args ...any) {
	at := r.pass.Fset.Position(pos)
	if !r.silenced[at.Filename][at.Line] {
		r.pass.Report(analysis.Diagnostic{Pos: pos, Message: fmt.Sprintf(format, args...), SuggestedFixes: fixes})
	}
}
