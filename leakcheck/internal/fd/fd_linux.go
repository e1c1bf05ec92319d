package fd

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// List lists what the process has open, and where it leads, in the order of the numbers.
func List() []File {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	all := make([]File, 0, len(entries))
	listing := fmt.Sprintf("/proc/%d/fd", os.Getpid())
	for _, e := range entries {
		link := "/proc/self/fd/" + e.Name()
		number, _ := strconv.Atoi(e.Name())
		target, err := os.Readlink(link)
		if err != nil || target == listing { // closed meanwhile, or a listing like this one
			continue
		}
		var stat syscall.Stat_t
		if syscall.Stat(link, &stat) != nil {
			continue
		}
		f := File{Descriptor: Descriptor{number, uint64(stat.Dev), stat.Ino}, Target: target}
		if f.Kind() == "socket" {
			f.Local, f.Remote = ends(number)
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b File) int { return cmp.Compare(a.Number, b.Number) })
	return all
}

// ends are the addresses of a socket that is connected by IP.
func ends(number int) (local, remote string) {
	here, err := syscall.Getsockname(number)
	if err != nil {
		return "", ""
	}
	there, err := syscall.Getpeername(number)
	if err != nil {
		return "", ""
	}
	if local, remote = address(here), address(there); local == "" || remote == "" {
		return "", ""
	}
	return local, remote
}

func address(a syscall.Sockaddr) string {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)).String()
	}
	return ""
}

// socketAddress finds a socket by its inode: "tcp 127.0.0.1:41000 → 127.0.0.1:80".
func socketAddress(inode string) string {
	for _, network := range []string{"tcp", "tcp6", "udp", "udp6"} {
		for _, f := range socketTable(network) {
			if len(f) > 9 && f[9] == inode {
				return inetSocket(network, f)
			}
		}
	}
	for _, f := range socketTable("unix") {
		if len(f) > 6 && f[6] == inode {
			return strings.TrimSpace("unix " + strings.Join(f[7:], " "))
		}
	}
	return ""
}

func socketTable(network string) [][]string {
	text, err := os.ReadFile("/proc/self/net/" + network)
	if err != nil {
		return nil
	}
	var table [][]string
	for line := range strings.Lines(string(text)) {
		table = append(table, strings.Fields(line))
	}
	return table
}

func inetSocket(network string, f []string) string {
	const listening = "0A"
	local, remote := parseAddress(f[1]), parseAddress(f[2])
	switch {
	case f[3] == listening:
		return fmt.Sprintf("%s %s, listening", network, local)
	case !remote.IsValid() || remote.Port() == 0:
		return fmt.Sprintf("%s %s", network, local)
	}
	return fmt.Sprintf("%s %s → %s", network, local, remote)
}

// parseAddress reads "0100007F:1F90": 32-bit words in the machine's order, then
// the port.
func parseAddress(s string) netip.AddrPort {
	host, port, _ := strings.Cut(s, ":")
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	var ip []byte
	for word := range slices.Chunk([]byte(host), 8) {
		n, err := strconv.ParseUint(string(word), 16, 32)
		if err != nil {
			return netip.AddrPort{}
		}
		ip = binary.NativeEndian.AppendUint32(ip, uint32(n))
	}
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), uint16(p))
}

// polled reports whether an epoll instance of the process watches the descriptor.
func polled(number int) bool {
	for _, f := range List() {
		if f.Target != "anon_inode:[eventpoll]" {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Number))
		if err != nil {
			return true
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "tfd:" && fields[1] == strconv.Itoa(number) {
				return true
			}
		}
	}
	return false
}
