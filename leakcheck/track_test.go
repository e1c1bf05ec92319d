package leakcheck_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

// A thing is big enough to have memory of its own.
type thing struct {
	closed bool
	data   [64]byte
	next   *thing
}

func newThing() *thing { return &thing{next: &thing{}} }

func (x *thing) close() { x.closed = true }

// planted keeps what is planted; letGo drops it after the test.
var planted any

func letGo(t testing.TB) { t.Cleanup(func() { planted = nil }) }

// A goroutine releases the object when the verdict is known and its holder is searched, as a test
// that runs beside it may.
func TestChildReleasedLate(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short, leakcheck.IgnoreFunc("leakcheck_test.TestChildReleasedLate"))
	x := leakcheck.Track(t, newThing())
	go func() {
		for text := ""; !strings.Contains(text, "TestChildReleasedLate ended"); time.Sleep(5 * time.Millisecond) {
			var b strings.Builder
			pprof.Lookup("goroutine").WriteTo(&b, 1)
			text = b.String()
		}
		x.close()
	}()
}

func TestReleasedWhileTheHeapIsSearched(t *testing.T) {
	testgate.Seconds(t)
	o := child(t, "bare", "TestChildReleasedLate")
	assert.Empty(t, o.failed)
	assert.Contains(t, o.text, "no leak: collected while the heap was searched: 1 of 1 tracked objects")
}

func TestTrackIsSilent(t *testing.T) {
	t.Run("when the test's own cleanup holds it", func(t *testing.T) {
		x := leakcheck.Track(t, newThing())
		t.Cleanup(func() { x.close() })
	})
	t.Run("after Check", func(t *testing.T) {
		leakcheck.Check(t)
		x := newThing()
		t.Cleanup(func() { x.close() })
		leakcheck.Track(t, x)
	})
	t.Run("when a helper registered its cleanup after Check", func(t *testing.T) {
		leakcheck.Check(t)
		leakcheck.Track(t, helper(t))
	})
	t.Run("with 1,000 cleanups", func(t *testing.T) {
		x := leakcheck.Track(t, newThing())
		for range 1000 {
			t.Cleanup(func() { x.close() })
		}
	})
	t.Run("with 1,000 objects", func(t *testing.T) {
		for range 1000 {
			x := leakcheck.Track(t, newThing())
			t.Cleanup(func() { x.close() })
		}
	})
	t.Run("when a subtest tracks what its parent made", func(t *testing.T) {
		leakcheck.Check(t)
		x := newThing()
		t.Run("sub", func(t *testing.T) { leakcheck.Track(t, x) })
		x.close()
	})
	t.Run("for rows of a table", func(t *testing.T) {
		leakcheck.Check(t)
		table := []struct{ x *thing }{{newThing()}, {newThing()}}
		for i, row := range table {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				leakcheck.Track(t, row.x)
			})
		}
		for _, row := range table {
			row.x.close()
		}
	})
	t.Run("in parallel subtests", func(t *testing.T) {
		for range 4 {
			t.Run("sub", func(t *testing.T) {
				t.Parallel()
				x := leakcheck.Track(t, newThing())
				t.Cleanup(func() { x.close() })
			})
		}
	})
	t.Run("for a part of a larger object", func(t *testing.T) {
		x := newThing()
		leakcheck.Track(t, &x.data)
	})
	t.Run("in a bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x := leakcheck.Track(t, newThing())
			t.Cleanup(func() { x.close() })
		})
	})
	t.Run("when a goroutine lets it go late", func(t *testing.T) {
		release := make(chan struct{})
		x := leakcheck.Track(t, newThing())
		go func() {
			<-release
			x.close()
		}()
		t.Cleanup(func() { close(release) })
	})
}

func helper(t testing.TB) *thing {
	x := newThing()
	t.Cleanup(func() { x.close() })
	return x
}

