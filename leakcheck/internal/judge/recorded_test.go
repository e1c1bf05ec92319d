package judge

import (
	"bytes"
	"container/list"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	update = flag.Bool("update", false, "record testdata/recorded.txt again")
	seeds  = flag.Int("seeds", 1, "with -update: how often each structure is recorded at each size")
)

// A structure is something real that holds at most bound items, or something that leaks.
type structure struct {
	name string
	make func(bound int, r *rand.Rand) func(n int)
}

// full is a map of a constant number of entries: where it is full, a random one is deleted.
func full[K comparable, V any](key func(n int) K, value func(n int) V) func(bound int, r *rand.Rand) func(n int) {
	return func(bound int, r *rand.Rand) func(n int) {
		m := map[K]V{}
		return func(n int) {
			if len(m) >= bound {
				for k := range m {
					delete(m, k)
					break
				}
			}
			m[key(n)] = value(n)
		}
	}
}

func number(n int) int  { return n }
func word(n int) string { return "user " + strconv.Itoa(n) }

var boundedStructures = []structure{
	{"map[string]int, random deletes", full(word, number)},
	{"map[int]int, random deletes", full(number, number)},
	{"map[int]struct{}, random deletes", full(number, func(int) struct{} { return struct{}{} })},
	{"map[int][128]byte, random deletes", full(number, func(int) [128]byte { return [128]byte{} })},
	{"map[int][512]byte, random deletes", full(number, func(int) [512]byte { return [512]byte{} })},
	{"map[int]*[64]byte, random deletes", full(number, func(int) *[64]byte { return new([64]byte) })},
	{"map[string][]byte of several sizes, random deletes", full(word, func(n int) []byte { return make([]byte, n*n%331) })},
	{"map[int]int, a tenth deleted when full", func(bound int, r *rand.Rand) func(int) {
		m := map[int]int{}
		return func(n int) {
			if len(m) >= bound {
				for k := range m {
					if delete(m, k); len(m) <= bound-1-bound/10 {
						break
					}
				}
			}
			m[n] = n
		}
	}},
	{"map[int]int, entries that live for a random number of operations", func(bound int, r *rand.Rand) func(int) {
		m, ends := map[int]int{}, map[int][]int{}
		return func(n int) {
			for _, k := range ends[n] {
				delete(m, k)
			}
			delete(ends, n)
			at := n + 1 + r.IntN(bound)
			ends[at] = append(ends[at], n)
			m[n] = n
		}
	}},
	{"sync.Map, random deletes", func(bound int, r *rand.Rand) func(int) {
		var m sync.Map
		var keys []int
		return func(n int) {
			m.Store(n, n)
			if keys = append(keys, n); len(keys) > bound {
				i := r.IntN(len(keys))
				m.Delete(keys[i])
				keys[i] = keys[len(keys)-1]
				keys = keys[:len(keys)-1]
			}
		}
	}},
	{"map of maps, random deletes", func(bound int, r *rand.Rand) func(int) {
		all, shards, size := map[int]map[int]int{}, 1+bound/40, 0
		return func(n int) {
			if size >= bound {
				for {
					shard := all[r.IntN(shards)]
					if len(shard) == 0 {
						continue
					}
					for k := range shard {
						delete(shard, k)
						break
					}
					break
				}
				size--
			}
			i := r.IntN(shards)
			if all[i] == nil {
				all[i] = map[int]int{}
			}
			all[i][n] = n
			size++
		}
	}},
	{"map of maps by topic, random topics deleted", func(bound int, r *rand.Rand) func(int) {
		all, size := map[int]map[int]int{}, 0
		return func(n int) {
			for size >= bound {
				for topic, entries := range all {
					size -= len(entries)
					delete(all, topic)
					break
				}
			}
			topic := n / (1 + r.IntN(20))
			if all[topic] == nil {
				all[topic] = map[int]int{}
			}
			before := len(all[topic])
			all[topic][n] = n
			size += len(all[topic]) - before
		}
	}},
	{"slices regrown, each cut to length 0 when full", func(bound int, r *rand.Rand) func(int) {
		all := make([][]int, 1+bound/50)
		return func(n int) {
			i := r.IntN(len(all))
			if len(all[i]) >= 25+r.IntN(25) {
				all[i] = all[i][:0]
			}
			all[i] = append(all[i], n)
		}
	}},
	{"slices regrown, each set to nil when full", func(bound int, r *rand.Rand) func(int) {
		all := make([][]int, 1+bound/50)
		return func(n int) {
			i := r.IntN(len(all))
			if len(all[i]) >= 50 {
				all[i] = nil
			}
			all[i] = append(all[i], n)
		}
	}},
	{"buffers used again, for texts of random length", func(bound int, r *rand.Rand) func(int) {
		all := make([]bytes.Buffer, 1+bound/100)
		return func(n int) {
			b := &all[r.IntN(len(all))]
			b.Reset()
			b.Write(make([]byte, int(min(r.ExpFloat64()*100, 2000))))
		}
	}},
	{"a slice from which random elements are removed", func(bound int, r *rand.Rand) func(int) {
		var s []*int
		return func(n int) {
			if len(s) >= bound {
				i := r.IntN(len(s))
				s = append(s[:i], s[i+1:]...)
			}
			s = append(s, &n)
		}
	}},
	{"an LRU of a list and a map, random gets", func(bound int, r *rand.Rand) func(int) {
		l, m := list.New(), map[int]*list.Element{}
		return func(n int) {
			if e := m[r.IntN(n+1)]; e != nil {
				l.MoveToFront(e)
			}
			m[n] = l.PushFront(n)
			if l.Len() > bound {
				delete(m, l.Remove(l.Back()).(int))
			}
		}
	}},
	{"map[int]int of random keys", func(bound int, r *rand.Rand) func(int) {
		m := map[int]int{}
		return func(n int) { m[r.IntN(bound)] = n }
	}},
	{"map[int]int of keys with a Zipf distribution", func(bound int, r *rand.Rand) func(int) {
		z, m := rand.NewZipf(r, 1.1, 1, uint64(bound)-1), map[uint64]int{}
		return func(n int) { m[z.Uint64()] = n }
	}},
	{"map[int]int, cleared at random", func(bound int, r *rand.Rand) func(int) {
		m := map[int]int{}
		return func(n int) {
			if len(m) >= bound || r.IntN(bound) == 0 {
				clear(m)
			}
			m[n] = n
		}
	}},
}

