//go:build linux && (amd64 || arm64)

package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// A Process is a running process whose memory can be read. It is [Memory]: what [Process.Copy]
// took, then what was read between [Process.Stop] and [Process.Continue], and only then the process
// as it is now, for what does not change.
type Process struct {
	pid    int
	file   *os.File // its memory, where process_vm_readv is not allowed
	copy   Copy
	buffer []byte // what Reserve reserved and Copy has not used yet
	maps   [][]byte
	still  *Blocks
	now    *Blocks
	likely []uint64 // addresses of blocks that are going to be read while it is stopped
	spare  []byte   // memory for them
	tracer *tracer
}

// Open prepares to read the memory of a process. It does not stop it.
func Open(pid int) (*Process, error) {
	if pid == os.Getpid() {
		return nil, fmt.Errorf("process: %d is this command itself", pid)
	}
	if _, err := os.Stat(procPath(pid, "maps")); err != nil {
		return nil, fmt.Errorf("process: there is no process %d: it ended, or it is in a PID namespace that this one does not see", pid)
	}
	p := &Process{pid: pid}
	p.now = newBlocks(p.read)
	if err := p.readable(); err != nil {
		return nil, err
	}
	return p, nil
}

// readable tells in words why the memory of the process cannot be read.
func (p *Process) readable() error {
	addr, err := p.firstMapping()
	if err != nil {
		return explain("/proc", p.pid, err)
	}
	b := make([]byte, 8)
	if err = p.read(addr, b); err == nil {
		return nil
	}
	// Where a container's rules forbid process_vm_readv, the file may still be open to us.
	if p.file, err = os.Open(procPath(p.pid, "mem")); err == nil {
		if err = p.read(addr, b); err == nil {
			return nil
		}
		p.file.Close()
		p.file = nil
	}
	return explain("/proc", p.pid, err)
}

// firstMapping is an address that can be read: where the executable is mapped.
func (p *Process) firstMapping() (uint64, error) {
	text, err := os.ReadFile(procPath(p.pid, "maps"))
	if err != nil {
		return 0, err
	}
	if len(text) == 0 {
		return 0, errNoMemory
	}
	var start, end uint64
	if _, err := fmt.Sscanf(string(text), "%x-%x", &start, &end); err != nil {
		return 0, fmt.Errorf("process: read /proc/%d/maps: %w", p.pid, err)
	}
	return start, nil
}

