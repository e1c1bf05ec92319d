package leakcheck_test

import (
	"flag"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestNilT(t *testing.T) {
	var none *testing.T
	for name, call := range map[string]func(t testing.TB){
		"Check":      func(t testing.TB) { leakcheck.Check(t) },
		"Goroutines": func(t testing.TB) { leakcheck.Goroutines(t) },
		"Files":      func(t testing.TB) { leakcheck.Files(t) },
		"Context":    func(t testing.TB) { leakcheck.Context(t) },
		"Track":      func(t testing.TB) { leakcheck.Track(t, new(thing)) },
		"Collected":  func(t testing.TB) { leakcheck.Collected(t, newThing) },
		"MustDetect": func(t testing.TB) { leakcheck.MustDetect(t, func(testing.TB) {}) },
	} {
		says := "leakcheck: " + name + ": t is nil: pass the test's own *testing.T, B or F"
		assert.PanicsWithValue(t, says, func() { call(nil) })
		assert.PanicsWithValue(t, says, func() { call(none) })
	}
	assert.PanicsWithValue(t, "leakcheck: Main: m is nil: pass the *testing.M of TestMain", func() { leakcheck.Main(nil) })
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for says, option := range map[string]leakcheck.Option{
		"Grace(-1ns)":         leakcheck.Grace(-1),
		`IgnoreFunc("")`:      leakcheck.IgnoreFunc(""),
		`IgnoreCreatedBy("")`: leakcheck.IgnoreCreatedBy(""),
	} {
		leaks, said := leakcheck.Plant(t, func(t testing.TB) { leakcheck.Check(t, option, nil) })
		assert.Zero(t, leaks)
		assert.Contains(t, said, "leakcheck: "+says)
	}
}

func TestOptionsThatMeanNothing(t *testing.T) {
	growth, goroutines := []leakcheck.Option{leakcheck.Iterations(1), leakcheck.Rounds(2), leakcheck.Warmup(5), leakcheck.AllowPerOp(1), leakcheck.IgnoreSite("x")}, []leakcheck.Option{leakcheck.IgnoreFunc("x"), leakcheck.IgnoreCreatedBy("x")}
	for _, row := range []struct {
		check string
		call  func(t testing.TB, o leakcheck.Option)
		none  []leakcheck.Option
		give  string
	}{
		{"Check", func(t testing.TB, o leakcheck.Option) { leakcheck.Check(t, o) }, growth, "NoGrowth"},
		{"Goroutines", func(t testing.TB, o leakcheck.Option) { leakcheck.Goroutines(t, o) }, growth, "NoGrowth"},
		{"Files", func(t testing.TB, o leakcheck.Option) { leakcheck.Files(t, o) }, growth, "NoGrowth"},
		{"Files", func(t testing.TB, o leakcheck.Option) { leakcheck.Files(t, o) }, goroutines, "Check or Goroutines"},
		{"Check", func(t testing.TB, o leakcheck.Option) { leakcheck.Check(t, o) }, []leakcheck.Option{leakcheck.Goleak()}, "Main"},
		{"NoGrowth", func(t testing.TB, o leakcheck.Option) { leakcheck.NoGrowth(t, func() {}, o) }, []leakcheck.Option{leakcheck.Goleak()}, "Main"},
	} {
		for _, o := range row.none {
			_, said := leakcheck.Plant(t, func(t testing.TB) { row.call(t, o) })
			assert.Regexp(t, "^leakcheck: "+row.check+": the option [A-Za-z]+ means nothing to it: give it to "+row.give+"$", said)
		}
	}
	_, err := leakcheck.Measure(func() {}, leakcheck.Goleak())
	assert.ErrorContains(t, err, "leakcheck: Measure: the option Goleak means nothing to it: give it to Main")
	_, said := leakcheck.Plant(t, func(t testing.TB) {
		leakcheck.Check(t)
		leakcheck.Check(t, leakcheck.Warmup(5))
	})
	assert.Contains(t, said, "leakcheck: Check: the option Warmup means nothing", "of a second Check")
}

func TestCheckTwiceAddsOptions(t *testing.T) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	leaks, said := leakcheck.Plant(t, func(t testing.TB) {
		leakcheck.Check(t)
		leakcheck.Check(t, leakcheck.Grace(0))
		leakcheck.Goroutines(t)
		leakcheck.Files(t)
		go wait(stop)
	})
	assert.Equal(t, 1, leaks, "one verdict: %s", said)
	assert.NotContains(t, said, "measured")
}

