package watch_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck/watch"
)

const historyFile = "leaksafe-history.jsonl"

// pointLine is a line of the history, of a run that began at a second of 2026.
func pointLine(second, used int) string {
	at := time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC)
	return fmt.Sprintf(`{"life":%d,"time":%q,"up":80,"used":%d,"live":1,"rss":1}`+"\n", at.UnixNano(), at.Format(time.RFC3339), used)
}

// aside lists the history files that were set aside.
func aside(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "leaksafe-history*.damaged-*"))
	require.NoError(t, err)
	return files
}

// startLogged starts and stops a Watcher and returns its warnings, and how many points of earlier
// runs it knows.
func startLogged(t *testing.T, dir string) (warnings string, points int) {
	t.Helper()
	var lines bytes.Buffer
	w, err := watch.Start(watch.Options{Dir: dir, Interval: time.Hour, History: 1e6 * time.Hour, Log: slog.New(slog.NewTextHandler(&lines, nil))})
	require.NoError(t, err)
	past := data(t, w)["past"].([]any)
	w.Stop()
	return lines.String(), len(past)
}

func TestHistoryThatIsDamaged(t *testing.T) {
	good := pointLine(1, 5) + pointLine(2, 5)
	for name, c := range map[string]struct {
		text   string
		points int
	}{
		"zeros of a power loss, in the middle": {good + strings.Repeat("\x00", 64<<10) + "\n" + pointLine(3, 5), 3},
		"zeros of a power loss, at the end":    {good + strings.Repeat("\x00", 64<<10), 2},
		"zeros alone":                          {strings.Repeat("\x00", 64<<10), 0},
		"a line of 3 MiB":                      {strings.Repeat("x", 3<<20) + "\n" + good, 2},
		"cut in the last line":                 {good + pointLine(3, 5)[:40], 2},
		"cut before the line's end":            {strings.TrimSuffix(good, "\n"), 2},
		"a flipped bit":                        {good + strings.Replace(pointLine(3, 5), `"life"`, `"lifd"`, 1), 2},
		"another program's text":               {"[section]\nkey = value\n", 0},
		"another program's JSON":               {`{"level":"info","msg":"started"}` + "\n", 0},
		"binary":                               {"\x7fELF\x02\x01\x01\n\xff\xfe\n", 0},
		"empty lines":                          {good + "\n\n", 2},
		"a size below 0":                       {good + pointLine(3, -5), 2},
		"a size that no machine has":           {good + pointLine(3, 1<<60), 2},
		"a number that does not fit":           {good + strings.Replace(pointLine(3, 5), `"up":80`, `"up":1e999`, 1), 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, historyFile)
			require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
			warnings, points := startLogged(t, dir)
			assert.Equal(t, 1, strings.Count(warnings, "level=WARN"), warnings)
			assert.Contains(t, warnings, file+" is damaged: it is now "+file[:len(file)-6]+".damaged-")
			assert.Equal(t, c.points, points)
			require.Len(t, aside(t, dir), 1)
			kept, err := os.ReadFile(aside(t, dir)[0])
			require.NoError(t, err)
			assert.Equal(t, c.text, string(kept), "nothing is lost")

			warnings, points = startLogged(t, dir)
			assert.Empty(t, warnings, "the next start finds a sound file")
			assert.Equal(t, c.points, points)
		})
	}
}

// The clock of a bubble stands still: both starts are in one millisecond.
func TestDamagedFilesOfOneMomentAreAllKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, text := range []string{"first\n", "second\n"} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, historyFile), []byte(text), 0o600))
			_, err := watch.FeedEach(watch.Options{Dir: dir}, curve{}.samples(), func(*watch.Watcher) {})
			require.NoError(t, err)
		}
		assert.Len(t, aside(t, dir), 2)
	})
}

