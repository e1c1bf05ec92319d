//go:build unix && !solaris && !aix

package main

import (
	"os"
	"syscall"
)

// claim takes the lock of a file, which ends with the process; false where another process has it.
func claim(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
