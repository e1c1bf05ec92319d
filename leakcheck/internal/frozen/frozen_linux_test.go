//go:build amd64 || arm64

package frozen_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/frozen"
)

func TestMain(m *testing.M) {
	switch os.Getenv("FROZEN_CHILD") {
	case "die":
		die()
	case "":
		os.Exit(m.Run())
	}
}

func take(t testing.TB, life time.Duration) *frozen.Copy {
	c, err := frozen.Take(life, nil)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// children lists the processes whose parent is this one, with their state. Those of the go
// command's own are none here.
func children(t testing.TB) (out []string) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		rest := string(text[strings.LastIndexByte(string(text), ')')+2:])
		fields := strings.Fields(rest)
		if fields[1] == strconv.Itoa(os.Getpid()) {
			out = append(out, filepath.Base(filepath.Dir(f))+" "+fields[0])
		}
	}
	return out
}

func openFiles(t testing.TB) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// eventually polls: only the kernel's own pace is waited for.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), what)
	}
}

var global = 1

func TestCopyIsOfOneMoment(t *testing.T) {
	page := make([]byte, 1<<20)
	page[4096] = 1
	global = 1
	c := take(t, time.Minute)
	page[4096], global = 2, 2
	runtime.GC()

	b := make([]byte, len(page))
	require.NoError(t, c.Read(uint64(uintptr(unsafe.Pointer(unsafe.SliceData(page)))), b))
	assert.EqualValues(t, 1, b[4096])
	var g [8]byte
	require.NoError(t, c.Read(uint64(uintptr(unsafe.Pointer(&global))), g[:]))
	assert.EqualValues(t, 1, g[0])
	assert.Equal(t, 2, global)
	runtime.KeepAlive(page)
	assert.Error(t, c.Read(8, b), "nothing is there")
}

// A child that nobody waits for is what the check for zombies must see.
func TestNothingIsLeft(t *testing.T) {
	take(t, time.Minute).Close() // the first file that is read makes the runtime open two descriptors of its poller
	before := openFiles(t)
	for range 20 {
		c := take(t, time.Minute)
		assert.Len(t, children(t), 1)
		// The child closes them itself, some time after Take has returned on a busy machine.
		eventually(t, "the copy holds no descriptors", func() bool {
			links, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.PID()))
			return err != nil || len(links) == 0
		})
		c.Close()
		c.Close()
		assert.Empty(t, children(t))
		assert.ErrorIs(t, c.Read(uint64(uintptr(unsafe.Pointer(&global))), make([]byte, 8)), os.ErrClosed)
	}
	assert.Equal(t, before, openFiles(t))

	zombie, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
	require.NoError(t, err)
	eventually(t, "a zombie is seen", func() bool { c := children(t); return len(c) == 1 && strings.HasSuffix(c[0], " Z") })
	_, err = zombie.Wait()
	require.NoError(t, err)
}

func TestOneAtATime(t *testing.T) {
	c := take(t, time.Minute)
	_, err := frozen.Take(time.Minute, nil)
	assert.ErrorIs(t, err, frozen.ErrBusy)
	c.Close()
	take(t, time.Minute).Close()
}

func TestLifeIsBounded(t *testing.T) {
	for _, life := range []time.Duration{0, -1, frozen.MaxLife + 1} {
		_, err := frozen.Take(life, nil)
		assert.ErrorContains(t, err, "frozen: a copy lives more than 0")
	}
	var c *frozen.Copy
	for life := 50 * time.Millisecond; c == nil; life *= 2 { // on a busy machine it may end before Take returns
		var err error
		if c, err = frozen.Take(life, nil); err != nil {
			require.ErrorContains(t, err, "reached the end of its time")
		}
	}
	eventually(t, "the copy ends by itself", func() bool { return len(children(t)) == 0 })
	assert.ErrorContains(t, c.Read(uint64(uintptr(unsafe.Pointer(&global))), make([]byte, 8)), "reached the end of its time")
	c.Close()
	for range 20 { // of one nanosecond: some end before Take returns
		c, err := frozen.Take(1, nil)
		if err == nil {
			c.Close()
			continue
		}
		assert.EqualError(t, err, "frozen: the copy has reached the end of its time")
	}
	take(t, time.Minute).Close()
}

// The kernel may end the copy to get memory.
func TestCopyIsKilled(t *testing.T) {
	c := take(t, time.Minute)
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", c.PID()))
	require.NoError(t, err)
	eventually(t, "the copy goes first when memory runs out", func() bool {
		score, err = os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", c.PID()))
		return err == nil && strings.TrimSpace(string(score)) == "1000"
	})
	require.NoError(t, syscall.Kill(c.PID(), syscall.SIGKILL))
	eventually(t, "the copy is gone", func() bool {
		return c.Read(uint64(uintptr(unsafe.Pointer(&global))), make([]byte, 8)) != nil && len(children(t)) == 0
	})
	assert.ErrorContains(t, c.Read(uint64(uintptr(unsafe.Pointer(&global))), make([]byte, 8)), "was killed")
}

// A program that waits for any child, and one that handles SIGCHLD, hear nothing of a copy.
func TestOthersWaitUndisturbed(t *testing.T) {
	got := make(chan os.Signal, 10)
	signal.Notify(got, syscall.SIGCHLD)
	defer signal.Stop(got)
	c := take(t, time.Minute)
	var status syscall.WaitStatus
	_, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	assert.ErrorIs(t, err, syscall.ECHILD)
	c.Close()
	out, err := exec.Command("/bin/echo", "a child of its own").Output()
	require.NoError(t, err)
	assert.Equal(t, "a child of its own\n", string(out))
	<-got // of echo
	assert.Empty(t, got)
}

