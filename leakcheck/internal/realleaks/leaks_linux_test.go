package realleaks

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/gorilla/sessions"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/panjf2000/ants/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"k8s.io/utils/inotify"
)

// A leak is a test of this file, and what its failure must say when it runs with the leaky version.
type leak struct {
	test   string
	module string
	issue  string
	names  []string
}

var leaks = []leak{
	{"TestMethodsAreLabels", "github.com/prometheus/client_golang", "https://github.com/prometheus/client_golang/pull/987",
		[]string{"memory leak", "called from    realleaks.TestMethodsAreLabels.func", "prometheus.metricMap .metrics"}},
	{"TestSessionsOfRequests", "github.com/gorilla/sessions", "https://github.com/gorilla/sessions/pull/175",
		[]string{"memory leak", "realleaks.TestSessionsOfRequests", "package variable context.data"}},
	{"TestJobThatIsRefused", "github.com/go-co-op/gocron/v2", "https://github.com/go-co-op/gocron/issues/857",
		[]string{"memory leak", "called from    realleaks.TestJobThatIsRefused.func", "cancel function"}},
	{"TestPoolIsReleased", "github.com/panjf2000/ants/v2", "https://github.com/panjf2000/ants/pull/287",
		[]string{"goroutine leak", "purgeStaleWorkers"}},
	{"TestFileIsDeleted", "k8s.io/utils", "https://github.com/kubernetes/kubernetes/issues/100241",
		[]string{"memory leak", "realleaks.TestFileIsDeleted", "inotify.Watcher .watches"}},
	{"TestAddressesAreAttributes", "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp", "https://github.com/open-telemetry/opentelemetry-go-contrib/pull/4277",
		[]string{"memory leak", "called from    realleaks.TestAddressesAreAttributes.func", "otelhttp.middleware .counters"}},
}

func ok(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

// A client makes up methods: each was a label of its own.
func TestMethodsAreLabels(t *testing.T) {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests"}, []string{"method"})
	h := promhttp.InstrumentHandlerCounter(requests, http.HandlerFunc(ok))
	n := 0
	leakcheck.NoGrowth(t, func() {
		n++
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("M"+strconv.Itoa(n), "/", nil))
	})
}

// The sessions of a request were kept under its address, and middleware that adds a value to the
// context makes another request.
func TestSessionsOfRequests(t *testing.T) {
	store := sessions.NewCookieStore([]byte("0123456789abcdef0123456789abcdef"))
	type user struct{}
	leakcheck.NoGrowth(t, func() {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r = r.WithContext(context.WithValue(r.Context(), user{}, "ann"))
		if _, err := store.Get(r, "cart"); err != nil {
			t.Error(err)
		}
	})
}

// A job that is refused left its context among the children of the scheduler's.
func TestJobThatIsRefused(t *testing.T) {
	s, err := gocron.NewScheduler()
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.Shutdown()) }()
	leakcheck.NoGrowth(t, func() {
		past := gocron.OneTimeJobStartDateTime(time.Now().Add(-time.Hour))
		if _, err := s.NewJob(gocron.OneTimeJob(past), gocron.NewTask(func() {})); err == nil {
			t.Error("a job in the past was accepted")
		}
	})
}

// Release did not end the goroutine that looks for idle workers.
func TestPoolIsReleased(t *testing.T) {
	leakcheck.NoGrowth(t, func() {
		p, err := ants.NewPool(1, ants.WithExpiryDuration(time.Hour))
		if err != nil {
			t.Error(err)
			return
		}
		p.Release()
	})
}

// The watch of a file that is deleted could not be removed.
func TestFileIsDeleted(t *testing.T) {
	w, err := inotify.NewWatcher()
	require.NoError(t, err)
	go func() {
		for range w.Error {
		}
	}()
	gone := make(chan bool)
	go func() {
		for e := range w.Event {
			if e.Mask&inotify.InIgnored != 0 {
				gone <- true
			}
		}
	}()
	dir, n := t.TempDir(), 0
	leakcheck.NoGrowth(t, func() {
		n++
		path := filepath.Join(dir, strconv.Itoa(n))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Error(err)
		}
		if err := w.AddWatch(path, inotify.InDeleteSelf); err != nil {
			t.Error(err)
		}
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
		<-gone
		_ = w.RemoveWatch(path) // the leaky version says that the watch is invalid
	})
}

// Each address of a client was an attribute, and each attribute a time series.
func TestAddressesAreAttributes(t *testing.T) {
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	h := otelhttp.NewHandler(http.HandlerFunc(ok), "shop", otelhttp.WithMeterProvider(meters))
	n := 0
	leakcheck.NoGrowth(t, func() {
		n++
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("User-Agent", "client "+strconv.Itoa(n))
		r.RemoteAddr = "192.0.2.1:" + strconv.Itoa(1024+n)
		h.ServeHTTP(httptest.NewRecorder(), r)
	})
}
