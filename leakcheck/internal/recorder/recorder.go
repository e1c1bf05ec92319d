// Package recorder is the testing.TB of a negative control.
package recorder

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

	"github.com/leaksafe/leaksafe/leakcheck/internal/failure"
)

// Plant runs f on a goroutine of its own.
func Plant(t testing.TB, f func(testing.TB)) *Recorder {
	r := New(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(f)
	}()
	<-done
	return r
}

// Planted reports whether t belongs to a negative control.
func Planted(t testing.TB) bool {
	_, ok := t.(*Recorder)
	return ok
}

// Report fails t with f. A negative control knows a verdict by its type, and is nothing to
// annotate.
func Report(t testing.TB, f *failure.Failure) {
	t.Helper()
	t.Error(f)
	if !Planted(t) {
		f.Annotate(os.Stderr)
	}
}

// A Recorder is the testing.TB of a negative control.
type Recorder struct {
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

// New is a recorder within t.
func New(t testing.TB) *Recorder {
	r := &Recorder{TB: t, name: t.Name() + "/MustDetect"}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	return r
}

// run runs f and then its Cleanups, as package testing does.
func (r *Recorder) run(f func(testing.TB)) {
	defer r.removeTemp()
	defer r.RunCleanups()
	defer r.cancel()
	defer r.recovered("f")
	f(r)
}

// recovered turns a panic of f into a failure: it must not end the process,
// and it is not a detected leak.
func (r *Recorder) recovered(where string) {
	if p := recover(); p != nil {
		r.Errorf("panic in %s: %v", where, p)
	}
}

// RunCleanups runs the rest also when one panics or calls FailNow.
func (r *Recorder) RunCleanups() {
	cleanup := r.lastCleanup()
	if cleanup == nil {
		return
	}
	defer r.RunCleanups()
	defer r.recovered("a Cleanup of f")
	cleanup()
}

func (r *Recorder) lastCleanup() func() {
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

// Judge fails the outer test unless a leak was reported.
func (r *Recorder) Judge() {
	r.TB.Helper()
	said := r.Text()
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

// Leaks is how many leaks were reported.
func (r *Recorder) Leaks() int { return r.leaks }

// Text is what was logged and reported, or "nothing".
func (r *Recorder) Text() string { return cmp.Or(strings.Join(r.said, "\n"), "nothing") }

func (r *Recorder) say(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, strings.TrimRight(text, "\n"))
}

func (r *Recorder) Error(args ...any) { r.fail(fmt.Sprintln(args...), args) }

func (r *Recorder) Errorf(format string, args ...any) { r.fail(fmt.Sprintf(format, args...), args) }

// fail counts a leak when a verdict is among args: its type tells it from
// everything else that can fail f.
func (r *Recorder) fail(text string, args []any) {
	r.say(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	if slices.ContainsFunc(args, func(a any) bool { _, ok := a.(*failure.Failure); return ok }) {
		r.leaks++
	}
}

func (r *Recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *Recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *Recorder) Skipped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.skipped
}

func (r *Recorder) SkipNow() {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *Recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

func (r *Recorder) Log(args ...any) { r.say(fmt.Sprintln(args...)) }

func (r *Recorder) Logf(format string, args ...any) { r.say(fmt.Sprintf(format, args...)) }

func (r *Recorder) FailNow() { r.Fail(); runtime.Goexit() }

func (r *Recorder) Fatal(args ...any) { r.Error(args...); runtime.Goexit() }

func (r *Recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }

func (r *Recorder) Skip(args ...any) { r.Log(args...); r.SkipNow() }

func (r *Recorder) Skipf(format string, args ...any) { r.Logf(format, args...); r.SkipNow() }

func (r *Recorder) Helper() {}

func (r *Recorder) Name() string { return r.name }

func (r *Recorder) Context() context.Context { return r.ctx }

func (r *Recorder) Attr(key, value string) { r.Logf("%s: %s", key, value) }

func (r *Recorder) Output() io.Writer { return said{r} }

// said is the recorder's Output.
type said struct{ r *Recorder }

func (s said) Write(p []byte) (int, error) {
	s.r.say(string(p))
	return len(p), nil
}

// Setenv refuses a parallel outer test, as the outer test itself does.
func (r *Recorder) Setenv(key, value string) {
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

func (r *Recorder) Chdir(dir string) {
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

func (r *Recorder) TempDir() string {
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

func (r *Recorder) removeTemp() {
	if r.tempRoot != "" {
		os.RemoveAll(r.tempRoot)
	}
}
