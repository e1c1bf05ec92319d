package heapdump

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// compactOf writes parts at random, with zeros between, and returns what the dump is.
func compactOf(t *testing.T, r *rand.Rand) (*Compact, []byte) {
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	c := NewCompact(f)
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
	require.NoError(t, c.Flush())
	return c, want
}

// What is written to a compact file, with holes, is what is read from it at any place, before and
// after it was saved.
func TestCompactFile(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		c, want := compactOf(t, r)
		var saved bytes.Buffer
		require.NoError(t, c.Save(&saved))
		again, err := openCompact(bytes.NewReader(saved.Bytes()), int64(saved.Len()))
		require.NoError(t, err)
		for _, c := range []*Compact{c, again} {
			require.EqualValues(t, len(want), c.Size())
			for range 100 {
				off, n := r.IntN(len(want)+10), r.IntN(20_000)
				b := bytes.Repeat([]byte{0xff}, n)
				got, err := c.ReadAt(b, int64(off))
				rest := want[min(off, len(want)):]
				require.Equal(t, min(n, len(rest)), got)
				assert.Equal(t, got < n, err == io.EOF, "%v", err)
				assert.True(t, bytes.Equal(rest[:got], b[:got]), "seed %d", seed)
			}
		}
	}
}

// A saved file that is cut or damaged anywhere gives an error or another dump; no panic, and no
// memory for what it claims to have.
func TestCompactFileThatIsDamaged(t *testing.T) {
	testgate.NoRace(t)
	r := rand.New(rand.NewPCG(1, 2))
	c, _ := compactOf(t, r)
	var saved bytes.Buffer
	require.NoError(t, c.Save(&saved))
	refused := 0
	for i := range 400 {
		b := bytes.Clone(saved.Bytes())
		if i%2 == 0 {
			b = b[:r.IntN(len(b))]
		} else {
			tail := compactTail + 60
			b[len(b)-1-r.IntN(tail)] ^= byte(1 + r.IntN(255))
		}
		_, err := Read(bytes.NewReader(b), int64(len(b)), nil)
		require.Error(t, err, "it holds no dump")
		if errors.Is(err, ErrDamaged) {
			refused++
		}
	}
	assert.Positive(t, refused)
}
