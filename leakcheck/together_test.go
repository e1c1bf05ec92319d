package leakcheck_test

import (
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nothing answers with an empty page.
var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// held is never closed.
var held []*os.File

func open(t testing.TB) *os.File {
	f, err := os.CreateTemp(t.TempDir(), "open")
	require.NoError(t, err)
	return f
}

// together makes parallel tests of a child process overlap.
var together rendezvous

type rendezvous struct{ here atomic.Int32 }

// wait blocks until n tests have arrived: all of them run then, and none waits in t.Parallel any
// more.
func (r *rendezvous) wait(n int) {
	r.here.Add(1)
	for range 10_000 {
		if int(r.here.Load()) >= n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// cutAt is what stands in text before mark.
func cutAt(text, mark string) (before string, found bool) {
	before, _, found = strings.Cut(text, mark)
	return before, found
}
