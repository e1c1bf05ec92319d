package checks

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck"
)

// Wrong.

func TestBehindAServer(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	leakcheck.Check(t) // want `leakcheck.Check stands behind a statement that opens something: what was started before it is not checked; make it the first line of the test`
	s.Close()
}

func TestBehindAGoroutine(t *testing.T) {
	go func() {}()
	leakcheck.Goroutines(t) // want `leakcheck.Goroutines stands behind a go statement`
}

func TestBehindACleanup(t *testing.T) {
	t.Cleanup(func() {})
	leakcheck.Check(t) // want `leakcheck.Check stands behind a t.Cleanup`
}

func TestRows(t *testing.T) {
	t.Run("row", func(t *testing.T) {
		f, _ := os.Open(os.DevNull)
		leakcheck.Files(t) // want `leakcheck.Files stands behind a statement that opens something`
		f.Close()
	})
}

// Right.

func TestFirst(t *testing.T) {
	leakcheck.Check(t)
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
}

func TestBehindASkip(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	t.Parallel()
	leakcheck.Check(t)
}

func TestBehindAValue(t *testing.T) {
	name := os.Getenv("NAME")
	leakcheck.Check(t)
	_ = name
}
