//go:build linux && (amd64 || arm64)

package process

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Reserve gets memory for what Copy will take, n bytes, and for what was read in probe and will be
// read again, so that the process need not stand still for that. Where this machine or container
// has no room for it in memory, it is a file without a name in dir: then disk is what remains of
// it, the copy is slower, and the note says so. A process near its memory limit must not be killed
// because it was looked at.
func (p *Process) Reserve(n uint64, probe *Blocks, dir string) (note string, err error) {
	p.likely = probe.addresses()
	slices.Sort(p.likely)
	if p.spare, err = p.inMemory(uint64(len(p.likely)+len(p.likely)/8+16) * blockSize); err != nil {
		return "", err
	}
	n += n/16 + 8<<20
	if free := available("/"); n > free/10*9 {
		note = fmt.Sprintf("the copy of %d MB went to a file in %s, because only %d MB of memory are free here: the process was stopped for longer", n>>20, dir, free>>20)
		p.buffer, err = p.inFile(n, dir)
		return note, err
	}
	p.buffer, err = p.inMemory(n)
	return "", err
}

// take returns n bytes of what was reserved, or new memory if that is not enough.
func (p *Process) take(n uint64) ([]byte, error) {
	if n <= uint64(len(p.buffer)) {
		b := p.buffer[:n:n]
		p.buffer = p.buffer[n:]
		return b, nil
	}
	if free := available("/"); n > free/10*9 {
		return nil, fmt.Errorf("process: a copy of %d MB does not fit into the memory that is free here (%d MB)", n>>20, free>>20)
	}
	return p.inMemory(n)
}

func (p *Process) inMemory(n uint64) ([]byte, error) {
	m, err := p.mmap(-1, n, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, err
	}
	syscall.Madvise(m, madviseHugePage) // fewer faults; it need not succeed
	for i := 0; i < len(m); i += 4096 {
		m[i] = 0
	}
	return m, nil
}

const madviseHugePage = 14

func (p *Process) inFile(n uint64, dir string) ([]byte, error) {
	f, err := os.CreateTemp(dir, ".leakcheck-*")
	if err != nil {
		return nil, fmt.Errorf("process: cannot make a file for the copy: %w", err)
	}
	defer f.Close()
	os.Remove(f.Name())
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, int64(n)); err != nil {
		return nil, fmt.Errorf("process: no room for a copy of %d MB in %s: %w", n>>20, dir, err)
	}
	return p.mmap(int(f.Fd()), n, syscall.MAP_SHARED)
}

func (p *Process) mmap(fd int, n uint64, flags int) ([]byte, error) {
	if n > math.MaxInt64 {
		return nil, fmt.Errorf("process: a copy of %d bytes is not possible", n)
	}
	m, err := syscall.Mmap(fd, 0, int(max(n, 1)), syscall.PROT_READ|syscall.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("process: no memory for a copy of %d MB: %w", n>>20, err)
	}
	p.maps = append(p.maps, m)
	return m, nil
}

// available is how many bytes this process can still use: of the machine, and of the cgroups it is
// in.
func available(root string) uint64 {
	free := uint64(math.MaxUint64)
	if kb, ok := field(filepath.Join(root, "proc/meminfo"), "MemAvailable:"); ok {
		free = kb << 10
	}
	groups, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			for dir := filepath.Join("/", path); ; dir = filepath.Dir(dir) {
				free = min(free, room(filepath.Join(root, "sys/fs/cgroup", dir)))
				if dir == "/" {
					break
				}
			}
		}
	}
	return free
}

// room is what a cgroup's limit leaves. Cached files that nobody uses are given up first.
func room(dir string) uint64 {
	limit, ok := number(filepath.Join(dir, "memory.max"))
	used, ok2 := number(filepath.Join(dir, "memory.current"))
	if !ok || !ok2 {
		return math.MaxUint64
	}
	cached, _ := field(filepath.Join(dir, "memory.stat"), "inactive_file")
	used -= min(used, cached)
	return limit - min(limit, used)
}

func number(file string) (uint64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// field is the number after a name at the start of a line.
func field(file, name string) (uint64, bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, err := strconv.ParseUint(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
