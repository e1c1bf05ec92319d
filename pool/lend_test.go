package pool_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/pool"
)

var (
	_ httputil.BufferPool = (*pool.Slices)(nil)
	_ interface {         // gRPC's mem.BufferPool
		Get(length int) *[]byte
		Put(*[]byte)
	} = (*pool.Pointers)(nil)
)

func TestSlices(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		s := p.Slices(300)
		for i := range 50 {
			a, b := s.Get(), s.Get()
			require.Len(t, a, 300)
			require.Equal(t, 300, cap(a), "append must not write into the pool's memory")
			a[0], b[0] = byte(i), byte(i+1)
			require.NotSame(t, &a[0], &b[0])
			s.Put(a)
			s.Put(b[:10]) // a prefix
		}
		assert.Zero(t, p.Stats().RefusedPuts)
		assert.Zero(t, p.Stats().InUseLeases)
		assert.Zero(t, p.Stats().InUse)
	})
	assert.PanicsWithValue(t, "pool: Slices(0): the length must be at least 1", func() { pool.NewBytes(pool.Options{}).Slices(0) })
}

func TestPointers(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		q := p.Pointers()
		for _, n := range []int{0, 1, 300, 5000, 100_000} {
			for range 20 {
				a, b := q.Get(n), q.Get(n)
				require.Len(t, *a, n)
				require.GreaterOrEqual(t, cap(*a), max(n, 256))
				require.NotSame(t, &(*a)[:1][0], &(*b)[:1][0])
				*a = append((*a)[:0], "in its own memory"...)
				*b = append(*b, make([]byte, 2*n+300)...) // memory of the caller's
				q.Put(a)
				q.Put(b)
				require.Nil(t, *a, "a late use must not find memory")
			}
		}
		assert.Zero(t, p.Stats().RefusedPuts)
		assert.Zero(t, p.Stats().InUseLeases)
		assert.Zero(t, p.Stats().InUse)
	})
}

func TestLendingReusesMemory(t *testing.T) {
	if testgate.Race {
		t.Skip("under -race a sync.Pool drops one in four")
	}
	p := pool.NewBytes(pool.Options{})
	s, q := p.Slices(4096), p.Pointers()
	assert.Less(t, allocs(20_000, func() { s.Put(s.Get()) }), 0.01)
	assert.Less(t, allocs(20_000, func() { q.Put(q.Get(4096)) }), 0.01)
	b := p.Get(0)
	defer b.Release()
	stats := p.Stats()
	assert.LessOrEqual(t, stats.Gets, uint64(40_100), "some more to warm up")
	assert.GreaterOrEqual(t, stats.Gets+127*stats.Made, uint64(40_000), "a buffer may be behind by 127")
}

// Put refuses every slice that is not lent, and no memory ever has two owners.
func TestPutOfWhatIsNotLent(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		s, q := p.Slices(300), p.Pointers()
		lent := s.Get()
		other := make([]byte, 300)
		bad := [][]byte{nil, {}, other, make([]byte, 0, 300), lent[10:], append(lent, 1)}
		for _, b := range bad {
			s.Put(b)
		}
		onStack := []byte{1}
		for _, b := range []*[]byte{nil, &other, &onStack, new([]byte)} {
			q.Put(b)
		}
		s.Put(lent)
		s.Put(lent)
		pointer := q.Get(10)
		q.Put(pointer)
		q.Put(pointer)
		assert.EqualValues(t, len(bad)+4+1+1, p.Stats().RefusedPuts)
		first, second := s.Get(), s.Get()
		require.NotSame(t, &first[0], &second[0])
		s.Put(first)
		s.Put(second)
	})
}

func TestConcurrentPutsOfOneSlice(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		s, q := p.Slices(300), p.Pointers()
		const times = 50
		for range times {
			slice, pointer := s.Get(), q.Get(300)
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() { s.Put(slice) })
				all.Go(func() { q.Put(pointer) })
			}
			all.Wait()
		}
		assert.EqualValues(t, 2*7*times, p.Stats().RefusedPuts)
	})
}

