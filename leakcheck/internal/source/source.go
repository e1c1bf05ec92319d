// Package source knows where code stands: functions and files as a reader writes them, lines of
// source, the module under test, and what belongs to the standard library.
package source

import (
	"bufio"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// A Frame is a line of code, as a stack names it.
type Frame struct {
	Func string // with the import path: "example.com/app/cache.(*Store).Put"
	File string // absolute, or under -trimpath an import path and a name; empty where it is not known
	Line int
}

// String is the function, the file and the line, and the line's text where the file is on this
// machine.
func (f Frame) String() string {
	s := fmt.Sprintf("%-28s %s:%d", f.Name(), ShortFile(f.File), f.Line)
	if text := Line(f.File, f.Line); text != "" {
		s += "    " + text
	}
	return s
}

// Name is the function as its author writes it: "cache.(*Store).Put".
func (f Frame) Name() string { return ShortFunc(f.Func, f.File) }

// Package is the import path of the function's package.
func (f Frame) Package() string {
	path, _ := splitFunc(f.Func)
	return path
}

// Matches reports whether the function's name begins with prefix: the full name, or the name as
// failures print it.
func (f Frame) Matches(prefix string) bool {
	path, rest := splitFunc(f.Func)
	return strings.HasPrefix(f.Func, prefix) ||
		strings.HasPrefix(path[strings.LastIndexByte(path, '/')+1:]+rest, prefix) ||
		strings.HasPrefix(f.Name(), prefix)
}

// InLibrary reports whether the frame is in the standard library.
func (f Frame) InLibrary() bool {
	if root := Library(); root != "" {
		return strings.HasPrefix(f.File, root)
	}
	domain, _, _ := strings.Cut(f.File, "/")
	return !strings.Contains(domain, ".") && !strings.HasPrefix(f.File, ModulePath()+"/")
}

// InModule reports whether the frame is in the module under test, where its author can change it:
// not in the standard library, not in another module, not in a vendor folder.
func (f Frame) InModule() bool {
	rest, ok := strings.CutPrefix(filepath.ToSlash(f.File), filepath.ToSlash(ModuleRoot())+"/")
	if !ok || ModuleRoot() == "" {
		rest, ok = strings.CutPrefix(f.File, ModulePath()+"/")
	}
	return ok && ModulePath() != "" && !strings.Contains("/"+rest, "/vendor/") && !strings.Contains(rest, "@")
}

// InTesting reports whether the function belongs to the runtime or to package testing.
func (f Frame) InTesting() bool {
	return strings.HasPrefix(f.Func, "runtime.") || strings.HasPrefix(f.Func, "testing.")
}

// ForRuntime reports whether a function allocates what the runtime itself needs, on whatever
// goroutine asks for it first: a collection that an allocation starts makes goroutines of its own.
// Such objects come with the number of goroutines, threads, timers and processors; the last are
// filled at random, one for each assertion in the code.
func ForRuntime(function string) bool {
	switch function {
	case "runtime.gcStart", "runtime.acquireSudog", "runtime.malg", "runtime.allocm", "runtime.allgadd", "runtime.newdefer", "runtime.(*timers).addHeap",
		"runtime.buildTypeAssertCache", "runtime.buildInterfaceSwitchCache":
		return true
	}
	return false
}

// ShortFunc is a function's name after the name of its package in place of the import path. The
// package's own name stands in file. Where that cannot be read, the name is taken from the import
// path: its last element, without a major version.
func ShortFunc(name, file string) string {
	path, rest := splitFunc(name)
	return packageName(path, file) + rest
}

// splitFunc cuts a function's name behind its package: "example.com/app/cache" and ".(*Store).Put".
// A dot in the last element of an import path is written %2e in it.
func splitFunc(name string) (path, rest string) {
	plain, _, _ := strings.Cut(name, "[") // a type argument may have an import path
	slash := strings.LastIndexByte(plain, '/') + 1
	if dot := strings.IndexByte(plain[slash:], '.'); dot >= 0 {
		return name[:slash+dot], name[slash+dot:]
	}
	return name, ""
}

// PackageName is the own name of a package by its import path, where a [Frame] of that package has
// been named before.
func PackageName(path string) (name string, ok bool) {
	known, ok := packageNames.Load(path)
	if !ok {
		return "", false
	}
	return known.(string), true
}

// packageNames holds the names that were read, by import path.
var packageNames sync.Map

func packageName(path, file string) string {
	if name, ok := PackageName(path); ok {
		return name
	}
	name := guessName(path)
	if file != "" {
		f, err := parser.ParseFile(token.NewFileSet(), findSource(file), nil, parser.PackageClauseOnly)
		if err == nil {
			name = f.Name.Name
		}
		packageNames.Store(path, name)
	}
	return name
}

var (
	majorElement = regexp.MustCompile(`/v[0-9]+(_test)?$`)
	majorSuffix  = regexp.MustCompile(`\.v[0-9]+(_test)?$`)
)

// guessName is the last element of an import path, without a major version.
func guessName(path string) string {
	path = strings.ReplaceAll(path, "%2e", ".")
	path = majorElement.ReplaceAllString(path, "$1")
	path = majorSuffix.ReplaceAllString(path, "$1")
	return path[strings.LastIndexByte(path, '/')+1:]
}

// ModuleRoot is the folder of the go.mod above the working directory, which is the package's folder
// during its test; empty where there is none.
var ModuleRoot = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return above(dir, "go.mod")
})

