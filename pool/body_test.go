package pool_test

import (
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/pool"
)

func TestBodyReadsAndReleases(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	b := p.Get(0)
	set(b, []byte(strings.Repeat("body ", 1000)))
	body := b.Body()
	assert.False(t, b.Release(), "the body has the lease")
	assert.NoError(t, iotest.TestReader(body, []byte(strings.Repeat("body ", 1000))))
	assert.Len(t, p.Outstanding(), 1)
	assert.NoError(t, body.Close())
	assert.NoError(t, body.Close())
	assert.Empty(t, p.Outstanding())
	_, err := body.Read(make([]byte, 1))
	assert.ErrorIs(t, err, fs.ErrClosed)
	assert.EqualError(t, err, "pool: Body.Read called after Close: file already closed")
}

func TestBodyClosedDuringReads(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		for range 100 {
			b := p.Get(0)
			set(b, []byte(strings.Repeat("b", 600)))
			body := b.Body()
			var all sync.WaitGroup
			all.Go(func() {
				got, _ := io.ReadAll(iotest.OneByteReader(body))
				assert.Empty(t, strings.Trim(string(got), "b"))
			})
			all.Go(func() { body.Close() })
			all.Go(func() {
				other := p.Get(600)
				set(other, []byte(strings.Repeat("o", 600)))
				other.Release()
			})
			all.Wait()
		}
	})
}
