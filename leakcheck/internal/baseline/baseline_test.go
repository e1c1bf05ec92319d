package baseline

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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
	assert.Len(t, lines, 2+packages*leaks)
	ask := Read(file, false).Known
	assert.True(t, ask("growth", "example.com/h", strings.Repeat("x", leaks-1)))
	assert.False(t, ask("growth", "example.com/h", "new"))
	assert.False(t, ask("goroutine", "example.com/h", "x"), "another kind")
	assert.False(t, ask("growth", "example.com/z", "x"), "another package")
}
