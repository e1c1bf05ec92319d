package respond

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/pool"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

type message struct{ Text string }

func echo(w http.ResponseWriter, r *http.Request) {
	var m message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		JSON(w, http.StatusBadRequest, message{"not a message"})
		return
	}
	JSON(w, http.StatusOK, m)
}

// checked makes the package use a pool at LevelCheck, which knows every lease.
func checked(t testing.TB) {
	before := buffers
	buffers = pool.NewBytes(pool.Options{Level: pool.LevelCheck})
	t.Cleanup(func() { buffers = before })
}

// allReleased fails t if a buffer has not come back.
func allReleased(t testing.TB) {
	// The Transport and the server may close a moment after Do.
	end := time.Now().Add(20 * time.Second)
	for len(buffers.Outstanding()) > 0 && time.Now().Before(end) {
		runtime.Gosched()
	}
	for _, held := range buffers.Outstanding() {
		t.Error(held)
	}
}

func TestEveryBufferComesBack(t *testing.T) {
	leakcheck.Check(t)
	checked(t)
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()

	r, err := NewRequest(t.Context(), s.URL, message{"hello"})
	require.NoError(t, err)
	resp, err := s.Client().Do(r)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "{\"Text\":\"hello\"}\n", string(body))

	_, err = NewRequest(t.Context(), s.URL, func() {})
	assert.Error(t, err, "not JSON")
	_, err = NewRequest(t.Context(), "://", message{})
	assert.Error(t, err, "not an address")
	w := httptest.NewRecorder()
	JSON(w, http.StatusOK, func() {})
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	allReleased(t)
}

func TestARequestNeverSentIsSeen(t *testing.T) {
	// The leaky counterpart: nobody closes the body.
	checked(t)
	_, err := NewRequest(t.Context(), "http://localhost", message{"lost"})
	require.NoError(t, err)
	require.Len(t, buffers.Outstanding(), 1)
	assert.Contains(t, buffers.Outstanding()[0].String(), "1 lease (256 B) not released, "+
		"acquired at github.com/leaksafe/leaksafe/examples/pool.encode (")
}

// 307 and 308 ask the client to send the same body again.
func TestARedirectGetsTheBodyToo(t *testing.T) {
	leakcheck.Check(t)
	checked(t)
	for _, status := range []int{http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		mux := http.NewServeMux()
		mux.HandleFunc("/new", echo)
		mux.Handle("/old", http.RedirectHandler("/new", status))
		s := httptest.NewServer(mux)
		r, err := NewRequest(t.Context(), s.URL+"/old", message{"hello"})
		require.NoError(t, err)
		resp, err := s.Client().Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		s.Close()
		assert.Equal(t, "{\"Text\":\"hello\"}\n", string(body), status)
	}
	allReleased(t)
}

func TestAnsweringDoesNotGrow(t *testing.T) {
	leakcheck.NoGrowth(t, func() { JSON(httptest.NewRecorder(), http.StatusOK, message{"hello"}) })
}