// above is dir or the nearest folder above it that has an entry of this name; empty where none has.
func above(dir, name string) string {
	for {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// ShortFile is the path within the module, as an editor opens it, within the standard library, or
// within the module cache.
func ShortFile(file string) string {
	if rel, ok := within(Library(), file); ok {
		return rel
	}
	if rel, ok := within(ModuleRoot(), file); ok {
		return rel
	}
	if rel, ok := strings.CutPrefix(file, ModulePath()+"/"); ok && ModulePath() != "" { // under -trimpath
		return rel
	}
	if _, rel, ok := strings.Cut(filepath.ToSlash(file), "/pkg/mod/"); ok {
		return rel
	}
	return file
}

// RepositoryFile is the path within the repository, with slashes, as GitHub names a file; empty
// where the file is elsewhere. The repository is GITHUB_WORKSPACE, or else the nearest folder with
// a .git above the module.
func RepositoryFile(file string) string {
	root := os.Getenv("GITHUB_WORKSPACE")
	if root == "" {
		root = above(ModuleRoot(), ".git")
	}
	for _, dir := range []string{root, ModuleRoot()} {
		if rel, ok := within(dir, findSource(file)); ok {
			return rel
		}
	}
	return ""
}

func within(dir, file string) (rel string, ok bool) {
	if dir == "" {
		return "", false
	}
	return strings.CutPrefix(filepath.ToSlash(file), strings.TrimSuffix(filepath.ToSlash(dir), "/")+"/")
}

// Line is the text of a line of source, trimmed; empty where the file is not on this machine.
func Line(file string, line int) string {
	f, err := os.Open(findSource(file))
	if err != nil {
		return ""
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		if n == line {
			return strings.TrimSpace(s.Text())
		}
	}
	return ""
}

// findSource maps a path that -trimpath has cut (example.com/app/cache/store.go) to the file in the
// module's root whose path is its longest suffix.
func findSource(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	rest := file
	for {
		_, after, ok := strings.Cut(rest, "/")
		if !ok {
			return file
		}
		rest = after
		candidate := filepath.Join(ModuleRoot(), filepath.FromSlash(rest))
		if _, err := os.Stat(candidate); err == nil {
			return candidate
		}
	}
}

// TestedPackage is the import path of the package under test.
var TestedPackage = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "?"
	}
	return strings.TrimSuffix(info.Path, ".test")
})

// ModulePath is the module of the package under test.
var ModulePath = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Path
})

// Library is the folder of the standard library's source, as stacks name it; empty in a binary
// built with -trimpath.
var Library = sync.OnceValue(func() string {
	f := runtime.FuncForPC(reflect.ValueOf(strings.Cut).Pointer())
	file, _ := f.FileLine(f.Entry())
	return strings.TrimSuffix(file, "strings/strings.go")
})
