package watch

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A shape is the size of a graph in the units of its viewBox, and the space for its axes. A screen
// shows the wide shape or the narrow one, so that a unit is about a pixel and texts stay readable.
type shape struct {
	class                     string
	width, height             float64
	left, right, above, below float64
	xTicks, yTicks            int // at most
}

var (
	wide   = shape{"wide", 920, 270, 76, 12, 22, 24, 8, 6}
	narrow = shape{"narrow", 358, 230, 66, 8, 22, 24, 4, 5}
)

const (
	letter   = 7.0 // about as wide as a letter of a graph's text
	markText = 24  // letters of a mark that a graph shows
)

// A graph is drawn on the server: the page needs no script.
type graph struct {
	Strokes []stroke // the key
	Levels  []tick
	Label   string
	Shapes  []drawing

	from, to time.Time
	marks    []mark
	wholes   bool // values are numbers of things
}

// A drawing is a graph in one shape.
type drawing struct {
	Class                    string
	Width, Height            float64
	Left, Right, Top, Bottom float64
	Strokes                  []stroke
	Levels, YTicks, XTicks   []tick
	Marks                    []tick
}

type stroke struct {
	Class, Name, Path string
	points            []xy
}

type tick struct {
	X, Y   float64
	Text   string
	Anchor string // which end of the text is at X
	value  float64
}

// xy is a place on a graph, before it is scaled. A gap begins a new stroke.
type xy struct {
	at    time.Time
	value float64
	gap   bool
}

// pointsOf joins the earlier runs and this one; a negative value is unknown.
func pointsOf(s status, past func(point) int64, now func(Sample) int64) []xy {
	var out []xy
	run := int64(0)
	for _, p := range s.Past {
		if v := past(p); v >= 0 {
			out = append(out, xy{p.Time, float64(v), p.Life != run})
			run = p.Life
		}
	}
	for i, x := range s.Samples {
		if v := now(x); v >= 0 {
			out = append(out, xy{s.at(x), float64(v), i == 0})
		}
	}
	return out
}

// at is when a sample was taken, by the clock of the newest one: the wall clock may have been set
// meanwhile.
func (s status) at(x Sample) time.Time {
	newest := s.Samples[len(s.Samples)-1]
	return newest.Time.Add(-seconds(newest.Up - x.Up))
}

func newGraph(s status, label string) graph {
	g := graph{Label: label, marks: s.Marks}
	for _, p := range s.Past {
		g.span(p.Time)
	}
	for _, x := range s.Samples {
		g.span(s.at(x))
	}
	return g
}

func (g *graph) span(t time.Time) {
	if g.from.IsZero() || t.Before(g.from) {
		g.from = t
	}
	if t.After(g.to) {
		g.to = t
	}
}

func (g *graph) line(class, name string, points []xy) {
	if len(points) > 0 {
		g.Strokes = append(g.Strokes, stroke{Class: class, Name: name, points: points})
	}
}

func (g *graph) level(name string, value float64) {
	g.Levels = append(g.Levels, tick{Text: name, value: value})
}

// top is the highest value.
func (g *graph) top() float64 {
	top := 0.0
	for _, l := range g.Strokes {
		for _, p := range l.points {
			top = max(top, p.value)
		}
	}
	for _, l := range g.Levels {
		top = max(top, l.value)
	}
	return top
}

// draw draws the graph in both shapes.
func (g *graph) draw() {
	if len(g.Strokes) > 0 {
		g.Shapes = []drawing{g.in(wide), g.in(narrow)}
	}
}

