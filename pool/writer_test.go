package pool_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool"
)

var _ interface {
	io.Writer
	io.StringWriter
	io.ByteWriter
	io.ReaderFrom
} = (*pool.Writer)(nil)

func TestWriterAppendsAndGrows(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		b := p.Get(2)
		copy(b.Bytes(), "> ")
		w, want := b.Writer(), bytes.NewBufferString("> ")
		for i := range 3000 {
			fmt.Fprintf(io.MultiWriter(w, want), "%d,", i)
			w.WriteString("é")
			want.WriteString("é")
			w.WriteByte(';')
			want.WriteByte(';')
		}
		n, err := w.ReadFrom(iotest.OneByteReader(strings.NewReader("the end")))
		require.NoError(t, err)
		assert.EqualValues(t, 7, n)
		want.WriteString("the end")
		assert.True(t, want.String() == string(b.Bytes()))
		assert.Same(t, w, b.Writer())
		b.Release()
	})
}

func TestWriterOfItsOwnBytes(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		b := p.Get(1)
		set(b, []byte("ab"))
		for range 12 {
			b.Writer().Write(b.Bytes())
		}
		assert.True(t, strings.Repeat("ab", 1<<12) == string(b.Bytes()))
		b.Release()
	})
}

func TestReadFromKeepsWhatCameBeforeAnError(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	broken := errors.New("broken")
	b := p.Get(0)
	n, err := b.Writer().ReadFrom(io.MultiReader(strings.NewReader("some"), iotest.ErrReader(broken)))
	assert.ErrorIs(t, err, broken)
	assert.EqualValues(t, 4, n)
	assert.Equal(t, "some", string(b.Bytes()))

	n, err = b.Writer().ReadFrom(iotest.DataErrReader(strings.NewReader("more")))
	assert.NoError(t, err, "data and io.EOF in one Read")
	assert.EqualValues(t, 4, n)
	assert.Equal(t, "somemore", string(b.Bytes()))
	b.Release()
}

func TestAReaderThatReleasesTheBuffer(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		b := p.Get(0)
		assert.Panics(t, func() { b.Writer().ReadFrom(releasingReader{b}) })
	})
}

// A releasingReader releases the buffer it reads into.
type releasingReader struct{ b pool.Buffer }

func (r releasingReader) Read(p []byte) (int, error) {
	r.b.Release()
	return 1, io.EOF
}

func TestAWriterKeptPastReleaseIsNeverALaterLeases(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	var kept []*pool.Writer
	for range 100 { // some blocks of them
		b := p.Get(0)
		w := b.Writer()
		for _, old := range kept {
			require.NotSame(t, old, w)
			require.Panics(t, func() { old.WriteByte('x') })
		}
		require.Empty(t, b.Bytes())
		kept = append(kept, w)
		b.Release()
	}
}

func TestEncodingIntoABufferAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under -race a sync.Pool drops one in four")
	}
	p := pool.NewBytes(pool.Options{})
	line := []byte(strings.Repeat("x", 3000))
	perOp := allocs(20_000, func() {
		b := p.Get(0)
		var w io.Writer = b.Writer()
		w.Write(line)
		w.Write(line)
		b.Release()
	})
	// One block of writers in 32 leases, and what a collection takes.
	assert.Less(t, perOp, 1.0/32+0.01)
}

func TestGetAndReleaseAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under -race a sync.Pool drops one in four")
	}
	p := pool.NewBytes(pool.Options{})
	for _, n := range []int{100, 4096, 40 << 10, 1 << 20} {
		assert.Less(t, allocs(20_000, func() { p.Get(n).Release() }), 0.01, n)
	}
}

// allocs counts exactly, where testing.AllocsPerRun truncates.
func allocs(n int, op func()) float64 {
	op()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		op()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}

func TestJSONIntoABuffer(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	b := p.Get(0)
	require.NoError(t, json.NewEncoder(b.Writer()).Encode(map[string]int{"n": 1}))
	assert.Equal(t, "{\"n\":1}\n", string(b.Bytes()))
	b.Release()
}
