package sessions_test

import (
	"flag"
	"strconv"
	"testing"

	"github.com/leaksafe/leaksafe/examples/sessions"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) } // no test leaves a goroutine behind

// go test -leaky shows what a leak looks like.
var leaky = flag.Bool("leaky", false, "do not end the sessions")

var (
	store  sessions.Store
	visits int
)

func visit() *sessions.Session {
	visits++ // another user each time: what grows by user must grow here, too
	x := store.Open("user " + strconv.Itoa(visits))
	if !*leaky {
		store.End(x)
	}
	return x
}

func TestVisitsDoNotGrow(t *testing.T) {
	leakcheck.NoGrowth(t, func() { visit() }) // a visit must not make the heap grow
}

func TestSessionIsCollected(t *testing.T) {
	leakcheck.Track(t, visit()) // nothing may retain this session when the test has ended
}
