package pool_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/pool"
)

// A service has a correct handler, and handlers that use a buffer after Release.
type service struct {
	pool  *pool.Bytes
	late  sync.WaitGroup
	after chan struct{} // closed when the late goroutines may run
}

func newService() *service {
	return &service{pool: pool.NewBytes(pool.Options{Level: pool.LevelCheck}), after: make(chan struct{})}
}

func (s *service) right(w http.ResponseWriter, r *http.Request) {
	b := s.pool.Get(0)
	defer b.Release()
	fmt.Fprintf(b.Writer(), "hello %s", r.URL.Path)
	w.Write(b.Bytes())
}

// writesLate leaves a goroutine behind that writes into a slice of the released buffer.
func (s *service) writesLate(w http.ResponseWriter, r *http.Request) {
	b := s.pool.Get(0)
	defer b.Release()
	fmt.Fprintf(b.Writer(), "hello %s", r.URL.Path)
	w.Write(b.Bytes())
	line := b.Bytes()
	s.late.Go(func() {
		<-s.after
		line[0] = 'H'
	})
}

func (s *service) runLate() {
	close(s.after)
	s.late.Wait()
}

const lateText = "memory was written to after Release, 1 time, first at byte 0\n\tacquired at github.com/leaksafe/leaksafe/pool_test.(*service).writesLate ("

// One request, one late goroutine, and no further request: Outstanding reports it at the end of the
// test.
func TestALateWriteIsReportedAtTheEndOfATest(t *testing.T) {
	s := newService()
	s.writesLate(httptest.NewRecorder(), httptest.NewRequest("GET", "/a", nil))
	assert.Empty(t, s.pool.Outstanding())
	s.runLate()
	for range 2 { // and goes on saying so
		require.Len(t, s.pool.Outstanding(), 1)
		f := s.pool.Outstanding()[0]
		assert.Equal(t, 1, f.LateWrites)
		assert.Zero(t, f.Offset)
		assert.Contains(t, f.String(), lateText)
		assert.Contains(t, f.String(), "\n\tended at github.com/leaksafe/leaksafe/pool_test.(*service).writesLate (")
	}
	s.pool.Get(0).Release() // it was reported, and does not panic
	assert.Len(t, s.pool.Outstanding(), 1)
}

func TestALateWriteIsSeenHoweverLongAfter(t *testing.T) {
	for _, pause := range []time.Duration{50 * time.Millisecond, 400 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := newService()
			s.writesLate(httptest.NewRecorder(), httptest.NewRequest("GET", "/a", nil))
			time.Sleep(pause)
			s.runLate()
			time.Sleep(pause)
			assert.Contains(t, panicOf(t, func() { s.right(httptest.NewRecorder(), httptest.NewRequest("GET", "/b", nil)) }),
				"pool: Get, which is not at fault, found that "+lateText)
			require.Len(t, s.pool.Outstanding(), 1, "also after the panic")
		})
	}
}

func TestALateWriteIsSeenBehindAServerThatRecovers(t *testing.T) {
	s := newService()
	mux := http.NewServeMux()
	mux.HandleFunc("/late", s.writesLate)
	mux.HandleFunc("/right", s.right)
	server := httptest.NewUnstartedServer(mux)
	var log bytes.Buffer
	server.Config.ErrorLog = newLogger(&log)
	server.Start()
	get := func(path string) error {
		r, err := server.Client().Get(server.URL + path)
		if err == nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		return err
	}
	require.NoError(t, get("/late"))
	s.runLate()
	get("/right") // panics; net/http recovers, and the client tries again
	server.Close()
	require.Len(t, s.pool.Outstanding(), 1)
	assert.Contains(t, s.pool.Outstanding()[0].String(), lateText)
	assert.Contains(t, log.String(), lateText)
}

// Memory is checked before it leaves the pool, in every way, and the newest block stays to be
// checked.
func TestNoMemoryGoesUnseen(t *testing.T) {
	ways := map[string]func(p *pool.Bytes){
		"Trim":              func(p *pool.Bytes) { p.Trim() },
		"over MaxIdleBytes": func(p *pool.Bytes) { p.Get(mib).Release(); p.Get(mib).Release(); p.Get(mib / 2).Release() },
		"nothing":           func(p *pool.Bytes) {},
	}
	for _, size := range []int{100, 4096, 100_000, mib, 2 * mib} { // the last is larger than MaxBuffer
		for way, use := range ways {
			t.Run(fmt.Sprintf("%d/%s", size, way), func(t *testing.T) {
				p := pool.NewBytes(pool.Options{Level: pool.LevelCheck, MaxIdleBytes: mib})
				b := p.Get(size)
				kept := b.Bytes()
				b.Release()
				kept[size-1] = 'x'
				func() {
					defer func() { recover() }() // a reuse may panic
					use(p)
				}()
				require.Len(t, p.Outstanding(), 1)
				assert.Equal(t, size-1, p.Outstanding()[0].Offset)
			})
		}
	}
}

func TestNothingIsReportedOfUseInTime(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck, MaxIdleBytes: mib})
	for size := 1; size < 4*mib; size *= 3 {
		b := p.Get(size)
		early := b.Bytes()
		b.Writer().Write(make([]byte, size))
		early[0] = 1 // outgrown, and still the lease's
		b.Release()
		q := p.Pointers()
		s := q.Get(size)
		clear(*s)
		q.Put(s)
	}
	p.Trim()
	assert.Empty(t, p.Outstanding())
}

// A slice taken before growth is still the lease's, but no longer the contents.
func TestASliceFromBeforeGrowthIsNotTheContents(t *testing.T) {
	p := pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	b := p.Get(4)
	head := b.Bytes()
	b.Write(make([]byte, 300))
	copy(head, "LEN!")
	assert.Equal(t, "\x00\x00\x00\x00", strings.ReplaceAll(string(b.Slice(0, 4)), "\xdb", "\x00"))
	b.Release()
	assert.Empty(t, p.Outstanding())
}
