package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/leaksafe/leaksafe/examples/orders/order"
)

// A client sends orders to one service.
type client struct {
	http *http.Client
	url  string
}

// newClient returns a client that keeps its connections; close ends them.
func newClient(url string) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: 4096}
	return &client{&http.Client{Transport: transport, Timeout: 15 * time.Second}, url}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// post orders something by a key. The answer is valid if the code is 201.
func (c *client) post(ctx context.Context, key, note string) (int, order.Answer, error) {
	in := order.Request{Key: key, Customer: "Ada", Item: "tea", Count: 2, Note: note}
	body, err := json.Marshal(in)
	if err != nil {
		return 0, order.Answer{}, err
	}
	code, text, err := c.do(ctx, "POST", "/orders", body)
	var a order.Answer
	if err == nil && code == http.StatusCreated {
		err = json.Unmarshal(text, &a)
	}
	return code, a, err
}

func (c *client) get(ctx context.Context, id int64) (int, []byte, error) {
	return c.do(ctx, "GET", fmt.Sprintf("/orders/%d", id), nil)
}

func (c *client) do(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// A mailbox takes the confirmations: the body of each is the key of an order.
type mailbox struct {
	server http.Server
	url    string

	mu    sync.Mutex
	keys  map[string]bool
	conns int
	idle  *sync.Cond // conns became 0
}

func openMailbox() (*mailbox, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &mailbox{url: "http://" + l.Addr().String(), keys: map[string]bool{}}
	m.idle = sync.NewCond(&m.mu)
	m.server.Handler = m
	m.server.ConnState = m.count
	go func() { _ = m.server.Serve(l) }()
	return m, nil
}

func (m *mailbox) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	key, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys[string(key)] = true
}

func (m *mailbox) count(_ net.Conn, state http.ConnState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch state {
	case http.StateNew:
		m.conns++
	case http.StateClosed:
		m.conns--
	}
	if m.conns == 0 {
		m.idle.Broadcast()
	}
}

// missing counts the keys that were not confirmed. The senders have ended: it waits until their
// connections are gone, so that everything they sent is counted.
func (m *mailbox) missing(placed []placed) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.conns > 0 {
		m.idle.Wait()
	}
	for _, p := range placed {
		if !m.keys[p.key] {
			n++
		}
	}
	return n
}

func (m *mailbox) close() { _ = m.server.Close() }
