package watch_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

func ExampleStart() {
	w, err := watch.Start(watch.Options{
		Interval:  10 * time.Second,
		OnFinding: func(f watch.Finding) { fmt.Println(f) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Stop()

	mux := http.NewServeMux()
	mux.Handle("/debug/leaks/", w.Handler()) // behind authentication
	w.Mark("deploy 1.4.2")

	page := httptest.NewRecorder()
	mux.ServeHTTP(page, httptest.NewRequest("GET", "/debug/leaks/", nil))
	fmt.Println(page.Code, len(w.Findings()), "findings")
	// Output: 200 0 findings
}

func ExampleExpect() {
	w, err := watch.Start(watch.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Stop()

	type session struct{ user string }
	logOut := func(s *session) {
		watch.Expect(w, s, "session") // the page counts those that stay alive
	}
	logOut(&session{user: "ada"})
}
