package main

import (
	"html/template"
	"net/http"
	"strconv"
	"sync"
)

// history is the list that is declared outside the function that fills it.
var history struct {
	sync.Mutex
	pages []*page
}

func remember(p *page) {
	history.Lock()
	defer history.Unlock()
	history.pages = append(history.pages, p)
}

func normal(w http.ResponseWriter, r *http.Request) {
	p := &page{Title: "Shop", Products: catalogue}
	p.render(w)
}

func memoryLeak(w http.ResponseWriter, r *http.Request) {
	p := &page{Title: "Shop", Products: catalogue}
	remember(p) // the one line
	p.render(w)
}

// A page is what one request shows.
type page struct {
	Title    string
	Products [100]product
}

type product struct {
	Name, Text   string
	Price, Stock int
}

// catalogue is a copy in each page, as an answer from a database would be.
var catalogue = func() (c [100]product) {
	for i := range c {
		c[i] = product{
			Name: "Tea " + strconv.Itoa(i+1), Text: "From the north slope",
			Price: 7 + i, Stock: i % 9,
		}
	}
	return c
}()

var shop = template.Must(template.New("shop").Parse(`<!doctype html>
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
<ul>{{range slice .Products 0 3}}
<li>{{.Name}}: {{.Price}}{{if not .Stock}} (sold out){{end}}</li>{{end}}
</ul>
`))

func (p *page) render(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := shop.Execute(w, p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// pages is the server's two pages.
func pages() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /normal", normal)
	mux.HandleFunc("GET /memory-leak", memoryLeak)
	return mux
}
