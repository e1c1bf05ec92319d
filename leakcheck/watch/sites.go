package watch

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// A Site is a line of code: one that allocates what the heap profile says is
// in use, or one that starts goroutines that are still there.
type Site struct {
	Func string `json:"func"`
	File string `json:"file"`
	Line int    `json:"line"`
	// Caller is the program's own line that called, where Func is of another module.
	Caller string `json:"caller,omitempty"`
	// Bytes and Objects are by how much the site grew, estimated from the heap
	// profile's samples. For goroutines Objects is their number and Bytes is 0.
	Bytes   int64 `json:"bytes"`
	Objects int64 `json:"objects"`
}

const (
	sitesKept  = 256 // in a snapshot: the largest
	sitesShown = 10
)

type amount struct{ bytes, objects int64 }

// A snapshot is what each line of code holds. Lines, not stacks: it is bounded,
// and the line is what a person can change.
type snapshot map[Site]amount

// heapSites reads the heap profile. It does not stop the world and does not
// collect; the profile is as of the collection before the last.
func heapSites() snapshot {
	records := make([]runtime.MemProfileRecord, 512)
	for {
		n, ok := runtime.MemProfile(records, false)
		if ok {
			records = records[:n]
			break
		}
		records = make([]runtime.MemProfileRecord, n+n/4)
	}
	all := make(snapshot)
	for i := range records {
		r := &records[i]
		bytes, objects := r.InUseBytes(), r.InUseObjects()
		if objects == 0 {
			continue
		}
		bytes, objects = unsample(bytes, objects)
		site := userSite(r.Stack())
		if ownFunction(site.Func) {
			continue
		}
		a := all[site]
		all[site] = amount{a.bytes + bytes, a.objects + objects}
	}
	return all.largest(sitesKept)
}

// unsample estimates the true amount from a sampled one, as package pprof
// does: an object of size s is in the sample with probability 1-exp(-s/rate).
func unsample(bytes, objects int64) (int64, int64) {
	rate := float64(runtime.MemProfileRate)
	if rate <= 1 {
		return bytes, objects
	}
	scale := 1 / (1 - math.Exp(-float64(bytes)/float64(objects)/rate))
	return int64(float64(bytes) * scale), int64(float64(objects) * scale)
}

// userSite is the innermost frame that is not the standard library's, or the
// innermost one where all are; and the program's own that called it.
func userSite(stack []uintptr) Site {
	frames := runtime.CallersFrames(stack)
	var innermost, site Site
	for {
		f, more := frames.Next()
		at := Site{Func: f.Function, File: f.File, Line: f.Line}
		switch {
		case f.Function == "" || standard(f.Function):
		case ofProgram(f.Function) && site.Func == "":
			return at
		case ofProgram(f.Function):
			site.Caller = fmt.Sprintf("%s (%s:%d)", f.Function[strings.LastIndexByte(f.Function, '/')+1:], path.Base(f.File), f.Line)
			return site
		case site.Func == "":
			site = at
		}
		if innermost.Func == "" {
			innermost = at
		}
		if !more {
			break
		}
	}
	if site.Func == "" {
		return innermost
	}
	return site
}

// program is the module of the program.
var program = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Path
	}
	return ""
})

// ofProgram tells functions of the program's own module.
func ofProgram(function string) bool {
	if strings.HasPrefix(function, "main.") {
		return true
	}
	rest, ok := strings.CutPrefix(function, program())
	return ok && program() != "" && rest != "" && strings.ContainsRune("/._", rune(rest[0])) // _: a package's tests
}

