package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/getsentry/sentry-go"
)

// An endpoint speaks the part of Sentry's protocol that the client uses: it takes envelopes and
// keeps the last event.
type endpoint struct {
	server *httptest.Server
	mu     sync.Mutex
	events int
	last   sentry.Event
	bad    error
}

func startEndpoint() *endpoint {
	e := new(endpoint)
	e.server = httptest.NewServer(e)
	return e
}

// ServeHTTP reads an envelope: a header line, then for each item a line of its own and its payload.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	event, err := readEvent(r)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.bad = err
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if event != nil {
		e.events++
		e.last = *event
	}
	_, _ = io.WriteString(w, `{"id":"0"}`)
}

func readEvent(r *http.Request) (*sentry.Event, error) {
	body := io.Reader(http.MaxBytesReader(nil, r.Body, 1<<20))
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = unzipped
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	lines := bytes.Split(text, []byte("\n"))
	for i := 1; i+1 < len(lines); i += 2 {
		var item struct{ Type string }
		if err := json.Unmarshal(lines[i], &item); err != nil {
			return nil, err
		}
		if item.Type == "event" {
			event := new(sentry.Event)
			return event, json.Unmarshal(lines[i+1], event)
		}
	}
	return nil, nil
}

func (e *endpoint) stop() { e.server.Close() }
