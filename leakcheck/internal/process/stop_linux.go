//go:build linux && (amd64 || arm64)

package process

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The process is stopped by ptrace, not by SIGSTOP: when the thread that traces dies, for whatever
// reason, the kernel lets its tracees go on in the state they were in. So no watchdog is needed, a
// process that had been stopped before stays stopped, its parent hears nothing, and the first
// process of a container, which ignores SIGSTOP from inside, stops too.

const (
	ptraceSeize     = 0x4206
	ptraceInterrupt = 0x4207
	ptraceEventStop = 128
	wallFlag        = 0x40000000 // __WALL: threads too
	// A thread in the kernel that cannot be interrupted, as in vfork, runs no code of the program.
	// One that runs stops in microseconds.
	stuckAfter = 100 * time.Millisecond
	giveUp     = 2 * time.Second
)

// A tracer holds a process from a thread of its own, because only the thread that attached may
// detach.
type tracer struct {
	pid     int
	held    []*tracee
	release chan struct{}
	done    chan struct{}
}

// A tracee is one thread.
type tracee struct {
	tid     int
	stopped bool
	signal  int // to deliver when it goes on
	gone    bool
	state   Thread
}

// Stop stops all threads of the process, until Continue or until this process ends.
func (p *Process) Stop() error {
	t := &tracer{pid: p.pid, release: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error)
	go t.run(ready)
	if err := <-ready; err != nil {
		<-t.done
		return err
	}
	p.tracer = t
	p.still = newBlocks(p.read)
	p.preload()
	return nil
}

// Threads are the registers of the threads while the process is stopped. A thread in the kernel
// that could not be interrupted is not among them.
func (p *Process) Threads() []Thread {
	var out []Thread
	for _, t := range p.tracer.held {
		if t.stopped {
			out = append(out, t.state)
		}
	}
	return out
}

// Continue lets the process go on. It is called once after Stop; later calls do nothing.
func (p *Process) Continue() {
	if p.tracer == nil {
		return
	}
	close(p.tracer.release)
	<-p.tracer.done
	p.tracer = nil
	p.still.done = true
}

func (t *tracer) run(ready chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with this function, and with it all tracing
	defer close(t.done)
	err := t.stopAll()
	if err == nil {
		ready <- nil
		<-t.release
	}
	for _, x := range t.held {
		if x.stopped && !x.gone {
			ptrace(syscall.PTRACE_DETACH, x.tid, uintptr(x.signal))
		}
	}
	if err != nil {
		ready <- err
	}
}

func ptrace(request, tid int, data uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, uintptr(request), uintptr(tid), 0, data, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// stopAll goes on until no thread appears that is not stopped: a running thread may start others.
func (t *tracer) stopAll() error {
	known := map[int]bool{}
	for deadline := time.Now().Add(giveUp); ; {
		fresh, err := t.seize(known)
		if err != nil {
			return err
		}
		if len(fresh) == 0 {
			return t.any()
		}
		t.held = append(t.held, fresh...)
		for _, x := range fresh {
			x.gone = ptrace(ptraceInterrupt, x.tid, 0) != nil
		}
		for _, x := range fresh {
			if err := t.await(x); err != nil {
				return err
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process: process %d starts threads faster than they can be stopped", t.pid)
		}
	}
}

// any fails where no thread is left.
func (t *tracer) any() error {
	for _, x := range t.held {
		if !x.gone {
			return nil
		}
	}
	return fmt.Errorf("process: process %d ended", t.pid)
}

// seize attaches to the threads that are not known yet. They run on.
func (t *tracer) seize(known map[int]bool) ([]*tracee, error) {
	dir, err := os.Open(procPath(t.pid, "task"))
	if err != nil {
		return nil, fmt.Errorf("process: process %d ended", t.pid)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("process: list the threads of process %d: %w", t.pid, err)
	}
	var out []*tracee
	for _, name := range names {
		tid, err := strconv.Atoi(name)
		if err != nil || known[tid] {
			continue
		}
		known[tid] = true
		switch err := ptrace(ptraceSeize, tid, 0); {
		case err == nil:
			out = append(out, &tracee{tid: tid})
		case errors.Is(err, syscall.ESRCH):
		case t.ending(tid):
		default:
			return nil, explain("/proc", t.pid, err)
		}
	}
	return out, nil
}

// ending tells whether a thread has ended, or its last is left to its parent.
func (t *tracer) ending(tid int) bool { return strings.ContainsAny(t.stateOf(tid), "ZX") }

// stateOf is the kernel's letter for what a thread does, or "X" when there is none.
func (t *tracer) stateOf(tid int) string {
	b, err := os.ReadFile(procPath(t.pid, "task/"+strconv.Itoa(tid)+"/stat"))
	if err != nil {
		return "X"
	}
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	return rest[:min(1, len(rest))]
}

// await waits until a thread has stopped, and notes where.
func (t *tracer) await(x *tracee) error {
	start := time.Now()
	for i := 0; !x.gone; i++ {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(x.tid, &status, syscall.WNOHANG|wallFlag, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || got == x.tid && (status.Exited() || status.Signaled()):
			x.gone = true
		case got == x.tid && status.Stopped():
			return t.note(x, status)
		case time.Since(start) > stuckAfter && t.stateOf(x.tid) == "D":
			return nil
		case time.Since(start) > giveUp:
			return fmt.Errorf("process: thread %d of process %d does not stop: it is in state %s", x.tid, t.pid, t.stateOf(x.tid))
		case i < 1000:
			runtime.Gosched()
		default:
			time.Sleep(20 * time.Microsecond)
		}
	}
	return nil
}

func (t *tracer) note(x *tracee, status syscall.WaitStatus) error {
	x.stopped = true
	if int(status)>>16 != ptraceEventStop { // a signal came first: it is delivered at the end
		x.signal = int(status.StopSignal())
	}
	var r syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(x.tid, &r); err != nil {
		return fmt.Errorf("process: read the registers of thread %d: %w", x.tid, err)
	}
	x.state = thread(t.inner(x.tid), &r)
	return nil
}

// inner is a thread's number in the PID namespace of its process, by which the Go runtime knows it.
func (t *tracer) inner(tid int) uint64 {
	b, _ := os.ReadFile(procPath(t.pid, "task/"+strconv.Itoa(tid)+"/status"))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				if n, err := strconv.ParseUint(f[len(f)-1], 10, 64); err == nil {
					return n
				}
			}
		}
	}
	return uint64(tid)
}

// Hurry gives this process precedence over others for the time in which another waits for it, and
// returns how to end that. On a busy machine it would wait for its turn again and again. It takes
// the right to do so, and does nothing without.
func Hurry() (end func()) {
	const highest = -20
	before, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		return func() {}
	}
	setPriority(highest)
	return func() { setPriority(20 - before) } // the kernel gives 20 minus the value
}

// setPriority sets that of every thread; new threads inherit it.
func setPriority(to int) {
	dir, err := os.Open("/proc/self/task")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if tid, err := strconv.Atoi(name); err == nil {
			syscall.Setpriority(syscall.PRIO_PROCESS, tid, to)
		}
	}
}
