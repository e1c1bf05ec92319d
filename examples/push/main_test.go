package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

// If wholeEnv is set, the test binary runs as the whole program.
const wholeEnv = "LEAKSAFE_PUSH_WHOLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) != "" || os.Getenv(wholeEnv) != "" {
		_ = os.Unsetenv(wholeEnv) // its children are themselves
		main()
		return
	}
	// A dependency of the Firebase SDK starts this goroutine when it is initialised.
	leakcheck.Main(m, leakcheck.IgnoreFunc("go.opencensus.io/stats/view.(*worker).start"))
}

func TestDecode(t *testing.T) {
	wire, err := encode(7)
	require.NoError(t, err)
	assert.NotContains(t, string(wire), "배송", "the wire is EUC-KR")
	e, buffer, err := decode(wire)
	require.NoError(t, err)
	m, err := toMessage.Map(e)
	require.NoError(t, err)
	buffer.Release()
	assert.Equal(t, "gone-000007", m.Token)
	assert.Equal(t, "배송 알림", m.Notification.Title, "a copy: the buffer is cleared by now")
	assert.True(t,
		strings.HasPrefix(m.Notification.Body, "고객님의 주문 7번이 출발했습니다."))
	assert.Equal(t, map[string]string{"id": "7"}, m.Data)

	for name, wire := range map[string]string{
		"no fields": "", "too few": "1\x1ftoken", "no token": "1\x1f\x1f\x1f\x1f",
	} {
		_, _, err := decode([]byte(wire))
		assert.Error(t, err, name)
	}
}

func TestDecodeDoesNotGrow(t *testing.T) {
	wire, err := encode(1)
	require.NoError(t, err)
	use := func(release bool) func() {
		var kept [][]byte
		return func() {
			e, buffer, err := decode(wire)
			if err != nil {
				panic(err)
			}
			if release {
				buffer.Release()
				return
			}
			kept = append(kept, e.Body)
		}
	}
	leakcheck.NoGrowth(t, use(true))
	leakcheck.MustDetect(t, func(t testing.TB) { leakcheck.NoGrowth(t, use(false)) })
}

// begin makes a scene and fills the queue.
func begin(t *testing.T, n int, ackWait time.Duration) *scene {
	t.Helper()
	s, err := startScene(t.Context(), ackWait, time.Millisecond)
	require.NoError(t, err)
	s.config.Limit *= raceTimes
	t.Cleanup(s.close)
	require.NoError(t, s.publish(t.Context(), n))
	return s
}

// finish waits for an empty queue.
func finish(t *testing.T, s *scene, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	require.True(t, s.waitUntilDone(ctx, n, nil), "the queue is not empty after two minutes")
}

func TestFailuresLoseNothing(t *testing.T) {
	const n = 16_000 // with one message that is never answered, ids ending in 15555
	s := begin(t, n, 30*time.Second)
	w, err := startChild("worker", s.config)
	require.NoError(t, err)

	resp, err := http.Get(w.ready)
	require.NoError(t, err)
	metrics, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Contains(t, string(metrics), "push_sent_total")

	finish(t, s, n)
	var last words
	code, err := w.stop(&last)
	require.NoError(t, err)
	assert.Zero(t, code)
	tally, err := s.endDownstream()
	require.NoError(t, err)
	assert.Equal(t, 16, tally.Rejected, "tokens that are not registered")
	assert.Equal(t, n-16, tally.Sent, "all others")
	assert.Zero(t, tally.Duplicates, "a message that fails makes no other be sent again")
	assert.GreaterOrEqual(t, tally.Failed, 5, "500, 429 and no answer were given")
	assert.GreaterOrEqual(t, last.Retried, 5)
	assert.Equal(t, 16, last.Rejected)
	assert.Equal(t, n-16+tally.Duplicates, last.Sent)

	statuses, err := os.ReadFile(s.config.Dir + "/statuses.txt")
	require.NoError(t, err)
	assert.Equal(t, n-16+tally.Duplicates, strings.Count(string(statuses), " sent\n"))
	assert.Equal(t, 16, strings.Count(string(statuses), " rejected\n"))
}

func TestKillLosesNothing(t *testing.T) {
	const n = 12_000
	s := begin(t, n, 3*time.Second)
	var workers []*child
	for range 3 {
		w, err := startChild("worker", s.config)
		require.NoError(t, err)
		workers = append(workers, w)
	}
	require.Eventually(t, func() bool {
		tally, err := s.tally(t.Context())
		return err == nil && tally.Sent > n/10
	}, time.Minute, time.Millisecond)
	workers[0].kill()
	finish(t, s, n)
	for _, w := range workers[1:] {
		code, err := w.stop(new(words))
		require.NoError(t, err)
		assert.Zero(t, code)
	}
	tally, err := s.endDownstream()
	require.NoError(t, err)
	assert.Equal(t, n, tally.Sent+tally.Rejected, "nothing is lost")
	assert.Less(t, tally.Duplicates, 3*pendingItems, "only what was on its way is sent again")
	t.Logf("%d duplicates", tally.Duplicates)
}

