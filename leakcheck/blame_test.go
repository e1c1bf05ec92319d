package leakcheck_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/leaksafe/leaksafe/leakcheck"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// No innocent test fails. In each pair of tests the first is guilty and the second is innocent, and
// the goroutine starts while the second one runs.

// later makes the guilty one's goroutine start.
var later func()

// laterTimer sets a timer that fires later.
func laterTimer(f func()) {
	timer := time.AfterFunc(time.Hour, f)
	later = func() { timer.Reset(0) }
}

// laterWorker starts a goroutine that starts another one later, and ends.
func laterWorker() {
	start := make(chan struct{})
	later = func() { close(start) }
	go func() {
		<-start
		go waitForever()
	}()
}

// The timer of the first test has not fired when it ends.
func TestChildTimer1(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	laterTimer(waitForever)
}

func TestChildTimer2(t *testing.T) { innocent(t) }

// The first test has no Check, and its worker has lost the label.
func TestChildWorker1(t *testing.T) {
	childTest(t)
	pprof.Do(context.Background(), pprof.Labels("job", "1"), func(context.Context) { laterWorker() })
}

func TestChildWorker2(t *testing.T) { innocent(t) }

// The first row's timer runs the closure of both rows.
func TestChildRows(t *testing.T) {
	childTest(t)
	for _, guilty := range []bool{true, false} {
		t.Run("row", func(t *testing.T) {
			if guilty {
				laterTimer(func() { waitForever() })
				return
			}
			innocent(t)
		})
	}
}

// TestMain, or package init, has started what starts a goroutine now: see background.
func TestChildBackground(t *testing.T) { innocent(t) }

// innocent starts nothing, and ends when somebody else's goroutine has started.
func innocent(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	later()
	<-started
}

// background is what TestMain starts in the child process of that name: a server that starts
// workers and stays, or one that ends, or a timer.
func background(kind string) {
	switch kind {
	case "stays":
		start := make(chan struct{})
		later = func() { close(start) }
		go func() {
			<-start
			go waitForever()
			<-forever
		}()
	case "ends":
		laterWorker()
	case "timer":
		laterTimer(waitForever)
	}
}

func TestNoInnocentTestFails(t *testing.T) {
	t.Parallel()
	for i, row := range []struct {
		name, tests, background string
		said                    string
	}{
		{"a timer of an earlier test", "TestChildTimer.", "", "after all tests; started by one of TestChildTimer2, TestChildTimer1\n"},
		// Of TestChildWorker1 alone, if the worker is seen while it ends.
		{"a worker of an earlier test without a Check", "TestChildWorker.", "", "TestChildWorker1\n"},
		{"a timer of another row", "TestChildRows", "", "TestChildRows"},
		{"a server of TestMain", "TestChildBackground", "stays", "package init or TestMain started it"},
		{"a worker of TestMain that has ended", "TestChildBackground", "ends", "after all tests; "},
		{"a timer of TestMain", "TestChildBackground", "timer", "after all tests; "},
	} {
		if i > 1 && !testgate.CI() {
			continue
		}
		main := start(t, "main", row.tests, "LEAKCHECK_BACKGROUND="+row.background)
		bare := start(t, "bare", row.tests, "LEAKCHECK_BACKGROUND="+row.background)
		t.Run(row.name, func(t *testing.T) {
			o := main()
			assertOnlyTheRunFails(t, o, row.said)
			assert.Contains(t, o.text, "waitForever")
			o = bare()
			assert.Empty(t, o.failed)
			assert.Zero(t, o.code)
		})
	}
}

// A server that the suite ignores starts goroutines that it ignores, too.
func TestOffspringOfAnIgnoredGoroutineIsIgnored(t *testing.T) {
	for _, ignore := range []bool{true, false} {
		stop := make(chan struct{})
		served := make(chan struct{})
		run := func(t testing.TB) {
			opts := []leakcheck.Option{leakcheck.Grace(0)}
			if ignore {
				opts = append(opts, leakcheck.IgnoreFunc("leakcheck_test.ignoredServer"))
			}
			leakcheck.Goroutines(t, opts...)
			go ignoredServer(stop, served)
			<-served
		}
		if ignore {
			t.Run("ignored", func(t *testing.T) { run(t) })
		} else {
			leakcheck.MustDetect(t, run)
		}
		close(stop)
	}
}

func ignoredServer(stop, served chan struct{}) {
	go wait(stop)
	close(served)
	<-stop
}

func TestErrgroupIsIgnoredByTheUsersFunction(t *testing.T) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	leaks, said := leakcheck.Plant(t, func(t testing.TB) {
		leakcheck.Check(t, short)
		var g errgroup.Group
		runs := make(chan struct{}) // one that has not run yet shows errgroup's function only
		g.Go(func() error { close(runs); return fetch(stop) })
		<-runs
	})
	assert.Equal(t, 1, leaks)
	assert.Regexp(t, `leakcheck\.IgnoreFunc\("leakcheck_test\.[^"]*func`, said)
	assert.NotContains(t, said, `errgroup.(*Group).Go")`)
}

func fetch(stop chan struct{}) error { <-stop; return nil }

// A client that TestMain made: see useBeforeRun.
var sharedClient = &http.Client{Transport: &http.Transport{}}

func get(t *testing.T, url string) {
	r, err := sharedClient.Get(url)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
}

func TestChildShared1(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	get(t, sharedServer.URL)
}

func TestChildShared2(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	get(t, sharedServer.URL)
}

var sharedServer *httptest.Server

