package leakcheck_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

// forever is never closed: what waits for it is leaked.
var forever = make(chan struct{})

// short makes a failing check fast; every leak here is one for ever. What must
// pass gets patience, which costs nothing.
var (
	short    = leakcheck.Grace(20 * time.Millisecond)
	patience = leakcheck.Grace(time.Hour)
)

func graceFor(leaks bool) leakcheck.Option {
	if leaks {
		return short
	}
	return patience
}

func TestCheckIsSilentWhenGoroutinesEnd(t *testing.T) {
	leakcheck.Check(t)
	done := make(chan struct{})
	go func() { close(done) }()
	<-done
	go func() { <-t.Context().Done() }() // cancelled before the verdict
	stop := make(chan struct{})
	go func() { <-stop }()
	t.Cleanup(func() { close(stop) })
}

func TestCheckWaitsForWhatIsEnding(t *testing.T) {
	leakcheck.Check(t, patience)
	end := make(chan struct{})
	go func() {
		<-end
		time.Sleep(30 * time.Millisecond)
	}()
	close(end)
}

// Eight tests, of which the third and the sixth leak.
func eight(t *testing.T, n int, leak func()) {
	childTest(t)
	leaks := n == 3 || n == 6
	leakcheck.Check(t, graceFor(leaks))
	t.Parallel()
	together.wait(8)
	if leaks {
		leak()
		return
	}
	go func() {}()
}

func leakPlain() { go func() { <-forever }() }

func TestChildEight1(t *testing.T) { eight(t, 1, leakPlain) }
func TestChildEight2(t *testing.T) { eight(t, 2, leakPlain) }
func TestChildEight3(t *testing.T) { eight(t, 3, leakPlain) }
func TestChildEight4(t *testing.T) { eight(t, 4, leakPlain) }
func TestChildEight5(t *testing.T) { eight(t, 5, leakPlain) }
func TestChildEight6(t *testing.T) { eight(t, 6, leakPlain) }
func TestChildEight7(t *testing.T) { eight(t, 7, leakPlain) }
func TestChildEight8(t *testing.T) { eight(t, 8, leakPlain) }

func TestEightParallelTests(t *testing.T) {
	t.Parallel()
	wait := map[string]func() outcome{}
	for _, mode := range []string{"bare", "main"} {
		wait[mode] = start(t, mode, "TestChildEight.")
	}
	for mode, wait := range wait {
		t.Run(mode, func(t *testing.T) {
			o := wait()
			assert.Equal(t, []string{"TestChildEight3", "TestChildEight6"}, o.failed)
			assert.Contains(t, o.text, "1 goroutine is still running after TestChildEight3\n")
			assert.NotContains(t, o.text, "2 goroutines", "Main does not repeat them")
			assert.Contains(t, o.text, "leakcheck/goroutine_test.go")
			assert.Contains(t, o.text, "close the channel it receives from")
			assert.Contains(t, o.text, `silence        leakcheck.IgnoreFunc("leakcheck_test.leakPlain.func1")`)
		})
	}
}

func eightSubtests(t *testing.T, leak func()) {
	childTest(t)
	for n := range 8 {
		t.Run(fmt.Sprint(n+1), func(t *testing.T) { eight(t, n+1, leak) })
	}
}

func TestChildSubtests(t *testing.T) { eightSubtests(t, leakPlain) }

// The label is gone, but the creator is the test's own goroutine.
func TestChildPprofDo(t *testing.T) {
	eightSubtests(t, func() {
		pprof.Do(context.Background(), pprof.Labels("k", "v"), func(context.Context) { leakPlain() })
	})
}

// Neither label nor creator; and the closure is that of all eight.
func TestChildAfterFuncRows(t *testing.T) {
	eightSubtests(t, func() { time.AfterFunc(0, waitForever) })
}

func waitForever() {
	started <- struct{}{}
	<-forever
}

var started = make(chan struct{}, 100)

func TestEightParallelSubtests(t *testing.T) {
	for _, test := range []string{"TestChildSubtests", "TestChildPprofDo"} {
		t.Run(test, func(t *testing.T) {
			o := child(t, "bare", test)
			assert.Equal(t, []string{test, test + "/3", test + "/6"}, o.failed)
		})
	}
}

// One of several parallel tests; with an AfterFunc, which runs the test's own closure, if f is not
// nil.
func afterFunc(t *testing.T, tests int, f func()) {
	childTest(t)
	leakcheck.Check(t, graceFor(f != nil))
	t.Parallel()
	together.wait(tests)
	if f != nil {
		time.AfterFunc(0, f)
		<-started
	}
}

