package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"os"
	"strings"
)

// A bar is a progress bar on a terminal. Elsewhere it prints nothing.
type bar struct{ w io.Writer }

func newBar(w io.Writer) bar {
	f, ok := w.(*os.File)
	if !ok {
		return bar{io.Discard}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return bar{io.Discard}
	}
	return bar{w}
}

func (b bar) show(done float64, text string) {
	const width = 24
	n := int(min(done, 1) * width)
	fmt.Fprintf(b.w, "\r\x1b[K%s%s %3.0f%%  %s",
		strings.Repeat("█", n), strings.Repeat("░", width-n), 100*min(done, 1), text)
}

func (b bar) clear() { fmt.Fprint(b.w, "\r\x1b[K") }

// status describes the last sample of each server.
func status(children []*child) string {
	var s []string
	for _, c := range children {
		last := c.samples[len(c.samples)-1]
		s = append(s, fmt.Sprintf("%s %.0f MiB, %.0f req/s", c.Page, mib(last.Heap), last.Rate))
	}
	return strings.Join(s, "   ")
}

// A series is one line of a graph.
type series []float64

func heaps(c *child) (s series) {
	for _, p := range c.samples {
		s = append(s, mib(p.Heap))
	}
	return s
}

func rates(c *child) (s series) {
	for _, p := range c.samples {
		s = append(s, p.Rate)
	}
	return s
}

func mib(bytes float64) float64 { return bytes / (1 << 20) }

func (s series) max() (m float64) {
	for _, v := range s {
		m = max(m, v)
	}
	return m
}

// mean returns the mean of the part of s between two fractions of its length.
func (s series) mean(from, to float64) float64 {
	part := s[int(from*float64(len(s))):max(1, int(math.Ceil(to*float64(len(s)))))]
	var sum float64
	for _, v := range part {
		sum += v
	}
	return sum / float64(len(part))
}

// spark draws s in n characters, top being the full height.
func (s series) spark(n int, top float64) string {
	const levels = "▁▂▃▄▅▆▇█"
	runes := []rune(levels)
	var b strings.Builder
	for i := range n {
		v := s.mean(float64(i)/float64(n), float64(i+1)/float64(n))
		b.WriteRune(runes[min(len(runes)-1, int(v/top*float64(len(runes))))])
	}
	return b.String()
}

func tops(children []*child) (heap, rate float64) {
	for _, c := range children {
		heap, rate = max(heap, heaps(c).max()), max(rate, rates(c).max())
	}
	return max(heap, 1), max(rate, 1)
}

func printGraphs(w io.Writer, children []*child) {
	const width = 24
	heap, rate := tops(children)
	fmt.Fprintf(w, "%-14s%-*s%-19s%-*s%s\n", "",
		width+2, "live heap", "first → last", width+2, "requests per second", "first → last")
	for _, c := range children {
		h, r := heaps(c), rates(c)
		fmt.Fprintf(w, "%-14s%s  %-19s%s  %.0f → %.0f\n", c.Page,
			h.spark(width, heap), fmt.Sprintf("%.1f → %.1f MiB", h[0], h[len(h)-1]),
			r.spark(width, rate), r.mean(0, .1), r.mean(.9, 1))
	}
}

func printVerdicts(w io.Writer, children []*child) {
	fmt.Fprintln(w)
	for _, c := range children {
		fmt.Fprintf(w, "%-14s%s\n", c.Page, c.Finding.Verdict)
		if place := c.Finding.place(); place != "" {
			fmt.Fprintln(w, "    "+place)
		}
	}
}

//go:embed graph.html
var graphHTML string

var graphPage = template.Must(template.New("graph").Funcs(template.FuncMap{
	"place": finding.place,
}).Parse(graphHTML))

// A chart is one graph of the page, in units of its own.
type chart struct {
	Title, Unit string
	Top         float64
	Lines       []line
	Ticks       []tick
	Limit       *tick // a dashed line
	Seconds     float64
}

type line struct {
	Page, Points string
	Last         string
	Y            float64
}

type tick struct {
	Y    float64
	Text string
}

// The drawing area of a chart, in SVG units.
const chartWidth, chartHeight = 640.0, 200.0

func newChart(title, unit string, children []*child, of func(*child) series) chart {
	var top float64
	for _, c := range children {
		top = max(top, of(c).max())
	}
	seconds := slice.Seconds() * float64(len(children[0].samples))
	ch := chart{Title: title, Unit: unit, Top: nice(top), Seconds: seconds}
	y := func(v float64) float64 { return chartHeight - v/ch.Top*chartHeight }
	for _, c := range children {
		s := of(c)
		var points []string
		for i, v := range s {
			x := float64(i) / max(1, float64(len(s)-1)) * chartWidth
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y(v)))
		}
		last := s.mean(.9, 1)
		ch.Lines = append(ch.Lines, line{
			Page: c.Page, Points: strings.Join(points, " "),
			Last: fmt.Sprintf("%.0f", last), Y: y(last),
		})
	}
	ch.spread()
	for _, f := range []float64{0, .5, 1} {
		ch.Ticks = append(ch.Ticks, tick{y(f * ch.Top), fmt.Sprintf("%.0f", f*ch.Top)})
	}
	return ch
}

// limited draws a line at the memory limit, if it is within the chart.
func (ch chart) limited(v float64) chart {
	if v <= ch.Top {
		ch.Limit = &tick{chartHeight - v/ch.Top*chartHeight, fmt.Sprintf("limit: %.0f MiB", v)}
	}
	return ch
}

// spread moves the names of two lines apart where they would overlap.
func (ch *chart) spread() {
	const gap = 16
	for i := range ch.Lines[1:] {
		a, b := &ch.Lines[i].Y, &ch.Lines[i+1].Y
		if between := math.Abs(*a - *b); between < gap {
			up, down := a, b
			if *b < *a {
				up, down = b, a
			}
			*up -= (gap - between) / 2
			*down += (gap - between) / 2
		}
	}
}

// nice rounds up to 1, 2 or 5 times a power of ten.
func nice(v float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(max(v, 1))))
	for _, f := range []float64{1, 2, 5} {
		if v <= f*step {
			return f * step
		}
	}
	return 10 * step
}

// writePage writes both graphs as one page that needs no other file.
func writePage(w io.Writer, children []*child) error {
	return graphPage.Execute(w, map[string]any{
		"Charts": []chart{
			newChart("Live heap", "MiB", children, heaps).limited(mib(limit)),
			newChart("Requests per second", "", children, rates),
		},
		"Children": children,
	})
}
