//go:build unix && !solaris && !aix

package watch

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// lockFile takes the lock of a file, which ends with the process. It is nil where the file system
// has no locks, and errLocked says that another process has it.
func lockFile(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil:
			return f, nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(errLocked, f.Close())
		default:
			return nil, f.Close()
		}
	}
}
