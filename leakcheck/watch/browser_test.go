package watch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// strokeX is where the points of a line are, from left to right, in the page's first graph.
func strokeX(t *testing.T, page, class string) (xs []float64) {
	t.Helper()
	path := regexp.MustCompile(`<path class="` + class + `" d="([^"]*)"`).FindStringSubmatch(page)
	require.NotNil(t, path, page)
	for _, p := range strings.FieldsFunc(path[1], func(r rune) bool { return r == 'M' || r == 'L' }) {
		x, _, _ := strings.Cut(p, " ")
		n, err := strconv.ParseFloat(x, 64)
		require.NoError(t, err)
		xs = append(xs, n)
	}
	return xs
}

// pages are the pages that a person may meet.
func pages(t *testing.T) map[string]http.Handler {
	t.Helper()
	feed := func(o watch.Options, c curve) *watch.Watcher {
		o.TerminationLog = "none"
		w, err := watch.FeedEach(o, c.samples(), none)
		require.NoError(t, err)
		return w
	}
	restarts := t.TempDir()
	for i := range 3 {
		live(t, restarts, began.Add(time.Duration(i-3)*30*time.Minute).UnixNano(), 40*mib, 240*mib)
	}
	c := leaking()
	c.goroutines = climbing(50, .02)
	mountains := feed(watch.Options{Limit: 512 * mib, Dir: restarts}, c)
	mountains.Mark("deploy 1.4.2")

	long := feed(watch.Options{Limit: 1024 * mib, Dir: t.TempDir(), ServeFiles: true}, leaking())
	for i := range 5 {
		long.Mark(fmt.Sprintf("deploy of %s %d", strings.Repeat("averylongnamewithoutanyspace", 6), i))
	}
	name := strings.Repeat("VeryLongTypeName", 8)
	long.AddFinding(watch.Finding{
		Signal: "live heap", Time: time.Now(), From: 10 * mib, To: 900 * mib, RetainedBy: "retained by " + name,
		Sites: []watch.Site{
			{Func: "github.com/some-organisation/some-service/internal/" + strings.ToLower(name) + ".(*" + name + "[...])." + name, File: "/home/build/src/" + name + "/handler.go", Line: 12345, Bytes: 3 << 30, Objects: 123456789, Caller: name + "." + name},
			{Func: "example.com/lib/v3.New", File: "/root/go/pkg/mod/example.com/lib@v3.1.0/new.go", Line: 7, Objects: 5},
		},
		Retainers: []watch.Retainer{{Root: "main." + name + " (variable)", Through: "map[string]*" + name, Site: name + ".go:1", Bytes: 1 << 30, Objects: 1 << 20, Share: .9}},
	})
	watch.Expect(long, &struct{ a, b *int }{}, name)
	return map[string]http.Handler{
		"restarts": mountains.Handler(),
		"long":     long.Handler(),
		"empty":    feed(watch.Options{}, curve{}).Handler(),
		"week":     feed(watch.Options{History: 7 * 24 * time.Hour}, curve{lasts: 7 * day, live: flat(3000 * mib)}).Handler(),
	}
}

// frame is a page for the test in which a page of watch is as wide as a screen: browsers do not
// make windows of 390 pixels.
const frame = `<!doctype html><style>body{margin:0}iframe{border:0;display:block}</style>
<iframe id=f src="/%s/" width=%s height=%s></iframe><pre id=out></pre><script>
onload = () => {
	const d = f.contentDocument, width = d.documentElement.clientWidth, r = {Width: width, Scroll: d.documentElement.scrollWidth, Over: [], Small: [], Cut: [], Graphs: 0, Contrast: []}
	const rgb = c => c.match(/[\d.]+/g).slice(0, 3).map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
	const light = c => { const [a, b, e] = rgb(c); return .2126 * a + .7152 * b + .0722 * e }
	const ground = light(f.contentWindow.getComputedStyle(d.body).backgroundColor)
	for (const e of d.querySelectorAll('body *')) {
		const box = e.getBoundingClientRect(), style = f.contentWindow.getComputedStyle(e)
		if (box.width === 0) continue
		const say = e.tagName + ' ' + e.textContent.trim().slice(0, 40)
		if (box.right > width + .5 || box.left < -.5) r.Over.push(say)
		if (e.scrollWidth > e.clientWidth + 1 && style.display !== 'inline' && e.namespaceURI.endsWith('xhtml')) r.Cut.push(say)
		if (e.tagName === 'svg') r.Graphs++
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue
		const scale = e.ownerSVGElement ? e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width : 1
		const px = parseFloat(style.fontSize) * scale
		if (px < 11) r.Small.push(px.toFixed(1) + ' ' + say)
		if (e.ownerSVGElement) { const g = e.ownerSVGElement.getBoundingClientRect(); if (box.left < g.left - .5 || box.right > g.right + .5 || box.top < g.top - 1) r.Cut.push(say) }
		const ink = light(e.ownerSVGElement ? style.fill : style.color)
		const ratio = (Math.max(ink, ground) + .05) / (Math.min(ink, ground) + .05)
		if (ratio < 4.5) r.Contrast.push(ratio.toFixed(1) + ' ' + say)
	}
	out.textContent = JSON.stringify(r)
}
</script>`

