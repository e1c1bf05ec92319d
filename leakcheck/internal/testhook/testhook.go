// Package testhook is told by package testing which test starts.
package testhook

import (
	"flag"
	"io"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
)

// LabelTests calls label with the name of each top-level test, benchmark and example just before it
// starts, on the goroutine from which the test inherits its label, and started as soon as the go
// command is told what the tests read. Package testing
// has no hook for that. A function around each test would do, but would show in
// stack traces, which tests compare (sentry-go's do). But testing asks m.deps whether
// a name matches -run just before it starts the test, on the goroutine from which
// the test inherits its label. An empty -run is not asked about: "." means the same.
//
// Where package testing is not as it was from Go 1.26 to 1.27, nothing is changed, and
// only tests with a Check have a label.
func LabelTests(m *testing.M, label func(test string), started func()) {
	field := reflect.ValueOf(m).Elem().FieldByName("deps")
	if !field.IsValid() || !reflect.TypeFor[labeller]().AssignableTo(field.Type()) {
		return
	}
	field = reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem()
	d, ok := field.Interface().(testDeps)
	if !ok {
		return
	}
	field.Set(reflect.ValueOf(labeller{d, gostack.Self().ID, label, started}))
	if !flag.Parsed() {
		flag.Parse() // as m.Run would; it must not set -run again
	}
	if run := flag.Lookup("test.run"); run != nil && run.Value.String() == "" {
		run.Value.Set(".")
	}
}

// A labeller labels the goroutine that asks for a test's name.
type labeller struct {
	testDeps
	main    int // the goroutine that starts the top-level tests
	label   func(test string)
	started func()
}

func (l labeller) MatchString(pattern, name string) (bool, error) {
	ok, err := l.testDeps.MatchString(pattern, name)
	if ok && gostack.Self().ID == l.main {
		l.label(name)
	}
	return ok, err
}

// StartTestLog is called when the go command begins to note what the tests read.
func (l labeller) StartTestLog(w io.Writer) {
	l.testDeps.StartTestLog(w)
	l.started()
}

// testDeps is package testing's interface of the same name.
type testDeps interface {
	ImportPath() string
	ModulePath() string
	MatchString(pat, str string) (bool, error)
	SetPanicOnExit0(bool)
	StartCPUProfile(io.Writer) error
	StopCPUProfile()
	StartTestLog(io.Writer)
	StopTestLog() error
	WriteProfileTo(string, io.Writer, int) error
	CoordinateFuzzing(time.Duration, int64, time.Duration, int64, int, []corpusEntry, []reflect.Type, string, string) error
	RunFuzzWorker(func(corpusEntry) error) error
	ReadCorpus(string, []reflect.Type) ([]corpusEntry, error)
	CheckCorpus([]any, []reflect.Type) error
	ResetCoverage()
	SnapshotCoverage()
	InitRuntimeCoverage() (mode string, tearDown func(coverprofile string, gocoverdir string) (string, error), snapcov func() float64)
}

type corpusEntry = struct {
	Parent     string
	Path       string
	Data       []byte
	Values     []any
	Generation int
	IsSeed     bool
}

// SiblingRan reports whether another test of the same parent has ended before t started. Call it
// when t starts, on t's goroutine. A parallel test, and one that is no *testing.T, cannot be told:
// then it is true. So it is where package testing is not as it was from Go 1.26 to 1.27.
func SiblingRan(t testing.TB) bool {
	v := reflect.ValueOf(t)
	if _, ok := t.(*testing.T); !ok {
		return true
	}
	parallel, parent := v.Elem().FieldByName("isParallel"), v.Elem().FieldByName("parent")
	if !parallel.IsValid() || parallel.Kind() != reflect.Bool || parallel.Bool() {
		return true
	}
	if !parent.IsValid() || parent.Kind() != reflect.Pointer || parent.IsNil() {
		return true
	}
	ran := parent.Elem().FieldByName("ran")
	return !ran.IsValid() || ran.Kind() != reflect.Bool || ran.Bool()
}
