// Shop keeps memory in each of the ways that services do, and dumps its heap before and after: shop N before.dump after.dump
package main

import (
	"container/list"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

type Session struct {
	user    string
	cart    []*Item
	history *visit // a list
}

type Item struct {
	name  string
	price int
	image []byte
}

type visit struct {
	before *visit
	path   string
}

type Store struct {
	mu       sync.Mutex
	sessions map[string]*Session
}

var (
	store   = &Store{sessions: map[string]*Session{}}
	images  sync.Map // of *Item, by name
	hooks   []func() int
	retries = list.New()
	offers  []*Item // of sessions: both retain them
	routes  = http.NewServeMux()
)

// A job waits for a payment that never comes.
type job struct {
	order   string
	invoice [4 << 10]byte
}

func work(j *job, paid chan bool) {
	<-paid
	fmt.Println(j.order)
}

func (s *Store) login(user string, pages int) {
	x := &Session{user: user, cart: []*Item{{name: "book of " + user, price: 12, image: make([]byte, 600)}}}
	for i := range pages {
		x.history = &visit{x.history, "/page/" + strconv.Itoa(i)}
	}
	if len(s.sessions)%16 == 0 {
		offers = append(offers, x.cart[0])
	}
	s.mu.Lock()
	s.sessions[user] = x
	s.mu.Unlock()
}

// register keeps what the closure captures.
func register(report []byte) {
	hooks = append(hooks, func() int { return len(report) })
}

func serve(from, to int) {
	for i := from; i < to; i++ {
		user := "user" + strconv.Itoa(i)
		store.login(user, 8)
		if i%8 == 0 {
			images.Store(user, &Item{name: user, image: make([]byte, 1<<10)})
		}
		if i%16 == 0 {
			register(make([]byte, 2<<10))
		}
		if i%32 == 0 {
			retries.PushBack(&job{order: user})
		}
		if i%64 == 0 {
			go work(&job{order: user}, make(chan bool))
			request := make([]byte, 8<<10)
			time.AfterFunc(time.Hour, func() { fmt.Println(len(request)) })
		}
	}
}

func main() {
	if os.Getenv("RATE") != "default" {
		runtime.MemProfileRate = 1
	}
	n, _ := strconv.Atoi(os.Args[1])
	routes.HandleFunc("/", func(http.ResponseWriter, *http.Request) { store.login("anonymous", 1) })
	serve(0, n/4)
	dump(os.Args[2])
	serve(n/4, n)
	time.Sleep(50 * time.Millisecond) // the goroutines reach their line
	dump(os.Args[3])
	runtime.MemProfile(nil, true) // without a reference to it the linker turns the profiler off
}

func dump(name string) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	runtime.GC()
	runtime.GC()
	debug.WriteHeapDump(f.Fd())
}
