package ownheap_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
)

func inDir(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	return files
}

// The file has no name from before the dump is written: a process that dies leaves nothing behind.
func TestDumpHasNoName(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	d, err := ownheap.Take(ownheap.Options{})
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Empty(t, inDir(t, dir))
	}
	assert.NotZero(t, d.Len())
	d.Close()
	assert.Empty(t, inDir(t, dir))
}

func TestDumpIsKeptOnRequest(t *testing.T) {
	dir := t.TempDir()
	d, err := ownheap.Take(ownheap.Options{Keep: dir})
	require.NoError(t, err)
	d.Close()
	assert.Equal(t, []string{d.File()}, inDir(t, dir))
}

func TestNoPlaceForADump(t *testing.T) {
	_, err := ownheap.Take(ownheap.Options{Keep: filepath.Join(t.TempDir(), "missing")})
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "cannot write a heap dump")
}
