// Package failure is the text of a verdict, for a person and for GitHub Actions.
package failure

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// A Failure is one verdict as a person reads it: a title, then what, where, the fix and the
// measurement, a field a line.
//
//	leakcheck: goroutine leak: 1 goroutine is still running after TestPut
//	    blocked in     cache.(*Cache).janitor   cache/cache.go:40   <-c.stop
//	    started at     cache.New   cache/cache.go:31   go c.janitor()
//	    fix            …
type Failure struct {
	Title  string
	Fields []Field
	// File and Line are where a tool should point: the line to change.
	File string
	Line int
}

// A Field is a name and its text, in lines.
type Field struct {
	name  string
	lines []string
}

// Add appends a field; its further lines stand below the first.
func (f *Failure) Add(name string, lines ...string) {
	if len(lines) > 0 {
		f.Fields = append(f.Fields, Field{name, lines})
	}
}

const fieldWidth = 15

func (f *Failure) String() string {
	return "leakcheck: " + f.Title + f.text("\n    ")
}

func (f *Failure) text(indent string) string {
	var b strings.Builder
	for _, fd := range f.Fields {
		name := fd.name
		for _, line := range fd.lines {
			fmt.Fprintf(&b, "%s%-*s%s", indent, fieldWidth, name, line)
			name = ""
		}
	}
	return b.String()
}

// Annotate writes the one line that makes GitHub Actions show the failure at its source line. It
// writes nothing elsewhere.
func (f *Failure) Annotate(w io.Writer) {
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return
	}
	at := ""
	if file := source.RepositoryFile(f.File); file != "" {
		at = fmt.Sprintf(" file=%s,line=%d", escapeProperty(file), f.Line)
	}
	fmt.Fprintf(w, "::error%s::%s\n", at, escapeData("leakcheck: "+f.Title))
}

// The escapes of GitHub's workflow commands.
var (
	data     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeData(s string) string     { return data.Replace(s) }
func escapeProperty(s string) string { return property.Replace(s) }

// Group puts together what has the same key, in the order of its first.
func Group[K comparable, T any](all []T, key func(T) K) [][]T {
	var groups [][]T
	index := map[K]int{}
	for _, x := range all {
		k := key(x)
		i, known := index[k]
		if !known {
			i = len(groups)
			index[k] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], x)
	}
	return groups
}

// Tally counts a group by what name says of its members: "a (3), b, c, 4 more".
func Tally[T any](group []T, name func(T) string) string {
	const most = 6
	count := map[string]int{}
	for _, m := range group {
		count[name(m)]++
	}
	names := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	if len(names) == 1 {
		return names[0]
	}
	for i, n := range names {
		if count[n] > 1 {
			names[i] = fmt.Sprintf("%s (%d)", n, count[n])
		}
	}
	if len(names) > most {
		names = append(names[:most-1], fmt.Sprintf("%d more", len(names)-most+1))
	}
	return strings.Join(names, ", ")
}

// OneOf lists candidates: "one of TestA, TestB". Of hundreds it names a dozen.
func OneOf(names []string) string {
	const most = 12
	if len(names) <= most {
		return "one of " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("one of %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
