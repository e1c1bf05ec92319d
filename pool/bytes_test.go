package pool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool"
)

// everyOption are the sets of options that take different paths.
var everyOption = map[string]pool.Options{
	"zero options": {},
	"zeroing":      {ZeroOnRelease: true},
	"secret":       {Secret: true},
	"budget":       {MaxInUse: 64 << 20},
	"sample":       {Level: pool.LevelSample},
	"check":        {Level: pool.LevelCheck},
	"check secret": {Level: pool.LevelCheck, Secret: true},
	"keeps little": {MaxBuffer: 1000, MaxIdleBytes: 4096},
}

// eachOption runs the test with every set of options.
func eachOption(t *testing.T, test func(t *testing.T, p *pool.Bytes)) {
	for name, o := range everyOption {
		t.Run(name, func(t *testing.T) { test(t, pool.NewBytes(o)) })
	}
}

func TestGetHasTheLengthAskedFor(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		for _, n := range []int{0, 1, 255, 256, 257, 1000, 4096, 1 << 16, 1<<16 + 1, 1 << 20, 17 << 20} {
			b := p.Get(n)
			require.Len(t, b.Bytes(), n)
			require.Equal(t, n, cap(b.Bytes()), "append to Bytes must not write into the pool's memory")
			require.True(t, b.Release())
		}
	})
}

func TestMisuseThatAConstructorSees(t *testing.T) {
	assert.PanicsWithValue(t, "pool: Options.MaxBuffer is -1: set a number of bytes, or 0 for the default",
		func() { pool.NewBytes(pool.Options{MaxBuffer: -1}) })
	assert.PanicsWithValue(t, "pool: Options.MaxIdleBytes is -1: set a number of bytes, or 0 for the default",
		func() { pool.NewBytes(pool.Options{MaxIdleBytes: -1}) })
	assert.PanicsWithValue(t, "pool: Options.MaxInUse is -1: set a number of bytes, or 0 for the default",
		func() { pool.NewBytes(pool.Options{MaxInUse: -1}) })
	assert.PanicsWithValue(t, "pool: Level is 3: use LevelOff, LevelSample or LevelCheck",
		func() { pool.NewBytes(pool.Options{Level: 3}) })
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		assert.PanicsWithValue(t, "pool: Get(-1): the length is negative", func() { p.Get(-1) })
		_, err := p.GetContext(t.Context(), math.MinInt)
		assert.ErrorContains(t, err, "negative")
	})
}

func TestReleaseIsTrueOnce(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		for range 50 {
			b := p.Get(100)
			var ended atomic.Int32
			var all sync.WaitGroup
			for range 64 {
				all.Go(func() {
					if b.Release() {
						ended.Add(1)
					}
				})
			}
			all.Wait()
			require.EqualValues(t, 1, ended.Load())
		}
	})
	assert.False(t, pool.Buffer{}.Release())
}

// reused leases until a lease is of the same header as the ended one b.
func reused(t *testing.T, p *pool.Bytes, b pool.Buffer) pool.Buffer {
	t.Helper()
	for range 1000 {
		next := p.Get(100)
		if pool.SameHeader(next, b) {
			return next
		}
		defer next.Release()
	}
	t.Skip("the sync.Pool dropped the header") // one Put in four under -race
	return pool.Buffer{}
}

func TestAStaleHandleIsRefusedAfterReuse(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	stale := p.Get(100)
	require.True(t, stale.Release())
	now := reused(t, p, stale)
	copy(now.Bytes(), "mine")

	assert.False(t, stale.Release())
	assert.Panics(t, func() { stale.Bytes() })
	assert.Panics(t, func() { set(stale, []byte("theirs")) })
	assert.Equal(t, "mine", string(now.Slice(0, 4)))
	assert.True(t, now.Release())
}