func TestCheckWhenTheTestEnds(t *testing.T) {
	leaks, said := leakcheck.Plant(t, func(t testing.TB) {
		t.Cleanup(func() {
			leakcheck.Check(t)
			leakcheck.Track(t, new(thing))
		})
	})
	assert.Zero(t, leaks)
	assert.Contains(t, said, "leakcheck: Check was called while TestCheckWhenTheTestEnds/MustDetect was ending")
	assert.Contains(t, said, "leakcheck: Track was called while")
}

func TestChildAfter(t *testing.T) {
	childTest(t)
	var ended *testing.T
	t.Run("sub", func(t *testing.T) { ended = t })
	leakcheck.Check(ended)
}

func TestCheckAfterTheTest(t *testing.T) {
	o := child(t, "bare", "TestChildAfter")
	assert.Contains(t, o.text, "leakcheck: Check was called while TestChildAfter/sub was ending")
	assert.Contains(t, o.text, "panic: Fail in goroutine after TestChildAfter/sub has completed", "as t.Error would")
}

func BenchmarkCheck(b *testing.B) {
	leakcheck.Check(b, patience)
	for b.Loop() {
		done := make(chan struct{})
		go close(done)
		<-done
	}
}

func BenchmarkChildLeak(b *testing.B) {
	childTest(b)
	leakcheck.Check(b, short)
	for b.Loop() {
	}
	leakPlain()
}

func TestBenchmarks(t *testing.T) {
	clean := start(t, "main", "BenchmarkCheck")
	o := child(t, "bare", "BenchmarkChildLeak")
	assert.Equal(t, []string{"BenchmarkChildLeak"}, o.failed)
	assert.Contains(t, o.text, "still running after BenchmarkChildLeak\n")
	assert.Zero(t, clean().code)
}

func FuzzCheck(f *testing.F) {
	leakcheck.Check(f, patience)
	f.Add(1)
	f.Add(2)
	f.Fuzz(func(t *testing.T, n int) {
		leakcheck.Check(t, patience)
		x := leakcheck.Track(t, newThing())
		t.Cleanup(x.close)
		go func() { <-t.Context().Done() }()
	})
}

func FuzzChildLeak(f *testing.F) {
	childTest(f)
	f.Add(1)
	f.Add(2)
	f.Fuzz(func(t *testing.T, n int) {
		leakcheck.Check(t, graceFor(n == 2))
		if n == 2 {
			leakPlain()
		}
	})
}

func TestFuzzTargets(t *testing.T) {
	o := child(t, "bare", "FuzzChildLeak")
	assert.Equal(t, []string{"FuzzChildLeak", "FuzzChildLeak/seed#1"}, o.failed)
}

// What goleak's users have stays: its options, and its Cleanup.
func goleakOptions(mode string) []leakcheck.Option {
	const pkg = "github.com/leaksafe/leaksafe/leakcheck_test."
	switch mode {
	case "goleak":
		return []leakcheck.Option{leakcheck.Goleak(goleak.IgnoreAnyFunction(pkg + "leakPlain.func1"))}
	case "cleanup":
		return []leakcheck.Option{leakcheck.Goleak(goleak.IgnoreCurrent(), goleak.Cleanup(func(code int) { println("cleanup with", code) }))}
	case "prefix":
		return []leakcheck.Option{leakcheck.IgnoreFunc(pkg + "leakPl")}
	case "creator":
		return []leakcheck.Option{leakcheck.IgnoreCreatedBy(pkg + "leakPl")}
	case "patient":
		return []leakcheck.Option{patience}
	case "misuse":
		return []leakcheck.Option{leakcheck.IgnoreFunc("")}
	}
	return nil
}

