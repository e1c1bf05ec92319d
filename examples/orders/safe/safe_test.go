package safe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/examples/orders/order"
	"github.com/leaksafe/leaksafe/examples/orders/safe"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

type confirm = func(context.Context, order.Order) error

func none(context.Context, order.Order) error { return nil }

// open returns a service that the test closes, or has closed before.
func open(t testing.TB, dir string, c confirm) *safe.Service {
	t.Helper()
	store, err := order.Open(dir)
	require.NoError(t, err)
	s, err := safe.New(order.Deps{Store: store, Confirm: c}, nil)
	require.NoError(t, err)
	return s
}

func closed(t testing.TB, s *safe.Service) {
	t.Helper()
	assert.NoError(t, s.Close(context.WithoutCancel(t.Context())))
}

// post orders by a key and returns the code and the id.
func post(h http.Handler, key string) (code int, id int64) {
	body := fmt.Sprintf(`{"key":%q,"customer":"Ada","item":"tea","count":2}`, key)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/orders", bytes.NewBufferString(body)))
	var a order.Answer
	_ = json.Unmarshal(w.Body.Bytes(), &a)
	return w.Code, a.ID
}

// orderAndRead is one operation: another key each time, and the answers are checked.
func orderAndRead(t testing.TB, h http.Handler, n *int) func() {
	return func() {
		*n++
		code, id := post(h, fmt.Sprint("key-", *n))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", fmt.Sprint("/orders/", id), nil))
		if code != http.StatusCreated || w.Code != http.StatusOK {
			t.Errorf("order %d: POST %d, GET %d", *n, code, w.Code)
		}
	}
}

func TestOrdersDoNotGrow(t *testing.T) {
	leakcheck.Check(t)
	s := open(t, t.TempDir(), none)
	defer closed(t, s)
	n := 0
	leakcheck.NoGrowth(t, orderAndRead(t, s, &n))
}

// ledger is the leaky counterpart: its confirmation retains each order.
type ledger struct {
	mu  sync.Mutex
	all []*order.Order
}

func (l *ledger) confirm(_ context.Context, o order.Order) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, &o)
	return nil
}

func TestALedgerOfConfirmationsGrows(t *testing.T) {
	leakcheck.Check(t)
	var l ledger
	s := open(t, t.TempDir(), l.confirm)
	defer closed(t, s)
	n := 0
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.NoGrowth(t, orderAndRead(t, s, &n))
	})
	assert.NotEmpty(t, l.all)
}

// TestCloseLeavesNothing looks for goroutines and files, for the service itself, and for leases.
func TestCloseLeavesNothing(t *testing.T) {
	t.Setenv("LEAKSAFE_POOL", "check")
	leakcheck.Check(t)
	s := leakcheck.Track(t, open(t, t.TempDir(), none))
	n := 0
	orderAndRead(t, s, &n)()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("POST", "/orders", bytes.NewBufferString("{")))
	assert.Equal(t, http.StatusBadRequest, w.Code, "a path that returns early")
	closed(t, s)
	assert.Empty(t, s.Outstanding())
}

func TestWithoutCloseSomethingIsLeft(t *testing.T) {
	dir := t.TempDir()
	var s *safe.Service
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Check(t)
		s = open(t, dir, none)
		n := 0
		orderAndRead(t, s, &n)()
	})
	closed(t, s)
}

// TestEachCallerHasItsOwnResult has 50 callers meet in a batch, while the first insert hangs, each
// key twice: one of the two is stored, and the other is told that the key is taken.
func TestEachCallerHasItsOwnResult(t *testing.T) {
	leakcheck.Check(t)
	store, err := order.Open(t.TempDir())
	require.NoError(t, err)
	store.Hang(300 * time.Millisecond)
	s, err := safe.New(order.Deps{Store: store, Confirm: none}, nil)
	require.NoError(t, err)
	defer closed(t, s)
	var mu sync.Mutex
	codes := map[int]int{}
	keys := map[int64]string{}
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			key := fmt.Sprint("key-", n/2)
			code, id := post(s, key)
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
			if code == http.StatusCreated {
				keys[id] = key
			}
		})
	}
	wg.Wait()
	assert.Equal(t, map[int]int{http.StatusCreated: 25, http.StatusConflict: 25}, codes)
	assert.Len(t, keys, 25, "no id went to two callers")
	for id, key := range keys {
		o, err := store.Get(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, key, o.Key, "the id is the caller's own order's")
	}
}
