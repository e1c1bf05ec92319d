package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main()
		return
	}
	leakcheck.Main(m)
}

func TestReportsAreScrubbedSnapshots(t *testing.T) {
	e := startEndpoint()
	defer e.stop()
	h, s, err := newHandler("safe", e.server.URL)
	require.NoError(t, err)
	defer s.close()
	wants := []string{"the payment was declined", "panic: order 1 has no customer"}
	for i, query := range []string{"n=2", "n=1"} {
		want := wants[i]
		r := httptest.NewRequest("GET", "/pay?"+query+"&token=s3cret", nil)
		r.Header.Set("Authorization", "Bearer s3cret")
		r.Header.Set("X-Author", "ada")
		r.Header.Set("X-Custom-Pin", "s3cret")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		assert.Equal(t, []int{http.StatusBadGateway, http.StatusInternalServerError}[i], w.Code)
		require.Equal(t, i+1, e.events)
		assert.Equal(t, want, e.last.Exception[0].Value)
		assert.Equal(t, "ada", e.last.Request.Headers["X-Author"])
		sent := e.last.Request
		assert.NotContains(t,
			sent.Headers["Authorization"]+sent.Headers["X-Custom-Pin"]+sent.URL, "s3cret")
	}
}

func TestRequestsAreNotKept(t *testing.T) {
	keeps := func(t testing.TB, kind string) {
		e := startEndpoint()
		t.Cleanup(e.stop)
		h, s, err := newHandler(kind, e.server.URL)
		require.NoError(t, err)
		t.Cleanup(s.close)
		leakcheck.NoGrowth(t, func() {
			r := httptest.NewRequest("GET", "/pay?n=10", nil)
			h.ServeHTTP(httptest.NewRecorder(), r)
		})
	}
	keeps(t, "safe")
	leakcheck.MustDetect(t, func(t testing.TB) { keeps(t, "leaky") })
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, false, 10_000))
	assert.Regexp(t, `ctxreq, the last 100 +10000 +22 .*\n`, out.String(),
		"one in a thousand panics, one fails, in 11,000 requests")
	assert.ErrorContains(t, run(t.Context(), &out, true, 10_000), "every request stays alive")
}

func TestInterruptedRunEndsItsService(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, run(ctx, new(bytes.Buffer), false, 1000), context.Canceled)
}