func procPath(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// Exe is a path by which the executable of the process can be opened, also when it was deleted or
// is in another mount namespace.
func (p *Process) Exe() string { return procPath(p.pid, "exe") }

// Entry is where the executable's entry point is in the process: it tells by how much it was moved.
func (p *Process) Entry() (uint64, error) {
	b, err := os.ReadFile(procPath(p.pid, "auxv"))
	if err != nil {
		return 0, explain("/proc", p.pid, err)
	}
	return entryOf(b)
}

// Close frees the copies. The process goes on, if it was stopped.
func (p *Process) Close() {
	p.Continue()
	for _, m := range p.maps {
		syscall.Munmap(m)
	}
	p.maps, p.buffer, p.copy = nil, nil, Copy{}
	if p.file != nil {
		p.file.Close()
	}
}

// View implements [Memory].
func (p *Process) View(addr uint64, n int, scratch []byte) ([]byte, error) {
	if b, ok := p.copy.Slice(addr, n); ok {
		return b, nil
	}
	if p.tracer != nil {
		return p.still.View(addr, n, scratch)
	}
	if p.still != nil {
		if b, err := p.still.View(addr, n, scratch); err == nil {
			return b, nil
		}
	}
	return p.now.View(addr, n, scratch)
}

// Now is the memory as it is at this moment, although the process may be running: what is read may
// be changing.
func (p *Process) Now() *Blocks { return newBlocks(p.read) }

func (p *Process) read(addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if p.file != nil {
		if n, err := p.file.ReadAt(b, int64(addr)); n < len(b) {
			return readError(addr, len(b), err)
		}
		return nil
	}
	local := syscall.Iovec{Base: &b[0], Len: uint64(len(b))}
	remote := remoteVec{addr, uint64(len(b))}
	n, err := readv(p.pid, &local, []remoteVec{remote})
	if err != nil || n < len(b) {
		return readError(addr, len(b), err)
	}
	return nil
}

func readError(addr uint64, n int, err error) error {
	switch {
	case errors.Is(err, syscall.ESRCH):
		return errors.New("process: the process ended while it was read")
	case err == nil, errors.Is(err, syscall.EFAULT), errors.Is(err, syscall.EIO), errors.Is(err, io.EOF):
		return unmapped(addr, n)
	}
	return fmt.Errorf("process: read %d bytes at %#x: %w", n, addr, err)
}

// A remoteVec is a struct iovec whose address is of the other process.
type remoteVec struct{ addr, n uint64 }

func readv(pid int, local *syscall.Iovec, remote []remoteVec) (int, error) {
	n, _, errno := syscall.Syscall6(sysProcessVMReadv, uintptr(pid), uintptr(unsafe.Pointer(local)), 1,
		uintptr(unsafe.Pointer(&remote[0])), uintptr(len(remote)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

const (
	maxVec   = 1024     // pieces in one call, the kernel's limit
	maxChunk = 16 << 20 // bytes in one call
)

// A chunk is what one call copies.
type chunk struct {
	to   []byte
	from []remoteVec
}

// Copy copies ranges, which then read as they are now. It is called between Stop and Continue.
func (p *Process) Copy(ranges []Range) error {
	ranges = merge(ranges)
	to, err := p.take(total(ranges))
	if err != nil {
		return err
	}
	var chunks []chunk
	var c chunk
	size := 0
	flush := func() {
		if size > 0 {
			c.to, to = to[:size:size], to[size:]
			chunks = append(chunks, c)
			c, size = chunk{}, 0
		}
	}
	rest := to
	for _, r := range ranges {
		n := int(r.End - r.Start)
		p.copy.pieces = append(p.copy.pieces, piece{r.Start, rest[:n:n]})
		rest = rest[n:]
		for at := r.Start; at < r.End; {
			part := min(int(r.End-at), maxChunk-size)
			c.from = append(c.from, remoteVec{at, uint64(part)})
			at += uint64(part)
			if size += part; size == maxChunk || len(c.from) == maxVec {
				flush()
			}
		}
	}
	flush()
	return errors.Join(p.copyAll(chunks)...)
}

// copyAll uses a few processors at once: one alone does not reach the speed of the memory. It
// returns an error or nil for each chunk.
func (p *Process) copyAll(chunks []chunk) []error {
	var next atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, len(chunks))
	for range min(4, runtime.NumCPU(), len(chunks)) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(chunks); i = int(next.Add(1)) - 1 {
				errs[i] = p.copyChunk(chunks[i])
			}
		})
	}
	wait.Wait()
	return errs
}

// preload reads the blocks that are likely to be wanted, with few calls. What fails is read again
// when it is wanted.
func (p *Process) preload() {
	var chunks []chunk
	for at := 0; at < len(p.likely); {
		var c chunk
		n := min(len(p.likely)-at, maxChunk/blockSize, len(p.spare)/blockSize)
		if n == 0 {
			break
		}
		c.to, p.spare = p.spare[:n*blockSize], p.spare[n*blockSize:]
		for _, addr := range p.likely[at : at+n] {
			c.from = append(c.from, remoteVec{addr, blockSize})
		}
		chunks = append(chunks, c)
		at += n
	}
	p.still.spare = p.spare
	for i, err := range p.copyAll(chunks) {
		if err != nil {
			continue
		}
		for k, v := range chunks[i].from {
			p.still.kept[v.addr] = chunks[i].to[k*blockSize : (k+1)*blockSize : (k+1)*blockSize]
		}
	}
}

func (p *Process) copyChunk(c chunk) error {
	if p.file == nil {
		local := syscall.Iovec{Base: &c.to[0], Len: uint64(len(c.to))}
		n, err := readv(p.pid, &local, c.from)
		if n == len(c.to) {
			return nil
		}
		if err != nil && !errors.Is(err, syscall.EFAULT) {
			return readError(c.from[0].addr, len(c.to), err)
		}
	}
	for _, v := range c.from { // one by one, to name what is missing
		if err := p.read(v.addr, c.to[:v.n]); err != nil {
			return err
		}
		c.to = c.to[v.n:]
	}
	return nil
}