func TestADoublePutIsNamed(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	s, q := p.Slices(300), p.Pointers()
	b := s.Get()
	s.Put(b)
	place := here(1)
	s.Put(b)
	found := p.Outstanding()
	require.Len(t, found, 1)
	assert.Equal(t, 1, found[0].RefusedPuts)
	text := found[0].String()
	assert.Regexp(t, `^a slice was put again, 1 time
	lent at \S+TestADoublePutIsNamed \(\S+\)
	put at \S+TestADoublePutIsNamed \(\S+\)
	put again at \S+TestADoublePutIsNamed \(\S+\)
	fix: call Put once for each Get$`, text)
	assert.Contains(t, text, place)

	// A pointer is distinguished from the pointer of a later lease, even after its memory was lent
	// again.
	c := q.Get(300)
	q.Put(c)
	later := q.Get(300)
	q.Put(c)
	q.Put(later)
	assert.Len(t, p.Outstanding(), 2)
	assert.EqualValues(t, 2, p.Stats().RefusedPuts)

	s.Put([]byte("mine"))
	text = p.Outstanding()[0].String() + p.Outstanding()[1].String() + p.Outstanding()[2].String()
	assert.Contains(t, text, "a slice was put that the pool had not lent, 1 time\n\tput at ")
}

// A slice has no generation. If its memory was lent again, the second Put ends the later lease, and
// the later owner's Put is refused and names the second Put as the end.
func TestADoublePutAfterReuseIsNamedLater(t *testing.T) {
	clockStandsStill(t, func(t *testing.T) {
		p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
		s := p.Slices(300)
		mine := s.Get()
		s.Put(mine)
		theirs := s.Get()
		require.Same(t, &mine[0], &theirs[0])
		culprit := here(1)
		s.Put(mine)
		s.Put(theirs)
		require.Len(t, p.Outstanding(), 1)
		assert.Contains(t, p.Outstanding()[0].String(), culprit)
	})
}

// The address of memory that was lent goes with the memory when a Buffer grows out of it.
func TestSlicesOfMemoryThatABufferGrewInto(t *testing.T) {
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		small, large := p.Slices(300), p.Slices(1000)
		for range 50 {
			a, b := small.Get(), large.Get()
			small.Put(a)
			large.Put(b)
			grown := p.Get(300)
			grown.Write(make([]byte, 500))
			grown.Release()
		}
		assert.Zero(t, p.Stats().RefusedPuts)
	})
}

func TestALentSliceThatIsNeverPutIsCollected(t *testing.T) {
	for _, o := range []pool.Options{{}, {Level: pool.LevelCheck}, {Secret: true}, {Secret: true, Level: pool.LevelCheck}} {
		o.MaxInUse = 1 << 30
		p := pool.NewBytes(o)
		s, q := p.Slices(mib), p.Pointers()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 64 {
			s.Get()
			q.Get(mib)
		}
		eventually(t, func() bool { return p.Stats().InUse == 0 })
		assert.EqualValues(t, 128, p.Stats().Lost)
		runtime.ReadMemStats(&after)
		assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(8*mib))
	}
}

func TestALateWriteIntoALentSliceIsFound(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	s := p.Slices(300)
	b := s.Get()
	s.Put(b)
	b[7] = 1
	require.Len(t, p.Outstanding(), 1)
	assert.Contains(t, p.Outstanding()[0].String(), "memory was written to after Release, 1 time, first at byte 7\n\tacquired at ")
}

func TestLendingDoesNotGrow(t *testing.T) {
	testgate.NoRace(t)
	for _, name := range []string{"zero options", "secret", "check"} {
		t.Run(name, func(t *testing.T) {
			if name != "zero options" {
				testgate.Seconds(t)
			}
			p := pool.NewBytes(everyOption[name])
			s, q := p.Slices(4096), p.Pointers()
			leakcheck.NoGrowth(t, func() {
				s.Put(s.Get())
				q.Put(q.Get(1000))
				large := q.Get(100_000)
				q.Put(large)
			})
		})
	}
	t.Run("slices that are kept", func(t *testing.T) {
		t.Cleanup(func() { keptSlices = nil })
		leakcheck.MustDetect(t, func(t testing.TB) {
			s := pool.NewBytes(pool.Options{}).Slices(4096)
			leakcheck.NoGrowth(t, func() { keptSlices = append(keptSlices, s.Get()) })
		})
	})
}

var keptSlices [][]byte

