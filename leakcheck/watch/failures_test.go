package watch_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

var update = flag.Bool("update", false, "write testdata/failures.txt")

// TestFailureTexts keeps what watch says in one place, for a reviewer.
func TestFailureTexts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the texts of Linux")
	}
	const hours, minutes = watch.Seconds(time.Hour), watch.Seconds(time.Minute)
	var b strings.Builder
	say := func(when, text string) { fmt.Fprintf(&b, "# %s\n%s\n\n", when, strings.TrimSpace(text)) }
	for _, o := range []watch.Options{{Interval: -1}, {History: -1}, {Limit: -1}, {Floor: -1}} {
		_, err := watch.Start(o)
		require.Error(t, err)
		say("Start", err.Error())
	}
	dir := t.TempDir()
	clean := func(s string) string {
		s = strings.ReplaceAll(s, dir, "DIR")
		return regexp.MustCompile(`\d{8}T\d{6}\.\d{3}Z`).ReplaceAllString(s, "TIME")
	}
	problem := func(o watch.Options) string {
		o.Dir = strings.Replace(o.Dir, "DIR", dir, 1)
		w, err := watch.FeedEach(o, curve{}.samples(), none)
		require.NoError(t, err)
		return clean(data(t, w)["problem"].(string))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	say("Dir is a file", problem(watch.Options{Dir: "DIR/file"}))
	require.NoError(t, os.WriteFile(filepath.Join(dir, historyFile), []byte("no history\n"), 0o600))
	say("a damaged history", problem(watch.Options{Dir: "DIR"}))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, historyFile)))
	require.NoError(t, os.Mkdir(filepath.Join(dir, historyFile), 0o700))
	say("a folder in the history's place", problem(watch.Options{Dir: "DIR"}))
	say("TerminationLog in a folder that does not exist", problem(watch.Options{TerminationLog: filepath.Join(dir, "none", "log")}))

	site := watch.Site{Func: "main.remember", File: "/src/app/service.go", Line: 27, Bytes: 4 << 20, Objects: 1000}
	root := watch.Retainer{Root: "main.seen (variable)", Through: "[][]uint8", Site: "service.go:27", Bytes: 400 << 20, Objects: 102400, Share: .8}
	for _, c := range []struct {
		when string
		f    watch.Finding
	}{
		{"live heap", watch.Finding{Signal: "live heap", Over: 12 * minutes, From: 40 * mib, To: 85 * mib, PerHour: 225 * mib, Limit: 1 << 30, LimitSource: "GOMEMLIMIT", ETA: 2 * hours, DoubleBuys: 4 * hours, Sites: []watch.Site{site}, Retainers: []watch.Retainer{root}}},
		{"has stopped", watch.Finding{Signal: "live heap", Over: 12 * minutes, From: 40 * mib, To: 85 * mib, PerHour: 225 * mib, Stopped: time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC), Lives: 3}},
		{"outside", watch.Finding{Signal: "memory outside the Go heap", Over: 12 * minutes, From: 5 * mib, To: 50 * mib, PerHour: 225 * mib}},
		{"goroutines", watch.Finding{Signal: "goroutines", Over: 12 * minutes, From: 50, To: 150, PerHour: 500, Sites: []watch.Site{{Func: "main.wait", File: "w.go", Line: 3, Objects: 100}}}},
		{"collection", watch.Finding{Signal: "collection", Over: 12 * minutes, To: .4, Work: 80, WorkBest: 200, WorkUnit: "requests"}},
		{"after restarts", watch.Finding{Signal: "restarts", Over: 3 * hours, To: 900 * mib, Lives: 4}},
	} {
		say("a finding: "+c.when, c.f.String())
	}
	for _, name := range []string{"goroutines created by main.poll (poll.go:12)", "pending timers", "package variables whose names are unknown", "goroutine main.serve, stray words on their stacks", "the main goroutine"} {
		say("a retainer", watch.Retainer{Root: name, Bytes: 300 << 20, Objects: 1, Share: .6}.String())
	}
	say("the termination message near the limit", evidence(t, root, nil))
	say("the same, where the copy at the limit had no room", evidence(t, root, errors.New("watch: no frozen copy: reading it takes about 31 MiB, and 25 MiB are left below the limit")))
	for _, name := range []string{"unknown", "files/x", "data.xml"} {
		say("GET "+name, body(t, get(fed(t), "GET", "/debug/leaks/"+name)))
	}
	say("POST", body(t, get(fed(t), "POST", "/debug/leaks/")))

	file := filepath.Join("testdata", "failures.txt")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), b.String(), "run with -update and review the difference")
}

// evidence is the termination message of a process that is killed at its limit.
func evidence(t *testing.T, r watch.Retainer, atLimit error) string {
	file := filepath.Join(t.TempDir(), "log")
	w, err := watch.FeedEachOpen(watch.Options{Limit: 100 * mib, Dir: t.TempDir(), TerminationLog: file}, curve{}.samples())
	require.NoError(t, err)
	defer w.Stop()
	var end error
	w.SetLook(func() ([]watch.Retainer, error) { return []watch.Retainer{r}, end })
	w.Take(shot{60, 5, 70, 0}.sample(1))
	w.Settle()
	end = atLimit
	w.Take(shot{80, 5, 90, 0}.sample(2))
	w.Settle()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

func fed(t *testing.T) *watch.Watcher {
	t.Helper()
	w, err := watch.FeedEach(watch.Options{}, curve{lasts: 20, live: flat(mib)}.samples(), none)
	require.NoError(t, err)
	return w
}
