package shutdown

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

// A memory is a Store that, like a database, takes nothing once it is closed. An Insert waits until
// gate is closed, as if the network were slow.
type memory struct {
	gate   chan struct{}
	mu     sync.Mutex
	rows   map[string]bool
	closed bool
}

func (m *memory) Insert(_ context.Context, rows []string) error {
	<-m.gate
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("store: closed")
	}
	for _, row := range rows {
		m.rows[row] = true
	}
	return nil
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// lost counts the rows of accepted orders that are not in the store.
func (m *memory) lost(accepted []string) (n int) {
	for _, id := range accepted {
		for _, row := range []string{"order " + id, "confirmed " + id} {
			if !m.rows[row] {
				n++
			}
		}
	}
	return n
}

func start(t *testing.T) (*Service, *memory, net.Listener) {
	store := &memory{rows: map[string]bool{}, gate: make(chan struct{})}
	s, err := New(store)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return s, store, l
}

// order sends 8 × each orders, eight at a time, until the service accepts no more. It calls half
// when half of them are accepted, and returns the accepted ones.
func order(l net.Listener, each int, half func()) []string {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var accepted []string
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := range each {
				id := fmt.Sprintf("%d-%d", worker, n)
				resp, err := client.Post("http://"+l.Addr().String()+"/orders/"+id, "", nil)
				if err != nil {
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusAccepted {
					return
				}
				mu.Lock()
				accepted = append(accepted, id)
				if len(accepted) == 4*each {
					half()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return accepted
}

func TestNothingAcceptedIsLost(t *testing.T) {
	leakcheck.Check(t)
	s, store, l := start(t)
	close(store.gate)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	accepted := order(l, 100, cancel)
	require.NoError(t, <-served)
	assert.GreaterOrEqual(t, len(accepted), 400)
	assert.Zero(t, store.lost(accepted))
	assert.True(t, store.closed)
}

// TestTheOtherOrderLosesRows is the negative control: the store is closed first, which loses rows.
func TestTheOtherOrderLosesRows(t *testing.T) {
	leakcheck.Check(t)
	s, store, l := start(t)
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(l) }()
	accepted := order(l, 10, func() {})
	require.NoError(t, s.store.Close())
	close(store.gate)
	_ = s.rows.Close(t.Context())
	_ = s.jobs.Shutdown(t.Context())
	require.NoError(t, s.server.Shutdown(t.Context()))
	assert.ErrorIs(t, <-served, http.ErrServerClosed)
	assert.Positive(t, store.lost(accepted))
}
