package pool_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/pool"
)

// Each test here shows a way in which pools of plain slices break: first with a naive pool, which
// must break, then with this package.

// A naive pool is a free list of slices, without any other information.
type naive struct{ free [][]byte }

func (p *naive) Get(n int) []byte {
	if k := len(p.free) - 1; k >= 0 {
		b := p.free[k]
		p.free = p.free[:k]
		return b[:min(n, cap(b))]
	}
	return make([]byte, n)
}

func (p *naive) Put(b []byte) { p.free = append(p.free, b) }

func TestDoublePut(t *testing.T) {
	var bad naive
	b := bad.Get(10)
	bad.Put(b)
	bad.Put(b)
	assert.Same(t, &bad.Get(10)[0], &bad.Get(10)[0], "two owners")

	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		for range 100 {
			b := p.Get(10)
			b.Release()
			first := p.Get(10)
			// The marks of other pools fail between two leases of one header.
			b.Release()
			second := p.Get(10)
			require.NotSame(t, &first.Bytes()[0], &second.Bytes()[0])
			first.Release()
			second.Release()
		}
	})
}

func TestPutOfAForeignSlice(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		var bad naive
		foreign := []byte("mine")
		bad.Put(foreign)
		copy(bad.Get(4), "lost")
		assert.Equal(t, "lost", string(foreign))

		// This package has no method that takes a slice back. Only a handle that the pool made can
		// end a lease, and it knows where its memory belongs.
		for _, typ := range []reflect.Type{reflect.TypeFor[*pool.Bytes](), reflect.TypeFor[pool.Buffer]()} {
			for i := range typ.NumMethod() {
				m := typ.Method(i)
				for k := 1; k < m.Type.NumIn(); k++ {
					if m.Name == "Write" { // they copy
						continue
					}
					in := m.Type.In(k)
					assert.NotEqual(t, reflect.TypeFor[[]byte](), in, m.Name)
					assert.NotEqual(t, reflect.TypeFor[pool.Buffer](), in, m.Name)
				}
			}
		}
		a, b := pool.NewBytes(pool.Options{Level: pool.LevelCheck}), pool.NewBytes(pool.Options{Level: pool.LevelCheck})
		a.Get(10).Release()
		b.Get(10).Release()
		assert.Equal(t, 256, a.Stats().Idle)
		assert.Equal(t, 256, b.Stats().Idle)
	})
}

func TestPutOfAnInteriorSlice(t *testing.T) {
	var bad naive
	whole := bad.Get(100)
	bad.Put(whole[90:])
	assert.Len(t, bad.Get(100), 10, "silently too short")

	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		b := p.Get(300)
		part := b.Slice(290, 300)
		assert.Equal(t, 10, cap(part))
		b.Release()
		for range 10 {
			b := p.Get(300)
			require.Len(t, b.Bytes(), 300)
			defer b.Release()
		}
	})
}

func TestPutOfAGrownSlice(t *testing.T) {
	var bad naive
	b := bad.Get(10)
	bad.Put(append(b, make([]byte, mib)...))
	assert.GreaterOrEqual(t, cap(bad.Get(10)), mib, "a large buffer for every small request")

	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		for range testgate.Count(2, 20, 20) {
			b := p.Get(10)
			_ = append(b.Bytes(), make([]byte, mib)...) // memory of its own
			b.Writer().Write(make([]byte, mib))         // the lease's
			require.GreaterOrEqual(t, pool.Capacity(b), mib)
			b.Release()
			b = p.Get(10)
			require.LessOrEqual(t, pool.Capacity(b), 256)
			b.Release()
		}
	})
}

func TestUseAfterPut(t *testing.T) {
	var bad naive
	b := bad.Get(4)
	bad.Put(b)
	copy(bad.Get(4), "next")
	assert.Equal(t, "next", string(b), "the next owner's bytes")

	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		b := p.Get(4)
		w := b.Writer()
		b.Release()
		next := p.Get(4)
		assert.Panics(t, func() { b.Bytes() })
		assert.Panics(t, func() { w.WriteString("x") })
		assert.Panics(t, func() { set(b, []byte("x")) })
		next.Release()
	})
}

// A lateBody lets the Transport read what it reads of its request only after
// gate is closed: after Do has returned.
type lateBody struct {
	io.Reader
	io.Closer
}

const lateSize = 4096

// sendLate posts content to a server that answers at once, calls released after
// Do has returned, and returns what the server got as the content.
func sendLate(t *testing.T, content io.ReadCloser, released func()) string {
	got := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		assert.NoError(t, c.EnableFullDuplex())
		assert.NoError(t, c.Flush())
		all, _ := io.ReadAll(r.Body)
		got <- string(all[len(all)-lateSize:])
	}))
	defer s.Close()

	gate := make(chan struct{})
	early := strings.NewReader(strings.Repeat("-", 64<<10)) // so that the request is sent
	late := readerFunc(func(p []byte) (int, error) {
		<-gate
		return content.Read(p)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, lateBody{io.MultiReader(early, late), content})
	require.NoError(t, err)
	req.ContentLength = 64<<10 + lateSize
	resp, err := s.Client().Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	released()
	close(gate)
	return <-got
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestTransportReadsAfterReturn(t *testing.T) {
	mine, other := strings.Repeat("m", lateSize), strings.Repeat("o", lateSize)

	var bad naive
	b := bad.Get(lateSize)
	copy(b, mine)
	got := sendLate(t, io.NopCloser(bytes.NewReader(b)), func() {
		bad.Put(b)
		copy(bad.Get(lateSize), other)
	})
	assert.True(t, got == other, "one request's bytes went out in another")

	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	lease := p.Get(lateSize)
	copy(lease.Bytes(), mine)
	got = sendLate(t, lease.Body(), func() {
		assert.False(t, lease.Release())
		next := p.Get(lateSize)
		copy(next.Bytes(), other)
		next.Release()
	})
	assert.True(t, got == mine)
	eventually(t, func() bool { return len(p.Outstanding()) == 0 })
}
