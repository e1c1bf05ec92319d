package scratch_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool/scratch"
)

func TestScratchContents(t *testing.T) {
	var s scratch.Buffer
	s.Set([]byte("hello"))
	v := s.View(1, 4)
	assert.Equal(t, "ell", string(v.Bytes()))
	assert.Equal(t, 3, cap(v.Bytes()))
	copy(v.Bytes(), "EL")
	assert.Equal(t, "ELl", string(v.Bytes()), "a view is written through")
	assert.Equal(t, 5, s.Len())

	assert.Panics(t, func() { s.View(0, 6) }, "past the contents")
	assert.Panics(t, func() { s.View(3, 2) })
	assert.Equal(t, "hELlo", string(s.View(0, 5).Bytes()))

	s.Set(s.View(3, 5).Bytes())
	assert.Equal(t, "lo", string(s.View(0, 2).Bytes()), "of its own contents")
}

func TestAViewEndsWithItsContents(t *testing.T) {
	next := map[string]func(s *scratch.Buffer){
		"Set":      func(s *scratch.Buffer) { s.Set([]byte("other")) },
		"Reset":    func(s *scratch.Buffer) { s.Reset() },
		"ReadFull": func(s *scratch.Buffer) { s.ReadFull(strings.NewReader("other"), 5) },
	}
	for name, f := range next {
		var s scratch.Buffer
		s.Set([]byte("first"))
		v := s.View(0, 5)
		f(&s)
		assert.PanicsWithValue(t, "scratch: View.Bytes: the view is of contents 1 and the Buffer has contents 2: take views again after Set, ReadFull or Reset",
			func() { v.Bytes() }, name)
	}
	assert.PanicsWithValue(t, "scratch: View.Bytes called on the zero View: get one from Buffer.View", func() { scratch.View{}.Bytes() })
}

func TestScratchReadFull(t *testing.T) {
	var s scratch.Buffer
	long := bytes.Repeat([]byte("0123456789"), 50_000)
	require.NoError(t, s.ReadFull(iotest.HalfReader(bytes.NewReader(long)), len(long)))
	assert.True(t, bytes.Equal(long, s.View(0, len(long)).Bytes()))

	r := strings.NewReader("ab")
	assert.NoError(t, s.ReadFull(r, 0))
	assert.NoError(t, s.ReadFull(r, 1))
	assert.Equal(t, "a", string(s.View(0, 1).Bytes()))
	assert.Equal(t, io.ErrUnexpectedEOF, s.ReadFull(r, 2))
	assert.Equal(t, 1, s.Len(), "what came is there")
	assert.Equal(t, io.EOF, s.ReadFull(r, 2))
	assert.Equal(t, io.ErrUnexpectedEOF, s.ReadFull(bytes.NewReader(long[:64<<10]), len(long)), "ends between two steps")

	broken := errors.New("broken")
	assert.ErrorIs(t, s.ReadFull(iotest.ErrReader(broken), 1), broken)
	assert.EqualError(t, s.ReadFull(r, -1), "scratch: ReadFull: the length -1 is negative")
}

func TestScratchDoesNotTrustALength(t *testing.T) {
	var s scratch.Buffer
	assert.Equal(t, io.ErrUnexpectedEOF, s.ReadFull(strings.NewReader("short"), math.MaxInt))
	assert.LessOrEqual(t, scratch.Memory(&s), 64<<10)
}

func TestScratchUsesOneMemory(t *testing.T) {
	var s scratch.Buffer
	message := make([]byte, 3000)
	s.Set(message)
	assert.Zero(t, testing.AllocsPerRun(10_000, func() {
		s.Set(message)
		s.View(10, 20).Bytes()
	}))
}

func TestOneLargeMessageDoesNotStay(t *testing.T) {
	for name, set := range map[string]func(s *scratch.Buffer, n int){
		"Set":      func(s *scratch.Buffer, n int) { s.Set(make([]byte, n)) },
		"ReadFull": func(s *scratch.Buffer, n int) { s.ReadFull(bytes.NewReader(make([]byte, n)), n) },
	} {
		var s scratch.Buffer
		set(&s, 1<<20)
		for range 200 {
			set(&s, 2000)
		}
		assert.Less(t, scratch.Memory(&s), 16<<10, name)

		for range 50 {
			set(&s, 1<<20)
			for range 30 {
				set(&s, 2000)
			}
			assert.GreaterOrEqual(t, scratch.Memory(&s), 1<<20, "%s: it is needed again and again", name)
		}
	}
}

// When the memory goes depends on where the large message is among the 64.
func TestWhenTheMemoryOfALargeMessageGoes(t *testing.T) {
	small := make([]byte, 2000)
	fewest, most := 1000, 0
	for before := range 64 {
		var s scratch.Buffer
		for range before {
			s.Set(make([]byte, 10))
		}
		s.Set(make([]byte, 64<<10))
		messages := 0
		for ; scratch.Memory(&s) >= 64<<10; messages++ {
			s.Set(small)
		}
		fewest, most = min(fewest, messages), max(most, messages)
	}
	assert.Equal(t, []int{65, 128}, []int{fewest, most})
}
