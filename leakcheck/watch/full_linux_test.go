package watch_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// TestDiskThatIsFull fills a small file system, and frees it again.
func TestDiskThatIsFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	filler := filepath.Join(dir, "filler")
	require.Error(t, os.WriteFile(filler, make([]byte, 128<<10), 0o600), "the disk is full")

	var lines bytes.Buffer
	o := watch.Options{Dir: dir, Limit: 1024 * mib, Log: slog.New(slog.NewTextHandler(&lines, nil)), TerminationLog: "none"}
	freed := false
	w, err := watch.FeedEach(o, leaking().samples(), func(w *watch.Watcher) {
		if w.Last().Up > 20*min && !freed {
			freed = true
			assert.Contains(t, data(t, w)["problem"], "no space left on device")
			require.NoError(t, os.Remove(filler))
		}
	})
	require.NoError(t, err, "a full disk does not keep a service from starting")
	assert.Len(t, w.Findings(), 1)
	assert.LessOrEqual(t, strings.Count(lines.String(), "no space left"), 6, "the log is not flooded")
	assertPoints(t, filepath.Join(dir, historyFile))
	captures, err := filepath.Glob(filepath.Join(dir, "*.pb.gz"))
	require.NoError(t, err)
	assert.Empty(t, captures, "no part of a profile is left")
	text, err := os.ReadFile(filepath.Join(dir, historyFile))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, bytes.Count(text, []byte("\n")), 7, "points are written again when there is space")
}

// TestDiskThatFillsWithinALine fills the disk while the history's last page has room for a part of
// a line.
func TestDiskThatFillsWithinALine(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	filler := filepath.Join(dir, "filler")
	filled, freed := false, false
	w, err := watch.FeedEach(watch.Options{Dir: dir, Limit: 1 << 40, TerminationLog: "none"}, curve{lasts: 3 * hour, live: flat(40 * mib)}.samples(), func(w *watch.Watcher) {
		switch up := w.Last().Up; {
		case up > 3*min && !filled:
			filled = true
			require.Error(t, os.WriteFile(filler, make([]byte, 128<<10), 0o600))
		case up > 2*hour && !freed:
			freed = true
			require.NoError(t, os.Remove(filler))
		}
	})
	require.NoError(t, err)
	assert.Contains(t, data(t, w)["problem"], "no space left on device")
	assertPoints(t, filepath.Join(dir, historyFile))
	text, err := os.ReadFile(filepath.Join(dir, historyFile))
	require.NoError(t, err)
	assert.Greater(t, len(text), 4096, "points are written again when there is space")
}
