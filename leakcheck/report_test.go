package leakcheck_test

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

type store struct{ items map[int]*entry }

var defaultStore = &store{items: map[int]*entry{}}

func (s *store) put(k int) {
	s.items[k] = &entry{key: k}
}

// TestChildGrows fails, in a child process only.
func TestChildGrows(t *testing.T) {
	childTest(t)
	leakcheck.NoGrowth(t, func() { defaultStore.put(next()) })
}

func TestGrowthText(t *testing.T) {
	testgate.Seconds(t)
	dir := t.TempDir()
	o := child(t, "bare", "TestChildGrows", "GITHUB_ACTIONS=true", "LEAKSAFE_DIR="+dir, "PATH=") // without go on it nothing is built
	assert.Equal(t, []string{"TestChildGrows"}, o.failed)
	_, text, found := strings.Cut(o.text, "report_test.go:")
	require.True(t, found)
	text, _, _ = strings.Cut(text, "--- FAIL")
	for _, want := range []string{
		`^\d+: leakcheck: memory leak: \+1\.0\d objects? \(\+1\d\d B\) per operation, in all 22 rounds$`,
		`^            allocated at   leakcheck_test\.\(\*store\)\.put\s+leakcheck/report_test\.go:\d+    s\.items\[k\] = &entry\{key: k\}$`,
		`^            retained by    .+$`,
		`^            measured       20 operations: \+20 \+20 \+20, 80: \+80 \+80, 320: \+320 \+320, then [\d,]+ in \d+ rounds: \+[\d,]+$`,
		`^            fix            remove the entry( from leakcheck_test\.defaultStore\.items)? when it is no longer needed, or bound the map$`,
		`^            not a leak\?    a cache that holds more than 5,\d\d\d entries: fill it first with leakcheck\.Warmup\(n\)$`,
		`^            silence        leakcheck\.IgnoreSite\("leakcheck_test\.\(\*store\)\.put"\)$`,
	} {
		assert.Regexp(t, "(?m)"+want, text)
	}
	assert.Equal(t, 2, strings.Count(o.text, "leakcheck: memory leak: "), "the verdict is printed once, and its annotation")
	assert.Regexp(t, `(?m)^::error file=leakcheck/report_test\.go,line=\d+::leakcheck: memory leak: `, o.text)

	path := filepath.Join(dir, "TestChildGrows", "growth.html")
	assert.Contains(t, o.text, "graph          "+path)
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Regexp(t, `<polygon class=c0 points="[0-9., ]+"`, string(page))
	assert.Regexp(t, `<polyline points="[0-9., ]+"`, string(page))
	assert.Contains(t, string(page), "s.items[k] = &amp;entry{key: k}")
	assert.NotContains(t, string(page), "%!", "a wrong format")

	figures, err := os.ReadFile(filepath.Join(dir, "TestChildGrows", "growth.json"))
	require.NoError(t, err)
	var r leakcheck.Report
	require.NoError(t, json.Unmarshal(figures, &r))
	require.NotEmpty(t, r.Sites)
	require.NotNil(t, r.Sites[0].RetainedBy)
	require.Greater(t, len(r.Sites[0].RetainedBy.Hops), 1)
	_, steps, _ := strings.Cut(r.Sites[0].RetainedBy.String(), "\n")
	for line := range strings.SplitSeq(steps, "\n") {
		assert.Contains(t, text, line, "what retains it is in the text and in the numbers")
		assert.Contains(t, string(page), "<div>"+html.EscapeString(line)+"</div>", "and on the page")
	}
}

// A failure without a path says why there is none.
func TestGrowthWithoutADump(t *testing.T) {
	testgate.Seconds(t)
	o := child(t, "bare", "TestChildGrows", "TMPDIR=/nonexistent")
	assert.Equal(t, []string{"TestChildGrows"}, o.failed)
	assert.Contains(t, o.text, "retained by    unknown: cannot write a heap dump: open /nonexistent/")
	assert.Contains(t, o.text, "to see it, set TMPDIR to a folder that can be written")
}

