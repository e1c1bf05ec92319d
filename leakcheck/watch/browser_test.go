package watch_test

import (
	"context"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// TestPageInABrowser opens the page in Chromium and looks for the graph's
// pixels. The page's own policy (default-src 'none') forbids every script, so that
// this is how it looks without them. With LEAKSAFE_DIR set the screenshots stay there.
func TestPageInABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("Chromium is not installed here: install the package chromium to run this test")
	}
	dir := t.TempDir()
	for i := range 3 {
		live(t, dir, began.Add(time.Duration(i-3)*30*time.Minute).UnixNano(), 40*mib, 240*mib)
	}
	c := leaking()
	c.goroutines = climbing(50, .02)
	w, err := watch.FeedEach(watch.Options{Limit: 512 * mib, Dir: dir}, c.samples(), none)
	require.NoError(t, err)
	require.NotEmpty(t, w.Findings())
	w.Mark("deploy 1.4.2")

	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		w.Handler().ServeHTTP(rw, r)
	}))
	defer server.Close()

	for name, c := range map[string]struct {
		size   string
		scheme string
		line   color.RGBA // of the live heap
	}{
		"light":       {"1200,1000", "1", color.RGBA{0x0b, 0x6b, 0xcb, 0xff}},
		"dark":        {"1200,1000", "0", color.RGBA{0x6c, 0xb2, 0xff, 0xff}},
		"phone width": {"500,1200", "1", color.RGBA{0x0b, 0x6b, 0xcb, 0xff}},
	} {
		t.Run(name, func(t *testing.T) {
			keep := os.Getenv("LEAKSAFE_DIR")
			if keep == "" {
				keep = t.TempDir()
			}
			shot := filepath.Join(keep, "watch "+name+".png")
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
				"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
				"--user-data-dir="+t.TempDir(), "--blink-settings=preferredColorScheme="+c.scheme,
				"--window-size="+c.size, "--screenshot="+shot, server.URL+"/").CombinedOutput()
			require.NoError(t, err, "%s", out)
			assert.Greater(t, pixels(t, shot, c.line), 200, "the live heap's line is drawn")
		})
	}
	for _, path := range asked {
		assert.Contains(t, []string{"/", "/favicon.ico"}, path)
	}
}

// pixels counts those of a colour.
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
