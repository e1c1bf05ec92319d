package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A phase is a number of arrivals per second, for some time.
type phase struct {
	Rate   float64
	Length time.Duration
}

// phases returns six phases, with 8, 24, 48, 150, 48 and 24 arrivals a second. Each lasts length.
func phases(length time.Duration) []phase {
	var out []phase
	for _, rate := range []float64{8, 24, 48, 150, 48, 24} {
		out = append(out, phase{rate, length})
	}
	return out
}

// requestTimeout is the client's timeout. Requests that exceed it are counted as a class of their
// own.
const requestTimeout = 20 * time.Second

// maxOpen bounds the scenarios in progress. Arrivals do not wait for answers; arrivals beyond the
// bound are counted, not sent.
const maxOpen = 2000

// A report is what the load generator measured.
type report struct {
	Logger    bool           // the server made a logger for each request
	Created   int            // scenarios begun
	Completed int            // scenarios that ended as expected
	Beyond    int            // arrivals not begun, because 2,000 scenarios were in progress
	Requests  int            //
	Codes     map[string]int // answers by status code
	Errors    map[string]int // requests without an answer, such as "timeout after 20s"
	Took      float64        // seconds
	PerSecond float64        // requests
	Average   float64        // latency of all answers, in milliseconds, and so on
	Stdev     float64
	P50       float64
	P90       float64
	P99       float64
	Max       float64
	Histogram []int // answers by latency: below 1, 2, 4, 8 … ms
}

// A row is the payload of one scenario.
type row struct{ email, name, password, rename string }

// writeRows makes the payload file from a seed.
func writeRows(file string, n int, seed uint64) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	random := rand.New(rand.NewPCG(seed, 0))
	w := csv.NewWriter(f)
	for i := range n {
		given := []string{"Ada", "Grace", "Barbara", "Radia", "Jiyoung", "Minseo"}[random.IntN(6)]
		email := fmt.Sprintf("%s.%d@example.com", given, i)
		password := fmt.Sprintf("%016x", random.Uint64())
		if err := w.Write([]string{email, given, password, given + " II"}); err != nil {
			return err
		}
	}
	w.Flush()
	return errors.Join(w.Error(), f.Close())
}

func readRows(file string) ([]row, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, err
	}
	rows := make([]row, len(records))
	for i, r := range records {
		if len(r) != 4 {
			return nil, fmt.Errorf("line %d of the payloads has %d fields instead of 4",
				i+1, len(r))
		}
		rows[i] = row{r[0], r[1], r[2], r[3]}
	}
	return rows, nil
}

// A generator sends scenarios to a server and counts what comes back.
type generator struct {
	url    string
	client *http.Client
	rows   []row

	mu        sync.Mutex
	report    report
	latencies []float64 // milliseconds
}

// generate is the load generator, a process of its own.
func generate(c config) error {
	rows, err := readRows(c.Rows)
	if err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	client := &http.Client{Timeout: requestTimeout, Transport: transport}
	g := &generator{url: c.URL, rows: rows, client: client}
	defer g.client.CloseIdleConnections()
	return json.NewEncoder(os.Stdout).Encode(g.run(context.Background(), phases(c.Phase), c.First))
}

// run starts a scenario at each arrival, whether or not earlier ones have
// ended. Payloads begin with row first.
func (g *generator) run(ctx context.Context, phases []phase, first int) report {
	g.report = report{Codes: map[string]int{}, Errors: map[string]int{}}
	var scenarios errgroup.Group
	scenarios.SetLimit(maxOpen)
	began := time.Now()
	due := began
	n := first
	for _, p := range phases {
		pause := time.Duration(float64(time.Second) / p.Rate)
		for end := due.Add(p.Length); due.Before(end); due = due.Add(pause) {
			<-time.After(time.Until(due))
			r := g.rows[n%len(g.rows)]
			started := scenarios.TryGo(func() error {
				g.scenario(ctx, r)
				return nil // errors are counted by class
			})
			if started {
				n++
			} else {
				g.report.Beyond++
			}
		}
	}
	_ = scenarios.Wait()
	g.report.Took = time.Since(began).Seconds()
	g.sumUp()
	return g.report
}

// scenario is sign up, log in, read, update, read. The token is the log-in's answer.
func (g *generator) scenario(ctx context.Context, r row) {
	g.count(func(x *report) { x.Created++ })
	in := credentials{Email: r.email, Name: r.name, Password: r.password}
	var session struct{ Token string }
	var shown account
	ok := g.call(ctx, "POST", "/users", "", in, nil) &&
		g.call(ctx, "POST", "/sessions", "", in, &session) &&
		g.call(ctx, "GET", "/account", session.Token, nil, &shown) &&
		g.call(ctx, "PATCH", "/account", session.Token, credentials{Name: r.rename}, nil) &&
		g.call(ctx, "GET", "/account", session.Token, nil, &shown)
	if ok && shown.Name == r.rename && shown.Email == r.email {
		g.count(func(x *report) { x.Completed++ })
	}
}

// call sends a request and reports whether the answer was a success.
func (g *generator) call(ctx context.Context, method, path, token string, in, out any) bool {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return false
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, g.url+path, &body)
	if err != nil {
		return false
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	began := time.Now()
	resp, err := g.client.Do(req)
	if err != nil {
		g.count(func(x *report) { x.Requests++; x.Errors[class(err)]++ })
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	took := float64(time.Since(began).Microseconds()) / 1000
	g.count(func(x *report) {
		x.Requests++
		if err != nil {
			x.Errors[class(err)]++
			return
		}
		x.Codes[fmt.Sprint(resp.StatusCode)]++
		g.latencies = append(g.latencies, took)
	})
	if err != nil || resp.StatusCode >= 300 {
		return false
	}
	return out == nil || json.Unmarshal(text, out) == nil
}

func (g *generator) count(f func(*report)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(&g.report)
}

// class names an error by its kind, without addresses.
func class(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("timeout after %v", requestTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	default:
		var op *net.OpError
		if errors.As(err, &op) {
			return op.Op + ": " + op.Err.Error()
		}
		return err.Error()
	}
}

func (g *generator) sumUp() {
	r := &g.report
	r.PerSecond = float64(r.Requests) / r.Took
	r.Histogram = make([]int, 16)
	n := len(g.latencies)
	if n == 0 {
		return
	}
	slices.Sort(g.latencies)
	sum, squares := 0.0, 0.0
	for _, ms := range g.latencies {
		sum += ms
		squares += ms * ms
		r.Histogram[min(len(r.Histogram)-1, max(0, int(math.Ceil(math.Log2(ms)))))]++
	}
	r.Average = sum / float64(n)
	r.Stdev = math.Sqrt(max(0, squares/float64(n)-r.Average*r.Average))
	at := func(share float64) float64 { return g.latencies[min(n-1, int(share*float64(n)))] }
	r.P50, r.P90, r.P99, r.Max = at(.5), at(.9), at(.99), g.latencies[n-1]
}
