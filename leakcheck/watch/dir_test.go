package watch_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// live writes a life's history: memory from one size to another in n points.
func live(t *testing.T, dir string, life int64, from, to float64) {
	t.Helper()
	const n = 20
	for i := range n {
		require.NoError(t, watch.Append(dir, life, float64(i)*80, int64(from+(to-from)*float64(i)/(n-1))))
	}
}

func TestMountainsAcrossRestarts(t *testing.T) {
	for name, c := range map[string]struct {
		lives [][2]float64
		found bool
	}{
		"four mountains":               {[][2]float64{{50 * mib, 900 * mib}, {50 * mib, 880 * mib}, {50 * mib, 930 * mib}, {50 * mib, 900 * mib}}, true},
		"two are not enough":           {[][2]float64{{50 * mib, 900 * mib}, {50 * mib, 900 * mib}}, false},
		"restarts with flat memory":    {[][2]float64{{50 * mib, 51 * mib}, {50 * mib, 50 * mib}, {50 * mib, 52 * mib}, {50 * mib, 50 * mib}}, false},
		"falls before the restart":     {[][2]float64{{900 * mib, 50 * mib}, {900 * mib, 50 * mib}, {900 * mib, 50 * mib}}, false},
		"heights that are not alike":   {[][2]float64{{50 * mib, 900 * mib}, {50 * mib, 100 * mib}, {50 * mib, 500 * mib}}, false},
		"the story ended a while ago":  {[][2]float64{{50 * mib, 900 * mib}, {50 * mib, 900 * mib}, {50 * mib, 900 * mib}, {50 * mib, 51 * mib}}, false},
		"a quiet one before the story": {[][2]float64{{50 * mib, 51 * mib}, {50 * mib, 900 * mib}, {50 * mib, 900 * mib}, {50 * mib, 900 * mib}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, l := range c.lives {
				live(t, dir, int64(i+1), l[0], l[1])
			}
			w, err := watch.FeedEach(watch.Options{Dir: dir}, curve{lasts: 20, live: flat(mib)}.samples(), none)
			require.NoError(t, err)
			if !c.found {
				assert.Empty(t, w.Findings())
				return
			}
			require.Len(t, w.Findings(), 1)
			f := w.Findings()[0]
			assert.Equal(t, "restarts", f.Signal)
			assert.Regexp(t, `^memory climbed and fell with a restart [34] times in a row, to about 90\d MiB each, about every 25 min$`, f.String())
		})
	}
}

func TestLivesContinueEachOther(t *testing.T) {
	dir := t.TempDir()
	for range 4 {
		_, err := watch.FeedEach(watch.Options{Dir: dir, Limit: 1024 * mib}, leaking().samples(), none)
		require.NoError(t, err)
	}
	w, err := watch.FeedEach(watch.Options{Dir: dir}, curve{lasts: 20, live: flat(mib)}.samples(), none)
	require.NoError(t, err)
	require.NotEmpty(t, w.Findings())
	assert.Equal(t, "restarts", w.Findings()[0].Signal)
	assert.Equal(t, 4, w.Findings()[0].Lives)
}

func TestCapturesAreFewAndOurs(t *testing.T) {
	dir := t.TempDir()
	foreign := []string{"core", "leaksafe-notes.txt", "leaksafe-20260101T000000.000Z-heap.pb.gz.bak", "20250101T000000.000Z-heap.pb.gz"}
	for _, name := range foreign {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("precious"), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "leaksafe-20260101T000000.000Z-heap.pb.gz"), 0o700))
	synctest.Test(t, func(t *testing.T) {
		for range 30 {
			time.Sleep(time.Hour)
			w, err := watch.FeedEach(watch.Options{Dir: dir, Limit: 1024 * mib}, leaking().samples(), none)
			require.NoError(t, err)
			require.NotEmpty(t, w.Findings())
			for _, f := range w.Findings() {
				if f.Signal != "live heap" {
					continue
				}
				require.Len(t, f.Captures, 3)
				for _, name := range f.Captures {
					info, err := os.Stat(filepath.Join(dir, name))
					require.NoError(t, err)
					assert.Positive(t, info.Size())
					if runtime.GOOS != "windows" {
						assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
					}
				}
			}
		}
	})
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, name := range foreign {
		assert.Contains(t, names, name)
	}
	ours := slices.DeleteFunc(names, func(n string) bool { return slices.Contains(foreign, n) })
	assert.LessOrEqual(t, len(ours), watch.MaxCaptures+3, "profiles, the history, its lock and one folder of others")
}

func TestCapturesHaveACoolDown(t *testing.T) {
	dir := t.TempDir()
	c := curve{lasts: 30 * min, live: climbing(40*mib, 64*kib), goroutines: climbing(50, 1)}
	synctest.Test(t, func(t *testing.T) {
		w, err := watch.FeedEach(watch.Options{Dir: dir, Limit: 1024 * mib}, c.samples(), none)
		require.NoError(t, err)
		require.Len(t, w.Findings(), 2)
		assert.NotEmpty(t, w.Findings()[0].Captures)
		assert.Empty(t, w.Findings()[1].Captures)
	})
}

func TestHistoryFileIsBounded(t *testing.T) {
	testgate.Seconds(t)
	dir := t.TempDir()
	line := []byte(`{"life":1,"time":"2026-01-01T00:00:00Z","up":1,"used":1,"live":1,"rss":1}` + "\n")
	var text []byte
	for len(text) < watch.HistoryLimit-100 {
		text = append(text, line...)
	}
	file := filepath.Join(dir, "leaksafe-history.jsonl")
	require.NoError(t, os.WriteFile(file, append(text, "cut sho"...), 0o600))
	_, err := watch.FeedEach(watch.Options{Dir: dir}, leaking().samples(), none)
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(watch.HistoryLimit*3/4))
	assert.Greater(t, info.Size(), int64(watch.HistoryLimit/4))
}

func TestDirThatVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "leaks")
	w, err := watch.FeedEach(watch.Options{Dir: dir, Limit: 1024 * mib}, leaking().samples(), func(w *watch.Watcher) {
		if w.Last().Up > 5*min {
			os.RemoveAll(dir)
		}
	})
	require.NoError(t, err)
	assert.NotEmpty(t, w.Findings(), "watching goes on")
	assert.Contains(t, data(t, w)["problem"], "no such file")
	assert.Contains(t, body(t, get(w, "GET", "/")), "A problem:")
}

func TestDirThatIsFull(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /dev/full")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "leaksafe-history.jsonl")
	full := false
	w, err := watch.FeedEach(watch.Options{Dir: dir, Limit: 1024 * mib}, leaking().samples(), func(*watch.Watcher) {
		if !full {
			full = true
			require.NoError(t, os.RemoveAll(file))
			require.NoError(t, os.Symlink("/dev/full", file))
		}
	})
	require.NoError(t, err)
	assert.NotEmpty(t, w.Findings(), "watching goes on")
	assert.Contains(t, data(t, w)["problem"], "no space left on device")
}
