package leakcheck_test

import (
	"bytes"
	"container/list"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the operations below leak into.
var (
	ints    []int
	intSet  map[int]struct{}
	entries map[int]*entry
	counter int
)

type entry struct {
	key  int
	data [11]int
}

func next() int { counter++; return counter }

func work(stop chan struct{}) { <-stop }

func TestNoGrowthFinds(t *testing.T) {
	for _, r := range []struct {
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
		{"a file that is never closed", "file", "", func(t *testing.T) func() {
			if _, err := os.Stat("/proc/self/fd"); err != nil {
				t.Skip("files are counted on Linux only")
			}
			var files []*os.File
			t.Cleanup(func() {
				for _, f := range files {
					f.Close()
				}
			})
			return func() {
				f, err := os.Open(os.DevNull)
				require.NoError(t, err)
				files = append(files, f)
			}
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			report, err := leakcheck.Measure(r.op(t), leakcheck.Grace(0))
			require.NoError(t, err)
			require.Equal(t, leakcheck.Growing.String(), report.Verdict.String())
			worst := report.Sites[0]
			assert.Equal(t, r.kind, worst.Kind)
			if r.line != "" {
				assert.Contains(t, lineOf(t, worst), r.line)
			}
		})
	}
}

func TestNoGrowthIsSilent(t *testing.T) {
	for _, r := range []struct {
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
			leakcheck.NoGrowth(t, r.op(t))
		})
	}
}

func lineOf(t *testing.T, s leakcheck.Site) string {
	t.Helper()
	source, err := os.ReadFile(s.File)
	require.NoError(t, err)
	lines := strings.Split(string(source), "\n")
	require.Less(t, s.Line, len(lines))
	return lines[s.Line-1]
}
