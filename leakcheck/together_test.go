package leakcheck_test

import (
	"net/http"
	"os"
	"strings"
	"sync"
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

// together makes parallel tests of a child process overlap: each waits until
// the others have arrived, or for a while.
var together rendezvous

type rendezvous struct {
	mu   sync.Mutex
	here int
}

func (r *rendezvous) wait() {
	r.mu.Lock()
	r.here++
	r.mu.Unlock()
	for range 50 {
		time.Sleep(time.Millisecond)
	}
}

// cutAt is what stands in text before mark.
func cutAt(text, mark string) (before string, found bool) {
	before, _, found = strings.Cut(text, mark)
	return before, found
}
