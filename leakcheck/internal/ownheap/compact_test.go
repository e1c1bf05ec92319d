package ownheap

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// What is written to a compact file, with holes, is what is read from it at any place, and what is
// saved.
func TestCompactFile(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		f, err := os.CreateTemp(t.TempDir(), "")
		require.NoError(t, err)
		c := newCompact(f)
		var want []byte
		for range r.IntN(40) {
			n := r.IntN(9000)
			if r.IntN(2) == 0 {
				require.NoError(t, c.Hole(int64(n)))
				want = append(want, make([]byte, n)...)
				continue
			}
			part := make([]byte, n)
			for i := range part {
				part[i] = byte(r.Uint32())
			}
			_, err := c.Write(part)
			require.NoError(t, err)
			want = append(want, part...)
		}
		require.NoError(t, c.out.Flush())
		require.EqualValues(t, len(want), c.size)
		for range 100 {
			off, n := r.IntN(len(want)+10), r.IntN(20_000)
			b := bytes.Repeat([]byte{0xff}, n)
			got, err := c.ReadAt(b, int64(off))
			rest := want[min(off, len(want)):]
			require.Equal(t, min(n, len(rest)), got)
			assert.Equal(t, got < n, err == io.EOF, "%v", err)
			assert.True(t, bytes.Equal(rest[:got], b[:got]), "seed %d", seed)
		}
		d := &File{f, c, c.size}
		name := filepath.Join(t.TempDir(), "saved")
		require.NoError(t, d.Save(name))
		assert.ErrorIs(t, d.Save(name), os.ErrExist)
		saved, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, saved))
		d.Close()
		assert.NoFileExists(t, f.Name())
	}
}

// The dump of a large heap without pointers takes a small file, and saved it can be read as any
// other.
func TestRedactedDumpIsCompact(t *testing.T) {
	testgate.NoRace(t)
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
	assert.Greater(t, f.Size(), int64(16<<20))
	assert.Less(t, info.Size(), f.Size()-16<<20)
	name := filepath.Join(t.TempDir(), "saved.dump")
	require.NoError(t, f.Save(name))
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
