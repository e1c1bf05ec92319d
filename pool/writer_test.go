package pool_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

// A bufferWriter has the methods of bytes.Buffer that write.
type bufferWriter interface {
	io.Writer
	io.StringWriter
	io.ByteWriter
	io.ReaderFrom
	WriteRune(r rune) (int, error)
	Len() int
	Reset()
	Truncate(n int)
	Grow(n int)
	AvailableBuffer() []byte
}

var (
	_ bufferWriter = (*pool.Writer)(nil)
	_ bufferWriter = pool.Buffer{}
	_ bufferWriter = (*bytes.Buffer)(nil)
)

// A Buffer and a bytes.Buffer have the same contents after the same calls.
func TestWritesLikeABytesBuffer(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		r := rand.New(rand.NewPCG(1, 9))
		b, want := p.Get(0), new(bytes.Buffer)
		for range 2000 {
			text := strings.Repeat("text", r.IntN(100))
			n := r.IntN(want.Len() + 1)
			op := r.IntN(10)
			char := rune(r.IntN(0x110010)) - 8 // some are not valid
			var got [2]string                  // what the method returned
			for i, w := range []bufferWriter{b.Writer(), want} {
				switch op {
				case 0:
					got[i] = fmt.Sprint(w.Write([]byte(text)))
				case 1:
					got[i] = fmt.Sprint(w.WriteString(text))
				case 2:
					got[i] = fmt.Sprint(w.WriteByte('c'))
				case 3:
					got[i] = fmt.Sprint(w.ReadFrom(strings.NewReader(text)))
				case 4:
					w.Truncate(n)
				case 5:
					w.Grow(len(text))
				case 6:
					w.Write(strconv.AppendInt(w.AvailableBuffer(), 12345, 10))
				case 7:
					w.Write(append(w.AvailableBuffer(), text...)) // may not fit
				case 8:
					if n%20 == 0 {
						w.Reset()
					}
				case 9:
					got[i] = fmt.Sprint(w.WriteRune(char))
				}
			}
			require.Equal(t, got[1], got[0])
			require.Equal(t, want.Len(), b.Len())
			require.True(t, bytes.Equal(want.Bytes(), b.Bytes()))
		}
		b.Release()
	})
}

func TestGrowMakesRoom(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	b := p.Get(10)
	b.Grow(0)
	assert.Equal(t, 10, cap(b.Bytes()))
	b.Grow(1000)
	assert.Equal(t, 10, b.Len())
	assert.GreaterOrEqual(t, cap(b.AvailableBuffer()), 1000)
	assert.PanicsWithValue(t, "pool: Buffer.Grow(-1): the number is negative", func() { b.Grow(-1) })
	assert.PanicsWithValue(t, "pool: Buffer.Truncate(11): the length is 10", func() { b.Truncate(11) })
	assert.PanicsWithValue(t, "pool: Buffer.Truncate(-1): the length is 10", func() { b.Truncate(-1) })
}

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
	if testgate.Race {
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
	if testgate.Race {
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

// What Read returns is in the room that it was given. If the Reader changes the Buffer meanwhile,
// that room is no longer behind the contents.
func TestAReaderMustNotChangeTheBuffer(t *testing.T) {
	for name, change := range map[string]func(b pool.Buffer){
		"Write":                   func(b pool.Buffer) { b.WriteString("more") },
		"Write that fills it":     func(b pool.Buffer) { b.Write(make([]byte, pool.Capacity(b)-b.Len())) },
		"Grow":                    func(b pool.Buffer) { b.Grow(5000) },
		"Truncate":                func(b pool.Buffer) { b.Truncate(1) },
		"ReadFrom another Reader": func(b pool.Buffer) { b.ReadFrom(strings.NewReader("more")) },
	} {
		p := pool.NewBytes(pool.Options{})
		b := p.Get(10)
		assert.Panics(t, func() {
			b.ReadFrom(readerFunc(func(room []byte) (int, error) { change(b); return len(room), nil }))
		}, name)
		assert.LessOrEqual(t, len(b.Bytes()), pool.Capacity(b), name)
		assert.True(t, b.Release(), name)
	}
}
