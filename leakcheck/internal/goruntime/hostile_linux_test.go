//go:build linux && (amd64 || arm64)

package goruntime_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/dumpwrite"
	"github.com/leaksafe/leaksafe/leakcheck/internal/goruntime"
	"github.com/leaksafe/leaksafe/leakcheck/internal/heapdump"
	"github.com/leaksafe/leaksafe/leakcheck/internal/process"
)

const page = 4096

// An image is the memory that a dump of a small process reads, page by page.
type image struct {
	exe   *goruntime.Exe
	entry uint64
	pages map[uint64][]byte
	addrs []uint64 // of the pages, sorted
}

func (m *image) Entry() (uint64, error) { return m.entry, nil }

// View implements process.Memory.
func (m *image) View(addr uint64, n int, scratch []byte) ([]byte, error) {
	if n < 0 || n > 1<<30 || addr+uint64(n) < addr {
		return nil, process.ErrUnmapped
	}
	var out []byte
	for at := addr; at < addr+uint64(n); {
		p := m.pages[at/page]
		if p == nil {
			return nil, process.ErrUnmapped
		}
		part := p[at%page:]
		part = part[:min(uint64(len(part)), addr+uint64(n)-at)]
		out = append(out, part...)
		at += uint64(len(part))
	}
	return out, nil
}

// A recorder keeps what is read.
type recorder struct {
	*image
	from process.Memory
}

func (r recorder) View(addr uint64, n int, scratch []byte) ([]byte, error) {
	for at := addr / page; at*page < addr+uint64(n); at++ {
		if r.pages[at] == nil {
			b, err := r.from.View(at*page, page, nil)
			if err != nil {
				return nil, err
			}
			r.pages[at] = slices.Clone(b)
		}
	}
	return r.image.View(addr, n, scratch)
}

// record runs a small process and dumps it once.
var record = sync.OnceValues(func() (*image, error) {
	dir, err := os.MkdirTemp("", "hostile-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	exe := filepath.Join(dir, "victims")
	build := exec.Command("go", "build", "-o", exe, "../../cmd/leakcheck/testdata/victims")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := build.Run(); err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "timers")
	cmd.Env = append(os.Environ(), "SECRET=00", "GOMAXPROCS=2") // the number of the second processor is not 0
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	bufio.NewReader(out).ReadString('\n')
	return recordOf(cmd.Process.Pid, exe)
})

func recordOf(pid int, exe string) (*image, error) {
	p, err := process.Open(pid)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	x, err := goruntime.OpenExe(exe, "")
	if err != nil {
		return nil, err
	}
	entry, err := p.Entry()
	if err != nil {
		return nil, err
	}
	if err := p.Stop(); err != nil {
		return nil, err
	}
	m := &image{exe: x, entry: entry, pages: map[uint64][]byte{}}
	if err := dump(x, recorder{m, p}, io.Discard, true); err != nil {
		return nil, err
	}
	for at := range m.pages {
		m.addrs = append(m.addrs, at)
	}
	slices.Sort(m.addrs)
	return m, nil
}

func recorded(t testing.TB) *image {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH: cannot build a victim")
	}
	m, err := record()
	require.NoError(t, err)
	return m
}

// dump does all that is done to a stopped process. Verify only tells: what follows must stand any
// memory.
func dump(x *goruntime.Exe, src goruntime.Source, w io.Writer, contents bool) error {
	r, err := goruntime.New(x, src)
	if err != nil {
		return err
	}
	if _, err := r.Survey([]process.Thread{{ID: 1, SP: 1 << 40, PC: 1}}, contents); err != nil {
		return err
	}
	if err := r.Records(); err != nil {
		return err
	}
	if err := r.Settle(); err != nil {
		return err
	}
	refused := r.Verify()
	_, err = dumpwrite.Write(w, r, contents)
	if refused != nil {
		return refused
	}
	return err
}

// lying is the image with some words changed. Each lie is 12 bytes: where, how, and what.
func (m *image) lying(lies []byte) *image {
	out := &image{exe: m.exe, entry: m.entry, pages: make(map[uint64][]byte, len(m.pages)), addrs: m.addrs}
	for at, p := range m.pages {
		out.pages[at] = p
	}
	for ; len(lies) >= 12; lies = lies[12:] {
		where, value := binary.LittleEndian.Uint32(lies), binary.LittleEndian.Uint64(lies[4:])
		at := m.addrs[int(where>>12)%len(m.addrs)]
		p := slices.Clone(out.pages[at])
		word := p[where%page&^7:][:8]
		switch value % 4 {
		case 0: // another pointer
			value = m.addrs[value>>16%uint64(len(m.addrs))]*page + value>>4%page&^7
		case 1: // a number a little larger or smaller
			value = binary.LittleEndian.Uint64(word) + value>>2%16 - 8
		case 2: // a small number
			value >>= 2 + value>>2%62
		}
		binary.LittleEndian.PutUint64(word, value)
		out.pages[at] = p
	}
	return out
}

// A process that lies may be refused, or get a dump that says nothing. It never makes the command
// panic, nor take memory without bound.
func hostile(t *testing.T, m *image, lies []byte) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := dump(m.exe, m.lying(lies), io.Discard, len(lies)%2 == 0)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<30))
	return err
}

func TestHostileProcess(t *testing.T) {
	testgate.NoRace(t)
	m := recorded(t)
	require.NoError(t, hostile(t, m, nil))
	times := testgate.Count(50, 200, 20_000)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	for range times {
		lies := make([]byte, 12*(1+random.IntN(40)))
		for i := range lies {
			lies[i] = byte(random.Uint32())
		}
		if hostile(t, m, lies) != nil {
			refused++
		}
	}
	t.Logf("%d of %d refused", refused, times)
	assert.Positive(t, refused)
}

func FuzzHostileProcess(f *testing.F) {
	m := recorded(f)
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0}, 12))
	f.Add([]byte("some words that are no pointers at all, and more of them"))
	f.Fuzz(func(t *testing.T, lies []byte) { hostile(t, m, lies) })
}

// What the image gives is a dump that reads back.
func TestImageIsADump(t *testing.T) {
	m := recorded(t)
	var b bytes.Buffer
	require.NoError(t, dump(m.exe, m, &b, true))
	d, err := heapdump.Read(bytes.NewReader(b.Bytes()), int64(b.Len()), nil)
	require.NoError(t, err)
	assert.Greater(t, d.Len(), 500)
	assert.Greater(t, d.Sample, 500)
	assert.Greater(t, len(d.Goroutines), 4)
}