func TestHistoryThatIsNoFileToRead(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, file string){
		"a folder": func(t *testing.T, file string) { require.NoError(t, os.Mkdir(file, 0o700)) },
		"a huge file": func(t *testing.T, file string) {
			require.NoError(t, os.WriteFile(file, []byte(pointLine(1, 1)), 0o600))
			if os.Truncate(file, 1<<40) != nil {
				t.Skip("this file system has no sparse files")
			}
		},
		"a link to nowhere that cannot be made": func(t *testing.T, file string) {
			if os.Symlink(filepath.Join(file+".none", "x"), file) != nil {
				t.Skip("no links here")
			}
		},
		"a link to itself": func(t *testing.T, file string) {
			if os.Symlink(file, file) != nil {
				t.Skip("no links here")
			}
		},
		"a device": func(t *testing.T, file string) {
			if runtime.GOOS != "linux" {
				t.Skip("Linux")
			}
			require.NoError(t, os.Symlink("/dev/zero", file))
		},
		"a pipe": func(t *testing.T, file string) {
			if exec.Command("mkfifo", file).Run() != nil {
				t.Skip("no mkfifo here")
			}
		},
		"unreadable": func(t *testing.T, file string) {
			require.NoError(t, os.WriteFile(file, []byte(pointLine(1, 1)), 0))
			if f, err := os.Open(file); err == nil {
				f.Close()
				t.Skip("this user may read everything")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			make(t, filepath.Join(dir, historyFile))
			warnings, points := startLogged(t, dir)
			assert.Equal(t, 1, strings.Count(warnings, "level=WARN"), warnings)
			assert.Contains(t, warnings, historyFile)
			assert.Zero(t, points)
			assert.Len(t, aside(t, dir), 1)

			warnings, _ = startLogged(t, dir)
			assert.Empty(t, warnings, "the next start finds nothing wrong")
		})
	}
}

func TestDamagedHistoriesAreBounded(t *testing.T) {
	dir := t.TempDir()
	for range 6 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, historyFile), []byte("no history\n"), 0o600))
		startLogged(t, dir)
	}
	assert.Len(t, aside(t, dir), watch.MaxAside)
}

// A service starts whatever Dir is.
func TestDirThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, dir := range map[string]string{"a file": file, "below a file": filepath.Join(file, "x"), "not a path": "\x00"} {
		t.Run(name, func(t *testing.T) {
			var lines bytes.Buffer
			w, err := watch.FeedEach(watch.Options{Dir: dir, Limit: 1024 * mib, Log: slog.New(slog.NewTextHandler(&lines, nil))}, leaking().samples(), none)
			require.NoError(t, err)
			assert.Contains(t, lines.String(), "watch: Options.Dir cannot be made")
			assert.NotEmpty(t, w.Findings(), "watching goes on")
			assert.Contains(t, body(t, get(w, "GET", "/")), "A problem:")
		})
	}
}

// TestThousandRestarts restarts 200 times, and a thousand with LEAKSAFE_LONG.
func TestThousandRestarts(t *testing.T) {
	testgate.Seconds(t)
	restarts := 200
	if testgate.Long() {
		restarts = 1000
	}
	dir := t.TempDir()
	climb := curve{lasts: 4 * min, live: climbing(40*mib, 512*kib)}
	for i := range restarts {
		w, err := watch.FeedEach(watch.Options{Dir: dir, Limit: 1024 * mib, TerminationLog: "none"}, climb.samples(), none)
		require.NoError(t, err)
		require.Equal(t, i >= 3, len(w.Findings()) == 1, "run %d: %v", i, w.Findings())
		if i >= 3 {
			require.Equal(t, i, w.Findings()[0].Lives)
		}
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "a history and its lock")
	info, err := os.Stat(filepath.Join(dir, historyFile))
	require.NoError(t, err)
	assert.LessOrEqual(t, info.Size(), int64(watch.HistoryLimit))
	w, err := watch.FeedEach(watch.Options{Dir: dir, History: 1e6 * time.Hour}, climb.samples(), none)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(data(t, w)["past"].([]any)), 1024)
}

// shareEnv makes the test binary a process that shares a folder; its value is the folder.
const shareEnv = "LEAKSAFE_WATCH_SHARE"

