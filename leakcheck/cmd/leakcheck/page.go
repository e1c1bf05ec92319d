package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"os"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// A page is one HTML file: suspects in words, and the tree of what retains the memory.
type page struct {
	Title, About, None, Tree, Least string
	Suspects                        []pageSuspect
	Roots                           []*pageNode
}

type pageSuspect struct {
	Words string
	Steps []string
}

type pageNode struct {
	Label, Bytes, Objects string
	Percent               string
	Below                 []*pageNode

	weight int64
}

// pageShare is how small a share of the whole has a line of its own.
const pageShare = 0.001

// newPage shows a tree, or by how much it has grown since the one before, which may be nil.
func newPage(tree, before *retain.Tree, suspects []retain.Suspect) *page {
	p := &page{Tree: "What retains the memory", None: "No place retains a tenth of the heap."}
	if before != nil {
		p.Tree, p.None = "What the growth is retained by", "The heap has not grown, or no place accounts for a tenth of the growth."
	}
	for _, s := range suspects {
		words, steps, _ := strings.Cut(s.String(), "\n")
		x := pageSuspect{Words: words}
		for line := range strings.Lines(steps) {
			x.Steps = append(x.Steps, strings.TrimPrefix(strings.TrimSpace(line), "→ "))
		}
		p.Suspects = append(p.Suspects, x)
	}
	p.addTree(tree, before)
	return p
}

func (p *page) addTree(tree, before *retain.Tree) {
	weight, objects := tree.Weights(before)
	all := int64(0)
	for n := range tree.Nodes {
		if tree.Nodes[n].Parent < 0 {
			all += max(weight[n], 0)
		}
	}
	least := max(int64(float64(all)*pageShare), 1)
	p.Least = figure.Bytes(least)
	at := make([]*pageNode, len(tree.Nodes))
	for n := range tree.Nodes {
		x := &tree.Nodes[n]
		if weight[n] < least || x.Parent >= 0 && at[x.Parent] == nil {
			continue
		}
		at[n] = &pageNode{Label: x.Text(), Bytes: figure.Bytes(weight[n]), Objects: figure.Plural(int(objects[n]), "object"),
			Percent: fmt.Sprintf("%.1f", 100*float64(weight[n])/float64(all)), weight: weight[n]}
		if x.Parent >= 0 {
			at[x.Parent].Below = append(at[x.Parent].Below, at[n])
		} else {
			p.Roots = append(p.Roots, at[n])
		}
	}
	sortNodes(p.Roots)
}

func sortNodes(nodes []*pageNode) {
	slices.SortStableFunc(nodes, func(a, b *pageNode) int { return int(min(max(b.weight-a.weight, -1), 1)) })
	for _, n := range nodes {
		sortNodes(n.Below)
	}
}

// write writes the page to a file that only this user can read, as dumps are.
func (p *page) write(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := pageTemplate.Execute(f, p); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
