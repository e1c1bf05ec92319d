package ctxreq_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/ctxreq"
	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

type storyUser struct {
	name string
	ctx  context.Context
}

var (
	userKey = ctxreq.NewKey[*storyUser]("test.user")

	// The queue of a reporter, which outlives the requests.
	queuedContexts []context.Context
	queuedWriters  []http.ResponseWriter
	queuedBodies   []io.ReadCloser
)

type storyBody struct{ io.ReadCloser }

// story is Node's test-domain-async-id-map-leak: an error reporter wrapped each request in an
// object that referred back to the request, and the object was retained. Here the user value refers
// to the context that holds it, and a queue retains that context, the writer and the body.
func story(t testing.TB, middleware func(http.Handler) http.Handler, setUser func(*http.Request, *storyUser) *http.Request) {
	track := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leakcheck.Track(t, r)
		u := leakcheck.Track(t, &storyUser{name: "Jane"})
		r = setUser(r, u)
		u.ctx = r.Context()
		queuedContexts = append(queuedContexts, r.Context())
		queuedWriters = append(queuedWriters, w)
		queuedBodies = append(queuedBodies, r.Body)
	})
	inner := middleware(track)
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = leakcheck.Track(t, &storyBody{ReadCloser: r.Body})
		inner.ServeHTTP(w, r)
	})
	srv := httptest.NewServer(outer)
	defer srv.Close()
	for range 3 {
		resp, err := srv.Client().Post(srv.URL, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		resp.Body.Close()
	}
	require.Len(t, queuedContexts, 3)
}

func forgetStory() { queuedContexts, queuedWriters, queuedBodies = nil, nil, nil }

func TestStoryOfTheCircularReference(t *testing.T) {
	t.Cleanup(forgetStory)
	story(t, new(ctxreq.Config).Middleware, func(r *http.Request, u *storyUser) *http.Request {
		assert.NoError(t, userKey.Set(r.Context(), u))
		return r
	})
}

func TestStoryOfTheCircularReferenceIsCaughtWithoutTheScope(t *testing.T) {
	t.Cleanup(forgetStory)
	leakcheck.MustDetect(t, func(t testing.TB) {
		story(t, func(h http.Handler) http.Handler { return h }, func(r *http.Request, u *storyUser) *http.Request {
			return r.WithContext(context.WithValue(r.Context(), outsideKey{}, u))
		})
	})
}

// oneRequest serves a request that uses everything a scope has.
func oneRequest(c *ctxreq.Config) {
	c.Middleware(ctxreq.Seal(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		s := ctxreq.From(ctx)
		tenant.Set(ctx, "acme")
		s.Go("child", func(ctx context.Context) error { <-ctx.Done(); return nil })
		s.Defer(func(context.Context) error { return nil })
		sub, cancel := context.WithCancel(ctx)
		context.AfterFunc(sub, func() {})
		cancel()
		ctxreq.Detach(ctx)
		io.Copy(w, r.Body)
		s.Report(errors.New("reported"))
	}))).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/users/7", strings.NewReader("body")))
}

func TestAnEndedRequestLeavesNothingInItsState(t *testing.T) {
	for _, method := range []string{"GET", ""} {
		r := httptest.NewRequest("POST", "/users/7", strings.NewReader("body"))
		r.Method = method
		r.Header.Set("X-Request-Id", "req-1")
		require.Empty(t, ctxreq.Leftovers(func(s *ctxreq.Scope) { ctxreq.UseAsRequest(s, httptest.NewRecorder(), r) }))
	}
}

// The memory of a child that returned is used again, and holds nothing of the child.
func TestAChildThatReturnedLeavesNothingInItsTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		found := 0
		for range 40 { // under -race a pool drops some at random
			_, s := ctxreq.Start(t.Context(), "scope")
			require.NoError(t, s.Go("child", func(context.Context) error { return nil }))
			require.NoError(t, s.End(nil))
			synctest.Wait()
			n, left := ctxreq.TaskLeftovers()
			require.Empty(t, left)
			found += n
		}
		require.Positive(t, found)
	})
}

type discard struct{}

func (discard) Report(context.Context, *ctxreq.Report) {}

func TestRequestsDoNotGrow(t *testing.T) {
	c := &ctxreq.Config{Reporter: discard{}, BodyCapture: 16}
	leakcheck.NoGrowth(t, func() { oneRequest(c) }, leakcheck.Iterations(10))
}

func TestScopeThatIsNeverEndedIsCaught(t *testing.T) {
	c := new(ctxreq.Config)
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.NoGrowth(t, func() { c.Start(context.Background(), "never ended") })
	})
	require.NotEmpty(t, c.InFlight(), "and InFlight shows it")
	runtime.KeepAlive(c)
}

func TestOneHundredThousandRequestsAreFlat(t *testing.T) {
	testgate.Minutes(t)
	c := &ctxreq.Config{Reporter: discard{}}
	live := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	serve := func(n int) {
		for range n {
			oneRequest(c)
		}
	}
	serve(10_000)
	before := live()
	serve(100_000)
	require.Less(t, int64(live())-int64(before), int64(100_000), "less than a byte a request")
}