// leakingStructures keep an entry every period operations, and have no bound.
var leakingStructures = []structure{
	{"leak: map[int]int", func(period int, _ *rand.Rand) func(int) {
		m := map[int]int{}
		return func(n int) { m[n/period] = n }
	}},
	{"leak: map[int][128]byte", func(period int, _ *rand.Rand) func(int) {
		m := map[int][128]byte{}
		return func(n int) { m[n/period] = [128]byte{} }
	}},
	{"leak: map[string]int", func(period int, _ *rand.Rand) func(int) {
		m := map[string]int{}
		return func(n int) { m[word(n/period)] = n }
	}},
	{"leak: []int", func(period int, _ *rand.Rand) func(int) {
		var s []int
		return func(n int) {
			if n%period == 0 {
				s = append(s, n)
			}
		}
	}},
	{"leak: a map of slices", func(period int, r *rand.Rand) func(int) {
		m := map[int][]int{}
		return func(n int) {
			if n%period == 0 {
				k := r.IntN(10)
				m[k] = append(m[k], n)
			}
		}
	}},
	{"leak: a map from which half is deleted at random", func(period int, r *rand.Rand) func(int) {
		m := map[int]int{}
		return func(n int) {
			if m[n] = n; n%period != 0 {
				for k := range m {
					delete(m, k)
					break
				}
			}
		}
	}},
}

// sizes are the bounds at which the structures are recorded, and the periods of those that leak:
// more where the tables of a map split late.
func sizes(s structure) (all []int) {
	switch {
	case strings.HasPrefix(s.name, "leak"):
		return []int{1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 16, 20}
	case !strings.HasPrefix(s.name, "map[") || !strings.Contains(s.name, "delete"):
		return []int{300, 700, 1000, 1500, 2000, 2500, 2900, 3500, 4000, 4500, 5000}
	}
	for bound := 300; bound <= 5000; bound += 200 {
		all = append(all, bound)
	}
	for bound := 690; bound <= 740; bound += 10 {
		all = append(all, bound, 2*bound, 4*bound, 4*bound+20)
	}
	return all
}

