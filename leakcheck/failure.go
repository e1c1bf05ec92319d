package leakcheck

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A failure is one verdict as a person reads it: a title, then what, where and
// the remedy, a field a line.
//
//	leakcheck: 1 goroutine outlives TestPut
//	    blocked in     chan receive, 2 s
//	    created at     cache.New   cache/cache.go:31   go c.janitor()
//	    remedy         …
type failure struct {
	title  string
	fields []field
	// file and line are where a tool should point: the place to mend.
	file string
	line int
}

type field struct {
	name  string
	lines []string
}

// add appends a field; its further lines stand below the first.
func (f *failure) add(name string, lines ...string) {
	if len(lines) > 0 {
		f.fields = append(f.fields, field{name, lines})
	}
}

const fieldWidth = 15

func (f *failure) String() string {
	return "leakcheck: " + f.title + f.text("\n    ")
}

// more is the fields alone, for the Output of a test whose log already has the
// title.
func (f *failure) more() string {
	return strings.TrimPrefix(f.text("\n        "), "\n") + "\n"
}

func (f *failure) text(indent string) string {
	var b strings.Builder
	for _, fd := range f.fields {
		name := fd.name
		for _, line := range fd.lines {
			fmt.Fprintf(&b, "%s%-*s%s", indent, fieldWidth, name, line)
			name = ""
		}
	}
	return b.String()
}

// annotate writes the one line that makes GitHub Actions show the failure at
// its source line. It writes nothing elsewhere.
func (f *failure) annotate(w io.Writer) {
	if os.Getenv("GITHUB_ACTIONS") != "true" || f.file == "" {
		return
	}
	fmt.Fprintf(w, "::error file=%s,line=%d::%s\n", escapeProperty(shortFile(f.file)), f.line, escapeData("leakcheck: "+f.title))
}

// The escapes of GitHub's workflow commands.
var (
	data     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeData(s string) string     { return data.Replace(s) }
func escapeProperty(s string) string { return property.Replace(s) }