// A goroutine that NoGrowth has failed for is not reported once more by Check or Main.
func TestChildGrowsGoroutines(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	leakcheck.NoGrowth(t, func() { go wait(forever) }, leakcheck.Grace(0), leakcheck.Iterations(2))
}

func TestGrowingGoroutinesAreReportedOnce(t *testing.T) {
	testgate.Seconds(t)
	o := child(t, "main", "TestChildGrowsGoroutines")
	assert.Equal(t, []string{"TestChildGrowsGoroutines"}, o.failed)
	assert.Equal(t, 1, strings.Count(o.text, "goroutine leak: "), o.text)
	assert.Contains(t, o.text, "goroutine leak: +1.00 goroutine per operation, in all ")
}

func TestGrowthInTheBaseline(t *testing.T) {
	testgate.Seconds(t)
	file := filepath.Join(t.TempDir(), "leaks.txt")
	o := child(t, "bare", "TestChildGrows", "LEAKSAFE_BASELINE="+file, "LEAKSAFE_BASELINE_UPDATE=1")
	assert.Zero(t, o.code, "taken in")
	known, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(known), "growth\tgithub.com/leaksafe/leaksafe/leakcheck\theap github.com/leaksafe/leaksafe/leakcheck_test.(*store).put\n")
	o = child(t, "bare", "TestChildGrows", "LEAKSAFE_BASELINE="+file)
	assert.Zero(t, o.code, "known")
	assert.Contains(t, o.text, "leakcheck: known leak, in the baseline file: +1.00 object")
}

func TestMustDetectSeesGrowth(t *testing.T) {
	testgate.Seconds(t)
	leakcheck.MustDetect(t, func(t testing.TB) {
		var kept []*entry
		leakcheck.NoGrowth(t, func() { kept = append(kept, new(entry)) })
	})
}

// resting hears a verdict, and the profiler's rate at that time.
type resting struct {
	*listener
	rate int
}

func (r *resting) Error(args ...any) {
	r.rate = runtime.MemProfileRate
	r.listener.Error(args...)
}

// What only the operation keeps must be alive when the heap is searched, and
// the search itself, which allocates, must not be recorded.
func TestGrowthIsExplainedAtRest(t *testing.T) {
	testgate.Seconds(t)
	rate := runtime.MemProfileRate
	l := &resting{listener: &listener{TB: t}}
	report := leakcheck.NoGrowth(l, func() func() {
		var kept []*entry
		return func() { kept = append(kept, new(entry)) }
	}())
	require.Equal(t, leakcheck.Growing.String(), report.Verdict.String())
	assert.Equal(t, rate, l.rate)
	if path := report.Sites[0].RetainedBy; assert.NotNil(t, path) {
		operations := 0
		for _, round := range report.Rounds {
			operations += round.Operations
		}
		assert.GreaterOrEqual(t, path.Count, operations, "the objects of all rounds: %s", path.Answer)
	}
}

func TestIgnoreSite(t *testing.T) {
	testgate.Seconds(t)
	for _, prefix := range []string{"github.com/leaksafe/leaksafe/leakcheck_test.(*store)", "leakcheck_test.(*store).put"} {
		r := leakcheck.NoGrowth(t, func() { defaultStore.put(next()) }, leakcheck.IgnoreSite(prefix))
		assert.Equal(t, leakcheck.Steady.String(), r.Verdict.String())
	}
	r, err := leakcheck.Measure(func() { defaultStore.put(next()) }, leakcheck.IgnoreSite("leakcheck_test.(*other)"))
	require.NoError(t, err)
	assert.Equal(t, leakcheck.Growing.String(), r.Verdict.String())
}

