// Package source knows where code stands: functions and files as a reader writes them, lines of source,
// the module under test, and what is of the standard library. It also has the formats of counts and
// sizes in texts.
package source

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// Place formats a line of code: function, file:line and the line's text.
func Place(function, file string, line int) string {
	s := fmt.Sprintf("%-28s %s:%d", ShortFunc(function), ShortFile(file), line)
	if text := Line(file, line); text != "" {
		s += "    " + text
	}
	return s
}

// ShortFunc drops the import path but for its last element.
func ShortFunc(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[i+1:]
	}
	return name
}

// ModuleRoot is the folder of the go.mod above the working directory, which
// is the package's folder during its test; empty where there is none.
var ModuleRoot = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
})

// ShortFile is the path within the module, as an editor opens it, or within
// the standard library.
func ShortFile(file string) string {
	if rel, ok := strings.CutPrefix(file, Library()); ok {
		return rel
	}
	root := ModuleRoot()
	if rel, ok := strings.CutPrefix(filepath.ToSlash(file), filepath.ToSlash(root)+"/"); ok && root != "" {
		return rel
	}
	return file
}

// Line is the text of a line of source, trimmed; empty where the file
// is not on this machine. Under -trimpath a file is named by import path: it is
// looked for in the module's root.
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

// findSource maps a trimmed path (example.com/app/cache/store.go) to the file
// in the module's root whose path is its longest suffix.
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

// Library is the folder of the standard library's source, as stacks name
// it; empty in a binary built with -trimpath.
var Library = sync.OnceValue(func() string {
	f := runtime.FuncForPC(reflect.ValueOf(strings.Cut).Pointer())
	file, _ := f.FileLine(f.Entry())
	return strings.TrimSuffix(file, "strings/strings.go")
})

func (f Frame) InLibrary() bool {
	if root := Library(); root != "" {
		return strings.HasPrefix(f.File, root)
	}
	domain, _, _ := strings.Cut(f.File, "/")
	return !strings.Contains(domain, ".") && !strings.HasPrefix(f.File, ModulePath()+"/")
}

// InTesting tells go statements of the runtime and of package testing.
func (f Frame) InTesting() bool {
	return strings.HasPrefix(f.Func, "runtime.") || strings.HasPrefix(f.Func, "testing.")
}

type Frame struct {
	Func string
	File string
	Line int
}

func (f Frame) String() string { return Place(f.Func, f.File, f.Line) }
