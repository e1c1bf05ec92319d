package leakcheck

import (
	"os"
	"strings"
	"sync"
)

// A descriptor is an open file as it can be told from others: numbers are used
// again, and names change when a file is renamed or deleted.
type descriptor struct {
	number        int
	device, inode uint64
}

// An openFile is a descriptor and what it leads to: "/tmp/x", "socket:[4711]",
// "pipe:[4712]".
type openFile struct {
	descriptor
	target string
}

func (f openFile) describe() string {
	if inode, ok := strings.CutPrefix(f.target, "socket:"); ok {
		if address := socketAddress(strings.Trim(inode, "[]")); address != "" {
			return address
		}
	}
	return f.target
}

// kind is what stands before the colon of a socket's or pipe's name.
func (f openFile) kind() string {
	kind, _, _ := strings.Cut(f.target, ":")
	return kind
}

// startPoller makes the runtime open the descriptors it keeps for itself, so
// that they are no test's.
var startPoller = sync.OnceFunc(func() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	r.Close()
	w.Close()
})

// fileKind is "file", "socket", "pipe" or another name of the system's for what a descriptor leads to.
func fileKind(target string) string {
	if kind, _, ok := strings.Cut(target, ":["); ok && kind != "anon_inode" {
		return kind
	}
	if strings.HasPrefix(target, "/") {
		return "file"
	}
	return target
}
