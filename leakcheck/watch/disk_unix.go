//go:build linux || darwin

package watch

import "syscall"

// diskFree is how many bytes this user may still write in a folder; -1 where the system does not
// say.
func diskFree(folder string) int64 {
	var s syscall.Statfs_t
	if syscall.Statfs(folder, &s) != nil {
		return -1
	}
	return int64(s.Bavail) * int64(s.Bsize)
}
