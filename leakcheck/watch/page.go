package watch

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"size":  func(n int64) string { return sizeOr(n) },
	"kind":  func(capture string) string { return captureName.FindStringSubmatch(capture)[1] },
	"clock": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
}).Parse(pageText))

func sizeOr(n int64) string {
	if n < 0 {
		return "unknown here"
	}
	return size(float64(n))
}

// The status is what the page shows and what data.json holds.
type status struct {
	Version  int       `json:"version"` // of this form: 1
	Time     time.Time `json:"time"`
	Interval Seconds   `json:"interval"`
	Limit    int64     `json:"limit"` // bytes; 0: none is known
	Source   string    `json:"limitSource"`
	Samples  []Sample  `json:"samples"` // the last of each step, the oldest first; steps are coarser the longer the history
	Past     []point   `json:"past"`    // earlier lives of this process, where Options.Dir is set
	Marks    []mark    `json:"marks"`
	Findings []Finding `json:"findings"`
	Expected []overdue `json:"expected"` // objects given to Expect that are still alive
	Captures []string  `json:"captures"` // profiles: files/NAME
	Problem  string    `json:"problem,omitempty"`
}

func (w *Watcher) status() status {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := status{
		Version: 1, Time: now, Interval: Seconds(w.o.Interval),
		Limit: w.limit.bytes, Source: w.limit.source,
		Samples: []Sample{}, Past: []point{},
		Marks:    append([]mark{}, w.marks...),
		Findings: append([]Finding{}, w.findings...),
		Expected: append([]overdue{}, w.expected.list(now)...),
		Captures: []string{},
		Problem:  w.problem,
	}
	for _, b := range w.history.since(w.o.History.Seconds()) {
		s.Samples = append(s.Samples, b.last)
	}
	if w.dir != nil {
		from := now.Add(-w.o.History)
		for _, p := range w.dir.past {
			if p.Time.After(from) {
				s.Past = append(s.Past, p)
			}
		}
		names, err := w.dir.captures()
		w.fault(err)
		s.Captures = append(s.Captures, names...)
	}
	return s
}

// Handler serves the page, data.json beside it and the captured profiles under
// files/. Mount it below a path that ends in a slash, such as /debug/leaks/, and
// behind authentication: profiles name the program's functions and files. It answers
// GET and HEAD, and 405 to every other method.
func (w *Watcher) Handler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			rw.Header().Set("Allow", "GET, HEAD")
			http.Error(rw, "watch: only GET and HEAD are served here", http.StatusMethodNotAllowed)
			return
		}
		rw.Header().Set("Cache-Control", "no-store")
		switch name := path.Base(r.URL.Path); {
		case strings.HasSuffix(r.URL.Path, "/"):
			w.servePage(rw)
		case name == "data.json":
			w.serveJSON(rw)
		case path.Base(path.Dir(r.URL.Path)) == "files":
			w.serveFile(rw, name)
		default:
			http.Error(rw, "watch: no such page; the page's address ends in a slash", http.StatusNotFound)
		}
	})
}

func (w *Watcher) serveJSON(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	// The connection is gone where this fails: there is no one to tell.
	_ = json.NewEncoder(rw).Encode(w.status())
}

func (w *Watcher) serveFile(rw http.ResponseWriter, name string) {
	if w.dir == nil || !captureName.MatchString(name) {
		http.Error(rw, "watch: no such profile", http.StatusNotFound)
		return
	}
	content, err := os.ReadFile(filepath.Join(w.dir.path, name))
	if err != nil {
		http.Error(rw, "watch: this profile is gone: newer ones took its place", http.StatusNotFound)
		return
	}
	rw.Header().Set("Content-Type", "application/octet-stream")
	rw.Header().Set("Content-Disposition", "attachment; filename="+name)
	_, _ = rw.Write(content)
}

func (w *Watcher) servePage(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_ = page.Execute(rw, w.status().view())
}

// A view is the status with its graphs drawn.
type view struct {
	status
	Now    Sample
	Memory graph
	Counts graph
}

func (s status) view() view {
	v := view{status: s}
	if len(s.Samples) > 0 {
		v.Now = s.Samples[len(s.Samples)-1]
	}
	v.Memory = newGraph(s, func(n float64) string { return size(n) })
	v.Memory.line("rss", "resident", pointsOf(s, func(p point) int64 { return p.RSS }, func(s Sample) int64 { return s.RSS }))
	v.Memory.line("live", "live heap", pointsOf(s, func(p point) int64 { return p.Live }, func(s Sample) int64 { return s.Live }))
	if top := v.Memory.top; s.Limit > 0 && float64(s.Limit) < 4*top {
		v.Memory.level("limit, "+s.Source, float64(s.Limit))
	}
	v.Memory.draw()
	v.Counts = newGraph(s, func(n float64) string { return fmt.Sprintf("%.0f", n) })
	none := func(point) int64 { return -1 }
	v.Counts.line("goroutines", "goroutines", pointsOf(s, none, func(s Sample) int64 { return s.Goroutines }))
	v.Counts.line("files", "file descriptors", pointsOf(s, none, func(s Sample) int64 { return s.Files }))
	v.Counts.draw()
	return v
}

