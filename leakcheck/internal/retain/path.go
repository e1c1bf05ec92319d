package retain

import (
	"fmt"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
)

// A Path is the way from a root to an object.
type Path struct {
	Answer        string // in one sentence
	Expr          string // as a Go expression, when there is one: cache.defaultStore.items["x"].buf
	Hops          []Hop
	Count         int
	RetainedBytes int64
	Also          []string `json:",omitempty"` // what else retains it: without the path above it would still be alive
	Rank          Rank     `json:"-"`
	ByTest        bool     `json:"-"` // only tests themselves retain it
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

// String returns one line for the answer, and one for each hop, with files named by folder and
// name.
func (p Path) String() string { return p.Text(shortFile) }

// Text is String with files named as file does.
func (p Path) Text(file func(string) string) string {
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
		lines = append(lines, strings.TrimRight(arrow+h.line(what, width, file), " "))
	}
	for _, a := range p.Also {
		lines = append(lines, "  also retained by "+a)
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

func (h Hop) line(what string, width int, file func(string) string) string {
	if h.File == "" {
		return what
	}
	return fmt.Sprintf("%-*s  %s:%d  %s", width, what, file(h.File), h.Line, h.Source)
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
		return fmt.Sprintf("%s (%s like it, %s retained)", what, figure.Number(p.Count), figure.Bytes(p.RetainedBytes))
	case p.RetainedBytes > 0:
		return fmt.Sprintf("%s (%s retained)", what, figure.Bytes(p.RetainedBytes))
	}
	return what
}

// short names a file for a reader.
func (h *Heap) short(file string) string {
	if h.names.File != nil {
		return h.names.File(file)
	}
	return shortFile(file)
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
