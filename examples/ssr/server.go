package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"

	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// If envServe is set, this program runs as the server, a child process.
const envServe = "LEAKSAFE_SSR_SERVE"

// serve runs the server: its address goes out on stdout, and it ends when its
// parent closes stdin, or dies.
func serve() error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // Ctrl-C reaches it too; its parent ends it
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := pages()
	mux.HandleFunc("GET /debug/heap", heap)
	mux.HandleFunc("GET /debug/verdict", verdict)
	w, err := watch.Start(watch.Options{Interval: time.Second}) // a service would take 10 s
	if err != nil {
		return err
	}
	defer w.Stop()
	mux.Handle("GET /debug/leaks/", w.Handler())
	s := &http.Server{Handler: mux}
	fmt.Println("http://" + l.Addr().String())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		s.Close()
	}()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// heap answers with the bytes of the live heap, as of the last collection.
func heap(w http.ResponseWriter, r *http.Request) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(live); live[0].Value.Uint64() == 0 {
		runtime.GC()
		metrics.Read(live)
	}
	fmt.Fprint(w, live[0].Value.Uint64())
}

// A finding is leakcheck's verdict on one page, and the place that grows most.
type finding struct {
	Verdict                  string
	Func, File               string
	Line                     int
	ObjectsPerOp, BytesPerOp float64
}

func newFinding(r leakcheck.Report) finding {
	f := finding{Verdict: r.Verdict.String()}
	if len(r.Sites) > 0 {
		s := r.Sites[0]
		f.Func, f.File, f.Line = s.Func, s.File, s.Line
		f.ObjectsPerOp, f.BytesPerOp = s.ObjectsPerOp, s.BytesPerOp
	}
	return f
}

// iterations keeps a measurement short: while leakcheck measures, a request takes about a
// millisecond, and a measurement takes some thousand requests.
const iterations = 4

// verdict measures the page named in the query: each operation is one request
// over HTTP, answered by this server.
func verdict(w http.ResponseWriter, r *http.Request) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	url := "http://" + r.Host + r.FormValue("page")
	var failed error
	report, err := leakcheck.Measure(func() {
		if err := get(client, url, io.Discard); err != nil {
			failed = err
		}
	}, leakcheck.Iterations(iterations))
	if err := errors.Join(err, failed); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err := json.NewEncoder(w).Encode(newFinding(report)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
