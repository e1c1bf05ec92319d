package clean

import (
	"context"
	"database/sql"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	_ "modernc.org/sqlite"
)

// A service is set up once and gives an operation that leaves nothing behind. The operation is told
// its number, so that no two are alike, and returns an error when it did not do its work.
type service struct {
	name  string
	setup func(t *testing.T) func(n int) error
}

var services = []service{
	{"HTTP/1", overHTTP(func(h http.Handler) *httptest.Server { return httptest.NewServer(h) })},
	{"TLS", overHTTP(func(h http.Handler) *httptest.Server { return httptest.NewTLSServer(h) })},
	{"HTTP/2", overHTTP(func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.EnableHTTP2 = true
		s.StartTLS()
		return s
	})},
	{"a client that all checks share", sharedClient},
	{"a connection for each request", newConnections},
	{"SQLite", sqlite},
	{"bbolt", bolt},
	{"log/slog", slogs},
	{"zap", zaps},
	{"Prometheus", metrics},
	{"html/template", templates},
	{"websocket", websockets},
	{"gRPC", rpc},
}

func newPage() *template.Template {
	return template.Must(template.New("page").Parse(`<ul>{{range .}}<li>{{.}}</li>{{end}}</ul>`))
}

var page = newPage()

func handler(w http.ResponseWriter, r *http.Request) {
	if err := page.Execute(w, strings.Split(r.FormValue("items"), ",")); err != nil {
		panic(err)
	}
}

func get(c *http.Client, url string) error {
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return err
}

func overHTTP(start func(http.Handler) *httptest.Server) func(t *testing.T) func(int) error {
	return func(t *testing.T) func(int) error {
		s := start(http.HandlerFunc(handler))
		t.Cleanup(s.Close)
		return func(n int) error {
			transport := s.Client().Transport.(*http.Transport).Clone()
			defer transport.CloseIdleConnections()
			c := &http.Client{Transport: transport}
			for range 2 {
				if err := get(c, fmt.Sprintf("%s/?items=a,b,%d", s.URL, n)); err != nil {
					return err
				}
			}
			return nil
		}
	}
}

// sharedClient may give up its connection and open another in any check.
func sharedClient(t *testing.T) func(int) error {
	s := httptest.NewServer(http.HandlerFunc(handler))
	t.Cleanup(s.Close)
	c := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(c.CloseIdleConnections)
	return func(n int) error { return get(c, fmt.Sprintf("%s/?items=%d", s.URL, n)) }
}

func newConnections(t *testing.T) func(int) error {
	s := httptest.NewServer(http.HandlerFunc(handler))
	t.Cleanup(s.Close)
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(n int) error { return get(c, fmt.Sprintf("%s/?items=%d", s.URL, n)) }
}

func sqlite(t *testing.T) func(int) error {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "shop.db"))
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.Exec("PRAGMA synchronous=OFF; CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
	require.NoError(t, err)
	return func(n int) error {
		if _, err := db.Exec("INSERT INTO items VALUES (?, ?)", n, "item "+strconv.Itoa(n)); err != nil {
			return err
		}
		var name string
		if err := db.QueryRow("SELECT name FROM items WHERE id = ?", n).Scan(&name); err != nil {
			return err
		}
		_, err := db.Exec("DELETE FROM items WHERE id = ?", n)
		return err
	}
}

func bolt(t *testing.T) func(int) error {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "shop.db"), 0o600, &bbolt.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	items := []byte("items")
	return func(n int) error {
		key := []byte(strconv.Itoa(n))
		put := func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(items)
			if err != nil {
				return err
			}
			return b.Put(key, []byte("an item"))
		}
		if err := db.Update(put); err != nil {
			return err
		}
		return db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(items).Delete(key) })
	}
}

func slogs(*testing.T) func(int) error {
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	return func(n int) error {
		log.With("request", n).WithGroup("user").Info("seen", "id", strconv.Itoa(n), "n", n)
		return nil
	}
}

func zaps(*testing.T) func(int) error {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.InfoLevel)
	log := zap.New(core)
	return func(n int) error {
		log.With(zap.Int("request", n)).Named("user").Info("seen", zap.String("id", strconv.Itoa(n)))
		return nil
	}
}

func metrics(t *testing.T) func(int) error {
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests"}, []string{"code", "method"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "took", Buckets: prometheus.DefBuckets}, []string{"code"})
	registry.MustRegister(requests, took)
	h := promhttp.InstrumentHandlerCounter(requests, promhttp.InstrumentHandlerDuration(took, promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	return func(n int) error {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest([]string{http.MethodGet, http.MethodPost}[n%2], "/", nil))
		if w.Code != http.StatusOK {
			return fmt.Errorf("status %d", w.Code)
		}
		return nil
	}
}

func templates(*testing.T) func(int) error {
	base := newPage() // which is never executed: then it cannot be cloned
	return func(n int) error {
		own, err := base.Clone()
		if err != nil {
			return err
		}
		return own.Execute(io.Discard, []string{strconv.Itoa(n), "<b>"})
	}
}

func websockets(t *testing.T) func(int) error {
	var up websocket.Upgrader
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, text, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, text) != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	url := "ws" + strings.TrimPrefix(s.URL, "http")
	return func(n int) error {
		c, _, err := websocket.DefaultDialer.Dial(url, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.WriteMessage(websocket.TextMessage, []byte(strconv.Itoa(n))); err != nil {
			return err
		}
		_, text, err := c.ReadMessage()
		if err == nil && string(text) != strconv.Itoa(n) {
			return fmt.Errorf("answer %q", text)
		}
		return err
	}
}

func rpc(t *testing.T) func(int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		s.Stop()
		require.NoError(t, <-served)
	})
	client := healthpb.NewHealthClient(c)
	return func(int) error {
		_, err := client.Check(context.Background(), &healthpb.HealthCheckRequest{})
		return err
	}
}