func TestOptionsOfNoGrowth(t *testing.T) {
	testgate.Seconds(t)
	ran := 0
	r, err := leakcheck.Measure(func() { ran++ }, leakcheck.Iterations(3), leakcheck.Rounds(5), leakcheck.Warmup(7))
	require.NoError(t, err)
	var operations []int
	for _, round := range r.Rounds {
		operations = append(operations, round.Operations)
		assert.Positive(t, round.HeapBytes)
	}
	assert.Equal(t, []int{3, 3, 3, 3, 3, 12, 12, 48, 48}, operations)
	assert.Equal(t, 7+5*3+2*12+2*48, ran)
	assert.Equal(t, ran, r.Operations)
	assert.Positive(t, r.HeapBytes)

	var kept []*entry
	r, err = leakcheck.Measure(func() { kept = append(kept, new(entry)) }, leakcheck.AllowPerOp(1<<10))
	require.NoError(t, err)
	assert.Equal(t, leakcheck.Saturating.String(), r.Verdict.String())

	ran = 0
	_, err = leakcheck.Measure(func() { ran++ }, leakcheck.Warmup(0), leakcheck.Iterations(1))
	require.NoError(t, err)
	assert.Equal(t, 3*1+2*4+2*16, ran)
}

func TestReportOnDisk(t *testing.T) {
	testgate.Seconds(t)
	dir := t.TempDir()
	t.Setenv("LEAKSAFE_DIR", dir)
	l := &listener{TB: t}
	var wanted leakcheck.Report
	t.Run("../<odd>", func(t *testing.T) {
		l.TB = t
		wanted = leakcheck.NoGrowth(&named{l, "Test/../<odd>"}, func() {})
		leakcheck.NoGrowth(&named{l, "Test/../<odd>"}, func() {})
	})
	folder := filepath.Join(dir, "Test", "__", "_odd_")
	text, err := os.ReadFile(filepath.Join(folder, "growth.json"))
	require.NoError(t, err)
	var got struct {
		Test string
		leakcheck.Report
	}
	require.NoError(t, json.Unmarshal(text, &got))
	assert.Equal(t, "Test/../<odd>", got.Test)
	assert.Equal(t, wanted, got.Report)
	page, err := os.ReadFile(filepath.Join(folder, "growth.html"))
	require.NoError(t, err)
	assert.Contains(t, string(page), "Test/../&lt;odd&gt;")
	assert.Contains(t, string(page), "ok: nothing grows")
	assert.NotRegexp(t, `(?i)(src|href|@import|url\()`, string(page), "the page needs nothing else")
	assert.FileExists(t, filepath.Join(folder, "growth-2.json"), "a second check of the test")
	assert.Empty(t, l.text())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o666))
	t.Setenv("LEAKSAFE_DIR", filepath.Join(dir, "file"))
	r := leakcheck.NoGrowth(l, func() {})
	assert.Equal(t, leakcheck.Steady, r.Verdict)
	assert.Contains(t, l.text(), "leakcheck: the report is not written: ")
}

type named struct {
	*listener
	name string
}

func (n *named) Name() string { return n.name }

// TestChildSteady passes, and leaves its report in the artifact directory.
func TestChildSteady(t *testing.T) {
	childTest(t)
	leakcheck.NoGrowth(t, func() {})
}

func TestReportInTheArtifactDir(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildSteady$", "-test.artifacts", "-test.outputdir="+dir)
	cmd.Env = append(os.Environ(), "LEAKCHECK_CHILD=bare")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			found = append(found, filepath.Base(path))
		}
		return err
	}))
	assert.Equal(t, []string{"growth.html", "growth.json"}, found)
}

func TestVerdictText(t *testing.T) {
	for v := leakcheck.Steady; v <= leakcheck.Unmeasured; v++ {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		var back leakcheck.Verdict
		require.NoError(t, json.Unmarshal(text, &back))
		assert.Equal(t, v, back)
		assert.Regexp(t, regexp.MustCompile(`^[a-z]+$`), v.String())
	}
	assert.Equal(t, "Verdict(9)", leakcheck.Verdict(9).String())
	var v leakcheck.Verdict
	assert.EqualError(t, v.UnmarshalText([]byte("gone")), `leakcheck: "gone" is no verdict`)
}

func ExampleMeasure() {
	var list []int
	report, err := leakcheck.Measure(func() { list = append(list, 1) })
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Verdict)
	for _, s := range report.Sites {
		fmt.Println(s.Kind, filepath.Base(s.File), s.BytesPerOp >= 8)
	}
	// Output:
	// growing
	// heap report_test.go true
}