func TestChildClosure1(t *testing.T) { afterFunc(t, 3, nil) }
func TestChildClosure2(t *testing.T) {
	afterFunc(t, 3, func() { started <- struct{}{}; <-forever })
}
func TestChildClosure3(t *testing.T) { afterFunc(t, 3, nil) }

// The closure is that of every row; the guilty one ends before the others.
func TestChildClosureRows(t *testing.T) {
	childTest(t)
	for n := range 4 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			leakcheck.Check(t, short)
			t.Parallel()
			if n == 2 {
				time.AfterFunc(0, func() { started <- struct{}{}; <-forever })
				<-started
			}
			time.Sleep(time.Duration(min(n, 1)+n) * 50 * time.Millisecond)
		})
	}
}

// The closure is that of both rows, of which the guilty one has no Check.
func TestChildHalfChecked(t *testing.T) {
	childTest(t)
	checked, leaked, judged := make(chan struct{}), make(chan struct{}), make(chan struct{})
	for _, check := range []bool{true, false} {
		t.Run(fmt.Sprint(check), func(t *testing.T) {
			t.Parallel()
			if check {
				t.Cleanup(func() { close(judged) })
				leakcheck.Check(t, short)
				close(checked)
				<-leaked
				return
			}
			<-checked
			time.AfterFunc(0, func() { started <- struct{}{}; <-forever })
			<-started
			close(leaked)
			<-judged
		})
	}
}

func TestChildMethod1(t *testing.T) { afterFunc(t, 2, nil) }
func TestChildMethod2(t *testing.T) { afterFunc(t, 2, waitForever) }

func TestChildAlone(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	time.AfterFunc(0, waitForever)
	<-started
}

func TestAfterFunc(t *testing.T) {
	testgate.Seconds(t)
	closure := start(t, "bare", "TestChildClosure.")
	closureRows := start(t, "main", "TestChildClosureRows")
	halfChecked := start(t, "main", "TestChildHalfChecked")
	method := start(t, "main", "TestChildMethod.")
	alone := start(t, "main", "TestChildAlone")
	rows := start(t, "main", "TestChildAfterFuncRows")
	t.Run("the closure of a test function names its test", func(t *testing.T) {
		o := closure()
		assert.Equal(t, []string{"TestChildClosure2"}, o.failed)
	})
	t.Run("the closure of several rows fails none", func(t *testing.T) {
		o := closureRows()
		assertOnlyTheRunFails(t, o, "1 goroutine is still running after TestChildClosureRows\n")
	})
	t.Run("the closure of a row without a Check fails none", func(t *testing.T) {
		o := halfChecked()
		assertOnlyTheRunFails(t, o, "1 goroutine is still running after TestChildHalfChecked\n")
	})
	t.Run("a function of several tests fails none, and Main names the candidates", func(t *testing.T) {
		o := method()
		assertOnlyTheRunFails(t, o, "1 goroutine is still running after all tests; started by one of TestChildMethod1, TestChildMethod2\n")
		assert.Contains(t, o.text, "waitForever")
	})
	t.Run("the only test there is fails not: TestMain may have set the timer", func(t *testing.T) {
		o := alone()
		assertOnlyTheRunFails(t, o, "still running after all tests; started by TestChildAlone\n")
	})
	t.Run("rows of a table", func(t *testing.T) {
		o := rows()
		assertOnlyTheRunFails(t, o, "2 goroutines are still running after all tests; started by one of TestChildAfterFuncRows/1, TestChildAfterFuncRows/2")
	})
}

func TestContextKeepsTheLabel(t *testing.T) {
	leakcheck.MustDetect(t, func(t2 testing.TB) {
		stop := make(chan struct{})
		t.Cleanup(func() { close(stop) })
		leakcheck.Goroutines(t2)
		ctx := leakcheck.Context(t2)
		done := make(chan struct{})
		go func() { // an intermediate, which ends
			defer close(done)
			pprof.Do(ctx, pprof.Labels("k", "v"), func(context.Context) {
				go wait(stop)
			})
		}()
		<-done
	})
}

func wait(stop chan struct{}) { <-stop }

func TestContextWithoutCheckIsTheTestsOwn(t *testing.T) {
	assert.Equal(t, t.Context(), leakcheck.Context(t))
	leakcheck.Check(t)
	_, labelled := pprof.Label(leakcheck.Context(t), "leakcheck test")
	assert.True(t, labelled)
	t.Run("in a subtest", func(t *testing.T) {
		value, _ := pprof.Label(leakcheck.Context(t), "leakcheck test")
		assert.Contains(t, value, "TestContextWithoutCheckIsTheTestsOwn")
	})
}

func TestChildBubble(t *testing.T) {
	childTest(t)
	synctest.Test(t, func(t *testing.T) {
		leakcheck.Check(t)
		go func() {}()
		go func() { <-t.Context().Done() }()
		leakPlainIn(make(chan struct{}))
	})
}

