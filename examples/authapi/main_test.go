package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) != "" {
		main()
		return
	}
	if os.Getenv(wholeEnv) != "" {
		_ = os.Unsetenv(wholeEnv) // its children are themselves
		main()
		return
	}
	leakcheck.Main(m)
}

func start(t testing.TB, leaky bool) *server {
	t.Helper()
	s, err := openServer(t.TempDir(), false, leaky)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.close()) })
	return s
}

func ask(h http.Handler, method, path, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewBufferString(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const wrong = `{"email":"ada@example.com","password":"wrong"}`

const ada = `{"email":"ada@example.com","name":"Ada","password":"correct horse"}`

// signIn makes an account and returns a token for it.
func signIn(t testing.TB, h http.Handler) string {
	t.Helper()
	require.Equal(t, 201, ask(h, "POST", "/users", "", ada).Code)
	w := ask(h, "POST", "/sessions", "", ada)
	require.Equal(t, 201, w.Code)
	var session struct{ Token string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &session))
	return session.Token
}

func TestAccount(t *testing.T) {
	h := start(t, false).handler()
	token := signIn(t, h)
	w := ask(h, "GET", "/account", token, "")
	assert.Equal(t, 200, w.Code)
	shown := `^{"id":1,"email":"ada@example.com","name":"Ada","created":"[^"]+"}\n$`
	assert.Regexp(t, shown, w.Body.String(), "no password, no salt")
	assert.Equal(t, 200, ask(h, "PATCH", "/account", token, `{"name":"Ada II"}`).Code)
	assert.Contains(t, ask(h, "GET", "/account", token, "").Body.String(), "Ada II")

	for name, c := range map[string]struct {
		method, path, token, body string
		code                      int
	}{
		"twice":          {"POST", "/users", "", ada, 409},
		"no JSON":        {"POST", "/users", "", "{", 400},
		"short password": {"POST", "/users", "", `{"email":"a@b","password":"short"}`, 422},
		"wrong password": {"POST", "/sessions", "", wrong, 401},
		"nobody":         {"POST", "/sessions", "", strings.Replace(wrong, "ada", "eve", 1), 401},
		"no token":       {"GET", "/account", "", "", 401},
		"wrong token":    {"PATCH", "/account", "x", "{}", 401},
	} {
		assert.Equal(t, c.code, ask(h, c.method, c.path, c.token, c.body).Code, name)
	}
}

func TestRequestsDoNotGrow(t *testing.T) {
	reads := func(t testing.TB, leaky bool) {
		h := start(t, leaky).handler()
		token := signIn(t, h)
		leakcheck.NoGrowth(t, func() {
			if ask(h, "GET", "/account", token, "").Code != 200 {
				t.Error("not 200")
			}
		})
	}
	reads(t, false)
	leakcheck.MustDetect(t, func(t testing.TB) { reads(t, true) })
}

func TestGeneratorCountsByClass(t *testing.T) {
	s := start(t, false)
	working := httptest.NewServer(s.handler())
	defer working.Close()
	rows := filepath.Join(t.TempDir(), "rows.csv")
	require.NoError(t, writeRows(rows, 100, 1))
	all, err := readRows(rows)
	require.NoError(t, err)
	g := &generator{url: working.URL, client: &http.Client{Timeout: requestTimeout}, rows: all}
	r := g.run(t.Context(), []phase{{Rate: 50, Length: 200 * time.Millisecond}}, 0)
	assert.Equal(t, 10, r.Created)
	assert.Equal(t, 10, r.Completed)
	assert.Equal(t, map[string]int{"200": 30, "201": 20}, r.Codes)
	assert.Empty(t, r.Errors)
	assert.Positive(t, r.Max)

	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		// Unless the body is read, the server does not notice that the client has gone.
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer hangs.Close()
	g = &generator{url: hangs.URL, client: &http.Client{Timeout: 50 * time.Millisecond}, rows: all}
	r = g.run(t.Context(), []phase{{Rate: 50, Length: 100 * time.Millisecond}}, 0)
	assert.Equal(t, map[string]int{"timeout after 20s": 5}, r.Errors, "a class of its own")
	assert.Zero(t, r.Completed)
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	dir := t.TempDir()
	require.NoError(t, run(t.Context(), &out, dir, false, 200*time.Millisecond), "%s", out.String())
	var r results
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &r))
	assert.Equal(t, r.After.Created, r.After.Completed)
	assert.Empty(t, r.After.Errors)
	html, err := os.ReadFile(filepath.Join(dir, "report.html"))
	require.NoError(t, err)
	assert.Regexp(t, `<td>&lt; \d+ ms</td><td>\d+</td>`+
		`<td><div style="width:[\d.]+%">`, string(html))
	assert.Regexp(t, `<p>200: \d+, 201: \d+</p>`, string(html))
	dumps, err := filepath.Glob(filepath.Join(dir, "*.dump"))
	require.NoError(t, err)
	assert.Empty(t, dumps, "dumps hold secrets and are gone")

	out.Reset()
	err = run(t.Context(), &out, dir, true, 200*time.Millisecond)
	assert.ErrorContains(t, err, "registry keeps a mapper")
	assert.Regexp(t, `(?s)# new.*mapper`, out.String())
}

func TestInterruptEndsChildrenAndRemovesTheirFolder(t *testing.T) {
	leakcheck.Check(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var out bytes.Buffer
	require.Error(t, run(ctx, &out, t.TempDir(), false, time.Minute))
	left, err := filepath.Glob(filepath.Join(temp, "leaksafe-authapi-db-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestRefusedBeforeMeasuring(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	var out bytes.Buffer
	assert.ErrorContains(t, run(t.Context(), &out, file, false, time.Minute), "not a directory")
	assert.Empty(t, out.String())
}
