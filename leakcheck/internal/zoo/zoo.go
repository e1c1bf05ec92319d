// Package zoo is a corpus of small leaks, each beside its fixed version, and of
// controls that look like leaks and are none. Every detector is judged by it.
//
// A leak keeps what it leaks in package variables and in goroutines, as the
// program it is taken from did, and cannot be undone: run one leak per process.
// A fixed version and a control retain nothing beyond the test that runs them: any number
// of runs in one process are independent of each other.
//
// The table, each case beside what goleak and the runtime's goroutineleak
// profile (Go 1.27) say about it:
//
//	go test -v -count=1 -run TestTable ./leakcheck/internal/zoo
//
// LEAKSAFE_LONG=1 makes that every leak 20 times, and the fixed versions and controls
// 1,000 times in total.
package zoo

import "testing"

// A Detector is a way to see a leak.
type Detector string

const (
	Objects    Detector = "objects"    // leakcheck.NoGrowth: objects per operation
	Bytes      Detector = "bytes"      // leakcheck.NoGrowth: bytes that grow in steps
	Goroutines Detector = "goroutines" // leakcheck.NoGrowth: goroutines per operation
	Files      Detector = "files"      // leakcheck.NoGrowth: descriptors per operation
	Check      Detector = "check"      // leakcheck.Check: what a test leaves behind
	Track      Detector = "track"      // leakcheck.Track: an object that should be collectable
)

// NoGrowth reports whether d is one of the things leakcheck.NoGrowth measures.
func (d Detector) NoGrowth() bool { return d != Check && d != Track }

// A Find is a detector that must see a leak, and what its text must name as
// the cause: a function, a variable or a file.
type Find struct {
	By    Detector
	Names string
}

// A Case is one row.
type Case struct {
	Name       string
	Issue      string // the public report it is taken from
	Cure       string // what the fixed version does
	Finds      []Find // for a control: the detectors that must stay silent
	RetainedBy string // what retains what leaks, in the words of the text; empty where it is no object of the heap
	Leak       Setup  // nil: a control
	Fixed      Setup  // the fixed version, or the control itself

	Iterations int     // options the detector may use; 0 is its default
	AllowPerOp float64 // bytes
}

// A Setup prepares a case and returns the operation that is run many times,
// from one goroutine.
type Setup func(*Env) func()

// An Env is what a case runs in.
type Env struct {
	testing.TB
	// URL of a server in another process: / answers at once, /slow not before
	// its client has gone.
	URL string
	// Track is told which object should be collectable when the test ends.
	Track func(*Object)
}

// An Object is what most cases leak.
type Object struct {
	ID   int
	Next *Object
	Data [48]byte
}

// Cases returns every row: heap, goroutines, beyond the heap, controls.
func Cases() []Case {
	var all []Case
	for _, part := range [][]Case{heap, goroutines, beyond, mapped, controls} {
		all = append(all, part...)
	}
	return all
}

// use lets p escape, so that the compiler cannot put it on the stack.
//
//go:noinline
func use[T any](p T) T { return p }
