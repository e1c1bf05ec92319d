package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A downstream is a local endpoint that speaks the part of FCM's HTTP v1 API that the Admin SDK
// uses. It is slow. If Failures is set, it answers the first attempt of some messages with 500,
// with 429 and Retry-After, or not at all. Tokens that begin with "gone" are not registered.
type downstream struct {
	latency  time.Duration
	failures bool

	mu       sync.Mutex
	attempts map[string]int
	sent     map[string]int // how often each message was accepted
	rejected map[string]bool
	failed   int
}

// A tally is the downstream's last words, and what GET /tally says.
type tally struct {
	Sent       int // distinct messages accepted
	Rejected   int // distinct messages whose token is not registered
	Duplicates int // messages accepted again
	Failed     int // answers with 429 or 500, and no answer
}

func runDownstream(c config) error {
	d := &downstream{latency: time.Duration(c.LatencyM) * time.Millisecond, failures: c.Failures,
		attempts: map[string]int{}, sent: map[string]int{}, rejected: map[string]bool{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/projects/{project}/messages:send", d.send)
	mux.HandleFunc("GET /tally", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(d.tally())
	})
	go func() { _ = http.Serve(listener, mux) }()
	sayReady("http://" + listener.Addr().String())
	untilParentIsGone()
	return sayLast(d.tally())
}

func (d *downstream) send(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Message struct {
			Token string            `json:"token"`
			Data  map[string]string `json:"data"`
		} `json:"message"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil {
		fault(w, http.StatusBadRequest, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
		return
	}
	time.Sleep(d.latency) // the slow part of the story
	id := in.Message.Data["id"]
	switch d.decide(id, in.Message.Token) {
	case http.StatusOK:
		_ = json.NewEncoder(w).Encode(map[string]string{"name": "projects/demo/messages/" + id})
	case http.StatusNotFound:
		fault(w, http.StatusNotFound, "NOT_FOUND", "UNREGISTERED")
	case http.StatusInternalServerError:
		fault(w, http.StatusInternalServerError, "INTERNAL", "INTERNAL")
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
		fault(w, http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
	default:
		<-r.Context().Done() // no answer at all
	}
}

// decide counts an attempt and returns the status to answer with; 0 means no answer.
func (d *downstream) decide(id, token string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attempts[id]++
	if strings.HasPrefix(token, "gone") {
		d.rejected[id] = true
		return http.StatusNotFound
	}
	if d.failures && d.attempts[id] == 1 {
		for suffix, status := range map[string]int{
			"1111":  http.StatusInternalServerError,
			"3333":  http.StatusTooManyRequests,
			"15555": 0,
		} {
			if strings.HasSuffix(id, suffix) {
				d.failed++
				return status
			}
		}
	}
	d.sent[id]++
	return http.StatusOK
}

func (d *downstream) tally() tally {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := tally{Sent: len(d.sent), Rejected: len(d.rejected), Failed: d.failed}
	for _, n := range d.sent {
		t.Duplicates += n - 1
	}
	return t
}

// fault answers as FCM does.
func fault(w http.ResponseWriter, code int, status, fcm string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"error":{"code":%d,"message":"%s","status":"%s","details":[`+
		`{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"%s"}]}}`,
		code, strings.ToLower(fcm), status, fcm)
}
