package heapdump_test

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump/dumptest"
)

// small is a dump with a record of every kind.
func small() []byte {
	var w dumptest.Writer
	w.Header()
	w.Object(1, []int{0, 2})
	w.Object(2, nil)
	w.Object(0, []int{1}) // spans are not in order
	w.Roots([]int{0, 2})
	w.Rest()
	w.End()
	return w.Bytes()
}

func parse(b []byte) (*heapdump.Dump, error) {
	return heapdump.Read(bytes.NewReader(b), int64(len(b)), nil)
}

func TestReadKnowsEveryRecord(t *testing.T) {
	d, err := parse(small())
	require.NoError(t, err)
	require.Equal(t, 3, d.Len())
	assert.Equal(t, dumptest.Addr(0), d.Addr(0))
	to, _ := d.Edges(1)
	assert.Equal(t, []int32{0, 2}, to)
	assert.Equal(t, []heapdump.OtherRoot{{Description: "a root", Object: 0}}, d.Others)
	assert.Equal(t, []heapdump.Finalizer{{Object: 0, Func: 0, Code: 0x400000}, {Object: 0, Func: 0, Code: 0x400000, Queued: true}}, d.Finalizers)
	assert.Equal(t, []heapdump.Defer{{Goroutine: 0, Func: 0, Code: 0x400000}}, d.Defers)
	assert.Equal(t, []heapdump.Panic{{Goroutine: 0, Arg: 0}}, d.Panics)
	require.Len(t, d.Goroutines, 1)
	assert.Equal(t, "chan receive", d.Goroutines[0].WaitReason)
	require.Len(t, d.Frames, 1)
	to, word := d.RootEdges(d.Frames[0].Roots)
	assert.Equal(t, []int32{0}, to)
	assert.Equal(t, []uint32{1}, word)
	typ, ok := d.Itab(0x500100)
	assert.True(t, ok)
	name, _ := d.Type(typ)
	assert.Equal(t, "example.com/pkg.T", name.Name)
	require.NotNil(t, d.Alloc(0))
	assert.Equal(t, "/src/pkg/f.go", d.Alloc(0).Stack[0].File)
	assert.Nil(t, d.Alloc(1))
	assert.Equal(t, 1, d.Sample)
}

func TestReadOfADumpCutShortAnywhereSaysSo(t *testing.T) {
	b := small()
	for n := 0; n < len(b); n += testgate.Count(7, 1, 1) {
		_, err := parse(b[:n])
		require.ErrorIs(t, err, heapdump.ErrShort, "%d of %d bytes", n, len(b))
	}
}

func TestReadOfOtherFiles(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"another file":              {"any text", "not a Go heap dump"},
		"an executable":             {"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00", "not a Go heap dump, but an ELF executable: give the dump, and the executable with -exe"},
		"a core":                    {"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00", "not a Go heap dump, but a core file"},
		"a profile":                 {"\x1f\x8b\x08", "not a Go heap dump, but a gzip file, such as a pprof profile"},
		"a profile as text":         {"heap profile: 1: 2 [3: 4] @ heap/1048576", "not a Go heap dump, but a heap profile in pprof's text form"},
		"nothing":                   {"", "cut short"},
		"another version":           {"go1.9 heap dump\n\x06", `a dump of another version: it says "go1.9 heap dump"`},
		"an unknown record":         {"go1.7 heap dump\n\x06\x00\x08\x00\x00\x00\x00\x01\x7f", "the heap dump is damaged: unknown record 127"},
		"no parameters":             {"go1.7 heap dump\n\x01\x00\x08\x00", "does not begin with its parameters"},
		"pointers of 16 bytes":      {"go1.7 heap dump\n\x06\x00\x10\x00\x00\x00\x00\x01", "pointers of 16 bytes"},
		"an object larger than all": {"go1.7 heap dump\n\x06\x00\x08\x00\x00\x00\x00\x01\x01\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "the heap dump is damaged: an object of"},
	} {
		_, err := parse([]byte(row.text))
		assert.ErrorContains(t, err, row.want, name)
	}
}

// A flipped byte that makes a record impossible is damage, not an unknown version and not a short
// file.
func TestReadTellsDamagedFromShort(t *testing.T) {
	for name, change := range map[string]func(b []byte, object int){
		"the tag of a record":            func(b []byte, object int) { b[object] = 99 },
		"an object's address":            func(b []byte, object int) { b[object+6] = 0x01 },
		"an object larger than the heap": func(b []byte, object int) { copy(b[object+7:], "\xff\xff\xff\xff\xff\xff\x7f") },
	} {
		var w dumptest.Writer
		w.Header()
		w.Object(0, nil)
		at := len(w.Bytes())
		w.Object(1, nil)
		w.End()
		b := w.Bytes()
		change(b, at)
		_, err := parse(b)
		assert.ErrorIs(t, err, heapdump.ErrDamaged, name)
		assert.ErrorContains(t, err, fmt.Sprintf("at byte %d of %d: the heap dump is damaged: ", at, len(b)), name)
	}
}

// An error names the record that is wrong, also among objects that follow each other.
func TestReadSaysWhereADumpIsWrong(t *testing.T) {
	var w dumptest.Writer
	w.Header()
	w.Object(0, nil)
	w.Object(1, nil)
	at := len(w.Bytes())
	w.Object(2, nil)
	_, err := parse(w.Bytes()[:at+100])
	assert.ErrorContains(t, err, fmt.Sprintf("at byte %d of %d", at, at+100))
}

// Progress is told of while objects are read, which is nearly all a dump has.
func TestReadTellsOfItsProgress(t *testing.T) {
	var w dumptest.Writer
	w.Header()
	for i := range 20_000 {
		w.Object(i, nil)
	}
	w.End()
	size := int64(len(w.Bytes()))
	var told []int64
	_, err := heapdump.Read(bytes.NewReader(w.Bytes()), size, func(done, total int64) {
		assert.Equal(t, size, total)
		told = append(told, done)
	})
	require.NoError(t, err)
	assert.Len(t, told, 3, "at the start and after each 8 MiB of 20")
	assert.IsIncreasing(t, told)
}

// A reader that fails in the middle is an error, not the end.
func TestReadReportsAnErrorOfTheFile(t *testing.T) {
	b := small()
	_, err := heapdump.Read(failing{b}, int64(len(b)), nil)
	assert.ErrorIs(t, err, io.ErrClosedPipe)
}

type failing struct{ b []byte }

func (f failing) ReadAt(p []byte, off int64) (int, error) { return 0, io.ErrClosedPipe }

func FuzzRead(f *testing.F) {
	f.Add(small())
	f.Add([]byte("go1.7 heap dump\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d, err := parse(b)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64*uint64(len(b))+1<<20 {
			t.Fatalf("%d bytes allocated for a file of %d", used, len(b))
		}
		if err != nil {
			return
		}
		for i := range int32(d.Len()) {
			to, word := d.Edges(i)
			require.Len(t, word, len(to))
			for _, o := range to {
				d.Addr(o)
			}
			d.Contents(i, 0, 64)
			d.PointerWords(i)
			d.Alloc(i)
			if got := d.Find(d.Addr(i)); got != i {
				t.Fatalf("object %d is found as %d", i, got)
			}
		}
		for i := range d.Frames {
			d.FrameContents(&d.Frames[i])
		}
		d.SegmentContents(&d.BSS, 0, 1<<20)
	})
}
