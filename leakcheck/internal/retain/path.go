package retain

import (
	"fmt"
	"strconv"
	"strings"
)

// A Path is the way from a root to an object.
type Path struct {
	Answer        string // in one sentence
	Expr          string // as a Go expression, when there is one: cache.defaultStore.items["x"].buf
	Hops          []Hop
	Count         int
	RetainedBytes int64
	Also          []string `json:",omitempty"` // what else holds it: without the path above it would still be alive
	Rank          Rank     `json:"-"`
	ByTest        bool     `json:"-"` // only tests themselves hold it
	// Grew is the number of the hop that holds what came with time, from 1: the container nearest
	// to the root that many of these objects, or what holds them, were added to. 0: unknown.
	Grew int `json:"-"`
}

// A Hop is a root, or one object on the way.
type Hop struct {
	Kind   string
	Name   string `json:",omitempty"`
	Type   string `json:",omitempty"`
	File   string `json:",omitempty"`
	Line   int    `json:",omitempty"`
	Source string `json:",omitempty"`
}

// String returns one line for the answer, and one for each hop.
func (p Path) String() string {
	lines := make([]string, 0, len(p.Hops)+1)
	width := 0
	for _, h := range p.Hops {
		if h.Kind != "goroutine" {
			width = min(max(width, len(h.what())), 44)
		}
	}
	for i, h := range p.Hops {
		arrow := "  → "
		if i == 0 {
			arrow = "  "
		}
		what := h.what()
		if i == len(p.Hops)-1 && i > 0 {
			what = p.last(strings.TrimPrefix(what, "object "))
		}
		lines = append(lines, strings.TrimRight(arrow+h.line(what, width), " "))
	}
	for _, a := range p.Also {
		lines = append(lines, "  also held by "+a)
	}
	if p.Answer != "" {
		lines = append([]string{p.Answer}, lines...)
	}
	return strings.Join(lines, "\n")
}

// what says in a few words what a hop is.
func (h Hop) what() string {
	parts := []string{h.Kind}
	switch {
	case h.Kind == "object" && h.Type != "":
		parts = []string{h.Type}
	case h.Type != "" && h.Kind != "variable":
		parts = append(parts, h.Type)
	}
	if h.Name != "" {
		parts = append(parts, h.Name)
	}
	return strings.Join(parts, " ")
}

func (h Hop) line(what string, width int) string {
	if h.File == "" {
		return what
	}
	return fmt.Sprintf("%-*s  %s:%d  %s", width, what, shortFile(h.File), h.Line, h.Source)
}

// last says how many there are of the object at the end.
func (p Path) last(what string) string {
	name, unknown := strings.CutPrefix(what, "of ") // its size is all that is known
	if what == "object" || unknown && p.Count <= 1 && p.RetainedBytes > 0 {
		what = "the object"
	} else {
		what = "the object: " + name
	}
	switch {
	case p.Count > 1:
		return fmt.Sprintf("%s (%s like it, %s retained)", what, Number(p.Count), Bytes(p.RetainedBytes))
	case p.RetainedBytes > 0:
		return fmt.Sprintf("%s (%s retained)", what, Bytes(p.RetainedBytes))
	}
	return what
}

// shortFile keeps the directory and the name of a file that is named from the root, or, as
// -trimpath does, from an import path. A path within the reader's module is short already.
func shortFile(file string) string {
	file = strings.ReplaceAll(file, `\`, "/")
	if first, _, _ := strings.Cut(file, "/"); first != "" && !strings.ContainsAny(first, ".:") {
		return file
	}
	i := strings.LastIndexByte(file, '/')
	if i < 0 {
		return file
	}
	return file[strings.LastIndexByte(file[:i], '/')+1:]
}

// Bytes writes a number of bytes for a reader: 512 B, 94 KiB, 1.5 MiB.
func Bytes(n int64) string {
	switch {
	case n < 1<<10:
		return strconv.FormatInt(n, 10) + " B"
	case n < 1<<20:
		return trim(float64(n)/(1<<10)) + " KiB"
	case n < 1<<30:
		return trim(float64(n)/(1<<20)) + " MiB"
	}
	return trim(float64(n)/(1<<30)) + " GiB"
}

func trim(f float64) string {
	if f >= 10 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
}

// Number writes a count with its thousands apart: 6,000.
func Number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