func TestTrackDetects(t *testing.T) {
	t.Run("a package variable", func(t *testing.T) {
		letGo(t)
		leakcheck.MustDetect(t, func(t testing.TB) { planted = leakcheck.Track(t, newThing()) })
	})
	t.Run("a part of what is kept", func(t *testing.T) {
		letGo(t)
		leakcheck.MustDetect(t, func(t testing.TB) {
			x := newThing()
			planted = x
			leakcheck.Track(t, x.next)
		})
	})
	t.Run("a goroutine", func(t *testing.T) {
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		leakcheck.MustDetect(t, func(t testing.TB) {
			x := leakcheck.Track(t, newThing())
			go func() {
				<-release
				x.close()
			}()
		})
	})
	t.Run("in spite of a cleanup", func(t *testing.T) {
		letGo(t)
		leakcheck.MustDetect(t, func(t testing.TB) {
			x := leakcheck.Track(t, newThing())
			t.Cleanup(func() { planted = x })
		})
	})
}

var global struct {
	first int
	x     thing
}

func TestTrackRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		track func(t testing.TB)
		says  string
	}{
		"nil":              {func(t testing.TB) { leakcheck.Track[thing](t, nil) }, "the pointer is nil"},
		"a global":         {func(t testing.TB) { leakcheck.Track(t, &global.x) }, "it points into a package variable"},
		"no size":          {func(t testing.TB) { leakcheck.Track(t, new(struct{})) }, "the value has no size"},
		"tiny":             {func(t testing.TB) { leakcheck.Track(t, new(int64)) }, "so small"},
		"tiny array":       {func(t testing.TB) { leakcheck.Track(t, new([2]int64)) }, "so small"},
		"nil from build":   {func(t testing.TB) { leakcheck.Collected(t, func() *thing { return nil }) }, "the pointer is nil"},
		"global of build":  {func(t testing.TB) { leakcheck.Collected(t, func() *thing { return &global.x }) }, "package variable"},
		"nil build":        {func(t testing.TB) { leakcheck.Collected[thing](t, nil) }, "build is nil"},
		"FailNow in build": {func(t testing.TB) { leakcheck.Collected(t, func() *thing { t.Fatal("no"); return nil }) }, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			leaks, said := leakcheck.Plant(t, row.track)
			assert.Zero(t, leaks, "a refusal is not a leak")
			assert.Contains(t, said, row.says)
		})
	}
	small := leakcheck.Track(t, new(*int)) // has a pointer, and so its own memory
	require.Nil(t, *small)
}

func TestCollected(t *testing.T) {
	leakcheck.Collected(t, newThing)
	letGo(t)
	leakcheck.MustDetect(t, func(t testing.TB) {
		leakcheck.Collected(t, func() *thing {
			x := newThing()
			planted = x.next
			return x.next
		})
	})
}

// Without a Check the subtest is judged alone, and the heap says that it is
// the test which holds the row.
func TestChildRow(t *testing.T) {
	childTest(t)
	table := []struct{ x *thing }{{newThing()}}
	for i, row := range table {
		t.Run(fmt.Sprint(i), func(t *testing.T) { leakcheck.Track(t, row.x) })
	}
	table[0].x.close()
}

// The Cleanup of a helper that ran before leakcheck's first call is still to
// come at the verdict.
func TestChildHelperFirst(t *testing.T) {
	childTest(t)
	leakcheck.Track(t, helper(t))
}

// Of three objects tracked at one place only the test itself holds one. What
// subtests cannot let go is judged with the checked test around them.
func TestChildTrackSeveral(t *testing.T) {
	childTest(t)
	mine := helper(t)
	leakcheck.Check(t)
	kept := []*thing{newThing(), newThing()}
	for i, x := range append(kept, mine) {
		t.Run(fmt.Sprint(i), func(t *testing.T) { leakcheck.Track(t, x) })
	}
	planted = kept
}

// What the test's own Cleanups hold is collected once they have run: there is
// nothing to ask the heap.
func TestChildTrackCleanups(t *testing.T) {
	childTest(t)
	x := leakcheck.Track(t, newThing())
	for range 1000 {
		t.Cleanup(func() { x.close() })
	}
}

// With a Check around it the row is judged when the table's test ends.
func TestChildCheckedRow(t *testing.T) {
	childTest(t)
	leakcheck.Check(t)
	row := newThing()
	t.Run("sub", func(t *testing.T) { leakcheck.Track(t, row) })
	row.close()
}

