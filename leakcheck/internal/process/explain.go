//go:build linux && (amd64 || arm64)

package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

var errNoMemory = errors.New("it has no memory of its own")

const inProcess = "let the process write its own dump with runtime/debug.WriteHeapDump, or with package leakcheck/watch"

// explain says why a process cannot be read, and what to do.
func explain(proc string, pid int, err error) error {
	say := func(format string, args ...any) error {
		return fmt.Errorf("process: cannot read process %d: %w: %s", pid, err, fmt.Sprintf(format, args...))
	}
	status, readErr := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "status"))
	if readErr != nil || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("process: process %d ended", pid)
	}
	if errors.Is(err, errNoMemory) {
		return say("it is a thread of the kernel, or has ended and waits for its parent")
	}
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.EACCES) {
		return say("%s", inProcess)
	}
	if by := statusField(status, "TracerPid:"); by != "" && by != "0" {
		return say("process %s, a debugger or strace, traces it already, and there can be only one; end that first", by)
	}
	own, _ := os.ReadFile(filepath.Join(proc, "self/status"))
	if mayTrace(own) {
		return say("this process has the capability SYS_PTRACE, so a security module or the seccomp profile of the container forbids it; " +
			"run the command outside the container, or " + inProcess)
	}
	if uid, mine := statusField(status, "Uid:"), statusField(own, "Uid:"); uid != mine {
		return say("it belongs to user %s, and this is user %s; run the command as that user, or as root", uid, mine)
	}
	switch scope, _ := os.ReadFile(filepath.Join(proc, "sys/kernel/yama/ptrace_scope")); strings.TrimSpace(string(scope)) {
	case "1", "2":
		return say("kernel.yama.ptrace_scope is %s; run the command as root (sudo), or give it the capability (docker run --cap-add=SYS_PTRACE, "+
			"kubectl debug --profile=sysadmin), or have an administrator set the sysctl to 0", strings.TrimSpace(string(scope)))
	case "3":
		return say("kernel.yama.ptrace_scope is 3, which nobody can undo before the next boot; %s", inProcess)
	}
	return say("it may have more rights than this process (setuid, file capabilities, prctl); run the command as root, or " + inProcess)
}

// statusField is the first word after a name in a status file of /proc.
func statusField(status []byte, name string) string {
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return f[1]
		}
	}
	return ""
}

// mayTrace tells whether a status shows the capability to trace any process.
func mayTrace(status []byte) bool {
	const sysPtrace = 19
	caps, err := strconv.ParseUint(statusField(status, "CapEff:"), 16, 64)
	return err == nil && caps>>sysPtrace&1 != 0
}