// A layout is what the browser measured.
type layout struct {
	Width, Scroll, Graphs      int
	Over, Small, Cut, Contrast []string
}

// chromium runs the browser on an address.
func chromium(t *testing.T, args ...string) string {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("Chromium is not installed here: install the package chromium to run this test")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, browser, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir=" + t.TempDir()}, args...)...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	require.NoError(t, err, "%s", complaints.String())
	return string(out)
}

var (
	schemes = map[string]string{"light": "1", "dark": "0"}
	lines   = map[string]color.RGBA{"light": {0x0b, 0x6b, 0xcb, 0xff}, "dark": {0x6c, 0xb2, 0xff, 0xff}}
	result  = regexp.MustCompile(`<pre id="out">(.*?)</pre>`)
)

// TestPageInABrowser measures each page in Chromium at the widths of a desk and of a phone: nothing
// is wider than the screen, every text is readable. With LEAKSAFE_DIR set the screenshots stay
// there.
func TestPageInABrowser(t *testing.T) {
	testgate.Seconds(t)
	served := pages(t)
	mux := http.NewServeMux()
	for name, h := range served {
		mux.HandleFunc("/"+name+"/", func(rw http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			_, _ = rw.Write(rec.Body.Bytes()) // without the policy, which forbids frames
		})
	}
	mux.HandleFunc("/frame", func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, frame, r.FormValue("page"), r.FormValue("width"), r.FormValue("height"))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for name := range served {
		for _, width := range []int{1280, 390} {
			for scheme, flag := range schemes {
				if scheme == "dark" && name != "long" {
					continue // it has all that the others have, and only colours differ
				}
				t.Run(fmt.Sprint(name, " ", width, " ", scheme), func(t *testing.T) {
					url := fmt.Sprintf("%s/frame?page=%s&width=%d&height=2000", server.URL, name, width)
					dom := chromium(t, "--blink-settings=preferredColorScheme="+flag, "--dump-dom", url)
					found := result.FindStringSubmatch(dom)
					require.NotNil(t, found, dom)
					var l layout
					require.NoError(t, json.Unmarshal([]byte(html.UnescapeString(found[1])), &l))
					assert.Equal(t, width, l.Width)
					assert.LessOrEqual(t, l.Scroll, width, "the page is wider than the screen")
					assert.Empty(t, l.Over, "beyond the screen")
					assert.Empty(t, l.Cut, "cut off")
					assert.Empty(t, l.Small, "smaller than 11 px")
					assert.Empty(t, l.Contrast, "hard to read")
					assert.Equal(t, map[bool]int{true: 0, false: 2}[name == "empty"], l.Graphs)
				})
			}
		}
	}
	for scheme, flag := range schemes {
		t.Run("screenshot "+scheme, func(t *testing.T) {
			keep := os.Getenv("LEAKSAFE_DIR")
			if keep == "" {
				keep = t.TempDir()
			}
			for name := range served {
				if name != "restarts" && os.Getenv("LEAKSAFE_DIR") == "" {
					continue
				}
				for _, width := range []int{1280, 390} {
					shot := filepath.Join(keep, fmt.Sprintf("watch-%s-%d-%s.png", name, width, scheme))
					chromium(t, "--blink-settings=preferredColorScheme="+flag, fmt.Sprintf("--window-size=%d,1400", max(width, 500)), "--screenshot="+shot,
						fmt.Sprintf("%s/frame?page=%s&width=%d&height=1400", server.URL, name, width))
					if name == "restarts" {
						assert.Greater(t, pixels(t, shot, lines[scheme]), 200, "the live heap's line is drawn")
					}
				}
			}
		})
	}
}

// pixels counts the pixels of a colour.
func pixels(t *testing.T, file string, want color.RGBA) int {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	n := 0
	b := img.Bounds()
	for p := (image.Point{}); p.Y < b.Dy(); p.Y++ {
		for p.X = 0; p.X < b.Dx(); p.X++ {
			if color.RGBAModel.Convert(img.At(p.X, p.Y)) == want {
				n++
			}
		}
	}
	return n
}
