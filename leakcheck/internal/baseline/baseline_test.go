package baseline

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The processes of one go test add to one file at the same time.
func TestBaselineIsShared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leaks.txt")
	require.NoError(t, os.WriteFile(file, []byte("# known since 2024\ngrowth\texample.com/a\tsite  0\n"), 0o644))
	const packages, leaks = 8, 50
	var group sync.WaitGroup
	for p := range packages {
		group.Go(func() {
			ask := Read(file, true).Known
			for n := range leaks {
				assert.True(t, ask("growth", "example.com/"+string(rune('a'+p)), strings.Repeat("x", n)))
			}
		})
	}
	group.Wait()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	assert.Len(t, lines, 2+packages*leaks)
	ask := Read(file, false).Known
	assert.True(t, ask("growth", "example.com/h", strings.Repeat("x", leaks-1)))
	assert.False(t, ask("growth", "example.com/h", "new"))
	assert.False(t, ask("goroutine", "example.com/h", "x"), "another kind")
	assert.False(t, ask("growth", "example.com/z", "x"), "another package")

	update := Read(file, true)
	assert.False(t, update.Listed("growth", "example.com/z", "x"))
	assert.False(t, update.Listed("growth", "example.com/z", "x"), "it was not taken in")
	assert.True(t, update.Known("growth", "example.com/z", "x"))
	assert.True(t, update.Listed("growth", "example.com/z", "x"))
}

// A file that is no baseline is refused, and no leak is known by it.
func TestAnotherFileIsNoBaseline(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mailer.go")
	const leak = "growth\texample.com/a\tx"
	require.NoError(t, os.WriteFile(file, []byte(leak+"\n\npackage mailer\n"), 0o644))
	b := Read(file, true)
	require.ErrorContains(t, b.err, "is not a baseline file: line 3")
	assert.False(t, b.Known("growth", "example.com/a", "x"))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, leak+"\n\npackage mailer\n", string(text), "nothing is added to it")
}

// Another process has written half a line: the file is read again until the line is whole.
func TestHalfALineIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leaks.txt")
	require.NoError(t, os.WriteFile(file, []byte("growth\texample.com/a\tx\ngrow"), 0o644))
	synctest.Test(t, func(t *testing.T) {
		var b *File
		go func() { b = Read(file, true) }()
		synctest.Wait()
		require.Nil(t, b, "Read has seen half a line and waits")
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteString("th\texample.com/b\ty\n")
		require.NoError(t, err)
		require.NoError(t, f.Close())
		time.Sleep(2 * pause)
		synctest.Wait()
		require.NotNil(t, b)
		require.NoError(t, b.err)
		assert.True(t, b.Listed("growth", "example.com/a", "x"))
		assert.True(t, b.Listed("growth", "example.com/b", "y"))
	})
}

// A half line that nobody finishes is an error, after a second.
func TestHalfALineIsNoBaseline(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leaks.txt")
	require.NoError(t, os.WriteFile(file, []byte("growth\texample.com/a\tx\ngrow"), 0o644))
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		b := Read(file, true)
		require.ErrorContains(t, b.err, "is not a baseline file: line 2")
		assert.Equal(t, readings*pause, time.Since(start))
	})
}

// An editor may leave the last line without its end: the next one is not joined to it.
func TestLastLineWithoutEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leaks.txt")
	require.NoError(t, os.WriteFile(file, []byte("growth\texample.com/a\tx"), 0o644))
	assert.True(t, Read(file, true).Known("growth", "example.com/b", "y"))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "growth\texample.com/a\tx\ngrowth\texample.com/b\ty\n", string(text))
}
