package pool_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool"
)

func TestTheLastReleaseFrees(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{Level: pool.LevelCheck, MaxInUse: mib})
		b := p.Get(0)
		b.WriteString("news")
		c := b.Retain()
		d := c.Retain() // a receiver passes it on
		assert.Equal(t, 3, p.Stats().InUseLeases)
		assert.Equal(t, 256, p.Stats().InUse, "one memory")
		for _, lease := range []pool.Buffer{b, d, c} { // the first is not the last
			assert.Zero(t, p.Stats().Idle)
			assert.Equal(t, "news", string(lease.Bytes()))
			assert.True(t, lease.Release())
			assert.False(t, lease.Release())
			assert.Panics(t, func() { lease.Bytes() })
		}
		assert.Equal(t, 256, p.Stats().Idle)
		assert.Zero(t, p.Stats().InUse)
		assert.Zero(t, p.Stats().InUseLeases)
		assert.Empty(t, p.Outstanding())
	})
}

func TestOneMessageToManyReceivers(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		for round := range 50 {
			text := fmt.Sprint("message ", round)
			b := p.Get(0)
			b.WriteString(text)
			var freed atomic.Int32
			var all sync.WaitGroup
			for range 16 {
				c := b.Retain()
				all.Go(func() {
					assert.Equal(t, text, string(c.Bytes()))
					other := p.Get(0) // what a released lease would have lost its memory to
					other.WriteString("another message, longer than the first")
					defer other.Release()
					assert.Equal(t, text, string(c.Bytes()))
					for range 3 {
						if c.Release() {
							freed.Add(1)
						}
					}
				})
			}
			b.Release()
			all.Wait()
			require.EqualValues(t, 16, freed.Load())
		}
	})
}

func TestARetainedBufferIsNotChanged(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	b := p.Get(4)
	c := b.Retain()
	for name, change := range map[string]func(b pool.Buffer){
		"Reset":           func(b pool.Buffer) { b.Reset() },
		"Truncate":        func(b pool.Buffer) { b.Truncate(0) },
		"Grow":            func(b pool.Buffer) { b.Grow(1) },
		"AvailableBuffer": func(b pool.Buffer) { b.AvailableBuffer() },
		"Write":           func(b pool.Buffer) { b.Write(nil) },
		"WriteString":     func(b pool.Buffer) { b.WriteString("") },
		"WriteByte":       func(b pool.Buffer) { b.WriteByte(0) },
		"WriteRune":       func(b pool.Buffer) { b.WriteRune('a') },
		"ReadFrom":        func(b pool.Buffer) { b.ReadFrom(emptyReader{}) },
		"Detach":          func(b pool.Buffer) { b.Detach() },
	} {
		for _, lease := range []pool.Buffer{b, c} {
			assert.PanicsWithValue(t, "pool: Buffer."+name+" called on a Buffer that was retained: its contents are shared; write before Retain, or to a Clone", func() { change(lease) })
		}
	}
	body := c.Body() // reading is allowed
	b.Release()
	got := make([]byte, 10)
	n, _ := body.Read(got)
	assert.Equal(t, 4, n)
	body.Close()
	next := p.Get(4)
	next.WriteString("a later lease of the memory is not shared")
	next.Release()
}

func TestALostRetainedLeaseIsFound(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck, MaxInUse: mib})
	func() {
		b := p.Get(100)
		b.Retain() // never released
		b.Release()
	}()
	eventually(t, func() bool { return p.Stats().InUse == 0 })
	eventually(t, func() bool { return p.Stats().Lost == 1 })
	require.Len(t, p.Outstanding(), 1)
	assert.Contains(t, p.Outstanding()[0].String(), "1 lease not released, 1 of them lost (nothing refers to it any more), acquired at github.com/leaksafe/leaksafe/pool_test.TestALostRetainedLeaseIsFound.func1 (")
	assert.Zero(t, p.Stats().InUseLeases)
}

// The mistake without Retain: every receiver releases its own copy of one lease.
func TestCopiesReleasedByEachReceiverAreRefused(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	b := p.Get(4)
	c := b
	b.Release()
	assert.Regexp(t, `^pool: Buffer.Bytes called after the lease had ended\n\tacquired at \S+ \(\S+\)\n\treleased at`, panicOf(t, func() { c.Bytes() }))
}

// One goroutine retains its lease again while others end theirs: nothing of the shared block may be
// written without synchronization. The race detector judges.
func TestRetainBesideReleases(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	for range 200 {
		b := p.Get(100)
		b.Release() // from now on the buffer takes the short way back
		b = p.Get(100)
		c := b.Retain()
		var all sync.WaitGroup
		all.Go(func() { c.Retain().Release(); c.Release() })
		all.Go(func() { b.Release() })
		all.Wait()
		require.False(t, b.Release() || c.Release())
	}
}