func TestChildPasses(t *testing.T) { childTest(t) }

// It ends after goleak by itself would have given up.
func TestChildEndsLate(t *testing.T) {
	childTest(t)
	go time.Sleep(700 * time.Millisecond)
}

func TestMainOptions(t *testing.T) {
	t.Parallel()
	codes := map[string]int{"": 1, "goleak": 0, "prefix": 0, "creator": 0, "misuse": 2, "cleanup": 0}
	wait := map[string]func() outcome{}
	for mode := range codes {
		wait[mode] = start(t, "main", "TestChildOldUnchecked", "LEAKCHECK_OPTIONS="+mode)
	}
	clean := start(t, "main", "TestChildPasses", "LEAKCHECK_OPTIONS=cleanup")
	late := start(t, "main", "TestChildEndsLate", "LEAKCHECK_OPTIONS=patient")
	for mode, code := range codes {
		o := wait[mode]()
		assert.Equal(t, code, o.code, mode)
		switch mode {
		case "":
			assert.Contains(t, o.text, "1 goroutine is still running after TestChildOldUnchecked\n", "named although it has no Check")
		case "cleanup":
			assert.Contains(t, o.text, "cleanup with 1", "it is the cleanup's to exit with that")
		}
	}
	assert.Contains(t, clean().text, "cleanup with 0")
	assert.Zero(t, late().code)
}

func TestMainLooksWhenTestsFailed(t *testing.T) {
	testgate.Seconds(t)
	o := child(t, "main", "TestChildFails")
	assert.Equal(t, 1, o.code)
	assert.Contains(t, o.text, "tests failed; the leaks below may be a consequence")
	assert.Contains(t, o.text, "1 goroutine is still running after TestChildFails\n")
}

func TestChildFails(t *testing.T) {
	childTest(t)
	leakPlain()
	t.Fatal("for another reason")
}

func TestAnnotatesForGitHub(t *testing.T) {
	testgate.Seconds(t)
	o := child(t, "main", "TestChildOld", "GITHUB_ACTIONS=true")
	assert.Regexp(t, `(?m)^::error file=leakcheck/goroutine_test.go,line=\d+::leakcheck: goroutine leak: 1 goroutine is still running after TestChildOld$`, o.text)
}

// What Main does to name tests must not show in their stacks.
func TestChildStack(t *testing.T) {
	childTest(t)
	pcs := make([]uintptr, 10)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	frames.Next()
	caller, _ := frames.Next()
	assert.Equal(t, "testing.tRunner", caller.Function)
	assert.Contains(t, []string{"", "."}, flag.Lookup("test.run").Value.String())
	t.Run("sub", func(t *testing.T) {
		t.Parallel()
		leakPlain()
	})
}

func ExampleMain_child() {
	if os.Getenv("LEAKCHECK_CHILD") != "" {
		leakPlain()
	}
	// Output:
}

func BenchmarkChildUnchecked(b *testing.B) {
	childTest(b)
	for b.Loop() {
	}
	leakPlain()
}

func TestMainNamesWhatHasNoCheck(t *testing.T) {
	t.Parallel()
	several := start(t, "main", "TestChildOldUnchecked|ExampleMain_child|BenchmarkChildUnchecked")
	stack := start(t, "main", "", "LEAKCHECK_ONLY=TestChildStack")
	o := several()
	assert.Contains(t, o.text, "3 goroutines are still running after BenchmarkChildUnchecked")
	assert.Contains(t, o.text, "ExampleMain_child, TestChildOldUnchecked\n")
	o = stack()
	assert.Empty(t, o.failed, "the stack is as without Main")
	assert.Contains(t, o.text, "1 goroutine is still running after TestChildStack\n")
}