// Place is the line as people know it, relative to the program's module: "orders/list.go:27", or
// "example.com/lib/pkg/file.go:27" of another module.
func (s Site) Place() string {
	return fmt.Sprintf("%s:%d", path.Join(folderOf(s.Func), path.Base(strings.ReplaceAll(s.File, `\`, "/"))), s.Line)
}

// folderOf is the folder of a function's package, relative to the program's module. A package's
// name has no dot before its last slash.
func folderOf(function string) string {
	slash := strings.LastIndexByte(function, '/') + 1
	name, _, _ := strings.Cut(function[slash:], ".")
	pkg := strings.ReplaceAll(function[:slash]+strings.TrimSuffix(name, "_test"), "%2e", ".")
	if pkg == "main" {
		pkg = mainPackage()
	}
	if rest, ok := strings.CutPrefix(pkg, program()); ok && program() != "" && (rest == "" || rest[0] == '/') {
		return strings.TrimPrefix(rest, "/")
	}
	return pkg
}

// mainPackage is the import path of the program's package main.
var mainPackage = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "command-line-arguments" {
		return strings.TrimSuffix(info.Path, ".test")
	}
	return program()
})

// ownFunction tells what watch itself allocates, which is bounded.
func ownFunction(function string) bool {
	rest, ok := strings.CutPrefix(function, "github.com/leaksafe/leaksafe/leakcheck/")
	return ok && (strings.HasPrefix(rest, "watch.") || strings.HasPrefix(rest, "internal/"))
}

// standard reports whether a function is of the standard library: the first
// element of its import path has no dot, and it is not a program's.
func standard(function string) bool {
	if ofProgram(function) {
		return false // also where the module's name has no dot
	}
	first, _, inPath := strings.Cut(function, "/")
	if !inPath {
		first, _, _ = strings.Cut(function, ".")
	}
	return first != "main" && !strings.Contains(first, ".")
}

// goroutineSites counts goroutines by the line that started them. It stops
// the world for the copy of the stacks, and is called on a finding only.
func goroutineSites() snapshot {
	records := make([]runtime.StackRecord, runtime.NumGoroutine()+64)
	n, ok := runtime.GoroutineProfile(records)
	if !ok {
		records = make([]runtime.StackRecord, n+n/4)
		n, _ = runtime.GoroutineProfile(records)
	}
	all := make(snapshot)
	for i := range records[:min(n, len(records))] {
		site := outermost(records[i].Stack())
		if site.Func == "" || ownFunction(site.Func) { // "": it has not run yet
			continue
		}
		a := all[site]
		all[site] = amount{0, a.objects + 1}
	}
	return all.largest(sitesKept)
}

// outermost is the function the goroutine runs; Func is "" if it has not run yet.
func outermost(stack []uintptr) Site {
	frames := runtime.CallersFrames(stack)
	var site Site
	for {
		f, more := frames.Next()
		if f.Function != "" && f.Function != "runtime.goexit" {
			site = Site{Func: f.Function, File: f.File, Line: f.Line}
		}
		if !more {
			return site
		}
	}
}

func (s snapshot) largest(n int) snapshot {
	if len(s) <= n {
		return s
	}
	kept := make(snapshot, n)
	for _, site := range s.sorted()[:n] {
		key := Site{Func: site.Func, File: site.File, Line: site.Line, Caller: site.Caller}
		kept[key] = s[key]
	}
	return kept
}

// sorted lists the sites with their amounts, the largest first.
func (s snapshot) sorted() []Site {
	out := make([]Site, 0, len(s))
	for site, a := range s {
		site.Bytes, site.Objects = a.bytes, a.objects
		out = append(out, site)
	}
	slices.SortFunc(out, func(a, b Site) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Objects, a.Objects), cmp.Compare(a.Func, b.Func), cmp.Compare(a.Line, b.Line))
	})
	return out
}

// grown lists what grew since before, the most first.
func (s snapshot) grown(before snapshot) []Site {
	diff := make(snapshot)
	for site, a := range s {
		b := before[site]
		if a.bytes > b.bytes || (a.bytes == 0 && a.objects > b.objects) {
			diff[site] = amount{a.bytes - b.bytes, a.objects - b.objects}
		}
	}
	sites := diff.sorted()
	return sites[:min(len(sites), sitesShown)]
}

// grownTwice lists what grew before middle and again since, the most first; where nothing did, what
// grew since.
func (s snapshot) grownTwice(before, middle snapshot) []Site {
	diff := make(snapshot)
	for site, a := range s {
		early, late := middle[site].bytes-before[site].bytes, a.bytes-middle[site].bytes
		if early > 0 && late > 0 {
			diff[site] = amount{a.bytes - before[site].bytes, max(a.objects-before[site].objects, 0)}
		}
	}
	if len(diff) == 0 {
		return s.grown(middle)
	}
	sites := diff.sorted()
	return sites[:min(len(sites), sitesShown)]
}