func TestEveryMethodRefusesAnEndedLease(t *testing.T) {
	methods := map[string]func(b pool.Buffer){
		"Bytes":           func(b pool.Buffer) { b.Bytes() },
		"Slice":           func(b pool.Buffer) { b.Slice(0, 0) },
		"Len":             func(b pool.Buffer) { b.Len() },
		"Reset":           func(b pool.Buffer) { b.Reset() },
		"Truncate":        func(b pool.Buffer) { b.Truncate(0) },
		"Grow":            func(b pool.Buffer) { b.Grow(1) },
		"AvailableBuffer": func(b pool.Buffer) { b.AvailableBuffer() },
		"Write":           func(b pool.Buffer) { b.Write(nil) },
		"WriteString":     func(b pool.Buffer) { b.WriteString("") },
		"WriteByte":       func(b pool.Buffer) { b.WriteByte(0) },
		"WriteRune":       func(b pool.Buffer) { b.WriteRune('a') },
		"ReadFrom":        func(b pool.Buffer) { b.ReadFrom(strings.NewReader("")) },
		"Retain":          func(b pool.Buffer) { b.Retain() },
		"Clone":           func(b pool.Buffer) { b.Clone() },
		"Detach":          func(b pool.Buffer) { b.Detach() },
		"Writer":          func(b pool.Buffer) { b.Writer() },
		"Body":            func(b pool.Buffer) { b.Body() },
	}
	ends := map[string]func(b pool.Buffer){
		"Release": func(b pool.Buffer) { b.Release() },
		"Detach":  func(b pool.Buffer) { b.Detach() },
		"Body":    func(b pool.Buffer) { b.Body() },
	}
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		for end, f := range ends {
			for method, g := range methods {
				b := p.Get(10)
				f(b)
				assert.Panics(t, func() { g(b) }, "%s after %s", method, end)
				assert.False(t, b.Release(), "Release after %s", end)
			}
		}
		for method, g := range methods {
			assert.Panics(t, func() { g(pool.Buffer{}) }, method)
		}
	})
}

func TestContents(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		b := p.Get(3)
		copy(b.Bytes(), "abc")
		assert.Equal(t, "bc", string(b.Slice(1, 3)))
		assert.Equal(t, 2, cap(b.Slice(1, 3)))

		copy(b.Bytes()[2:], "XYZ")
		assert.Equal(t, "abX", string(b.Bytes()))

		long := bytes.Repeat([]byte("long"), 1000)
		set(b, long)
		assert.Equal(t, long, b.Bytes())
		set(b, b.Slice(4, 12))
		assert.Equal(t, "longlong", string(b.Bytes()), "Set of a slice of its own")

		clone := b.Clone()
		b.Reset()
		assert.Empty(t, b.Bytes())
		assert.Equal(t, "longlong", string(clone))
		set(b, []byte("end"))
		detached := b.Detach()
		for range 100 {
			other := p.Get(4000)
			set(other, bytes.Repeat([]byte{'!'}, 4000))
			other.Release()
		}
		assert.Equal(t, "end", string(detached))
		assert.Equal(t, 3, cap(detached), "no earlier bytes beyond the length")
	})
}

func TestSlicesFromBeforeGrowthStayTheLeases(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		b := p.Get(256)
		before := b.Bytes()
		set(b, make([]byte, 5000))
		for range 100 {
			other := p.Get(256)
			for i := range other.Bytes() {
				other.Bytes()[i] = 'o'
			}
			defer other.Release()
		}
		assert.NotContains(t, string(before), "o")
		for i := range before {
			before[i] = 'b'
		}
		b.Release()
	})
}

func TestWhatIsPrintedOfABuffer(t *testing.T) {
	b := pool.NewBytes(pool.Options{Secret: true}).Get(6)
	copy(b.Bytes(), "secret")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.Equal(t, "pool.Buffer(6 bytes)", sprintf(verb, b))
	}
	assert.NotContains(t, sprintf("%x %q", b, b), "secret")
	b.Release()
	assert.Equal(t, "pool.Buffer(released)", sprintf("%v", b))
	_, prints := any(b).(fmt.Stringer)
	assert.False(t, prints, "code written for bytes.Buffer must fail to compile, not send a description of the Buffer")
}

func TestReadAll(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		for _, size := range []int{0, 1, 255, 256, 257, 4096, 70_000} {
			want := bytes.Repeat([]byte("x"), size)
			for _, hint := range []int{0, -5, size, size + 1, math.MaxInt} {
				b, err := p.ReadAll(iotest.HalfReader(bytes.NewReader(want)), hint)
				require.NoError(t, err)
				require.Equal(t, len(want), len(b.Bytes()))
				require.True(t, bytes.Equal(want, b.Bytes()))
				require.True(t, b.Release())
			}
		}
	})
}

func TestReadAllDoesNotTrustTheHint(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	b, err := p.ReadAll(strings.NewReader("short"), math.MaxInt)
	require.NoError(t, err)
	assert.LessOrEqual(t, pool.Capacity(b), 64<<10)
	b.Release()
}

func TestReadAllStaysInAClassItFills(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	b, err := p.ReadAll(bytes.NewReader(make([]byte, 4096)), 4096)
	require.NoError(t, err)
	assert.Equal(t, 4096, pool.Capacity(b))
	b.Release()
}

