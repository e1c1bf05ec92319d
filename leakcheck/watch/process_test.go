package watch_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

// childEnv makes the test binary the service that is watched; its value is the
// interval.
const childEnv = "LEAKSAFE_WATCH_CHILD"

func TestMain(m *testing.M) {
	if interval := os.Getenv(childEnv); interval != "" {
		serve(interval)
		return
	}
	if dir := os.Getenv(shareEnv); dir != "" {
		share(dir)
		return
	}
	leakcheck.Main(m)
}

var (
	mu     sync.Mutex
	leaked [][]byte
	cache  = map[string][]byte{}
)

// serve runs a service with three routes, and prints each finding as a line of JSON.
func serve(interval string) {
	every, err := time.ParseDuration(interval)
	if err != nil {
		panic(err)
	}
	findings := json.NewEncoder(os.Stdout)
	w, err := watch.Start(watch.Options{Interval: every, OnFinding: func(f watch.Finding) { _ = findings.Encode(f) }})
	if err != nil {
		panic(err)
	}
	defer w.Stop()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	http.HandleFunc("/leak", leak)
	http.HandleFunc("/normal", normal)
	http.HandleFunc("/cache", cached)
	go func() { _ = http.Serve(listener, nil) }()
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
}

func leak(w http.ResponseWriter, r *http.Request) {
	mu.Lock()
	leaked = append(leaked, make([]byte, 4<<10))
	mu.Unlock()
	normal(w, r)
}

func normal(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, strings.Repeat("page ", 10_000))
}

func cached(w http.ResponseWriter, r *http.Request) {
	key := fmt.Sprint(time.Now().UnixNano() % 1000)
	mu.Lock()
	page, ok := cache[key]
	if !ok {
		page = make([]byte, 10<<10)
		cache[key] = page
	}
	mu.Unlock()
	_, _ = w.Write(page)
	normal(w, r)
}

// A service is a watched child process.
type service struct {
	url      string
	findings chan watch.Finding
}

func startService(t *testing.T, interval time.Duration) service {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+interval.String())
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	s := service{url: lines.Text(), findings: make(chan watch.Finding, 100)}
	var reader sync.WaitGroup
	reader.Go(func() {
		for lines.Scan() {
			var f watch.Finding
			if json.Unmarshal(lines.Bytes(), &f) == nil {
				s.findings <- f
			}
		}
	})
	t.Cleanup(func() {
		hold.Close()
		reader.Wait()
		assert.NoError(t, cmd.Wait())
	})
	return s
}

// load sends requests one after the other, at most one each pause, for as
// long as until says, and returns the first finding.
func (s service) load(t *testing.T, path string, pause, until time.Duration) (watch.Finding, bool) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	end := time.After(until)
	for {
		select {
		case f := <-s.findings:
			return f, true
		case <-end:
			return watch.Finding{}, false
		case <-tick.C:
			resp, err := client.Get(s.url + path)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
		}
	}
}

func TestLeakIsFound(t *testing.T) {
	testgate.Seconds(t)
	t.Parallel()
	interval, pause := 50*time.Millisecond, 100*time.Microsecond
	if testgate.Long() {
		interval, pause = time.Second, 10*time.Millisecond
	}
	f, ok := startService(t, interval).load(t, "/leak", pause, 5*time.Minute)
	require.True(t, ok, "nothing was found")
	assert.Equal(t, "live heap", f.Signal)
	require.NotEmpty(t, f.Sites)
	assert.Contains(t, f.Sites[0].Func, "watch_test.leak")
	if testgate.Long() {
		assert.LessOrEqual(t, time.Duration(f.Over), 10*8*interval+interval, "within 10 windows")
	}
}

func TestCleanServicesAreSilent(t *testing.T) {
	testgate.Seconds(t)
	for _, path := range []string{"/normal", "/cache"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			interval, pause, until := 20*time.Millisecond, time.Millisecond, 4*time.Second
			if testgate.Long() {
				interval, pause, until = 250*time.Millisecond, 10*time.Millisecond, 5*time.Minute
			}
			f, found := startService(t, interval).load(t, path, pause, until)
			assert.False(t, found, "%v", f)
		})
	}
}
