package explain

import (
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// Lines are the text below "retained by": the answer without these words, and the path.
func Lines(p retain.Path) []string {
	return strings.Split(strings.TrimPrefix(p.Text(source.ShortFile), "retained by "), "\n")
}

// Held is a path for a failure's text and its fix.
func Held(p retain.Path) growth.Held {
	h := growth.Held{Lines: Lines(p)}
	for i, hop := range p.Hops {
		h.Steps = append(h.Steps, advice.Step{Kind: hop.Kind, Name: hop.Name, Type: hop.Type, Grew: i+1 == p.Grew, Test: i == 0 && p.ByTest})
	}
	return h
}