func TestLeakyRunsOutOfMemory(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), &out, true, 30_000)
	require.ErrorContains(t, err, "ran out of memory", "%s", out.String())
	assert.Regexp(t, `what retains the leaky worker's memory:\n`+
		`[1-9]\d* messages are on their way at once; of one of them:\n`+
		`.*(runLeaky|\.jobs)`, out.String())
}

// A message that is delivered too often is moved aside, and the queue continues.
func TestTheDeadAreBuried(t *testing.T) {
	s := begin(t, 1, time.Minute)
	w, err := newWorker(t.Context(), s.config, s.js)
	require.NoError(t, err)
	defer w.statuses.Close()
	queue, err := consumer(t.Context(), s.stream, time.Minute, 10)
	require.NoError(t, err)
	for range maxDeliver {
		m, err := queue.Next(jetstream.FetchMaxWait(10 * time.Second))
		require.NoError(t, err)
		require.NoError(t, m.Nak())
	}
	m, err := queue.Next(jetstream.FetchMaxWait(10 * time.Second))
	require.NoError(t, err)
	w.take(t.Context(), m)
	require.Equal(t, 1, value(w.dead))
	dead, err := s.js.Stream(t.Context(), deadStream)
	require.NoError(t, err)
	info, err := dead.Info(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 1, info.State.Msgs)
	finish(t, s, 1)
	require.NoError(t, w.batches.Close(t.Context()))
}

// A batch that panics or fails as a whole goes back to the queue, message by message, and no buffer
// is retained.
func TestObserveGivesBack(t *testing.T) {
	s := begin(t, 3, time.Minute)
	w, err := newWorker(t.Context(), s.config, s.js)
	require.NoError(t, err)
	defer w.statuses.Close()
	w.fcm = nil // send panics
	queue, err := consumer(t.Context(), s.stream, time.Minute, 10)
	require.NoError(t, err)
	for range 3 {
		m, err := queue.Next(jetstream.FetchMaxWait(10 * time.Second))
		require.NoError(t, err)
		w.take(t.Context(), m)
	}
	require.ErrorContains(t, w.batches.Flush(t.Context()), "3 items failed")
	assert.Equal(t, 3, value(w.retried))
	for range 3 {
		m, err := queue.Next(jetstream.FetchMaxWait(10 * time.Second))
		require.NoError(t, err)
		info, err := m.Metadata()
		require.NoError(t, err)
		assert.EqualValues(t, 2, info.NumDelivered)
	}
	require.NoError(t, w.batches.Close(t.Context()))
}

// Whichever signal ends the program, no child process and no folder is left.
func TestASignalEndsEverything(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("signals to another process are not there on Windows")
	}
	sending := filepath.Join("*", "statuses.txt")
	arriving := filepath.Join("*", "jetstream", "*", "streams", streamName, "msgs", "2.blk")
	for name, c := range map[string]struct {
		signal os.Signal
		during string // a file that exists by then
		n      string // messages
	}{
		"Ctrl-C":                   {os.Interrupt, sending, "50000"},
		"SIGTERM":                  {syscall.SIGTERM, sending, "50000"},
		"SIGKILL":                  {os.Kill, sending, "50000"},
		"SIGTERM, events arriving": {syscall.SIGTERM, arriving, "1000000000"},
	} {
		t.Run(name, func(t *testing.T) {
			tmp := t.TempDir()
			cmd := exec.Command(os.Args[0], "-n", c.n)
			cmd.Env = append(os.Environ(), wholeEnv+"=1", "TMPDIR="+tmp)
			open, err := cmd.StderrPipe() // every child has it too
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			require.Eventually(t, func() bool {
				files, _ := filepath.Glob(filepath.Join(tmp, c.during))
				return len(files) > 0
			}, 2*time.Minute, 5*time.Millisecond, "it has not begun")
			require.NoError(t, cmd.Process.Signal(c.signal))
			closed := make(chan struct{})
			go func() { _, _ = io.Copy(io.Discard, open); close(closed) }()
			select {
			case <-closed:
			case <-time.After(time.Minute):
				t.Fatal("a child is still running after a minute")
			}
			require.Error(t, cmd.Wait())
			left, err := os.ReadDir(tmp)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}