// startShared starts what the tests share.
func startShared(use bool) (options []leakcheck.Option) {
	sharedServer = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if use {
		if r, err := sharedClient.Get(sharedServer.URL); err == nil {
			r.Body.Close()
		}
		return nil
	}
	return []leakcheck.Option{
		leakcheck.IgnoreFunc("net/http.(*persistConn)"), leakcheck.IgnoreFunc("net/http.(*conn).serve"),
		leakcheck.IgnoreFile(sharedServer.Listener.Addr().String()),
	}
}

// The tests share a client. The first one that uses it fails, and the text says how to share it.
func TestSharedClient(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("the system does not list open files")
	}
	bare := start(t, "bare", "TestChildShared.", "LEAKCHECK_SHARED=start")
	used := start(t, "bare", "TestChildShared.", "LEAKCHECK_SHARED=use")
	ignored := start(t, "main", "TestChildShared.", "LEAKCHECK_SHARED=ignore")
	o := bare()
	assert.Equal(t, []string{"TestChildShared1"}, o.failed)
	assert.Contains(t, o.text, "if several tests share it: use it once in TestMain, before m.Run, or give leakcheck.Main\n")
	assert.Regexp(t, `leakcheck\.IgnoreFunc\("net/http\.\(\*persistConn\)"\), leakcheck\.IgnoreFile\("127\.0\.0\.1:\d+"\)`, o.text)
	assert.Empty(t, used().failed)
	o = ignored()
	assert.Empty(t, o.failed)
	assert.NotContains(t, o.text, "persistConn")
	assert.NotContains(t, o.text, "file leak")
}

// Seven idle connections are one cause.
func TestIdleConnectionsAreOneFailure(t *testing.T) {
	gate := make(chan struct{})
	var inside sync.WaitGroup
	inside.Add(7)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Done(); <-gate }))
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 7}}
	t.Cleanup(client.CloseIdleConnections)
	leaks, said := leakcheck.Plant(t, func(t testing.TB) {
		leakcheck.Check(t, short)
		var requests sync.WaitGroup
		for range 7 {
			requests.Go(func() {
				r, err := client.Get(server.URL)
				if err == nil {
					r.Body.Close()
				}
			})
		}
		inside.Wait()
		close(gate)
		requests.Wait()
	})
	assert.Equal(t, 1, leaks, said)
	assert.Contains(t, said, "14 goroutines are still running")
	assert.NotContains(t, said, "had already failed")
}

// A client that the test shares with others may keep a second idle connection in its pool.
func TestPoolOfASharedClient(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("the system does not list open files")
	}
	for _, row := range []struct {
		name      string
		requests  int
		usedFirst bool
		keepBody  bool
		leaks     int
	}{
		{"used before the test, one connection more", 2, true, false, 0},
		{"not used before", 2, false, false, 1},
		{"more than a pool keeps", 3, true, false, 1},
		{"bodies that are not closed", 2, true, true, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var inside sync.WaitGroup
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/first" {
					inside.Done()
					inside.Wait() // so each request has a connection
				}
				w.Write([]byte("body"))
			}))
			t.Cleanup(server.Close)
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 3}}
			t.Cleanup(client.CloseIdleConnections)
			var kept []*http.Response
			t.Cleanup(func() {
				for _, r := range kept {
					r.Body.Close()
				}
			})
			get := func(path string) *http.Response {
				r, err := client.Get(server.URL + path)
				if err != nil {
					t.Error(err)
					return nil
				}
				io.ReadAll(io.LimitReader(r.Body, 1))
				return r
			}
			finish := func(r *http.Response) {
				io.Copy(io.Discard, r.Body)
				r.Body.Close()
			}
			if row.usedFirst {
				finish(get("/first"))
			}
			inside.Add(row.requests)
			leaks, said := leakcheck.Plant(t, func(t testing.TB) {
				leakcheck.Check(t, short)
				answers := make(chan *http.Response, row.requests)
				for range row.requests {
					go func() { answers <- get("/") }()
				}
				for range row.requests {
					kept = append(kept, <-answers)
				}
				for _, r := range kept {
					if !row.keepBody {
						finish(r)
					}
				}
			})
			assert.Equal(t, row.leaks, leaks, said)
		})
	}
}

func TestTickerFix(t *testing.T) {
	ticker := time.NewTicker(time.Hour)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); ticker.Reset(1) })
	_, said := leakcheck.Plant(t, func(t testing.TB) {
		leakcheck.Check(t, short)
		go receive(ticker, stop)
		parked("leakcheck_test.receive(")
	})
	assert.Contains(t, said, "Stop does not close a ticker's channel")
}

func receive(ticker *time.Ticker, stop <-chan struct{}) {
	for range ticker.C {
		select {
		case <-stop:
			return
		default:
		}
	}
}

// parked waits until a goroutine that is in a function receives from a channel.
func parked(function string) {
	text := make([]byte, 1<<20)
	for {
		for g := range strings.SplitSeq(string(text[:runtime.Stack(text, true)]), "\n\n") {
			if strings.Contains(g, function) && strings.Contains(g, "[chan receive") {
				return
			}
		}
		runtime.Gosched()
	}
}

// A goroutine that waits for an answer is the cause. Its failure is printed beside the failure of
// the connection.
func TestWaitingForAnAnswerIsAFailureOfItsOwn(t *testing.T) {
	gate := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		started <- struct{}{}
		<-gate
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(gate) })
	client := &http.Client{Transport: &http.Transport{}}
	leaks, said := leakcheck.Plant(t, func(t testing.TB) {
		leakcheck.Check(t, short)
		go ask(client, server.URL)
		<-started
	})
	assert.Equal(t, 2, leaks, said)
	assert.Contains(t, said, "leakcheck_test.ask")
}

func ask(client *http.Client, url string) {
	if r, err := client.Get(url); err == nil {
		r.Body.Close()
	}
}