// A peer hears of a closed connection although a copy was made while it was open.
func TestCopyHoldsNoConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	server, err := l.Accept()
	require.NoError(t, err)
	take(t, time.Minute)
	require.NoError(t, server.Close())
	require.NoError(t, client.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = client.Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.EOF)
}

// die is a process that is killed while it holds a copy.
func die() {
	c, err := frozen.Take(time.Minute, nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.PID())
	select {}
}

func TestCopyDiesWithTheProcess(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "FROZEN_CHILD=die")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pid int
	_, err = fmt.Fscan(out, &pid)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, 0))
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	eventually(t, "the copy dies", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(text), ") Z ") // nobody may be there to wait for it
	})
}

func TestRefusedNearTheLimit(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(32 << 20))
	ballast := make([]byte, 64<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	_, err := frozen.Take(time.Minute, nil)
	assert.ErrorIs(t, err, frozen.ErrMemory)
	assert.ErrorContains(t, err, "are free of 32 MiB")
	runtime.KeepAlive(ballast)
	debug.SetMemoryLimit(1 << 40)
	take(t, time.Minute).Close()
}

// TestSoak makes copies beside allocation, collections, connections, exec, tickers, profilers and
// signals: 20, and 1,000 under LEAKSAFE_LONG. None hangs, and none leaves anything.
func TestSoak(t *testing.T) {
	n := testgate.Count(10, 20, 1000)
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	stop := make(chan struct{})
	var busy sync.WaitGroup
	beside := func(f func()) {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		})
	}
	beside(func() { sink = append(sink[:0:0], make([]byte, 1+time.Now().Nanosecond()%(64<<10))...) })
	beside(func() { runtime.GC() })
	beside(func() { roundTrip(t) })
	beside(func() { assert.NoError(t, exec.Command("/bin/true").Run()) })
	beside(func() { syscall.Kill(os.Getpid(), syscall.SIGURG); time.Sleep(time.Millisecond) })
	profile, err := os.Create(filepath.Join(t.TempDir(), "cpu"))
	require.NoError(t, err)
	profiling := pprof.StartCPUProfile(profile) == nil // a profile may have been asked for
	tick := time.NewTicker(time.Millisecond)

	marker := make([]uint64, 512)
	b := make([]byte, 8)
	for i := range n {
		marker[100] = uint64(i)
		c := take(t, time.Minute)
		marker[100] = 1 << 63
		require.NoError(t, c.Read(uint64(uintptr(unsafe.Pointer(&marker[100]))), b))
		require.EqualValues(t, i, *(*uint64)(unsafe.Pointer(unsafe.SliceData(b))))
		c.Close()
		<-tick.C
	}
	tick.Stop()
	if profiling {
		pprof.StopCPUProfile()
	}
	profile.Close()
	close(stop)
	busy.Wait()
	assert.Empty(t, children(t))
	eventually(t, "descriptors", func() bool { return openFiles(t) <= files })
	eventually(t, "goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
}

var sink []byte

func roundTrip(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if !assert.NoError(t, err) {
		return
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if !assert.NoError(t, err) {
		return
	}
	server, err := l.Accept()
	if assert.NoError(t, err) {
		server.Close()
	}
	_, err = io.ReadAll(client)
	assert.NoError(t, err)
	client.Close()
}

// BenchmarkTake compares how long a copy takes to make with how long WriteHeapDump stops the world,
// on the same heap.
func BenchmarkTake(b *testing.B) {
	for _, mb := range []int{128, 2048} {
		b.Run(fmt.Sprintf("%dMB", mb), func(b *testing.B) {
			if testing.Short() && mb > 1000 {
				b.Skip("large")
			}
			fill(mb)
			defer func() { heap, blobs = nil, nil; debug.FreeOSMemory() }()
			f, err := os.Create(filepath.Join(b.TempDir(), "dump"))
			require.NoError(b, err)
			defer f.Close()
			var stood, dump time.Duration
			for b.Loop() {
				c, err := frozen.Take(time.Minute, nil)
				require.NoError(b, err)
				stood += c.Stood()
				c.Close()
				require.NoError(b, f.Truncate(0))
				_, err = f.Seek(0, io.SeekStart)
				require.NoError(b, err)
				begin := time.Now()
				debug.WriteHeapDump(f.Fd())
				dump += time.Since(begin)
			}
			b.ReportMetric(float64(stood.Microseconds())/float64(b.N)/1000, "clone-ms")
			b.ReportMetric(float64(dump.Microseconds())/float64(b.N)/1000, "WriteHeapDump-ms")
			b.ReportMetric(float64(stood)/float64(dump), "clone/WriteHeapDump")
		})
	}
}

type node struct {
	next *node
	id   int
	_    [4]int
}

var (
	heap  []*node
	blobs [][]byte
)

// fill makes half of the heap small objects and half of it buffers.
func fill(mb int) {
	for i := range mb << 20 / 2 / 48 {
		n := &node{id: i}
		if i%2 == 1 {
			n.next = heap[len(heap)-1]
		}
		heap = append(heap, n)
	}
	for range mb / 2 * 16 {
		x := make([]byte, 64<<10)
		for j := 0; j < len(x); j += 4096 {
			x[j] = 1
		}
		blobs = append(blobs, x)
	}
	runtime.GC()
}