// share writes points until its input ends.
func share(dir string) {
	w, err := watch.FeedEachOpen(watch.Options{Dir: dir, Limit: 1 << 40, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), TerminationLog: "none"}, curve{lasts: 30 * min, live: climbing(40*mib, 64*kib)}.samples())
	if err != nil {
		panic(err)
	}
	fmt.Println(len(w.Findings()), "findings")
	_, _ = io.Copy(io.Discard, os.Stdin)
	w.Stop()
}

// startSharing starts processes that share a folder; release ends them.
func startSharing(t *testing.T, dir string, n int) (release func()) {
	self, err := os.Executable()
	require.NoError(t, err)
	var ends []func()
	for range n {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), shareEnv+"="+dir, "GOMAXPROCS=1")
		hold, err := cmd.StdinPipe()
		require.NoError(t, err)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		ends = append(ends, func() {
			require.True(t, lines.Scan())
			assert.Equal(t, "1 findings", lines.Text(), "the growth, and no restarts: the others go on")
		}, func() {
			hold.Close()
			assert.NoError(t, cmd.Wait())
		})
	}
	for i := 0; i < len(ends); i += 2 {
		ends[i]()
	}
	return func() {
		for i := 1; i < len(ends); i += 2 {
			ends[i]()
		}
	}
}

func TestProcessesThatShareAFolder(t *testing.T) {
	testgate.Seconds(t)
	if runtime.GOOS == "windows" {
		t.Skip("no locks on Windows: a process has a folder of its own")
	}
	const n = 100
	dir := t.TempDir()
	startSharing(t, dir, n)()
	histories, err := filepath.Glob(filepath.Join(dir, "leaksafe-history*.jsonl"))
	require.NoError(t, err)
	assert.GreaterOrEqual(t, len(histories), n/2, "those that ran together")
	for _, file := range histories {
		assertPoints(t, file)
	}
	assert.Empty(t, aside(t, dir))
	captures, err := filepath.Glob(filepath.Join(dir, "*.pb.gz"))
	require.NoError(t, err)
	assert.LessOrEqual(t, len(captures), watch.MaxCaptures)
	assert.NotEmpty(t, captures)
}

// assertPoints fails if a line of a history is not a point, or one run's points are not together.
func assertPoints(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	runs := map[string]int{}
	before := ""
	for line := range strings.Lines(string(text)) {
		require.Regexp(t, `^\{"life":\d+,"time":"[^"]+","up":[\d.e+]+,"used":\d+,"live":\d+,"rss":-?\d+\}\n$`, line)
		run, _, _ := strings.Cut(line, ",")
		if run != before {
			runs[run]++
		}
		before = run
	}
	for run, n := range runs {
		assert.Equal(t, 1, n, "%s of %s", run, file)
	}
}

// jumping gives the wall clock of a series a jump.
func jumping(samples iter.Seq[watch.Sample], jump time.Duration) iter.Seq[watch.Sample] {
	return func(yield func(watch.Sample) bool) {
		for s := range samples {
			if s.Up > 10*min && s.Up < 20*min {
				s.Time = s.Time.Add(jump)
			}
			if !yield(s) {
				return
			}
		}
	}
}

func TestClockThatJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"a year ahead": 365 * 24 * time.Hour, "a year back": -365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range watch.MaxCaptures {
				require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("leaksafe-20990101T000000.%03dZ-heap.pb.gz", i)), nil, 0o600))
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, historyFile), []byte(strings.ReplaceAll(pointLine(1, 5), "2026", "2099")), 0o600))
			w, err := watch.FeedEach(watch.Options{Dir: dir, Limit: 1024 * mib}, jumping(leaking().samples(), jump), none)
			require.NoError(t, err)
			require.Len(t, w.Findings(), 1, "the rule looks at the monotonic clock")
			for _, name := range w.Findings()[0].Captures {
				assert.FileExists(t, filepath.Join(dir, name), "those from the future go first")
			}
			assert.Empty(t, data(t, w)["past"], "a point from the future is not drawn")
			page := body(t, get(w, "GET", "/"))
			assert.NotContains(t, page, "runs of the process before")
			x := -1.0
			for _, at := range strokeX(t, page, "live") {
				require.Greater(t, at, x-.05, "the line goes from left to right")
				x = at
			}
		})
	}
}
