package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/examples/orders/order"
	"github.com/leaksafe/leaksafe/leakcheck"
)

// programEnv makes the test's binary the whole program; its value is the arguments.
const programEnv = "LEAKSAFE_ORDERS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(configEnv) != "" {
		main()
		return
	}
	if args, ok := os.LookupEnv(programEnv); ok {
		os.Args = append(os.Args[:1], strings.Fields(args)...)
		main()
		return
	}
	leakcheck.Main(m)
}

// eachService runs a test with both services, in this process.
func eachService(t *testing.T, deps order.Deps, test func(t *testing.T, s service)) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			leakcheck.Check(t)
			store, err := order.Open(t.TempDir())
			require.NoError(t, err)
			deps.Store = store
			s, err := newService(name, deps, nil)
			require.NoError(t, err)
			defer func() { assert.NoError(t, s.Close(context.WithoutCancel(t.Context()))) }()
			test(t, s)
		})
	}
}

func ask(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewBufferString(body)))
	return w
}

const tea = `{"key":"k","customer":"Ada","item":"tea","count":2,"note":"hot"}`

// TestBothDoTheSame is what makes the comparison one.
func TestBothDoTheSame(t *testing.T) {
	var confirmed atomic.Int64
	deps := order.Deps{Confirm: func(_ context.Context, o order.Order) error {
		confirmed.Store(o.ID)
		return nil
	}}
	eachService(t, deps, func(t *testing.T, s service) {
		w := ask(s, "POST", "/orders", tea)
		assert.Equal(t, http.StatusCreated, w.Code)
		want := `^{"id":1,"key":"k","customer":"Ada","item":"tea","count":2,"note":"hot",` +
			`"created":"[^"]+Z"}\n$`
		assert.Regexp(t, want, w.Body.String())
		read := ask(s, "GET", "/orders/1", "")
		assert.Equal(t, http.StatusOK, read.Code)
		assert.Equal(t, w.Body.String(), read.Body.String())
		assert.Equal(t, "application/json", read.Header().Get("Content-Type"))

		large := `{"key":"` + strings.Repeat("k", order.MaxBody) + `","item":"tea","count":1}`
		for name, c := range map[string]struct {
			method, path, body string
			code               int
		}{
			"a key that is taken":     {"POST", "/orders", tea, http.StatusConflict},
			"no JSON":                 {"POST", "/orders", "{", http.StatusBadRequest},
			"no key":                  {"POST", "/orders", `{"item":"tea"}`, http.StatusBadRequest},
			"a body beyond the limit": {"POST", "/orders", large, http.StatusBadRequest},
			"an unknown id":           {"GET", "/orders/7", "", http.StatusNotFound},
			"no id":                   {"GET", "/orders/x", "", http.StatusNotFound},
		} {
			assert.Equal(t, c.code, ask(s, c.method, c.path, c.body).Code, name)
		}
		require.NoError(t, s.Close(t.Context()), "it waits for the confirmation")
		assert.EqualValues(t, 1, confirmed.Swap(0))
		assert.Equal(t, http.StatusServiceUnavailable, ask(s, "POST", "/orders",
			strings.Replace(tea, `"k"`, `"k2"`, 1)).Code, "after Close")
	})
}

// line finds a row of the table and returns its two numbers.
func line(t *testing.T, table, what string) (ours, theirs int) {
	t.Helper()
	row := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(what) + `\s+(\d+)\s+(\d+)$`)
	found := row.FindStringSubmatch(table)
	require.NotNil(t, found, "%q is not in\n%s", what, table)
	ours, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	theirs, err = strconv.Atoi(found[2])
	require.NoError(t, err)
	return ours, theirs
}

