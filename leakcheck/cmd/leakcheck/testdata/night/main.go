// Night is a shop that never heard of leakcheck. Visitors come and go, and its memory grows:
// docs/any-process.md finds out why.
//
//	night visits    serves that many visits, says "open", and goes on serving
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
)

// A session is what a visitor has from login to logout.
type session struct {
	user string
	cart []*item
}

type item struct {
	name  string
	image []byte
}

// onPrice is called when a price changes.
func (s *session) onPrice(name string, cents int) {}

// A listener wants to know about new prices.
type listener interface {
	onPrice(name string, cents int)
}

// A feed tells its listeners about new prices.
type feed struct {
	mu        sync.Mutex
	listeners []listener
}

func (f *feed) subscribe(l listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners = append(f.listeners, l)
}

type shop struct {
	mu       sync.Mutex
	sessions map[string]*session
	prices   feed
}

var theShop = &shop{sessions: map[string]*session{}}

func (s *shop) login(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	x := &session{user: user, cart: []*item{{"book of " + user, make([]byte, 2<<10)}}}
	s.prices.subscribe(x)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[user] = x
}

func (s *shop) logout(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, r.FormValue("user"))
}

func main() {
	routes := http.NewServeMux()
	routes.HandleFunc("/login", theShop.login)
	routes.HandleFunc("/logout", theShop.logout)
	visits, _ := strconv.Atoi(os.Args[1])
	serve := func(from, to int) {
		for i := from; i < to; i++ {
			user := "?user=" + strconv.Itoa(i)
			routes.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/login"+user, nil))
			if i%100 != 0 { // a few are there at any time
				routes.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/logout"+user, nil))
			}
		}
	}
	served := 0
	for {
		serve(served, served+visits)
		served += visits
		fmt.Println("open")
		if _, err := fmt.Scanln(); err != nil {
			return
		}
	}
}
