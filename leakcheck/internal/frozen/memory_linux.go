//go:build amd64 || arm64

package frozen

import (
	"bytes"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// readMemory finds the tighter of the cgroup's limit and GOMEMLIMIT, and what counts against it.
// GOMEMLIMIT does not count the copy's pages, but it is usually set a little below a limit that
// does.
func readMemory() memory {
	m := memory{resident: resident()}
	if max, current := group(); max > 0 {
		m.limit, m.used = max, current
	}
	if soft := debug.SetMemoryLimit(-1); soft < math.MaxInt64 && (m.limit == 0 || soft-m.resident < m.limit-m.used) {
		m.limit, m.used = soft, m.resident
	}
	return m
}

func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// group is the memory limit of this process's cgroup and what is used of it, without the page cache
// that can be dropped.
func group() (limit, used int64) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[1] == "":
			for _, dir := range []string{path.Join("/sys/fs/cgroup", parts[2]), "/sys/fs/cgroup"} { // a container sees its own at the top
				if n := number(path.Join(dir, "memory.max")); n > 0 {
					return n, number(path.Join(dir, "memory.current")) - stat(dir, "inactive_file ")
				}
			}
		case parts[1] == "memory":
			for _, dir := range []string{path.Join("/sys/fs/cgroup/memory", parts[2]), "/sys/fs/cgroup/memory"} {
				if n := number(path.Join(dir, "memory.limit_in_bytes")); n > 0 {
					return n, number(path.Join(dir, "memory.usage_in_bytes")) - stat(dir, "total_inactive_file ")
				}
			}
		}
	}
	return 0, 0
}

// number is 0 for no file, for "max", and for version 1's absurdly large number that means no
// limit.
func number(file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n > math.MaxInt64/2 {
		return 0
	}
	return n
}

func stat(dir, name string) int64 {
	text, err := os.ReadFile(path.Join(dir, "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return n
		}
	}
	return 0
}
