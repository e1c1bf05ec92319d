package watch

import (
	"bytes"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

var pageSize = int64(os.Getpagesize())

// residentBytes is the second number of /proc/self/statm, in pages.
func residentBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return -1
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return -1
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return -1
	}
	return pages * pageSize
}

// openFiles counts the descriptors, less the one that the counting opens.
func openFiles() int64 {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return -1
	}
	defer dir.Close()
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return -1
	}
	return int64(len(entries)) - 1
}

// cgroupLimit is memory.max of cgroup version 2 or memory.limit_in_bytes of
// version 1; 0 where there is no limit.
func cgroupLimit() int64 {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		var file string
		switch {
		case parts[1] == "":
			file = path.Join("/sys/fs/cgroup", parts[2], "memory.max")
		case parts[1] == "memory":
			file = path.Join("/sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes")
		default:
			continue
		}
		if n := readNumber(file); n > 0 {
			return n
		}
	}
	// Inside a container the root of the mount is the container's own group.
	return max(readNumber("/sys/fs/cgroup/memory.max"), 0)
}

// readNumber is 0 for "max", for an absurd number (version 1's "no limit") and for no file.
func readNumber(file string) int64 {
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

func machineMemory() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
