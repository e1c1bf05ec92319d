package leakcheck

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

// place formats a line of code: function, file:line and the line's text.
func place(function, file string, line int) string {
	s := fmt.Sprintf("%-28s %s:%d", shortFunc(function), shortFile(file), line)
	if text := sourceLine(file, line); text != "" {
		s += "    " + text
	}
	return s
}

// shortFunc drops the import path but for its last element.
func shortFunc(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[i+1:]
	}
	return name
}

// moduleRoot is the folder of the go.mod above the working directory, which
// is the package's folder during its test; empty where there is none.
var moduleRoot = sync.OnceValue(func() string {
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

// shortFile is the path within the module, as an editor opens it, or within
// the standard library.
func shortFile(file string) string {
	if rel, ok := strings.CutPrefix(file, librarySource()); ok {
		return rel
	}
	root := moduleRoot()
	if rel, ok := strings.CutPrefix(filepath.ToSlash(file), filepath.ToSlash(root)+"/"); ok && root != "" {
		return rel
	}
	return file
}

// sourceLine is the text of a line of source, trimmed; empty where the file
// is not on this machine. Under -trimpath a file is named by import path: it is
// looked for in the module's root.
func sourceLine(file string, line int) string {
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
		candidate := filepath.Join(moduleRoot(), filepath.FromSlash(rest))
		if _, err := os.Stat(candidate); err == nil {
			return candidate
		}
	}
}

// testedPackage is the import path of the package under test.
var testedPackage = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "?"
	}
	return strings.TrimSuffix(info.Path, ".test")
})

// modulePath is the module of the package under test.
var modulePath = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Path
})

// librarySource is the folder of the standard library's source, as stacks name
// it; empty in a binary built with -trimpath.
var librarySource = sync.OnceValue(func() string {
	f := runtime.FuncForPC(reflect.ValueOf(strings.Cut).Pointer())
	file, _ := f.FileLine(f.Entry())
	return strings.TrimSuffix(file, "strings/strings.go")
})

func (f frame) inLibrary() bool {
	if root := librarySource(); root != "" {
		return strings.HasPrefix(f.file, root)
	}
	domain, _, _ := strings.Cut(f.file, "/")
	return !strings.Contains(domain, ".") && !strings.HasPrefix(f.file, modulePath()+"/")
}

// isTesting tells go statements of the runtime and of package testing.
func (f frame) isTesting() bool {
	return strings.HasPrefix(f.function, "runtime.") || strings.HasPrefix(f.function, "testing.")
}

type frame struct {
	function string
	file     string
	line     int
}

func (f frame) String() string { return place(f.function, f.file, f.line) }
