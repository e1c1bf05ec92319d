package pool_test

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool"
)

func TestBodyReadsAndReleases(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.Check})
	b := p.Get(0)
	b.Set([]byte(strings.Repeat("body ", 1000)))
	body := b.Body()
	assert.False(t, b.Release(), "the body has the lease")
	assert.NoError(t, iotest.TestReader(body, []byte(strings.Repeat("body ", 1000))))
	assert.Len(t, p.Outstanding(), 1)
	assert.NoError(t, body.Close())
	assert.NoError(t, body.Close())
	assert.Empty(t, p.Outstanding())
	_, err := body.Read(make([]byte, 1))
	assert.ErrorIs(t, err, fs.ErrClosed)
	assert.EqualError(t, err, "pool: Body.Read after Close: file already closed")
}

func TestBodyClosedDuringReads(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		for range 100 {
			b := p.Get(0)
			b.Set([]byte(strings.Repeat("b", 600)))
			body := b.Body()
			var all sync.WaitGroup
			all.Go(func() {
				got, _ := io.ReadAll(iotest.OneByteReader(body))
				assert.Empty(t, strings.Trim(string(got), "b"))
			})
			all.Go(func() { body.Close() })
			all.Go(func() {
				other := p.Get(600)
				other.Set([]byte(strings.Repeat("o", 600)))
				other.Release()
			})
			all.Wait()
		}
	})
}

// earlyServer answers before it has read the request's body, so that the
// client's Do returns while its Transport may still be reading.
func earlyServer(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		http.NewResponseController(w).Flush()
		io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestTransportReadsTheBodyAfterReturn(t *testing.T) {
	s := earlyServer(t)
	p := pool.NewBytes(pool.Options{Level: pool.Check, MaxIdleBytes: 256 << 20})
	for range 20 {
		post(t, s, p)
	}
	s.CloseClientConnections()
	eventually(t, func() bool { return len(p.Outstanding()) == 0 })
}

func post(t *testing.T, s *httptest.Server, p *pool.Bytes) {
	b := p.Get(4 << 20)
	defer b.Release()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, b.Body())
	require.NoError(t, err)
	req.ContentLength = 4 << 20
	resp, err := s.Client().Do(req)
	require.NoError(t, err)
	resp.Body.Close()

	// What the Transport may still be reading is nobody else's.
	other := p.Get(4 << 20)
	clear(other.Bytes())
	other.Release()
}
