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
	"strings"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/internal/figure"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"size":   func(n int64) string { return sizeOr(n) },
	"kind":   captureKind,
	"growth": Finding.growth,
	"number": func(n int64) string { return figure.Number(int(n)) },
	"clock":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
}).Parse(pageText))

// captureKind is what a capture is, in words.
func captureKind(capture string) string {
	if m := captureName.FindStringSubmatch(capture); m != nil {
		return m[1] + " profile"
	}
	return "redacted dump"
}

func sizeOr(n int64) string {
	if n < 0 {
		return "unknown here"
	}
	return figure.Bytes(n)
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
	Captures []string  `json:"captures"` // profiles and redacted dumps in Options.Dir; files/NAME where Options.ServeFiles is set
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
		for _, p := range w.dir.past.points {
			if p.Time.After(from) && !p.Time.After(now) { // later than now: before the clock was set back
				s.Past = append(s.Past, p)
			}
		}
		names, err := w.dir.captures()
		w.fault(err)
		s.Captures = append(s.Captures, names...)
	}
	return s
}

// Handler serves the page, and its numbers as data.json beside it; nothing else, unless
// [Options.ServeFiles] is set: then also the captured profiles and the redacted dumps, under
// files/. Mount it below a path that ends in a slash, such as /debug/leaks/, behind the
// authorization of the service's other pages for operators:
//
//	mux.Handle("/debug/leaks/", operatorsOnly(w.Handler()))
//
// The page names the program's functions and files, and says how much memory it uses and how many
// requests it serves. The handler changes nothing: it answers GET and HEAD, 405 to every other
// method, and 403 to another site's request for anything but the page. Other sites cannot frame the
// page or read it.
func (w *Watcher) Handler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			rw.Header().Set("Allow", "GET, HEAD")
			http.Error(rw, "watch: only GET and HEAD are served here", http.StatusMethodNotAllowed)
			return
		}
		for name, value := range map[string]string{
			"Cache-Control":                "no-store",
			"Content-Security-Policy":      "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Referrer-Policy":              "no-referrer",
			"X-Content-Type-Options":       "nosniff",
		} {
			rw.Header().Set(name, value)
		}
		name, isPage := path.Base(r.URL.Path), strings.HasSuffix(r.URL.Path, "/")
		switch {
		case isPage:
			w.servePage(rw)
		case refuseOtherSite(rw, r):
		case name == "data.json":
			w.serveJSON(rw)
		case w.o.ServeFiles && path.Base(path.Dir(r.URL.Path)) == "files":
			w.serveFile(rw, r, name)
		default:
			http.Error(rw, "watch: no such page; the page's address ends in a slash, and profiles need Options.ServeFiles", http.StatusNotFound)
		}
	})
}

// refuseOtherSite answers a request that a browser sends for a page of another site.
func refuseOtherSite(rw http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "cross-site" {
		return false
	}
	http.Error(rw, "watch: another site asked for this: open its address itself", http.StatusForbidden)
	return true
}

func (w *Watcher) serveJSON(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	// The connection is gone where this fails: there is no one to tell.
	_ = json.NewEncoder(rw).Encode(w.status())
}

func (w *Watcher) serveFile(rw http.ResponseWriter, r *http.Request, name string) {
	if w.dir == nil || !(captureName.MatchString(name) || dumpName.MatchString(name)) {
		http.Error(rw, "watch: no such profile", http.StatusNotFound)
		return
	}
	f, err := os.Open(filepath.Join(w.dir.path, name))
	if err != nil {
		http.Error(rw, "watch: this profile is gone: newer ones took its place", http.StatusNotFound)
		return
	}
	defer f.Close()
	rw.Header().Set("Content-Type", "application/octet-stream")
	rw.Header().Set("Content-Disposition", "attachment; filename="+name)
	http.ServeContent(rw, r, name, time.Time{}, f)
}

func (w *Watcher) servePage(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	v := w.status().view()
	v.Files = w.o.ServeFiles
	_ = page.Execute(rw, v)
}

// A view is the status with its graphs drawn.
type view struct {
	status
	Sampled bool
	Now     Sample
	Runs    int // before this one, on the graph
	Memory  graph
	Counts  graph
	Files   bool // captures can be fetched
}

func (s status) view() view {
	v := view{status: s, Sampled: len(s.Samples) > 0}
	if v.Sampled {
		v.Now = s.Samples[len(s.Samples)-1]
	}
	for i, p := range s.Past {
		if i == 0 || p.Life != s.Past[i-1].Life {
			v.Runs++
		}
	}
	v.Memory = newGraph(s, "Memory over time")
	v.Memory.line("rss", "resident", pointsOf(s, func(p point) int64 { return p.RSS }, func(s Sample) int64 { return s.RSS }))
	v.Memory.line("live", "live heap", pointsOf(s, func(p point) int64 { return p.Live }, func(s Sample) int64 { return s.Live }))
	if s.Limit > 0 && float64(s.Limit) < 4*v.Memory.top() {
		v.Memory.level(fmt.Sprintf("limit, %s (%s)", figure.Bytes(s.Limit), s.Source), float64(s.Limit))
	}
	v.Memory.draw()
	v.Counts = newGraph(s, "Goroutines and file descriptors over time")
	v.Counts.wholes = true
	none := func(point) int64 { return -1 }
	v.Counts.line("goroutines", "goroutines", pointsOf(s, none, func(s Sample) int64 { return s.Goroutines }))
	v.Counts.line("files", "file descriptors", pointsOf(s, none, func(s Sample) int64 { return s.Files }))
	v.Counts.draw()
	return v
}