func TestReadAllTakesWhatTheHintNeeds(t *testing.T) {
	p := pool.NewBytes(pool.Options{MaxBuffer: 32 * mib})
	for _, n := range []int{65 << 10, 127 << 10, 200_000, 3 * mib, 3*mib + 1} {
		for _, hint := range []int{n, n + n/10, 2 * n} {
			b, err := p.ReadAll(bytes.NewReader(make([]byte, n)), hint)
			require.NoError(t, err)
			require.Equal(t, n, b.Len())
			assert.LessOrEqual(t, pool.Capacity(b), pool.ClassSize(pool.ClassOf(hint)), "%d bytes, hint %d", n, hint)
			b.Release()
		}
		b, err := p.ReadAll(bytes.NewReader(make([]byte, n)), n/2) // wrong
		require.NoError(t, err)
		assert.Equal(t, n, b.Len())
		b.Release()
	}
}

func TestReadAllKeepsNothingOnAnError(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	broken := errors.New("broken")
	b, err := p.ReadAll(io.MultiReader(strings.NewReader("some"), iotest.ErrReader(broken)), 0)
	assert.ErrorIs(t, err, broken)
	assert.Equal(t, pool.Buffer{}, b)
	assert.False(t, b.Release())
	assert.Empty(t, p.Outstanding())

	_, err = p.ReadAll(emptyReader{}, 0)
	assert.ErrorIs(t, err, io.ErrNoProgress)
	assert.PanicsWithValue(t, "pool: Buffer.ReadFrom: pool_test.lyingReader.Read returned 257 for a slice of 256 bytes: fix the Reader",
		func() { p.ReadAll(lyingReader{}, 0) })
}

// An emptyReader never has anything, nor an error.
type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

// A lyingReader claims to have read more than it was asked for.
type lyingReader struct{}

func (lyingReader) Read(p []byte) (int, error) { return len(p) + 1, nil }

func TestStats(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{Level: pool.LevelCheck, MaxIdleBytes: 1 << 20})
		a, b := p.Get(100), p.Get(1<<20)
		assert.Equal(t, pool.Stats{Gets: 2, Made: 2, InUse: 256 + 1<<20, InUseLeases: 2}, p.Stats())
		a.Release()
		assert.Equal(t, pool.Stats{Gets: 2, Made: 2, Idle: 256, InUse: mib, InUseLeases: 1}, p.Stats())
		b.Release() // exceeds MaxIdleBytes together with a, which is older
		assert.Equal(t, pool.Stats{Gets: 2, Made: 2, Dropped: 1, Idle: mib}, p.Stats())
		p.Get(mib).Release()
		assert.Equal(t, pool.Stats{Gets: 3, Made: 2, Dropped: 1, Idle: mib}, p.Stats())
		p.Trim()
		assert.Equal(t, pool.Stats{Gets: 3, Made: 2, Dropped: 2}, p.Stats())
	})
}

func TestStatsOfTheZeroOptions(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	const leases = 10_000
	for i := range leases {
		b := p.Get(1000)
		if i%2 == 0 {
			b.Body().Close()
		} else {
			b.Release()
		}
	}
	s := p.Stats()
	assert.LessOrEqual(t, s.Gets, uint64(leases))
	assert.GreaterOrEqual(t, s.Gets, leases-min(127*s.Made, leases), "a buffer may be behind by 127")
}

// A buffer that is dropped counts all its leases, whichever step it is in.
func TestGetsAreExactOnceBuffersAreDropped(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		for _, leases := range []int{1, 15, 16, 17, 1007, 1008, 1023, 1024, 1025, 1151, 1152, 1153, 5000} {
			p := pool.NewBytes(pool.Options{})
			for range leases {
				p.Get(mib).Release() // one buffer: the large ones are not in a sync.Pool
			}
			assert.LessOrEqual(t, p.Stats().Gets, uint64(leases))
			assert.GreaterOrEqual(t, p.Stats().Gets+127, uint64(leases))
			p.Trim()
			assert.Equal(t, pool.Stats{Gets: uint64(leases), Made: 1, Dropped: 1}, p.Stats(), "%d leases", leases)
		}
	})
}

func TestDetachedMemoryHasLeftThePool(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	for range 3 {
		b := p.Get(100)
		data := b.Detach()
		next := p.Get(100)
		require.False(t, pool.SameMemory(next, &data[0]))
		next.Detach()
	}
	assert.Equal(t, pool.Stats{Gets: 6, Made: 6}, p.Stats())
	assert.Empty(t, p.Outstanding())
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// set makes a copy of src the contents.
func set(b pool.Buffer, src []byte) {
	b.Reset()
	b.Write(src)
}
