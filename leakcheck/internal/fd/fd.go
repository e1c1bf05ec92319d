// Package fd lists the file descriptors of the process and what they lead to. Only Linux tells;
// elsewhere the list is empty.
package fd

import (
	"os"
	"strings"
	"sync"
)

// A Descriptor is an open file as it can be told from others: numbers are used
// again, and names change when a file is renamed or deleted.
type Descriptor struct {
	Number        int
	device, inode uint64
}

// A File is a descriptor and what it leads to: "/tmp/x", "socket:[4711]",
// "pipe:[4712]".
type File struct {
	Descriptor
	Target string
	// Local and Remote are the ends of a connection, as "127.0.0.1:80"; empty where it is none.
	Local, Remote string
}

func (f File) Describe() string {
	if inode, ok := strings.CutPrefix(f.Target, "socket:"); ok {
		if address := socketAddress(strings.Trim(inode, "[]")); address != "" {
			return address
		}
	}
	return f.Target
}

// Silence is the part of the description that is the same for all connections to one peer, or the
// path.
func (f File) Silence() string {
	text := f.Describe()
	if _, remote, ok := strings.Cut(text, " → "); ok {
		return remote
	}
	return strings.TrimSuffix(text, " (deleted)")
}

// Pooled reports whether f is a pipe that the runtime does not poll. Package os polls its pipes;
// internal/poll does not poll those it moves data through between two connections, and holds them
// in a sync.Pool.
func (f File) Pooled() bool { return f.Kind() == "pipe" && !polled(f.Number) }

// Kind is what stands before the colon of a socket's or pipe's name.
func (f File) Kind() string {
	kind, _, _ := strings.Cut(f.Target, ":")
	return kind
}

// StartPoller makes the runtime open the descriptors it keeps for itself, so
// that they are no test's.
var StartPoller = sync.OnceFunc(func() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	r.Close()
	w.Close()
})

// Kind is "file", "socket", "pipe" or another name of the system's for what a descriptor leads to.
func Kind(target string) string {
	if kind, _, ok := strings.Cut(target, ":["); ok && kind != "anon_inode" {
		return kind
	}
	if strings.HasPrefix(target, "/") {
		return "file"
	}
	return target
}