func leakPlainIn(c chan struct{}) { go func() { <-c }() }

func TestBubble(t *testing.T) {
	t.Run("silent when clean", func(t *testing.T) {
		leakcheck.Check(t)
		synctest.Test(t, func(t *testing.T) {
			leakcheck.Check(t)
			go func() {
				time.Sleep(time.Hour)
			}()
			time.Sleep(2 * time.Hour)
			stop := make(chan struct{})
			t.Cleanup(func() { close(stop) })
			go func() { <-stop }()
		})
	})
	t.Run("site and fix before the panic", func(t *testing.T) {
		o := child(t, "bare", "TestChildBubble")
		said, panicked := cutAt(o.text, "panic: deadlock")
		require.True(t, panicked)
		assert.Contains(t, said, "1 goroutine is still running after TestChildBubble\n")
		assert.Contains(t, said, "leakcheck_test.leakPlainIn")
		assert.Contains(t, said, "fix")
		assert.Contains(t, said, "synctest bubble")
	})
}

func TestIgnore(t *testing.T) {
	const pkg = "github.com/leaksafe/leaksafe/leakcheck_test."
	stop := make(chan struct{})
	defer close(stop)
	leaky := func(t testing.TB, opts ...leakcheck.Option) {
		leakcheck.Goroutines(t, opts...)
		startWaiting(stop)
	}
	for name, opts := range map[string][]leakcheck.Option{
		"by function":       {leakcheck.IgnoreFunc(pkg + "wait")},
		"by outer function": {leakcheck.IgnoreFunc(pkg + "begin")},
		"by creator":        {leakcheck.IgnoreCreatedBy(pkg + "startWait")},
		"as printed":        {leakcheck.IgnoreFunc("leakcheck_test.wait")},
		"creator, printed":  {leakcheck.IgnoreCreatedBy("leakcheck_test.startWaiting")},
		"added by a second": {leakcheck.IgnoreFunc("other"), leakcheck.IgnoreFunc(pkg + "wait")},
	} {
		t.Run(name, func(t *testing.T) { leaky(t, opts...) })
	}
	leakcheck.MustDetect(t, func(t testing.TB) { leaky(t, leakcheck.IgnoreFunc("other"), leakcheck.IgnoreCreatedBy(pkg+"wait")) })
}

func startWaiting(stop chan struct{}) { go begin(stop) }

func begin(stop chan struct{}) { wait(stop) }

// A subtest without a Check belongs to the test around it, which is judged
// when all its subtests, also the parallel ones, have ended.
func TestSubtestBelongsToItsParent(t *testing.T) {
	leakcheck.Check(t)
	for range 3 {
		t.Run("sub", func(t *testing.T) {
			t.Parallel()
			stop := make(chan struct{})
			t.Cleanup(func() { close(stop) })
			go wait(stop)
		})
	}
}

func TestChildParent(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	t.Run("sub", func(t *testing.T) {
		t.Parallel()
		leakPlain()
	})
}

func TestLeakInSubtestFailsItsParent(t *testing.T) {
	o := child(t, "bare", "TestChildParent")
	assert.Equal(t, []string{"TestChildParent"}, o.failed)
}

// A subtest's leak is reported once, by the subtest.
func TestChildBoth(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	t.Run("sub", func(t *testing.T) {
		leakcheck.Check(t, short)
		leakPlain()
	})
}

func TestLeakInCheckedSubtestIsReportedOnce(t *testing.T) {
	o := child(t, "bare", "TestChildBoth")
	assert.Equal(t, []string{"TestChildBoth", "TestChildBoth/sub"}, o.failed)
	assert.NotContains(t, o.text, "1 goroutine is still running after TestChildBoth\n")
}

// The connections that net/http keeps for everyone are closed before the
// verdict; those of the test's own transport are its own to close.
func TestKeepAlive(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	get := func(t testing.TB, c *http.Client) {
		response, err := c.Get(server.URL)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	t.Run("default transport", func(t *testing.T) {
		leakcheck.Check(t)
		get(t, http.DefaultClient)
	})
	t.Run("own transport, closed", func(t *testing.T) {
		leakcheck.Check(t)
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		get(t, &http.Client{Transport: transport})
	})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Goroutines(t)
		get(t, &http.Client{Transport: transport})
	})
}

func TestChildFailed(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	leakPlain()
	t.Fatal("for another reason")
}

func TestFailedTestIsJudgedToo(t *testing.T) {
	o := child(t, "bare", "TestChildFailed")
	assert.Contains(t, o.text, "1 goroutine is still running after TestChildFailed\n")
	assert.Contains(t, o.text, "the leak may be a consequence")
}
