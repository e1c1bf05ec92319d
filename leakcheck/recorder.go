package leakcheck

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// plant runs f on a goroutine of its own.
func plant(t testing.TB, f func(testing.TB)) *recorder {
	r := newRecorder(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(f)
	}()
	<-done
	return r
}

// planted reports whether t belongs to a negative control.
func planted(t testing.TB) bool {
	_, ok := t.(*recorder)
	return ok
}

// A recorder is the testing.TB of a negative control.
type recorder struct {
	testing.TB // the outer test: the private method, and what is not a test's own
	name       string
	ctx        context.Context
	cancel     context.CancelFunc

	mu       sync.Mutex
	cleanups []func()
	leaks    int
	failed   bool
	skipped  bool
	said     []string
	tempDirs int
	tempRoot string
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{TB: t, name: t.Name() + "/MustDetect"}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	return r
}

// run runs f and then its Cleanups, as package testing does.
func (r *recorder) run(f func(testing.TB)) {
	defer r.removeTemp()
	defer r.runCleanups()
	defer r.cancel()
	defer r.recovered("f")
	f(r)
}

// recovered turns a panic of f into a failure: it must not end the process,
// and it is not a detected leak.
func (r *recorder) recovered(where string) {
	if p := recover(); p != nil {
		r.Errorf("panic in %s: %v", where, p)
	}
}

// runCleanups runs the rest also when one panics or calls FailNow.
func (r *recorder) runCleanups() {
	cleanup := r.lastCleanup()
	if cleanup == nil {
		return
	}
	defer r.runCleanups()
	defer r.recovered("a Cleanup of f")
	cleanup()
}

func (r *recorder) lastCleanup() func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.cleanups)
	if n == 0 {
		return nil
	}
	cleanup := r.cleanups[n-1]
	r.cleanups[n-1] = nil
	r.cleanups = r.cleanups[:n-1]
	return cleanup
}

func (r *recorder) judge() {
	r.TB.Helper()
	said := r.text()
	switch {
	case r.leaks > 0:
		if testing.Verbose() {
			r.TB.Logf("leakcheck: MustDetect: detected, as it must be:\n%s", said)
		}
	case r.failed:
		r.TB.Errorf("leakcheck: MustDetect: f failed, but no check reported a leak; a failure of another kind is not a detection. f said:\n%s", said)
	case r.skipped:
		r.TB.Errorf("leakcheck: MustDetect: f was skipped, so that nothing was detected; skip the outer test instead. f said:\n%s", said)
	default:
		r.TB.Errorf("leakcheck: MustDetect: no leak was reported: f must call a check (Check, NoGrowth, Track …) on the t it is given, and leak. f said: %s", said)
	}
}

func (r *recorder) text() string { return cmp.Or(strings.Join(r.said, "\n"), "nothing") }

func (r *recorder) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, strings.TrimRight(text, "\n"))
}

func (r *recorder) Error(args ...any) { r.fail(fmt.Sprintln(args...), args) }

func (r *recorder) Errorf(format string, args ...any) { r.fail(fmt.Sprintf(format, args...), args) }

// fail counts a leak when a verdict is among args: its type tells it from
// everything else that can fail f.
func (r *recorder) fail(text string, args []any) {
	r.say(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	if slices.ContainsFunc(args, func(a any) bool { _, ok := a.(*failure); return ok }) {
		r.leaks++
	}
}

func (r *recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Skipped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.skipped
}

func (r *recorder) SkipNow() {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *recorder) Log(args ...any) { r.say(fmt.Sprintln(args...)) }

func (r *recorder) Logf(format string, args ...any) { r.say(fmt.Sprintf(format, args...)) }

func (r *recorder) FailNow() { r.Fail(); runtime.Goexit() }

func (r *recorder) Fatal(args ...any) { r.Error(args...); runtime.Goexit() }

func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }

func (r *recorder) Skip(args ...any) { r.Log(args...); r.SkipNow() }

func (r *recorder) Skipf(format string, args ...any) { r.Logf(format, args...); r.SkipNow() }

func (r *recorder) Helper() {}

func (r *recorder) Name() string { return r.name }

func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Attr(key, value string) { r.Logf("%s: %s", key, value) }

func (r *recorder) Output() io.Writer { return said{r} }

// said is the recorder's Output.
type said struct{ r *recorder }

func (s said) Write(p []byte) (int, error) {
	s.r.say(string(p))
	return len(p), nil
}

// Setenv refuses a parallel outer test, as the outer test itself does.
func (r *recorder) Setenv(key, value string) {
	old, set := os.LookupEnv(key)
	r.TB.Setenv(key, value)
	r.Cleanup(func() {
		if set {
			os.Setenv(key, old)
		} else {
			os.Unsetenv(key)
		}
	})
}

func (r *recorder) Chdir(dir string) {
	old, err := os.Getwd()
	if err != nil {
		r.Fatal(err)
	}
	r.TB.Chdir(dir)
	r.Cleanup(func() {
		if err := os.Chdir(old); err != nil {
			r.Error(err)
		}
	})
}

func (r *recorder) TempDir() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tempRoot == "" {
		r.tempRoot = r.TB.TempDir()
	}
	r.tempDirs++
	dir := fmt.Sprintf("%s/%03d", r.tempRoot, r.tempDirs)
	if err := os.Mkdir(dir, 0o777); err != nil {
		panic(err) // Error would need the mutex; run reports the panic
	}
	return dir
}

func (r *recorder) removeTemp() {
	if r.tempRoot != "" {
		os.RemoveAll(r.tempRoot)
	}
}
