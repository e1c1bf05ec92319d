package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	runtimepprof "runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/internal/remote"
)

// buildPlain builds testdata/plain, which imports nothing of leaksafe.
func buildPlain(t *testing.T, flags ...string) string {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not on PATH: cannot build the service")
	}
	exe := filepath.Join(t.TempDir(), "plain.exe")
	out, err := exec.Command("go", append(append([]string{"build"}, flags...), "-o", exe, "./testdata/plain")...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

func startPlain(t *testing.T, exe, mode string) (url string) {
	cmd := exec.Command(exe, mode)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		assert.NoError(t, cmd.Wait())
	})
	line := bufio.NewScanner(out)
	require.True(t, line.Scan())
	return line.Text()
}

// watched runs the command and returns its exit code and output.
func watched(t *testing.T, args ...string) (code int, text string) {
	var out bytes.Buffer
	err := run(append([]string{"watch"}, args...), &out, &out)
	text = out.String()
	if err != nil && err.Error() != "" {
		text += err.Error()
	}
	t.Logf("leakcheck watch %s: exit code %d\n%s", strings.Join(args, " "), exitCode(err), text)
	return exitCode(err), text
}

func TestWatchOfAPlainService(t *testing.T) {
	testgate.Seconds(t)
	exe, stripped := buildPlain(t), buildPlain(t, "-ldflags=-s -w")
	for _, test := range []struct {
		name, mode, exe string
		code            int
		says            []string
	}{
		{"a list that grows by the request", "leak", exe, 1, []string{"growing", "live heap: ", "main.remember (plain/main.go:29)", "an hour"}},
		{"the same, stripped", "leak", stripped, 1, []string{"main.remember (plain/main.go:29)"}},
		{"goroutines that wait for nothing", "goroutines", exe, 1, []string{"goroutines: ", "main.wait (plain/main.go:48)"}},
		{"a leak below the noise of others", "beside", exe, 1, []string{"main.remember (plain/main.go:29)"}},
		{"a cache that fills", "cache", exe, 0, []string{"steady"}},
		{"churn", "churn", exe, 0, []string{"steady"}},
		{"nothing", "steady", exe, 0, []string{"steady"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := startPlain(t, test.exe, test.mode)
			var code int
			var text string
			for range 8 { // a machine that is busy with other things may leave the service no time in one fetch
				code, text = watched(t, url, "-n", "11", "-interval", "400ms")
				if code == test.code || code == 1 {
					break
				}
			}
			assert.Equal(t, test.code, code)
			for _, s := range test.says {
				assert.Contains(t, text, s)
			}
			assert.NotContains(t, text, "main.main", "what was there before is no leak")
		})
	}
}

// Go 1.27 proves that a goroutine can never go on.
func TestWatchOfGoroutinesThatAreProvenToLeak(t *testing.T) {
	if runtimepprof.Lookup("goroutineleak") == nil {
		t.Skip("this Go has no goroutineleak profile without an experiment")
	}
	exe := buildPlain(t)
	code, text := watched(t, startPlain(t, exe, "blocked"), "-json", "-n", "6", "-interval", "200ms")
	assert.Equal(t, 1, code)
	var r remote.Report
	require.NoError(t, json.Unmarshal([]byte(text), &r))
	var proven *remote.Finding
	for i := range r.Findings {
		if r.Findings[i].Signal == remote.Leaked {
			proven = &r.Findings[i]
		}
	}
	require.NotNil(t, proven, text)
	require.NotEmpty(t, proven.Sites)
	assert.Equal(t, "main.wait", proven.Sites[0].Func)
	assert.Len(t, r.Samples, 6)
}

// A fake is a service whose answers the test decides.
func fake(t *testing.T, answer func(n int64, w http.ResponseWriter, r *http.Request)) string {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(n.Add(1), w, r) }))
	t.Cleanup(s.Close)
	return s.URL
}

func TestWatchCannotTell(t *testing.T) {
	testgate.Seconds(t)
	exe := buildPlain(t)
	real := startPlain(t, exe, "leak")
	proxy := func(w http.ResponseWriter, r *http.Request, base string) []byte {
		resp, err := http.Get(base + r.URL.String())
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		w.WriteHeader(resp.StatusCode)
		return b.Bytes()
	}
	other := startPlain(t, exe, "steady")
	for name, test := range map[string]struct {
		url  string
		says string
	}{
		"no service":      {"http://127.0.0.1:1", "connection refused"},
		"no address":      {"127.0.0.1:6060", "is no address of a service: give one such as http://host:6060"},
		"no pprof":        {fake(t, func(n int64, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }), "import net/http/pprof in the service"},
		"no right":        {fake(t, func(n int64, w http.ResponseWriter, r *http.Request) { http.Error(w, "", http.StatusUnauthorized) }), "give a user and a password"},
		"a page of login": {fake(t, func(n int64, w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }), "this is no heap profile of a Go program"},
		"an error of its own": {fake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
			http.Error(w, "", http.StatusInternalServerError)
		}), "500 Internal Server Error"},
		"errors later": {fake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
			if n > 8 {
				http.Error(w, "", http.StatusServiceUnavailable)
				return
			}
			_, _ = w.Write(proxy(w, r, real))
		}), "2 of 8 fetches succeeded, and at least 6 are needed"},
		"two processes behind one address": {fake(t, func(n int64, w http.ResponseWriter, r *http.Request) {
			base := real
			if n > 15 {
				base = other
			}
			_, _ = w.Write(proxy(w, r, base))
		}), "the address leads to several processes"},
	} {
		t.Run(name, func(t *testing.T) {
			code, text := watched(t, test.url, "-n", "8", "-interval", "30ms")
			assert.Equal(t, 2, code)
			assert.Contains(t, text, test.says)
		})
	}
	code, text := watched(t, real, "-n", "5")
	assert.Equal(t, 2, code)
	assert.Contains(t, text, "5 fetches are too few to tell growth from noise")
	code, text = watched(t, "http://user:secret@127.0.0.1:1")
	assert.Equal(t, 2, code)
	assert.NotContains(t, text, "secret")
	var e exit
	assert.True(t, errors.As(run([]string{"watch", "ftp://x"}, &bytes.Buffer{}, &bytes.Buffer{}), &e))
}