func TestTrackAsksTheHeap(t *testing.T) {
	testgate.Seconds(t)
	o := child(t, "main", "TestChildTrackCleanups|TestChildCheckedRow|TestChildRow|TestChildHelperFirst|TestChildTrackSeveral")
	assert.Equal(t, []string{"TestChildTrackSeveral"}, o.failed)
	assert.Equal(t, 2, strings.Count(o.text, "leakcheck: no leak: *leakcheck_test.thing is still retained by your test, in "), "a row and a helper's cleanup")
	assert.NotContains(t, o.text, "TestChildTrackCleanups ended, but")
	assert.NotContains(t, o.text, "TestChildCheckedRow ended, but")
	const title = "leakcheck: memory leak: TestChildTrackSeveral/0, TestChildTrackSeveral/1, TestChildTrackSeveral/2 ended, but 3 *leakcheck_test.thing are still reachable\n"
	assert.Equal(t, 1, strings.Count(o.text, title), "it is said once")
	line := regexp.MustCompile(`(?m)^    track_test\.go:(\d+): ` + regexp.QuoteMeta(title)).FindStringSubmatch(o.text)
	require.NotNil(t, line, o.text)
	assert.Regexp(t, `(?m)^            tracked at     .* leakcheck/track_test\.go:`+line[1]+` .*leakcheck\.Track\(t, x\)`, o.text, "the line that tracks them, not that of Check")
	_, said, _ := strings.Cut(o.text, title)
	assert.Contains(t, said, "leakcheck.Track(t, x)", "the line that tracks them")
	assert.Contains(t, said, "(2 of 3) package variable leakcheck_test.planted")
	assert.Contains(t, said, "2 like it")
	assert.Contains(t, said, "no leak        (1 of 3) retained by your test, in ")
	assert.Contains(t, said, "fix")
}

// An object that is released late, but within the test's own Grace.
func TestCollectedHasTheTestsGrace(t *testing.T) {
	leakcheck.Check(t, patience)
	release := make(chan struct{})
	leakcheck.Collected(t, func() *thing {
		x := newThing()
		go func() { <-release; time.Sleep(50 * time.Millisecond); x.close() }()
		time.AfterFunc(time.Millisecond, func() { close(release) })
		return x
	})
	leaks, said := leakcheck.Plant(t, func(t testing.TB) {
		leakcheck.Check(t, leakcheck.Grace(0))
		letGo(t)
		leakcheck.Collected(t, func() *thing { x := newThing(); planted = x; return x })
	})
	assert.Equal(t, 1, leaks, said)
	assert.Contains(t, said, "build returned, but its *leakcheck_test.thing is still reachable")
}

func TestChildTrackKnown(t *testing.T) {
	childTest(t)
	planted = leakcheck.Track(t, newThing())
	leakcheck.Collected(t, func() *thing { x := newThing(); planted = []any{planted, x}; return x })
}

func TestBaselineKnowsObjects(t *testing.T) {
	testgate.Seconds(t)
	file := filepath.Join(t.TempDir(), "leaks.txt")
	o := child(t, "bare", "TestChildTrackKnown", "LEAKSAFE_BASELINE="+file, "LEAKSAFE_BASELINE_UPDATE=1")
	assert.Zero(t, o.code, o.text)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(text), "object\tgithub.com/leaksafe/leaksafe/leakcheck\t*leakcheck_test.thing tracked in github.com/leaksafe/leaksafe/leakcheck_test.TestChildTrackKnown\n")
	o = child(t, "bare", "TestChildTrackKnown", "LEAKSAFE_BASELINE="+file)
	assert.Zero(t, o.code, o.text)
	o = child(t, "bare", "TestChildTrackKnown", "TMPDIR=/nonexistent")
	assert.Equal(t, []string{"TestChildTrackKnown"}, o.failed)
	assert.Equal(t, 2, strings.Count(o.text, "retained by    unknown: cannot write a heap dump: "), "Collected's and Track's")
	assert.Equal(t, 2, strings.Count(o.text, "to see it, set TMPDIR to a folder that can be written"))
}
