package pool_test

import (
	"bytes"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

// allZero says whether all of b's memory is, also beyond its length.
func allZero(b []byte) bool { return only(b, 0, 0) }

func TestZeroedLeasesShowNothingEarlier(t *testing.T) {
	for name, o := range map[string]pool.Options{
		"zeroing": {ZeroOnRelease: true}, "secret": {Secret: true},
		"zeroing, checked": {ZeroOnRelease: true, Level: pool.LevelCheck}, "secret, sampled": {Secret: true, Level: pool.LevelSample},
	} {
		t.Run(name, func(t *testing.T) {
			p := pool.NewBytes(o)
			for range 300 {
				b := p.Get(200)
				require.True(t, allZero(b.Bytes()))
				set(b, bytes.Repeat([]byte{'s'}, 1000)) // grows
				b.Reset()                               // the high-water mark stays
				set(b, []byte("s"))
				w := b.Writer()
				w.Write(bytes.Repeat([]byte{'s'}, 2000))
				b.Release()
				for _, n := range []int{256, 1024, 2048, 4096} {
					b := p.Get(n)
					require.True(t, allZero(b.Bytes()), n)
					b.Release()
				}
			}
		})
	}
}

func TestWithoutZeroingEarlierBytesShow(t *testing.T) {
	// The negative control: the same check catches a pool that does not clear.
	p := pool.NewBytes(pool.Options{})
	for range 100 {
		b := p.Get(256)
		set(b, bytes.Repeat([]byte{'s'}, 256))
		b.Release()
		b = p.Get(256)
		shows := !allZero(b.Bytes())
		b.Release()
		if shows {
			return
		}
	}
	t.Fatal("the memory was never reused")
}

func TestASecretIsClearedWhereItWas(t *testing.T) {
	p := pool.NewBytes(pool.Options{Secret: true})
	b := p.Get(256)
	first := b.Bytes()
	copy(first, "secret")
	set(b, bytes.Repeat([]byte("secret"), 200)) // grows
	assert.True(t, allZero(first), "on growth, at once")
	second := b.Bytes()
	b.Release()
	assert.True(t, allZero(second), "on release")

	big := p.Get(20 << 20) // made to measure, and dropped
	third := big.Bytes()
	third[len(third)-1] = 's'
	big.Release()
	assert.True(t, allZero(third), "on drop")
}

func TestALostSecretIsCleared(t *testing.T) {
	p := pool.NewBytes(pool.Options{Secret: true})
	kept := loseSecret(p)
	eventually(t, func() bool { return p.Stats().Lost == 1 })
	assert.True(t, allZero(kept))
}

//go:noinline
func loseSecret(p *pool.Bytes) []byte {
	b := p.Get(0)
	set(b, []byte("secret"))
	set(b, bytes.Repeat([]byte("secret"), 1000))
	return b.Bytes()
}

// A lent slice has its memory alone, and gives it back to a block that may be lost later.
func TestALostSecretIsClearedThoughItsMemoryWasLent(t *testing.T) {
	if testgate.Race {
		t.Skip("looks at memory while the collector's cleanup clears it")
	}
	p := pool.NewBytes(pool.Options{Secret: true})
	var kept [][]byte
	for range 10 {
		kept = append(kept, loseLent(p))
	}
	eventually(t, func() bool { return p.Stats().Lost == 10 })
	for _, b := range kept {
		assert.True(t, allZero(b))
	}
}

//go:noinline
func loseLent(p *pool.Bytes) []byte {
	s := p.Slices(300)
	for range 3 { // the first Put takes the long way back
		s.Put(s.Get())
	}
	b := p.Get(300)
	copy(b.Bytes(), "secret")
	return b.Bytes()
}

func TestTheZeroingOfALeaseGoesToItsHighWaterMarkOnly(t *testing.T) {
	p := pool.NewBytes(pool.Options{ZeroOnRelease: true})
	b := p.Get(100)
	beyond := unsafe.Slice(&b.Bytes()[0], 4096>>4)
	beyond[200] = 'x' // against the rules, to see how far clearing goes
	b.Release()
	assert.Equal(t, byte('x'), beyond[200])
	runtime.KeepAlive(b)
}

// A slice from before growth is still the lease's: what was written there later is a secret too.
func TestALostSecretIsClearedInOutgrownMemoryToo(t *testing.T) {
	if testgate.Race {
		t.Skip("looks at memory while the collector's cleanup clears it")
	}
	p := pool.NewBytes(pool.Options{Secret: true})
	outgrown := loseOutgrown(p)
	eventually(t, func() bool { return p.Stats().Lost == 1 && allZero(outgrown) })
}

//go:noinline
func loseOutgrown(p *pool.Bytes) []byte {
	b := p.Get(256)
	before := b.Bytes()
	b.Write(make([]byte, 1000))
	copy(before, "secret")
	return before
}
