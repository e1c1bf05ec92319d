// Busy takes dumps of itself from frozen copies while its goroutines allocate, collect, talk and start processes: busy N. It
// is no test, so that goroutines run while a copy is made. It prints the dumps that failed or lack a known object.
package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
)

type entry struct {
	key  string
	next *entry
	data []byte
}

// kept is found in every dump, by this variable.
var kept = map[string]*entry{}

var sinks [3]any

func churn(i int) {
	local := map[int]*entry{}
	for n := 0; ; n++ {
		local[n%512] = &entry{key: strconv.Itoa(n), data: make([]byte, rand.IntN(4096)), next: local[(n*7)%512]}
		if n%100 == 0 {
			time.Sleep(time.Millisecond)
		}
		if n%1000 == 0 {
			sinks[i] = append([]*entry{}, local[0], local[1])
		}
		if n%5000 == 0 {
			for _, e := range local {
				e.next = nil
			}
		}
	}
}

func talk() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	for {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			panic(err)
		}
		_, _ = c.Write(make([]byte, 1000))
		_, _ = io.ReadFull(c, make([]byte, 1000))
		c.Close()
		time.Sleep(time.Millisecond)
	}
}

func main() {
	n, _ := strconv.Atoi(os.Args[1])
	for i := range 2000 {
		k := strconv.Itoa(i)
		kept[k] = &entry{key: k, data: make([]byte, 100)}
	}
	for i := range sinks {
		go churn(i)
	}
	go talk()
	go func() {
		for {
			_ = exec.Command("/bin/true").Run()
			time.Sleep(10 * time.Millisecond)
		}
	}()
	go func() {
		for {
			runtime.GC()
			time.Sleep(20 * time.Millisecond)
		}
	}()
	failed := 0
	for i := range n {
		if err := look(); err != nil {
			failed++
			fmt.Printf("dump %d: %v\n", i, err)
		}
	}
	fmt.Printf("%d of %d failed\n", failed, n)
}

func look() error {
	d, err := ownheap.Take(ownheap.Options{OnlyFrozen: true})
	if err != nil {
		return err
	}
	defer d.Close()
	objects := make([]int32, 0, len(kept))
	for k, e := range kept {
		o, ok := d.ObjectAt(uint64(uintptr(unsafe.Pointer(e))))
		if !ok {
			return fmt.Errorf("the entry %s is not in the dump", k)
		}
		objects = append(objects, o)
	}
	p := d.Search(objects).Explain(objects, 0)
	if p.Count != len(objects) || len(p.Hops) == 0 || p.Hops[0].Name != "main.kept" {
		return fmt.Errorf("%d of %d on one path: %s", p.Count, len(objects), p.Answer)
	}
	return nil
}