// TestTheTable runs the whole program, shortened. It asserts only what does not depend on the speed
// of the machine.
func TestTheTable(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, 50*time.Millisecond, 200*time.Millisecond))
	table := out.String()
	ours, theirs := line(t, table, "lines of code")
	assert.Positive(t, ours)
	assert.Positive(t, theirs)
	for _, part := range strings.Split(table, "\n\n")[1:3] { // killed, and closed in order
		ours, theirs = line(t, part, "orders acknowledged (201)")
		assert.Positive(t, ours)
		assert.Positive(t, theirs)
		ours, theirs = line(t, part, "of them missing after a restart")
		assert.Zero(t, ours)
		assert.Zero(t, theirs)
	}
	ours, theirs = line(t, strings.Split(table, "\n\n")[2], "of them never confirmed")
	assert.Zero(t, ours, "closed in order")
	assert.Zero(t, theirs, "closed in order")
	ours, _ = line(t, table, "of them corrupted")
	assert.Zero(t, ours)
	ours, _ = line(t, table, "late writes refused and reported")
	assert.Positive(t, ours, "the fault was planted and met")
	ours, theirs = line(t, table, "answers 201")
	assert.Positive(t, ours)
	assert.Positive(t, theirs)
	assert.Contains(t, table, "requests a second, median")
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestAnUnconfirmedOrderIsCounted is the negative control of the table's zeros: an order that no
// service has, and that nobody confirmed.
func TestAnUnconfirmedOrderIsCounted(t *testing.T) {
	leakcheck.Check(t)
	mail, err := openMailbox()
	require.NoError(t, err)
	defer mail.close()
	lost := []placed{{id: 99, key: "lost"}}
	assert.Equal(t, 1, mail.missing(lost))
	c := &comparison{dir: t.TempDir()}
	for _, name := range names {
		n, err := c.missing(t.Context(), config{Name: name, Dir: t.TempDir()}, lost)
		require.NoError(t, err)
		assert.Equal(t, 1, n, name)
	}
}

// TestSignalsEndEverything sends signals to the program when it starts and while it runs its
// trials. Its children have its standard error: the pipe ends when all of them have.
func TestSignalsEndEverything(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGTERM")
	}
	leakcheck.Check(t)
	moments := map[string]string{
		"at the start":       "leaksafe-orders-*",
		"in the first trial": "leaksafe-orders-*/db-*/orders.db",
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		for moment, file := range moments {
			t.Run(sig.String()+" "+moment, func(t *testing.T) { signalled(t, sig, file) })
		}
	}
}

// signalled sends a signal to the program when a file is there.
func signalled(t *testing.T, sig os.Signal, file string) {
	temp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), programEnv+"=-length 5s", "TMPDIR="+temp)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd.Stderr = w
	err = cmd.Start()
	require.NoError(t, w.Close())
	require.NoError(t, err)
	assert.Eventually(t, func() bool {
		found, err := filepath.Glob(filepath.Join(temp, filepath.FromSlash(file)))
		return err == nil && len(found) > 0
	}, time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(sig))
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Error(t, cmd.Wait(), "an interrupted comparison is not a success")
	assert.Equal(t, "orders: interrupted\n", string(text))
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestArgumentsAreRefused(t *testing.T) {
	for _, args := range []string{"-length 1h", "-length 0s", "-hang 1h", "what", "-nothing"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), programEnv+"="+args)
		text, err := cmd.CombinedOutput()
		assert.Error(t, err, args)
		assert.Contains(t, string(text), "prints a table", args)
	}
}

// TestReadmeHasTheseSources: the table in the README is of a run of these sources.
func TestReadmeHasTheseSources(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, new(comparison).printLines(t.Context(), &out))
	assert.Contains(t, string(readme), out.String())
}

func TestCountLines(t *testing.T) {
	assert.Equal(t, 2, countLines("// Package p.\npackage p\n\n\t// why\nvar x int // x\n"))
	assert.Equal(t, "never", fmt.Sprint(short(-1)))
}

// TestTheFaultCorruptsAnswers is the leaky counterpart of the guarded writer: without it the
// planted fault reaches other clients, sooner or later.
func TestTheFaultCorruptsAnswers(t *testing.T) {
	leakcheck.Check(t)
	c := &comparison{dir: t.TempDir(), length: 100 * time.Millisecond}
	giveUp := time.Now().Add(60 * time.Second)
	for time.Now().Before(giveUp) {
		l, err := c.lateWrites(t.Context(), namePlain)
		require.NoError(t, err)
		if l.corrupted > 0 {
			return
		}
	}
	t.Error("no answer was corrupted: the fault is no fault")
}
