// Package page is the result of a growth check as one HTML page.
package page

import (
	"fmt"
	"html"
	"runtime"
	"slices"
	"strings"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"

	"github.com/leaksafe/leaksafe/leakcheck/internal/growth"
	"github.com/leaksafe/leaksafe/leakcheck/internal/judge"
)

// pageSites is how many sites the page shows in colour; the others are in the
// numbers.
const pageSites = 5

// page is the report as one HTML page that needs nothing else.
func HTML(r *growth.Result, test string) string {
	var b strings.Builder
	fmt.Fprintf(&b, pageHead, html.EscapeString(test), r.Verdict, html.EscapeString(r.Title()), html.EscapeString(test), r.Operations, runtime.Version())
	memoryGraph(&b, r)
	countGraph(&b, r, growth.Goroutine, "Goroutines left running")
	countGraph(&b, r, growth.File, "Files left open")
	for i, s := range r.Sites {
		if i == pageSites {
			fmt.Fprintf(&b, "<p class=soft>and %d more, in the JSON file beside this page</p>\n", len(r.Sites)-i)
			break
		}
		section(&b, r, i, &s)
	}
	b.WriteString("</main>\n")
	return b.String()
}

func section(b *strings.Builder, r *growth.Result, i int, s *growth.Site) {
	fmt.Fprintf(b, "<section><h2><i class=c%d></i>%s</h2>\n<dl>\n", i, html.EscapeString(s.Rate()))
	entry := func(name string, lines ...string) {
		if len(lines) > 0 {
			fmt.Fprintf(b, "<dt>%s<dd>\n", name)
		}
		for _, line := range lines {
			fmt.Fprintf(b, "<div>%s</div>\n", html.EscapeString(line))
		}
	}
	entry("verdict", s.Verdict.String())
	entry(s.FieldName(), squeeze(s.Place()))
	entry("retained by", s.Held.Lines...)
	entry("measured", r.Measured(s))
	entry("fix", s.Fix()...)
	entry("not a leak?", r.Doubt(s)...)
	entry("silence", s.Silence()...)
	b.WriteString("</dl></section>\n")
}

// squeeze takes out the spaces that line columns up in a terminal.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// memoryGraph draws what the heap gained since the first round as a line, and
// what the worst sites did, on top of each other, beneath it.
func memoryGraph(b *strings.Builder, r *growth.Result) {
	g := graph{x: operationsSoFar(r), format: figure.SignedBytes}
	total := make([]int64, len(r.Heap))
	for i, n := range r.Heap {
		total[i] = n - r.Heap[0]
	}
	for i, s := range r.Sites {
		if i < pageSites && s.Bytes != nil {
			g.stack(i, cumulated(s.Bytes))
		}
	}
	g.line = total
	g.least = 1024
	if r.Verdict == judge.Steady {
		g.least = max(g.least, r.Heap[0]/10) // what moves less looks flat, and is
	}
	caption := fmt.Sprintf("Live heap since the first round, over operations; it was %s.", figure.Bytes(r.Heap[0]))
	g.draw(b, "Memory", caption)
}

func countGraph(b *strings.Builder, r *growth.Result, k growth.Kind, title string) {
	g := graph{x: operationsSoFar(r), format: func(n int64) string { return fmt.Sprint(n) }}
	for i, s := range r.Sites {
		if i < pageSites && s.Kind == k {
			g.stack(i, cumulated(s.Objects))
		}
	}
	if len(g.areas) > 0 {
		g.draw(b, title, "Since the first round, over operations.")
	}
}

// operationsSoFar is the horizontal place of each look.
func operationsSoFar(r *growth.Result) []int64 {
	x := make([]int64, len(r.Rounds)+1)
	for i, ops := range r.Rounds {
		x[i+1] = x[i] + int64(ops)
	}
	return x
}

func cumulated(deltas []int64) []int64 {
	out := make([]int64, len(deltas)+1)
	for i, d := range deltas {
		out[i+1] = out[i] + d
	}
	return out
}

// A graph is areas on top of each other, and a line.
type graph struct {
	x      []int64
	areas  []area
	line   []int64
	least  int64 // the smallest height of the plot
	format func(int64) string
}

type area struct {
	colour   int
	from, to []int64
}

func (g *graph) stack(colour int, heights []int64) {
	from := make([]int64, len(heights))
	if n := len(g.areas); n > 0 {
		from = g.areas[n-1].to
	}
	g.areas = append(g.areas, area{colour, from, growth.Sum(from, heights)})
}

