package heapdump_test

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
)

type node struct {
	next  *node
	other *[100]*node
	data  [5]uint64
}

var global *node

// take writes a dump of this process and reads it.
func take(t testing.TB) (*heapdump.Dump, *os.File) {
	f, err := os.Create(filepath.Join(t.TempDir(), "dump"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	debug.WriteHeapDump(f.Fd())
	return read(t, f), f
}

func read(t testing.TB, f *os.File) *heapdump.Dump {
	size, err := f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	d, err := heapdump.Read(f, size, nil)
	require.NoError(t, err)
	return d
}

func addr[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

func TestReadFindsObjectsAndEdges(t *testing.T) {
	old := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	global = &node{next: &node{data: [5]uint64{42}}, other: new([100]*node)}
	global.other[57] = global
	runtime.MemProfileRate = old
	runtime.GC()
	t.Cleanup(func() { global = nil })
	d, _ := take(t)

	assert.Equal(t, runtime.Version(), d.GoVersion)
	assert.Equal(t, runtime.GOARCH, d.Arch)
	root := d.Find(addr(global))
	next := d.Find(addr(global.next))
	other := d.Find(addr(global.other))
	require.NotEqual(t, int32(heapdump.None), root)
	require.NotEqual(t, int32(heapdump.None), next)
	to, word := d.Edges(root)
	assert.Equal(t, []int32{next, other}, to)
	assert.Equal(t, []uint32{0, 1}, word)
	to, word = d.Edges(other)
	require.Equal(t, []int32{root}, to)
	header := (addr(global.other) - d.Addr(other)) / 8 // types of large objects stand before them
	assert.Equal(t, []uint32{57 + uint32(header)}, word)
	b, err := d.Contents(next, 16, 8)
	require.NoError(t, err)
	assert.EqualValues(t, 42, d.Word(b))
	assert.Equal(t, next, d.Find(addr(global.next)+11), "an address inside the object")
	a := d.Alloc(root)
	require.NotNil(t, a)
	assert.EqualValues(t, 64, a.Size, "the size class that holds 56 bytes")
	var stack []string
	for _, c := range a.Stack {
		stack = append(stack, c.Func)
	}
	assert.Contains(t, strings.Join(stack, "\n"), "TestReadFindsObjectsAndEdges")
}

// The runtime writes heap bits and mark bits at the end of a page as if they were objects.
func TestReadLeavesOutWhatIsNoObject(t *testing.T) {
	testgate.NoRace(t)
	type small struct{ next *small }
	var list *small
	for range 400_000 {
		list = &small{list}
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	d, _ := take(t)
	runtime.KeepAlive(list)
	assert.InDelta(t, m.HeapObjects, d.Len(), 1500, "some objects are made and freed between both")
	assert.Greater(t, d.Len(), 400_000)
}

func TestRedacted(t *testing.T) {
	d, _ := take(t)
	assert.False(t, d.Redacted())
	d.Others = append(d.Others, heapdump.OtherRoot{Description: heapdump.RedactedMark, Object: heapdump.None})
	assert.True(t, d.Redacted())
}

func TestReadFindsRootsAndGoroutines(t *testing.T) {
	global = &node{}
	t.Cleanup(func() { global = nil })
	started, stop := make(chan int), make(chan int)
	go func() { started <- 1; <-stop }()
	<-started
	defer close(stop)
	for !strings.Contains(stacks(), "[chan receive]:\ngithub.com/leaksafe/leaksafe/leakcheck/internal/heapdump_test.TestReadFindsRootsAndGoroutines.func") {
		runtime.Gosched()
	}
	d, _ := take(t)

	to, word := d.RootEdges(d.BSS.Roots)
	var at []uint64
	for i, o := range to {
		if o != heapdump.None && d.Addr(o) == addr(global) {
			at = append(at, d.BSS.Addr+uint64(word[i])*8)
		}
	}
	assert.Equal(t, []uint64{addr(&global)}, at)
	var waiting []string
	for _, g := range d.Goroutines {
		for _, f := range g.Frames {
			if strings.Contains(d.Frames[f].Func, "TestReadFindsRootsAndGoroutines.func") {
				waiting = append(waiting, g.WaitReason)
			}
		}
	}
	assert.Equal(t, []string{"chan receive"}, waiting)
}

func stacks() string {
	text := make([]byte, 1<<20)
	return string(text[:runtime.Stack(text, true)])
}

func TestShortUvarintIsUvarint(t *testing.T) {
	for bits := range 64 {
		for _, v := range []uint64{1 << bits, 1<<bits - 1, 0x5a5a5a5a5a5a5a5a & (1<<bits - 1)} {
			b := append(binary.AppendUvarint(nil, v), 0xff, 0x80, 1, 0, 0xff, 0xff, 0xff, 0xff) // what follows does not count
			want, n := binary.Uvarint(b)
			if n > 8 {
				want, n = 0, 0
			}
			got, m := heapdump.ShortUvarint(b)
			assert.Equal(t, want, got, "%#x", v)
			assert.Equal(t, n, m, "%#x", v)
		}
	}
}

var boxed any

// What EdgeDelta says of an edge is what the pointer and the word before it say.
func TestEdgeDeltaIsWhatThePointerSays(t *testing.T) {
	boxed = []error{io.EOF, &os.PathError{Path: "x"}}
	t.Cleanup(func() { boxed = nil })
	d, _ := take(t)
	behind, near := 0, 0
	for o := range int32(d.Len()) {
		to, word := d.Edges(o)
		first, _ := d.EdgeRange(o)
		for k := range to {
			at := d.Addr(o) + uint64(d.PtrSize)*uint64(word[k])
			b, err := d.Memory(at, d.PtrSize)
			require.NoError(t, err)
			delta, isNear, plain := d.EdgeDelta(first + uint32(k))
			if isNear {
				near++
				require.Equal(t, d.Word(b)-d.Addr(to[k]), delta)
			}
			isItab := false
			if word[k] > 0 {
				b, err := d.Memory(at-uint64(d.PtrSize), d.PtrSize)
				require.NoError(t, err)
				_, isItab = d.Itab(d.Word(b))
			}
			if isItab {
				behind++
				require.False(t, plain, "the word before %#x is an itab", at)
			}
		}
	}
	assert.Positive(t, behind, "interfaces")
	assert.Greater(t, near, behind, "most pointers are to the start of an object")
}