// xy is a place on a graph, before it is scaled. A gap begins a new stroke.
type xy struct {
	at    time.Time
	value float64
	gap   bool
}

// pointsOf joins the earlier lives and this one; a negative value is unknown.
func pointsOf(s status, past func(point) int64, now func(Sample) int64) []xy {
	var out []xy
	life := int64(0)
	for _, p := range s.Past {
		if v := past(p); v >= 0 {
			out = append(out, xy{p.Time, float64(v), p.Life != life})
			life = p.Life
		}
	}
	for i, x := range s.Samples {
		if v := now(x); v >= 0 {
			out = append(out, xy{x.Time, float64(v), i == 0})
		}
	}
	return out
}

// The size of a graph, in the units of its viewBox, and the space for its axes.
const (
	width, height      = 900.0, 260.0
	left, right        = 104.0, 10.0
	above, below       = 14.0, 24.0
	plotWide, plotHigh = width - left - right, height - above - below
)

// A graph is drawn on the server: the page needs no script.
type graph struct {
	Width, Height float64
	Bottom        float64
	Strokes       []stroke
	Levels        []tick
	YTicks        []tick
	XTicks        []tick
	Marks         []tick

	from, to time.Time
	top      float64
	format   func(float64) string
	lines    []stroke
	levels   []tick
	marks    []mark
}

type stroke struct {
	Class, Name, Path string
	points            []xy
}

type tick struct {
	X, Y   float64
	Text   string
	Anchor string // which end of the text stands at X
	value  float64
}

// anchor keeps a text within the graph.
func anchor(x float64) string {
	switch {
	case x > width-120:
		return "end"
	case x < 120:
		return "start"
	default:
		return "middle"
	}
}

func newGraph(s status, format func(float64) string) graph {
	g := graph{Width: width, Height: height, Bottom: height - below, format: format, marks: s.Marks}
	times := make([]time.Time, 0, len(s.Past)+len(s.Samples))
	for _, p := range s.Past {
		times = append(times, p.Time)
	}
	for _, x := range s.Samples {
		times = append(times, x.Time)
	}
	if len(times) > 0 {
		g.from = slices.MinFunc(times, time.Time.Compare)
		g.to = slices.MaxFunc(times, time.Time.Compare)
	}
	return g
}

func (g *graph) line(class, name string, points []xy) {
	for _, p := range points {
		g.top = max(g.top, p.value)
	}
	if len(points) > 0 {
		g.lines = append(g.lines, stroke{Class: class, Name: name, points: points})
	}
}

func (g *graph) level(name string, value float64) {
	g.top = max(g.top, value)
	g.levels = append(g.levels, tick{Text: name, value: value})
}

func (g *graph) x(t time.Time) float64 {
	span := g.to.Sub(g.from).Seconds()
	if span <= 0 {
		return left + plotWide
	}
	return left + plotWide*t.Sub(g.from).Seconds()/span
}

func (g *graph) y(v float64) float64 {
	return g.Bottom - plotHigh*v/g.top
}

func (g *graph) draw() {
	g.top = max(g.top*1.08, 1)
	for _, l := range g.lines {
		var b strings.Builder
		for i, p := range l.points {
			verb := "L"
			if i == 0 || p.gap {
				verb = "M"
			}
			fmt.Fprintf(&b, "%s%.1f %.1f", verb, g.x(p.at), g.y(p.value))
		}
		l.Path = b.String()
		g.Strokes = append(g.Strokes, l)
	}
	for i := range 4 {
		v := g.top * float64(i+1) / 4 / 1.08
		g.YTicks = append(g.YTicks, tick{Y: g.y(v), Text: g.format(v)})
	}
	for i := range 5 {
		at := g.from.Add(g.to.Sub(g.from) * time.Duration(i) / 4)
		g.XTicks = append(g.XTicks, tick{X: g.x(at), Text: at.UTC().Format(g.layout())})
	}
	for _, l := range g.levels {
		l.Y = g.y(l.value)
		g.Levels = append(g.Levels, l)
	}
	for _, m := range g.marks {
		if x := g.x(m.Time); x >= left {
			x = min(x, left+plotWide)
			g.Marks = append(g.Marks, tick{X: x, Text: m.Text, Anchor: anchor(x)})
		}
	}
}

// layout is the coarsest way to write the time that still tells ticks apart.
func (g *graph) layout() string {
	switch span := g.to.Sub(g.from); {
	case span > 36*time.Hour:
		return "Jan 2 15:04"
	case span > 10*time.Minute:
		return "15:04"
	default:
		return "15:04:05"
	}
}
