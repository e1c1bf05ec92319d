package retain_test

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/retain"
)

// A leaf is what services are full of: a few pointers, a string, some bytes.
type leaf struct {
	left, right *leaf
	name        string
	payload     []byte
}

var forest []*leaf

// plantForest makes about two objects and a half, and 250 bytes, for each leaf.
func plantForest(leaves int) {
	forest = make([]*leaf, leaves)
	for i := range forest {
		l := &leaf{payload: make([]byte, 100+i%100)}
		if i%2 == 0 {
			l.name = strconv.Itoa(i)
		}
		if i > 0 {
			l.left, l.right = forest[i/2], forest[i-1]
		}
		forest[i] = l
	}
}

var sizes = []struct {
	name   string
	leaves int
}{{"10MB", 40_000}, {"100MB", 400_000}, {"2Mobjects", 800_000}, {"1GB", 4_000_000}}

// BenchmarkRead measures a dump of each size: how long the world stands still, the reader's speed
// beside crc32 over the same file, how long a path takes, and the reader's peak memory as a share
// of the file's size.
func BenchmarkRead(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			if testing.Short() && size.leaves > 400_000 {
				b.Skip("large")
			}
			benchmarkRead(b, size.leaves)
		})
	}
}

func benchmarkRead(b *testing.B, leaves int) {
	name := filepath.Join(b.TempDir(), "dump")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	plantForest(leaves)
	runtime.GC()
	start := time.Now()
	debug.WriteHeapDump(f.Fd())
	stopped := time.Since(start)
	target := uint64(uintptr(unsafe.Pointer(forest[len(forest)/3])))
	forest = nil
	debug.FreeOSMemory()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		b.Fatal(err)
	}
	var crc, read, path time.Duration
	var objects int
	for b.Loop() {
		crc = least(crc, func() { checksum(b, f) })
		var d *heapdump.Dump
		read = least(read, func() {
			if d, err = heapdump.Read(f, size, nil); err != nil {
				b.Fatal(err)
			}
		})
		objects = d.Len()
		path = least(path, func() {
			h := retain.New(d, retain.Names{})
			o, _ := h.ObjectAt(target)
			h.Search([]int32{o}).Path(o)
		})
	}
	b.ReportMetric(float64(size)/1e6, "MB")
	b.ReportMetric(float64(objects), "objects")
	b.ReportMetric(float64(stopped.Milliseconds()), "stopped-ms")
	b.ReportMetric(float64(size)/1e6/read.Seconds(), "read-MB/s")
	b.ReportMetric(float64(read)/float64(crc), "read/crc32")
	b.ReportMetric(float64(path.Milliseconds()), "path-ms")
	if peak := peakOfReader(b, name); peak > 0 {
		b.ReportMetric(float64(peak)/float64(size), "peak/size")
	}
}

func least(so time.Duration, f func()) time.Duration {
	start := time.Now()
	f()
	if d := time.Since(start); so == 0 || d < so {
		return d
	}
	return so
}

func checksum(b *testing.B, f *os.File) {
	h := crc32.NewIEEE()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<40)); err != nil {
		b.Fatal(err)
	}
}

// peakOfReader reads the dump in a process of its own and returns by how much that grew.
func peakOfReader(b *testing.B, name string) int64 {
	cmd := exec.Command(os.Args[0], "-test.run=TestPeakOfReader")
	cmd.Env = append(os.Environ(), "RETAIN_READ="+name)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "peak=")
	n, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	return n
}

// TestPeakOfReader is the other process of peakOfReader.
func TestPeakOfReader(t *testing.T) {
	name := os.Getenv("RETAIN_READ")
	if name == "" {
		t.Skip("is run by BenchmarkRead")
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	before := highWater()
	d, err := heapdump.Read(f, s.Size(), nil)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("peak=%d\n", highWater()-before)
	runtime.KeepAlive(d)
}

// highWater is the most memory this process has had, in bytes; 0 where the system does not say.
func highWater() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kb, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	return kb << 10
}
