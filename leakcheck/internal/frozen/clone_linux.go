//go:build amd64 || arm64

package frozen

import (
	"syscall"
	"unsafe"
)

// Package runtime keeps these two open for other packages than syscall: the first blocks all
// signals on this thread and forbids its goroutine to grow its stack, the second undoes that.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

const (
	sysCloseRange = 436
	prSetDeathSig = 1
	prSetName     = 15
	atFDCWD       = -100
	forkWAll      = 0x40000000 // __WALL: wait for children whatever signal they send
	waitNoReap    = 0x01000000 // WNOWAIT
	waitExited    = 4
	waitByPID     = 1
	exitParent    = 2 // codes with which the child gives up
	exitClose     = 3
)

// What the child reads. It must not allocate.
var (
	childName = [16]byte{'l', 'e', 'a', 'k', 's', 'a', 'f', 'e', '-', 'c', 'o', 'p', 'y'}
	oomFile   = []byte("/proc/self/oom_score_adj\x00")
	oomFirst  = []byte("1000")
)

// clone returns the child's process id. The child does not return.
//
// The clone's exit signal is none, not SIGCHLD: a program that waits for any child, or handles that
// signal, is not disturbed.
//
//go:norace
//go:nosplit
func clone(parent uintptr, life *syscall.Timespec) (pid uintptr, errno syscall.Errno) {
	name, file, first := uintptr(unsafe.Pointer(&childName)), uintptr(unsafe.Pointer(unsafe.SliceData(oomFile))), uintptr(unsafe.Pointer(unsafe.SliceData(oomFirst)))
	beforeFork()
	pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	// From here on this is the child: no allocation, no growing stack, no call but system calls.
	syscall.RawSyscall6(syscall.SYS_PRCTL, prSetDeathSig, uintptr(syscall.SIGKILL), 0, 0, 0, 0)
	if up, _, _ := syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0); up != parent {
		exit(exitParent) // it died before it could be watched
	}
	// Or the peers of a connection that the parent closes would not hear of it.
	if _, _, errno = syscall.RawSyscall(sysCloseRange, 0, 1<<31-1, 0); errno != 0 {
		exit(exitClose)
	}
	syscall.RawSyscall6(syscall.SYS_PRCTL, prSetName, name, 0, 0, 0, 0)
	// When memory runs out, the kernel ends the copy and not the program.
	at := atFDCWD
	if fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(at), file, syscall.O_WRONLY, 0, 0, 0); errno == 0 {
		syscall.RawSyscall(syscall.SYS_WRITE, fd, first, 4)
		syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
	}
	syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(life)), 0, 0)
	exit(0)
	return 0, 0
}

//go:norace
//go:nosplit
func exit(code uintptr) {
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, code, 0, 0)
	}
}
