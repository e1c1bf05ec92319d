// Package vet is the analyzer of leakvet. It knows leaksafe's own types, and nothing else: general
// rules for bodies, files and tickers have false alarms, and other analyzers have them.
package vet

import (
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/buildssa"
	"golang.org/x/tools/go/ssa"
)

// Analyzer reports misuse of leaksafe's packages. With the flag hints it also reports what is only
// likely to be a mistake.
var Analyzer = &analysis.Analyzer{
	Name:     "leakvet",
	Doc:      "finds leases, scopes, batchers and watchers that are not ended, and what is built on every call",
	URL:      "https://pkg.go.dev/github.com/leaksafe/leaksafe/leakcheck/cmd/leakvet",
	Requires: []*analysis.Analyzer{buildssa.Analyzer},
	Run:      run,
}

var hints bool

func init() {
	Analyzer.Flags.BoolVar(&hints, "hints", false, "report likely mistakes, too: a NoGrowth whose operation always uses the same key")
}

const root = "github.com/leaksafe/leaksafe/"

// A resource is a type of leaksafe's that must be ended.
type resource struct {
	pkg, name string
	makers    []string // functions and methods that hand one out
	ends      []string // methods that end it
	end       string   // the one to call, as written
	what      string
	lost      string // why it matters
	fix       string // a statement; "" where there is no mechanical one; %s is the variable
}

var resources = []resource{
	{
		pkg: "pool", name: "Buffer", makers: []string{"Get", "GetContext", "ReadAll", "Retain"}, ends: []string{"Release", "Detach", "Body"},
		end: "Release", what: "lease", lost: "its memory is not used again, and it counts against MaxInUse", fix: "defer %s.Release()",
	},
	{
		pkg: "pool", name: "Lease", makers: []string{"Get"}, ends: []string{"Release"},
		end: "Release", what: "lease", lost: "its object is not used again", fix: "defer %s.Release()",
	},
	{
		pkg: "ctxreq", name: "Scope", makers: []string{"Start"}, ends: []string{"End"},
		end: "End", what: "scope", lost: "whoever keeps its context keeps the request, and its cleanups do not run", fix: "defer %s.End(nil)",
	},
	{
		pkg: "batch", name: "Batcher", makers: []string{"New"}, ends: []string{"Close"},
		end: "Close", what: "batcher", lost: "its goroutines stay, and what it holds is not sent", fix: "defer %s.Close(ctx)",
	},
	{
		pkg: "batch", name: "Caller", makers: []string{"NewCaller", "NewKeyedCaller"}, ends: []string{"Close"},
		end: "Close", what: "caller", lost: "its goroutines stay, and what it holds is not sent", fix: "defer %s.Close(ctx)",
	},
	{
		pkg: "batch", name: "Keyed", makers: []string{"NewKeyed"}, ends: []string{"Close"},
		end: "Close", what: "batcher", lost: "its goroutines stay, and what it holds is not sent", fix: "defer %s.Close(ctx)",
	},
	{
		pkg: "leakcheck/watch", name: "Watcher", makers: []string{"Start"}, ends: []string{"Stop"},
		end: "Stop", what: "watcher", lost: "its goroutine stays", fix: "defer %s.Stop()",
	},
}

func run(pass *analysis.Pass) (any, error) {
	if ours(strings.TrimSuffix(pass.Pkg.Path(), "_test")) {
		return nil, nil // the packages hand out what others end, and their tests misuse them on purpose
	}
	r := newReporter(pass)
	for _, fn := range pass.ResultOf[buildssa.Analyzer].(*buildssa.SSA).SrcFuncs {
		if r.skips(fn.Pos()) {
			continue
		}
		eachCall(fn, func(b *ssa.BasicBlock, i int, call *ssa.Call) {
			if res, ok := made(call); ok {
				checkLost(r, fn, b, i, call, res)
			}
			checkPerCall(r, fn, b, call)
		})
		checkAfter(r, fn)
		checkHandler(r, fn)
	}
	for _, file := range pass.Files {
		if !r.skips(file.Pos()) {
			checkTests(r, file)
		}
	}
	return nil, nil
}

// ours reports whether a package is one that defines the types.
func ours(path string) bool {
	for _, res := range resources {
		if path == root+res.pkg {
			return true
		}
	}
	return path == root+"mapper" || path == root+"leakcheck"
}

func eachCall(fn *ssa.Function, f func(*ssa.BasicBlock, int, *ssa.Call)) {
	for _, b := range fn.Blocks {
		for i, in := range b.Instrs {
			if call, ok := in.(*ssa.Call); ok {
				f(b, i, call)
			}
		}
	}
}

// made reports which resource a call hands out.
func made(call *ssa.Call) (resource, bool) {
	pkg, name := callee(call.Common())
	for _, res := range resources {
		if pkg != root+res.pkg {
			continue
		}
		for _, maker := range res.makers {
			if name == maker && hands(call.Type(), res) {
				return res, true
			}
		}
	}
	return resource{}, false
}

// hands reports whether a result, or one of several, is of the resource's type.
func hands(t types.Type, res resource) bool {
	if tuple, ok := t.(*types.Tuple); ok {
		for v := range tuple.Variables() {
			if is(v.Type(), res) {
				return true
			}
		}
		return false
	}
	return is(t, res)
}

// is reports whether t is the resource's type, or a pointer to it.
func is(t types.Type, res resource) bool { return isNamed(t, root+res.pkg, res.name) }

func isNamed(t types.Type, pkg, name string) bool {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		t = p.Elem()
	}
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == pkg && n.Obj().Name() == name
}

// callee is the package and the name of the function or method that is called; both are empty where
// it is not known.
func callee(c *ssa.CallCommon) (pkg, name string) {
	f := c.StaticCallee()
	if f == nil {
		return "", ""
	}
	if o := f.Origin(); o != nil {
		f = o
	}
	if o, ok := f.Object().(*types.Func); ok && o.Pkg() != nil {
		return o.Pkg().Path(), o.Name()
	}
	return "", ""
}

// method is the name and the receiver of a method call.
func method(in ssa.Instruction) (name string, recv ssa.Value) {
	call, ok := in.(ssa.CallInstruction)
	if !ok {
		return "", nil
	}
	c := call.Common()
	if c.IsInvoke() {
		return c.Method.Name(), c.Value
	}
	if c.Signature().Recv() == nil || len(c.Args) == 0 {
		return "", nil
	}
	_, name = callee(c)
	return name, c.Args[0]
}

// position is where a value is used, for a message: the line alone, which is in the same file.
func (r *reporter) line(pos token.Pos) int { return r.pass.Fset.Position(pos).Line }