func (g *graph) in(s shape) drawing {
	d := drawing{Class: s.class, Width: s.width, Height: s.height, Left: s.left, Right: s.width - s.right, Top: s.above, Bottom: s.height - s.below}
	top := g.top()
	step, per, unit := roundStep(top, s.yTicks, g.wholes)
	highest := step * math.Max(1, math.Ceil(top/step-1e-9))
	y := func(v float64) float64 { return tenth(d.Bottom - (d.Bottom-d.Top)*v/highest) }
	for i := 0; float64(i)*step <= highest*1.001; i++ {
		v := float64(i) * step
		d.YTicks = append(d.YTicks, tick{Y: y(v), Text: tickText(v, per, unit)})
	}
	span := g.to.Sub(g.from).Seconds()
	x := func(t time.Time) float64 {
		if span <= 0 {
			return d.Right
		}
		return tenth(d.Left + (d.Right-d.Left)*t.Sub(g.from).Seconds()/span)
	}
	for _, l := range g.Strokes {
		d.Strokes = append(d.Strokes, stroke{Class: l.Class, Path: pathOf(l.points, x, y)})
	}
	every, layout := timeStep(g.to.Sub(g.from), s.xTicks)
	covered := 0.0
	for t := g.from.Truncate(every).Add(every); !t.After(g.to); t = t.Add(every) {
		text := t.UTC().Format(layout)
		half := letter * float64(len(text)) / 2
		at := min(max(x(t), d.Left), d.Right-half)
		if at-half >= covered {
			d.XTicks = append(d.XTicks, tick{X: at, Text: text})
			covered = at + half + letter
		}
	}
	for _, l := range g.Levels {
		d.Levels = append(d.Levels, tick{Y: y(l.value)})
	}
	d.Marks = g.marksIn(d, x)
	return d
}

// tenth rounds, so that the page is short.
func tenth(v float64) float64 { return math.Round(v*10) / 10 }

// marksIn places the marks. A text that would cover the one before is left out: below the graph
// they are all listed.
func (g *graph) marksIn(d drawing, x func(time.Time) float64) (marks []tick) {
	covered := 0.0
	for _, m := range g.marks {
		at := x(m.Time)
		if at < d.Left || len(g.Strokes) == 0 {
			continue
		}
		mark := tick{X: min(at, d.Right), Anchor: "middle"}
		text := short(m.Text, markText)
		half := letter * float64(len([]rune(text))) / 2
		from, to := mark.X-half, mark.X+half
		switch {
		case from < 0:
			mark.Anchor, from, to = "start", mark.X, mark.X+2*half
		case to > d.Width:
			mark.Anchor, from, to = "end", mark.X-2*half, mark.X
		}
		if from >= covered {
			mark.Text, covered = text, to+letter
		}
		marks = append(marks, mark)
	}
	return marks
}

func short(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}

func pathOf(points []xy, x func(time.Time) float64, y func(float64) float64) string {
	var b strings.Builder
	for i, p := range points {
		verb := "L"
		if i == 0 || p.gap {
			verb = "M"
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", verb, x(p.at), y(p.value))
	}
	return b.String()
}

// roundStep is a step of 1, 2 or 5 times a power of ten, in the unit that fits, with which at most
// n steps reach top.
func roundStep(top float64, n int, wholes bool) (step, per float64, unit string) {
	per = 1.0
	if !wholes {
		units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
		unit = units[0]
		for _, u := range units[1:] {
			if top < per*1024 {
				break
			}
			per, unit = per*1024, u
		}
	}
	least := math.Max(top/per/float64(n), 1e-9)
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if step = factor * power; step >= least*(1-1e-9) {
			break
		}
	}
	if per == 1 {
		step = math.Max(step, 1)
	}
	return step * per, per, unit
}

func tickText(v, per float64, unit string) string {
	if v == 0 || unit == "" {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.4g %s", v/per, unit)
}

// timeSteps are the round steps of time.
var timeSteps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
}

const dayLong = 24 * time.Hour

// timeStep is a round step of which at most n cover a span, and how a time is written with it.
func timeStep(span time.Duration, n int) (step time.Duration, layout string) {
	i, _ := slices.BinarySearchFunc(timeSteps, span/time.Duration(n), func(a, b time.Duration) int { return int(min(max(a-b, -1), 1)) })
	if i < len(timeSteps) {
		step = timeSteps[i]
	} else {
		step = (span/time.Duration(n)/dayLong + 1) * dayLong
	}
	switch {
	case step < time.Minute:
		layout = "15:04:05"
	case step < dayLong && span < dayLong:
		layout = "15:04"
	case step < dayLong:
		layout = "2 Jan 15:04"
	case span < 300*dayLong:
		layout = "2 Jan"
	default:
		layout = "2006-01-02"
	}
	return step, layout
}