// The drawing is 640 by 240; the plot leaves room for words at its left and
// below.
const (
	plotLeft, plotRight = 104, 632
	plotTop, plotBottom = 12, 208
)

func (g *graph) draw(b *strings.Builder, title, caption string) {
	low, high := g.bounds()
	px := func(i int) float64 {
		return plotLeft + (plotRight-plotLeft)*float64(g.x[i])/float64(max(1, g.x[len(g.x)-1]))
	}
	py := func(n int64) float64 {
		return plotBottom - (plotBottom-plotTop)*float64(n-low)/float64(high-low)
	}
	fmt.Fprintf(b, "<figure><figcaption><b>%s</b> %s</figcaption>\n<svg viewBox=\"0 0 640 240\" role=img aria-label=\"%[1]s\">\n", title, html.EscapeString(caption))
	for _, n := range slices.Compact([]int64{low, 0, high}) {
		if n >= 0 || py(n) > py(0)+14 {
			fmt.Fprintf(b, "<line x1=%d x2=%d y1=%.1f y2=%.1f /><text x=%d y=%.1f text-anchor=end>%s</text>\n", plotLeft, plotRight, py(n), py(n), plotLeft-6, py(n)+4, g.format(n))
		}
	}
	fmt.Fprintf(b, "<text x=%d y=%d>0</text><text x=%d y=%d text-anchor=end>%d operations</text>\n", plotLeft, plotBottom+22, plotRight, plotBottom+22, g.x[len(g.x)-1])
	for _, a := range g.areas {
		var points []string
		for i := range g.x {
			points = append(points, fmt.Sprintf("%.1f,%.1f", px(i), py(a.to[i])))
		}
		for i := len(g.x) - 1; i >= 0; i-- {
			points = append(points, fmt.Sprintf("%.1f,%.1f", px(i), py(a.from[i])))
		}
		fmt.Fprintf(b, "<polygon class=c%d points=\"%s\" />\n", a.colour, strings.Join(points, " "))
	}
	if g.line != nil {
		var points []string
		for i, n := range g.line {
			points = append(points, fmt.Sprintf("%.1f,%.1f", px(i), py(n)))
		}
		fmt.Fprintf(b, "<polyline points=\"%s\" />\n", strings.Join(points, " "))
	}
	b.WriteString("</svg></figure>\n")
}

// bounds are the smallest and the largest value, zero among them.
func (g *graph) bounds() (low, high int64) {
	all := [][]int64{g.line}
	for _, a := range g.areas {
		all = append(all, a.to)
	}
	for _, values := range all {
		for _, n := range values {
			low, high = min(low, n), max(high, n)
		}
	}
	return low, max(high, low+max(1, g.least))
}

const pageHead = `<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1">
<title>%s: %s</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --rule: #d8dee4; --ground: #fff; --c0: #b42318; --c1: #0b63b6; --c2: #8a5a00; --c3: #6d3fc0; --c4: #11734b }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ad; --rule: #343a42; --ground: #15181c; --c0: #ff8a80; --c1: #6cb2ff; --c2: #e3b341; --c3: #b7a2ff; --c4: #6bd6a4 } }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem }
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0 } h2 { font-size: 1.05rem; margin: 0 0 .5rem }
.soft, figcaption { color: var(--soft) } figcaption b { color: var(--ink); margin-right: .5rem }
figure { margin: 1.5rem 0 } svg { width: 100%%; height: auto; display: block }
svg text { font: 13px system-ui, sans-serif; fill: var(--soft) } svg line { stroke: var(--rule) }
svg polyline { fill: none; stroke: var(--ink); stroke-width: 2; stroke-linejoin: round; vector-effect: non-scaling-stroke }
section { border-top: 1px solid var(--rule); padding: 1rem 0 }
h2 i { display: inline-block; width: .8em; height: .8em; margin-right: .5em; border-radius: 2px }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; margin: 0 }
dt { color: var(--soft) } dd { margin: 0; font: .875rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
dd div { white-space: pre-wrap; padding-left: 4ch; text-indent: -4ch }
.c0 { fill: var(--c0); background: var(--c0) } .c1 { fill: var(--c1); background: var(--c1) } .c2 { fill: var(--c2); background: var(--c2) } .c3 { fill: var(--c3); background: var(--c3) } .c4 { fill: var(--c4); background: var(--c4) }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .4rem } svg { overflow: visible } svg text { font-size: 20px } }
</style>
<main>
<h1>%s</h1>
<p class=soft>%s &middot; %d operations &middot; %s &middot; leakcheck.NoGrowth</p>
`
