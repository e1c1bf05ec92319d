package main

import (
	"log"
	"net/http"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func main() {
	w, err := watch.Start(watch.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Stop()
	http.Handle("/debug/leaks/", w.Handler())
	log.Fatal(http.ListenAndServe("127.0.0.1:0", nil))
}
