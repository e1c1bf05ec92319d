//go:build !race

package ctxreq_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// TestLateWritesCorruptOthersWithoutAGuard is the leaky counterpart: the same requests to a plain
// server. (With -race the race detector would report the server's own buffers instead.)
func TestLateWritesCorruptOthersWithoutAGuard(t *testing.T) {
	giveUp := time.Now().Add(60 * time.Second)
	l := &lateWriters{
		middleware: func(h http.Handler) http.Handler { return h },
		late:       func(w http.ResponseWriter, _ *http.Request) { scribble(w) },
		done: func(victims, corrupted int64) bool {
			return corrupted > 0 && (!testgate.Long() || victims >= 50_000) || time.Now().After(giveUp)
		},
	}
	l.run(t, "HTTP/1.1")
	require.Positive(t, l.corrupted.Load(), "of %d", l.victims.Load())
	t.Logf("%d of %d responses corrupted, like %v", l.corrupted.Load(), l.victims.Load(), l.example.Load())
}