// A heapMeter reads the live heap.
type heapMeter [2]metrics.Sample

func (h *heapMeter) read() (objects, size int64) {
	runtime.GC()
	h[0].Name, h[1].Name = "/gc/heap/objects:objects", "/memory/classes/heap/objects:bytes"
	metrics.Read(h[:])
	return int64(h[0].Value.Uint64()), int64(h[1].Value.Uint64())
}

// recordReal runs a real structure through all rounds, with a second retry.
func recordReal(s structure, bound int, seed uint64) *recording {
	op := s.make(bound, rand.New(rand.NewPCG(seed, uint64(bound))))
	h, n := &heapMeter{}, 0
	h.read()
	r := &recording{iterations: 20, ops: 20, rounds: make([]Round, 0, 64), series: Series{Objects: make([]int64, 0, 64), Bytes: make([]int64, 0, 64)}}
	r.live = func(ops int, _ time.Duration) (int64, int64) {
		for ; n < ops; n++ {
			op(n)
		}
		return h.read()
	}
	r.look()
	r.scales(look, cheap)
	r.confirm(look, cheap)
	r.confirm(look, cheap)
	runtime.KeepAlive(op)
	return r
}

// line writes a series as what each look gained: "objects/bytes".
func (r *recording) line(name string, bound int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\t%d\t", name, bound)
	for i := range r.rounds {
		s := r.series
		fmt.Fprintf(&b, "%d/%d ", s.Objects[i+1]-s.Objects[i], s.Bytes[i+1]-s.Bytes[i])
	}
	return strings.TrimSpace(b.String())
}

// replay is the recording of a line, before its first round.
func replay(t *testing.T, line string) (name string, r *recording) {
	fields := strings.Split(line, "\t")
	require.Len(t, fields, 3, line)
	gains, look := strings.Fields(fields[2]), -1
	var objects, size int64
	return fields[0] + ", " + fields[1], newRecording(20, func(int, time.Duration) (int64, int64) {
		if look >= 0 {
			var o, b int64
			_, err := fmt.Sscanf(gains[look], "%d/%d", &o, &b)
			require.NoError(t, err, line)
			objects, size = objects+o, size+b
		}
		look++
		return objects, size
	})
}

const recorded = "testdata/recorded.txt"

// recordAll writes what the structures hold after each round: of those that are bounded, where one
// retry is not enough, and one of ten others; of those that leak, where one retry finds it.
func recordAll(t *testing.T) {
	var all strings.Builder
	all.WriteString("# What real maps and slices hold: name, bound or period, and the gain of each round as objects/bytes.\n" +
		"# Written by: go test -run Recorded ./leakcheck/internal/judge -update\n")
	n := 0
	for _, s := range slices.Concat(boundedStructures, leakingStructures) {
		for seed := range *seeds {
			for _, bound := range sizes(s) {
				line := recordReal(s, bound, uint64(seed)).line(s.name, bound)
				_, r := replay(t, line)
				r.series.Arrays = true
				f, twice := r.verdict()
				if n++; twice || f.Verdict == Growing || n%10 == 0 && !strings.HasPrefix(s.name, "leak") {
					all.WriteString(line + "\n")
				}
			}
		}
	}
	require.NoError(t, os.WriteFile(recorded, []byte(all.String()), 0o644))
}

// Nothing real that holds at most 5,000 grows, whether or not its site is known to gain only tables
// and arrays. What has no bound does, where that is known and one retry finds it: the second loses
// none.
func TestRecorded(t *testing.T) {
	if *update {
		recordAll(t)
	}
	text, err := os.ReadFile(recorded)
	require.NoError(t, err)
	settled := 0 // bounded, and only by the second retry
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, arrays := range []bool{false, true} {
			name, r := replay(t, strings.TrimSpace(line))
			r.series.Arrays = arrays
			f, twice := r.verdict()
			switch leaks := strings.HasPrefix(name, "leak"); {
			case leaks && arrays:
				assert.Equal(t, Growing.String(), f.Verdict.String(), name)
			case leaks:
			case twice:
				settled++
				fallthrough
			default:
				assert.Contains(t, []Verdict{Steady, Saturating}, f.Verdict, name)
			}
		}
	}
	assert.Greater(t, settled, 40, "the second retry was put to the test")
}
