package pool_test

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

	"github.com/leaksafe/leaksafe/pool"
)

func TestScratchContents(t *testing.T) {
	var s pool.Scratch
	s.Set([]byte("hello"))
	v := s.View(1, 4)
	assert.Equal(t, "ell", string(v.Bytes()))
	assert.Equal(t, 3, cap(v.Bytes()))
	s.Update([]byte("EL"), 1)
	assert.Equal(t, "ELl", string(v.Bytes()), "a view sees an update")
	assert.Equal(t, 5, s.Len())

	assert.Panics(t, func() { s.Update([]byte("xyz"), 3) }, "past the contents")
	assert.Panics(t, func() { s.View(0, 6) }, "past the contents")
	assert.Panics(t, func() { s.View(3, 2) })
	assert.Equal(t, "hELlo", string(s.View(0, 5).Bytes()))

	s.Set(s.View(3, 5).Bytes())
	assert.Equal(t, "lo", string(s.View(0, 2).Bytes()), "of its own contents")
}

func TestAViewEndsWithItsContents(t *testing.T) {
	next := map[string]func(s *pool.Scratch){
		"Set":      func(s *pool.Scratch) { s.Set([]byte("other")) },
		"Clear":    func(s *pool.Scratch) { s.Clear() },
		"ReadFull": func(s *pool.Scratch) { s.ReadFull(strings.NewReader("other"), 5) },
	}
	for name, f := range next {
		var s pool.Scratch
		s.Set([]byte("first"))
		v := s.View(0, 5)
		f(&s)
		assert.PanicsWithValue(t, "pool: View.Bytes: the view is of contents 1 and the Scratch has contents 2: take the view again after Set, ReadFull or Clear",
			func() { v.Bytes() }, name)
	}
	assert.PanicsWithValue(t, "pool: View.Bytes of the zero View: take one with Scratch.View", func() { pool.View{}.Bytes() })
}

func TestScratchReadFull(t *testing.T) {
	var s pool.Scratch
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
	assert.EqualError(t, s.ReadFull(r, -1), "pool: Scratch.ReadFull: the length -1 is negative")
}

func TestScratchDoesNotTrustALength(t *testing.T) {
	var s pool.Scratch
	assert.Equal(t, io.ErrUnexpectedEOF, s.ReadFull(strings.NewReader("short"), math.MaxInt))
	assert.LessOrEqual(t, pool.ScratchMemory(&s), 64<<10)
}

func TestScratchUsesOneMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("counts allocations")
	}
	var s pool.Scratch
	message := make([]byte, 3000)
	perOp := allocs(10_000, func() {
		s.Set(message)
		s.View(10, 20).Bytes()
	})
	assert.Less(t, perOp, 0.001)
}

func TestOneLargeMessageDoesNotStay(t *testing.T) {
	for name, set := range map[string]func(s *pool.Scratch, n int){
		"Set":      func(s *pool.Scratch, n int) { s.Set(make([]byte, n)) },
		"ReadFull": func(s *pool.Scratch, n int) { s.ReadFull(bytes.NewReader(make([]byte, n)), n) },
	} {
		var s pool.Scratch
		set(&s, mib)
		for range 200 {
			set(&s, 2000)
		}
		assert.Less(t, pool.ScratchMemory(&s), 16<<10, name)

		for range 50 {
			set(&s, mib)
			for range 30 {
				set(&s, 2000)
			}
			assert.GreaterOrEqual(t, pool.ScratchMemory(&s), mib, "%s: it is needed again and again", name)
		}
	}
}
