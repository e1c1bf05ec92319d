package leakcheck_test

import (
	"bytes"
	"container/list"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/internal/source"
)

// What the operations below leak into.
var (
	ints    []int
	intSet  map[int]struct{}
	entries map[int]*entry
	counter int
)

type entry struct {
	key int
	_   [11]int
}

func next() int { counter++; return counter }

func must(f *os.File, err error) *os.File {
	if err != nil {
		panic(err)
	}
	return f
}

func work(stop chan struct{}) { <-stop }

func TestNoGrowthFinds(t *testing.T) {
	for i, r := range []struct {
		name string
		kind string
		line string // in the source line of the site
		op   func(t *testing.T) func()
	}{
		{"a slice of ints outside the function", "heap", "ints = append", func(t *testing.T) func() {
			ints = nil
			return func() { ints = append(ints, 1) }
		}},
		{"an int map that only grows", "heap", "intSet[next()] =", func(t *testing.T) func() {
			intSet = map[int]struct{}{}
			return func() { intSet[next()] = struct{}{} }
		}},
		{"an int map, an entry in one operation of eight", "heap", "intSet[n/8] =", func(t *testing.T) func() {
			intSet = map[int]struct{}{}
			return func() { n := next(); intSet[n/8] = struct{}{} }
		}},
		{"a map of objects", "heap", "&entry{", func(t *testing.T) func() {
			entries = map[int]*entry{}
			return func() { k := next(); entries[k] = &entry{key: k} }
		}},
		{"8 bytes in one operation of five", "heap", "append(kept, new(int))", func(t *testing.T) func() {
			var kept []*int
			return func() {
				if next()%5 == 0 {
					kept = append(kept, new(int))
				}
			}
		}},
		{"a goroutine that never ends", "goroutine", "go work(stop)", func(t *testing.T) func() {
			stop := make(chan struct{})
			t.Cleanup(func() { close(stop) })
			return func() { go work(stop) }
		}},
		{"a file that is never closed", "file", "append(files, must(os.Open", func(t *testing.T) func() {
			if _, err := os.Stat("/proc/self/fd"); err != nil {
				t.Skip("files are counted on Linux only")
			}
			var files []*os.File
			t.Cleanup(func() {
				for _, f := range files {
					f.Close()
				}
			})
			return func() { files = append(files, must(os.Open(os.DevNull))) }
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			if i%3 != 2 {
				testgate.Seconds(t)
			}
			report, err := leakcheck.Measure(r.op(t), leakcheck.Grace(0))
			require.NoError(t, err)
			require.Equal(t, leakcheck.Growing.String(), report.Verdict.String(), "%v %+v", report.Rounds, report.Sites)
			worst := report.Sites[0]
			assert.Equal(t, r.kind, string(worst.Kind))
			assert.Contains(t, lineOf(t, worst), r.line)
		})
	}
}

// A connection's goroutines are started by net/http: the line that asked for it stands with them.
func TestNoGrowthNamesTheCallOfAConnection(t *testing.T) {
	testgate.Seconds(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 10_000)) }))
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	client := &http.Client{Transport: transport}
	var unclosed []io.Closer
	t.Cleanup(func() {
		for _, c := range unclosed {
			c.Close()
		}
		transport.CloseIdleConnections()
	})
	report, err := leakcheck.Measure(func() {
		response, err := client.Get(server.URL)
		if assert.NoError(t, err) {
			unclosed = append(unclosed, response.Body)
		}
	}, leakcheck.Iterations(4), leakcheck.Grace(0))
	require.NoError(t, err)
	require.Equal(t, leakcheck.Growing.String(), report.Verdict.String())
	worst := report.Sites[0]
	assert.Equal(t, leakcheck.KindGoroutine, worst.Kind)
	assert.Equal(t, "net/http.(*Transport).dialConn", worst.Func)
	require.NotEmpty(t, worst.Caller.File)
	assert.Contains(t, source.Line(worst.Caller.File, worst.Caller.Line), "client.Get(server.URL)")
}

