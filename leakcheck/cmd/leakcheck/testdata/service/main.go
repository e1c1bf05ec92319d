// Service leaks one session per request, and dumps its heap before and after some requests: service before.dump after.dump
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

type session struct {
	user string
	page []byte
}

type sessions struct{ byID map[int]*session }

var open = sessions{byID: map[int]*session{}}

func (s *sessions) start(id int) {
	user := fmt.Sprint("user", id) // makes garbage too
	opened := &session{user: user, page: make([]byte, 2000)}
	s.byID[id] = opened
}

var seen = map[string]int{}

var first, last *[100]int

func main() {
	if os.Getenv("RATE") != "default" {
		runtime.MemProfileRate = 1
	}
	for i := range 1100 {
		if i == 100 {
			dump(os.Args[1])
		}
		open.start(i)
		seen[fmt.Sprint(i%50)]++
		if i > 100 {
			last = new([100]int) // all but the last are garbage
		}
	}
	first = new([100]int) // just one
	dump(os.Args[2])
	runtime.MemProfile(nil, true) // without a reference to it the linker turns the profiler off
}

func dump(name string) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	runtime.GC()
	runtime.GC()
	debug.WriteHeapDump(f.Fd())
}
