package sessions_test

import (
	"flag"
	"testing"

	"github.com/leaksafe/leaksafe/examples/sessions"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) } // no test leaves a goroutine behind

// go test -leaky shows what a leak looks like.
var leaky = flag.Bool("leaky", false, "do not end the sessions")

var store sessions.Store

func visit() *sessions.Session {
	x := store.Open("ada")
	if !*leaky {
		store.End(x)
	}
	return x
}

func TestVisitsDoNotGrow(t *testing.T) {
	leakcheck.NoGrowth(t, func() { visit() }) // a visit must not make the heap grow
}

func TestSessionIsCollected(t *testing.T) {
	leakcheck.Track(t, visit()) // nothing retains this session when the test ends
}