func TestNoGrowthIsSilent(t *testing.T) {
	for i, r := range []struct {
		name string
		op   func(t *testing.T) func()
	}{
		{"garbage", func(t *testing.T) func() {
			return func() { _ = fmt.Sprint(next(), make([]byte, 100)) }
		}},
		{"a map that fills and empties", func(t *testing.T) func() {
			m := map[int]*entry{}
			return func() { k := next(); m[k] = &entry{key: k}; delete(m, k-1) }
		}},
		{"a ring", func(t *testing.T) func() {
			var ring [16]*entry
			return func() { k := next(); ring[k%len(ring)] = &entry{key: k} }
		}},
		{"an LRU that fills late", func(t *testing.T) func() {
			const size = 1500
			order := list.New()
			return func() {
				order.PushFront(&entry{key: next()})
				if order.Len() > size {
					order.Remove(order.Back())
				}
			}
		}},
		{"a cache filled once", func(t *testing.T) func() {
			var once sync.Once
			var cache map[int]*entry
			return func() {
				once.Do(func() {
					cache = map[int]*entry{}
					for i := range 1000 {
						cache[i] = &entry{key: i}
					}
				})
				_ = cache[next()%1000]
			}
		}},
		{"a pool of buffers", func(t *testing.T) func() {
			pool := sync.Pool{New: func() any { return new(bytes.Buffer) }}
			return func() {
				b := pool.Get().(*bytes.Buffer)
				b.Reset()
				b.WriteString(strings.Repeat("x", next()%5000))
				pool.Put(b)
			}
		}},
		{"a pool that is only put to", func(t *testing.T) func() {
			var pool sync.Pool
			return func() { pool.Put(new(entry)) }
		}},
		{"finalizers that take their time", func(t *testing.T) func() {
			var sum atomic.Int64
			return func() {
				runtime.SetFinalizer(new(entry), func(e *entry) {
					for i := range 20_000 {
						sum.Add(int64(i))
					}
				})
			}
		}},
		{"a goroutine that ends", func(t *testing.T) func() {
			return func() { go func() { _ = new(entry) }() }
		}},
		{"files left to the collector", func(t *testing.T) func() {
			return func() {
				_, err := os.Open(os.DevNull)
				require.NoError(t, err)
			}
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			if i%2 != 0 {
				testgate.Seconds(t)
			}
			want := leakcheck.Steady
			if r.name == "an LRU that fills late" {
				want = leakcheck.Saturating
			}
			runs := 1
			if testgate.Long() {
				runs = 100
			}
			for range runs {
				assert.Equal(t, want.String(), leakcheck.NoGrowth(t, r.op(t)).Verdict.String())
			}
		})
	}
}

func lineOf(t *testing.T, s leakcheck.Site) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Base(s.File)) // under -trimpath it has no folder
	require.NoError(t, err)
	lines := strings.Split(string(source), "\n")
	require.Less(t, s.Line, len(lines))
	return lines[s.Line-1]
}

// Many callers of one allocating function, and recursion, are one site.
func TestSitesAreAddedUp(t *testing.T) {
	testgate.Seconds(t)
	var kept []*entry
	var dive func(depth int) *entry
	dive = func(depth int) *entry {
		if depth > 0 {
			return dive(depth - 1)
		}
		return new(entry)
	}
	r, err := leakcheck.Measure(func() { n := next(); kept = append(kept, dive(n%20)) })
	require.NoError(t, err)
	require.Equal(t, leakcheck.Growing.String(), r.Verdict.String())
	assert.Contains(t, lineOf(t, r.Sites[0]), "return new(entry)")
	assert.InDelta(t, 1, r.Sites[0].ObjectsPerOp, 0.05)
}

// Goroutines that end within the grace hold nothing that leaks.
func TestNoGrowthWaitsForGoroutines(t *testing.T) {
	gate := make(chan struct{})
	go func() {
		defer close(gate)
		text := make([]byte, 1<<21)
		for t.Context().Err() == nil && !bytes.Contains(text[:runtime.Stack(text, true)], []byte(").waitForGoroutines(")) {
			time.Sleep(10 * time.Millisecond)
		}
	}()
	leakcheck.NoGrowth(t, func() {
		k := new(entry)
		go func() { <-gate; k.key++ }()
	}, leakcheck.Iterations(2), leakcheck.Warmup(0), leakcheck.Grace(20*time.Second))
	select {
	case <-gate:
	default:
		t.Error("the check did not wait for the goroutines")
	}
}
