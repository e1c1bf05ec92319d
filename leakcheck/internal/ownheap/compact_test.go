package ownheap

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// The dump of a large heap without pointers takes a small file, and saved it can be read as any
// other.
func TestRedactedDumpIsCompact(t *testing.T) {
	testgate.Seconds(t)
	large := make([][]byte, 64)
	for i := range large {
		large[i] = bytes.Repeat([]byte{1}, 256<<10)
	}
	d, err := Take(Options{OnlyFrozen: true, Redact: true, In: t.TempDir()})
	if err != nil {
		t.Skip(err)
	}
	objects := d.Len()
	f := d.Detach()
	defer f.Close()
	info, err := f.file.Stat()
	require.NoError(t, err)
	assert.Greater(t, f.size, int64(16<<20))
	assert.Less(t, info.Size(), f.size-16<<20)
	name := filepath.Join(t.TempDir(), "saved.dump")
	require.NoError(t, f.Save(name))
	assert.ErrorIs(t, f.Save(name), os.ErrExist)
	saved, err := os.Open(name)
	require.NoError(t, err)
	defer saved.Close()
	again := &Dump{file: saved}
	h, err := again.read()
	require.NoError(t, err)
	assert.Equal(t, objects, h.Len())
	assert.NoError(t, selfTest(h))
	runtime.KeepAlive(large)
}
