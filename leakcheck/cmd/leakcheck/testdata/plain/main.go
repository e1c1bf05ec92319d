// Plain is a service with net/http/pprof and nothing of leaksafe: plain leak|goroutines|blocked|cache|churn|steady|beside.
// It serves requests that it sends itself, and prints its address.
package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"sync"
	"time"
)

type page struct{ body []byte }

var (
	mu      sync.Mutex
	history []*page
	cache   = map[int]*page{}
	early   [][]byte
	churn   [][]byte
)

// remember leaks a page for each request.
func remember(size int) {
	p := &page{make([]byte, size)}
	mu.Lock()
	history = append(history, p)
	mu.Unlock()
}

// lookup fills a cache that is soon full.
func lookup(key int) *page {
	mu.Lock()
	defer mu.Unlock()
	if p, ok := cache[key]; ok {
		return p
	}
	p := &page{make([]byte, 32<<10)}
	cache[key] = p
	return p
}

// wait leaks a goroutine: main holds the channel.
func wait(c chan int) { <-c }

var never = make(chan int)

// forget leaks a goroutine that nothing can wake.
func forget() {
	c := make(chan int)
	go wait(c)
}

// breathe makes the heap larger and smaller by tens of megabytes.
func breathe() {
	mu.Lock()
	churn = make([][]byte, rand.IntN(40))
	for i := range churn {
		churn[i] = make([]byte, 1<<20)
	}
	mu.Unlock()
}

func request(mode string) {
	_ = make([]byte, 4<<10)
	time.Sleep(100 * time.Microsecond)
	switch mode {
	case "leak":
		remember(16 << 10)
	case "goroutines":
		go wait(never)
	case "blocked":
		forget()
	case "cache":
		lookup(rand.IntN(500))
	case "churn":
		breathe()
	case "beside": // the leak is far below the noise
		remember(64 << 10)
		if rand.IntN(4) == 0 {
			breathe()
		}
	}
	sink = make([]byte, 16<<10)
}

var sink []byte

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	for range 64 { // filled at the start, larger than anything later
		early = append(early, make([]byte, 512<<10))
	}
	fmt.Printf("http://%s\n", l.Addr())
	go func() { panic(http.Serve(l, nil)) }()
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		for range tick.C {
			request(os.Args[1])
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
}