// A proxy before a server, with the pool as its BufferPool.
func TestAReverseProxyRunsOnSlices(t *testing.T) {
	leakcheck.Check(t)
	page := strings.Repeat("0123456789", 10_000) // several slices
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, page)
	}))
	defer back.Close()
	u, err := url.Parse(back.URL)
	require.NoError(t, err)
	eachOption(t, func(t *testing.T, p *pool.Bytes) {
		slices := p.Slices(32 << 10)
		proxy := httputil.NewSingleHostReverseProxy(u)
		proxy.BufferPool = slices
		front := httptest.NewServer(proxy)
		defer front.Close()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 5 {
					r, err := front.Client().Get(front.URL)
					if !assert.NoError(t, err) {
						return
					}
					body, err := io.ReadAll(r.Body)
					r.Body.Close()
					assert.NoError(t, err)
					assert.True(t, page == string(body))
				}
			})
		}
		all.Wait()
		front.Close() // waits for the handlers
		assert.Zero(t, p.Stats().RefusedPuts)
		assert.Zero(t, p.Stats().InUseLeases)
	})
}

// twice is a buffer pool with the fault that the pool must find: it puts each slice twice.
type twice struct{ *pool.Slices }

func (p twice) Put(b []byte) {
	p.Slices.Put(b)
	p.Slices.Put(b)
}

func TestADoublePutBehindAServerIsFound(t *testing.T) {
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page") }))
	defer back.Close()
	u, err := url.Parse(back.URL)
	require.NoError(t, err)
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.BufferPool = twice{p.Slices(32 << 10)}
	front := httptest.NewServer(proxy)
	defer front.Close()
	r, err := front.Client().Get(front.URL)
	require.NoError(t, err)
	r.Body.Close()
	front.Close()
	require.Len(t, p.Outstanding(), 1)
	assert.Contains(t, p.Outstanding()[0].String(), "a slice was put again, 1 time\n\tlent at net/http/httputil.(*ReverseProxy).copyResponse (")
	assert.Contains(t, p.Outstanding()[0].String(), "put again at github.com/leaksafe/leaksafe/pool_test.twice.Put (")
}

func TestCopyBuffer(t *testing.T) {
	s := pool.NewBytes(pool.Options{}).Slices(32 << 10)
	b := s.Get()
	defer s.Put(b)
	var to bytes.Buffer
	_, err := io.CopyBuffer(struct{ io.Writer }{&to}, struct{ io.Reader }{strings.NewReader("text")}, b)
	assert.NoError(t, err)
	assert.Equal(t, "text", to.String())
}

// After a burst the table is small again, and the tags of what was lent are gone.
func TestTheTableOfWhatIsLentShrinks(t *testing.T) {
	p := pool.NewBytes(pool.Options{})
	s, q := p.Slices(300), p.Pointers()
	const many = 3000
	var slices [][]byte
	var pointers []*[]byte
	for range many {
		slices, pointers = append(slices, s.Get()), append(pointers, q.Get(300))
	}
	require.GreaterOrEqual(t, pool.TableLen(p), 2*many)
	for i := range slices {
		s.Put(slices[i])
		q.Put(pointers[i])
	}
	slices, pointers = nil, nil
	p.Trim()
	eventually(t, func() bool { return pool.TableLen(p) <= 1024 })
	for range many { // and works as before
		slices, pointers = append(slices, s.Get()), append(pointers, q.Get(300))
	}
	for i := range slices {
		s.Put(slices[i])
		q.Put(pointers[i])
	}
	assert.Zero(t, p.Stats().RefusedPuts)
}

func TestTheTableOfWhatIsLentForgets(t *testing.T) {
	p := pool.NewBytes(pool.Options{MaxIdleBytes: 1})
	s := p.Slices(100_000) // nothing is reused
	for range 3000 {
		s.Put(s.Get())
	}
	eventually(t, func() bool { return pool.Listed(p) < 100 })
	rebuilt := map[any]bool{}
	for range 100 {
		s.Put(s.Get())
		rebuilt[pool.Slots(p)] = true
	}
	assert.Less(t, len(rebuilt), 20, "what was forgotten must leave room in the table")
	assert.Zero(t, p.Stats().RefusedPuts)
}
