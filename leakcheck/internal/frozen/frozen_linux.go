//go:build amd64 || arm64

package frozen

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// A Copy is the memory of this process at one moment. Its methods may be called from any goroutine,
// View by one at a time.
type Copy struct {
	pid   int
	stood time.Duration
	view  []block

	mu   sync.Mutex
	dead error // why it is gone, or nil

	gone chan struct{} // closed when no process is left
}

// one is held while a copy exists.
var one = make(chan struct{}, 1)

// Take makes a copy that lives until Close, and no longer than life, which is at most [MaxLife].
// The caller owns the copy and must call its Close.
//
// around, which may be nil, decides on the moment: it is given a function that makes the copy, and
// must call it once. Nothing is allocated between its call and the copy.
func Take(life time.Duration, around func(copy func())) (*Copy, error) {
	if life <= 0 || life > MaxLife {
		return nil, fmt.Errorf("frozen: a copy lives more than 0 and at most %v, not %v", MaxLife, life)
	}
	if err := checkRoom(readMemory()); err != nil {
		return nil, err
	}
	select {
	case one <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	c := &Copy{gone: make(chan struct{})}
	started := make(chan error)
	if around == nil {
		around = func(copy func()) { copy() }
	}
	go c.own(life, around, started)
	if err := <-started; err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// own makes the child and waits for its end. The child asks to be killed when the thread that made
// it ends, so this goroutine keeps its thread.
func (c *Copy) own(life time.Duration, around func(copy func()), started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m := &making{parent: uintptr(os.Getpid()), sleep: syscall.NsecToTimespec(int64(life))}
	around(m.make)
	c.stood = m.stood
	pid, errno := m.pid, m.errno
	if errno != 0 {
		<-one
		started <- fmt.Errorf("%w: clone: %w", ErrUnsupported, errno)
		return
	}
	c.pid = int(pid)
	started <- nil
	c.wait()
	<-one
	close(c.gone)
}

// A making is what is needed to make a copy, allocated before, and what comes of it.
type making struct {
	parent uintptr
	sleep  syscall.Timespec
	pid    uintptr
	errno  syscall.Errno
	stood  time.Duration
}

func (m *making) make() {
	begin := time.Now()
	m.pid, m.errno = clone(m.parent, &m.sleep)
	m.stood = time.Since(begin)
}

// wait waits for the child's end and lets the kernel forget it. The child's number is another
// process's only after that, so Close must know it before.
func (c *Copy) wait() {
	var info [128]byte
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, waitByPID, uintptr(c.pid), uintptr(unsafe.Pointer(&info)), waitExited|waitNoReap|forkWAll, 0, 0)
		if errno != syscall.EINTR {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(c.pid, &status, forkWAll, nil)
		if err != syscall.EINTR {
			break
		}
	}
	if c.dead == nil {
		c.dead = ended(status)
	}
}

func ended(status syscall.WaitStatus) error {
	switch {
	case status.Exited() && status.ExitStatus() == exitClose:
		return fmt.Errorf("%w: it has no close_range", ErrUnsupported)
	case status.Exited() && status.ExitStatus() == 0:
		return fmt.Errorf("frozen: the copy has reached the end of its time")
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return fmt.Errorf("frozen: the copy was killed, as the kernel does when memory runs out")
	}
	return fmt.Errorf("frozen: the copy has ended: %#x", int(status))
}

// check reads what is known.
func (c *Copy) check() error {
	var b [len(childName)]byte
	if err := c.Read(uint64(uintptr(unsafe.Pointer(&childName))), b[:]); err != nil {
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			return err // it has ended: a short life, on a busy machine
		}
		if errno == syscall.ESRCH {
			select {
			case <-c.gone:
				return c.dead
			case <-time.After(time.Second):
			}
		}
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if b != childName {
		return fmt.Errorf("%w: its memory is not a copy of this process's", ErrUnsupported)
	}
	return nil
}

// PID is the number of the process that is the copy. It is the copy's until Close returns.
func (c *Copy) PID() int { return c.pid }

func (c *Copy) cached() []block {
	if c.view == nil {
		c.view = make([]block, blocks)
	}
	return c.view
}

// Stood is how long the kernel took to make the copy: no thread could map memory meanwhile.
func (c *Copy) Stood() time.Duration { return c.stood }

// Read fills b with the memory at an address, as it was when the copy was made.
func (c *Copy) Read(addr uint64, b []byte) error {
	c.mu.Lock() // the child cannot be reaped meanwhile
	defer c.mu.Unlock()
	if c.dead != nil {
		return c.dead
	}
	for done := 0; done < len(b); {
		part := b[done:min(len(b), done+64<<20)]
		local := syscall.Iovec{Base: unsafe.SliceData(part)}
		local.SetLen(len(part))
		remote := struct{ base, len uint64 }{addr + uint64(done), uint64(len(part))}
		n, _, errno := syscall.Syscall6(sysProcessVMReadv, uintptr(c.pid), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
		if errno != 0 {
			return fmt.Errorf("frozen: read %d bytes at %#x: %w", len(part), remote.base, errno)
		}
		if n == 0 {
			return fmt.Errorf("frozen: read %d bytes at %#x: nothing is there", len(part), remote.base)
		}
		done += int(n)
	}
	return nil
}

// Close ends the copy. When it returns, no process and no descriptor is left. It may be called more
// than once.
func (c *Copy) Close() {
	c.mu.Lock()
	if c.dead == nil {
		c.dead = os.ErrClosed
		syscall.Kill(c.pid, syscall.SIGKILL)
	}
	c.mu.Unlock()
	<-c.gone
}
