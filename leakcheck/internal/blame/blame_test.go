package blame

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
)

// The goroutines of a test process as runtime.Stack prints them. Goroutine 1 runs the tests, 7 is
// TestA's own and 8 TestB's.
const (
	mainRunsA = `
goroutine 1 [chan receive]:
testing.(*T).Run(0xc0, {0x1, 0x5}, 0x2)
	/usr/local/go/src/testing/testing.go:2101 +0x4c5
main.main()
	_testmain.go:46 +0x9d
`
	mainWaits = `
goroutine 1 [chan receive]:
testing.(*T).Parallel(0xc0)
	/usr/local/go/src/testing/testing.go:1990 +0x4c5
main.main()
	_testmain.go:46 +0x9d
`
	testA = `
goroutine 7 [running] {"leakcheck test": "3 TestA"}:
app.TestA(0xc0)
	/src/app/a_test.go:14 +0x225
testing.tRunner(0xc0, 0x59)
	/usr/local/go/src/testing/testing.go:2036 +0xea
created by testing.(*T).Run in goroutine 1
	/usr/local/go/src/testing/testing.go:2101 +0x4c5
`
	testB = `
goroutine 8 [running] {"leakcheck test": "4 TestB"}:
app.TestB(0xc0)
	/src/app/b_test.go:14 +0x225
testing.tRunner(0xc0, 0x59)
	/usr/local/go/src/testing/testing.go:2036 +0xea
created by testing.(*T).Run in goroutine 1
	/usr/local/go/src/testing/testing.go:2101 +0x4c5
`
	rowWithoutCheck = `
goroutine 9 [chan receive]:
app.TestA(0xc0)
	/src/app/a_test.go:20 +0x225
testing.tRunner(0xc0, 0x59)
	/usr/local/go/src/testing/testing.go:2036 +0xea
created by testing.(*T).Run in goroutine 1
	/usr/local/go/src/testing/testing.go:2101 +0x4c5
`
	labelled = `
goroutine 20 [chan receive] {"leakcheck test": "3 TestA"}:
app.wait()
	/src/app/app.go:9 +0x1d
created by app.Start in goroutine 7
	/src/app/app.go:7 +0x1d
`
	labelledB = `
goroutine 21 [chan receive] {"leakcheck test": "4 TestB"}:
app.wait()
	/src/app/app.go:9 +0x1d
created by app.Start in goroutine 8
	/src/app/app.go:7 +0x1d
`
	labelLost = `
goroutine 22 [chan receive]:
app.wait()
	/src/app/app.go:9 +0x1d
created by app.Start in goroutine 7
	/src/app/app.go:7 +0x1d
`
	grandchild = `
goroutine 23 [chan receive]:
app.wait()
	/src/app/app.go:9 +0x1d
created by app.Start in goroutine 22
	/src/app/app.go:7 +0x1d
`
	orphan = `
goroutine 24 [chan receive]:
app.wait()
	/src/app/app.go:9 +0x1d
created by time.goFunc
	/usr/local/go/src/time/sleep.go:215 +0x2d
`
	closureOfA = `
goroutine 25 [chan receive]:
app.TestA.func1()
	/src/app/a_test.go:9 +0x1d
created by time.goFunc
	/usr/local/go/src/time/sleep.go:215 +0x2d
`
	closureOfC = `
goroutine 26 [chan receive]:
app.TestC.func1()
	/src/app/c_test.go:9 +0x1d
created by time.goFunc
	/usr/local/go/src/time/sleep.go:215 +0x2d
`
)

const (
	service = `
goroutine 27 [sleep]:
app.serve()
	/src/app/app.go:3 +0x1d
created by app.TestMain in goroutine 1
	/src/app/main_test.go:7 +0x1d
`
	ofService = `
goroutine 28 [sleep]:
app.wait()
	/src/app/app.go:9 +0x1d
created by app.serve in goroutine 27
	/src/app/app.go:7 +0x1d
`
	ofMain = `
goroutine 29 [sleep]:
app.wait()
	/src/app/app.go:9 +0x1d
created by app.init.0 in goroutine 1
	/src/app/app.go:7 +0x1d
`
)

func tests() (a, b Test) {
	a = Test{ID: 3, Name: "TestA", Goroutine: 7, Symbol: "app.TestA", Beside: map[string]string{}}
	b = Test{ID: 4, Name: "TestB", Goroutine: 8, Symbol: "app.TestB", Beside: map[string]string{}}
	return a, b
}

func TestFind(t *testing.T) {
	a, b := tests()
	for _, row := range []struct {
		name   string
		stacks []string
		together,
		before1, // one goroutine of app.wait was there before
		late bool // nothing was there when the verdict began
		history History
		leaked  []int
		unowned []int
	}{
		{name: "nothing is left", stacks: []string{mainRunsA, testA}},
		{name: "the label names the test", stacks: []string{mainRunsA, testA, labelled}, leaked: []int{20}},
		{name: "another test's label", stacks: []string{mainWaits, testA, testB, labelledB}, together: true},
		{name: "a lost label: the creator is the test's goroutine", stacks: []string{mainWaits, testA, testB, labelLost}, together: true, leaked: []int{22}},
		{name: "a lost label, a generation later", stacks: []string{mainWaits, testA, testB, labelLost, grandchild}, together: true, leaked: []int{22, 23}},
		{name: "a generation later, and the one between has ended", stacks: []string{mainWaits, testA, testB, grandchild}, together: true, unowned: []int{23}},
		{name: "a timer's goroutine beside another test", stacks: []string{mainWaits, testA, testB, orphan}, together: true, unowned: []int{24}},
		{name: "a timer's goroutine, and no other test ran", stacks: []string{mainRunsA, testA, orphan}, leaked: []int{24}},
		{name: "a timer's goroutine, and the test is parallel", stacks: []string{mainWaits, testA, orphan}, unowned: []int{24}},
		{name: "a timer's goroutine, and an earlier test", stacks: []string{mainRunsA, testA, orphan}, history: History{Tests: []string{"TestZ"}}, unowned: []int{24}},
		{name: "a timer's goroutine, and an earlier test without a Check", stacks: []string{mainRunsA, testA, orphan}, history: History{Sibling: true}, unowned: []int{24}},
		{name: "a timer's goroutine, and a TestMain", stacks: []string{mainRunsA, testA, orphan}, history: History{TestMain: true}, unowned: []int{24}},
		{name: "a goroutine from before that ended may have started it", stacks: []string{mainRunsA, testA, orphan, grandchild}, before1: true, unowned: []int{24}},
		{name: "its creator was there before", stacks: []string{mainRunsA, testA, service, ofService}, unowned: []int{28}},
		{name: "the main goroutine started it", stacks: []string{mainRunsA, testA, ofMain}, unowned: []int{29}},
		{name: "it started after the verdict began", stacks: []string{mainRunsA, testA, orphan}, late: true, unowned: []int{24}},
		{name: "it started late, from the test's own goroutine", stacks: []string{mainRunsA, testA, labelLost}, late: true, leaked: []int{22}},
		{name: "as many as before", stacks: []string{mainRunsA, testA, orphan}, before1: true},
		{name: "the closure of the test's function", stacks: []string{mainWaits, testA, testB, closureOfA}, together: true, leaked: []int{25}},
		{name: "the closure of a row, beside a row without Check", stacks: []string{mainWaits, testA, rowWithoutCheck, closureOfA}, unowned: []int{25}},
		{name: "the closure of a test that has no Check", stacks: []string{mainRunsA, testA, closureOfC}, unowned: []int{26}},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, b, open := a, b, []Test{a}
			a.Beside, b.Beside = maps.Clone(a.Beside), maps.Clone(b.Beside)
			if row.together {
				a.Meet(&b)
				open = []Test{a, b}
			}
			a.History = row.history
			if row.before1 {
				a.Before = map[string]int{"app.wait": 1}
			}
			l := gostack.Parse(strings.TrimSpace(strings.Join(row.stacks, "")))
			assert.Len(t, l, len(row.stacks))
			suspects := map[string]bool{"app.wait": true, "app.TestA.func1": true, "app.TestC.func1": true}
			first := l
			if row.late {
				first = gostack.Snapshot{}
			}
			found := Find(l, first, a, suspects, open)
			var leaked []int
			for _, g := range found.Leaked {
				leaked = append(leaked, g.ID)
				assert.Equal(t, g.Scope == 0, found.Reasons[g.ID] != "", "a reason where the label does not say")
			}
			slices.Sort(leaked)
			assert.Equal(t, row.leaked, leaked)
			assert.Equal(t, row.unowned, slices.Sorted(maps.Keys(found.Unowned)))
		})
	}
}

func TestSuspects(t *testing.T) {
	a, _ := tests()
	a.Before = map[string]int{"app.wait": 1}
	roots, clean := a.Suspects(gostack.Headcount{ByRoot: map[string]int{"app.wait": 1}, ByScope: map[int]int{4: 1}})
	assert.True(t, clean)
	assert.Empty(t, roots)
	roots, clean = a.Suspects(gostack.Headcount{ByRoot: map[string]int{"app.wait": 2}})
	assert.False(t, clean)
	assert.Equal(t, map[string]bool{"app.wait": true}, roots)
	_, clean = a.Suspects(gostack.Headcount{ByScope: map[int]int{3: 1}})
	assert.False(t, clean)
}

func TestRecord(t *testing.T) {
	var r Record
	before := r.Mark()
	r.NoteUnowned(5, Suspicion{Tests: []string{"TestA"}})
	r.NoteUnowned(5, Suspicion{Tests: []string{"TestB"}})
	known := func(id int) bool { _, known := r.Suspicion(id); return known }
	s, _ := r.Suspicion(5)
	assert.Equal(t, []string{"TestA"}, s.Tests, "the candidates of the first look")
	r.Forget(gostack.Snapshot{}, before)
	assert.True(t, known(5), "the look was taken before it was noted")
	r.Forget(gostack.Snapshot{5: {}}, r.Mark())
	assert.True(t, known(5), "it still runs")
	r.Forget(gostack.Snapshot{}, r.Mark())
	assert.False(t, known(5))

	g := &gostack.Goroutine{ID: 6}
	assert.False(t, r.Reported(g))
	r.NoteReported(g.ID)
	assert.True(t, r.Reported(g))
}

func TestWhen(t *testing.T) {
	when := func(tests []string, texts ...string) string {
		var r Record
		var group []*gostack.Goroutine
		for _, text := range texts {
			g := gostack.ParseOne(strings.TrimSpace(text))
			group = append(group, g)
			if tests != nil {
				r.NoteUnowned(g.ID, Suspicion{Tests: tests})
			}
		}
		return When(group, &r)
	}
	assert.Equal(t, "TestA", when([]string{"TestB"}, labelled))
	assert.Equal(t, "TestC", when([]string{"TestB"}, closureOfC))
	assert.Equal(t, "TestA (2), TestB", when(nil, labelled, labelled, labelledB))
	assert.Equal(t, "all tests; started by one of TestA, TestB", when([]string{"TestA", "TestB"}, orphan))
	assert.Equal(t, "all tests; its test is unknown", when(nil, orphan))
	assert.Equal(t, "all tests; TestA, its test is unknown", when(nil, labelled, orphan))
}

func TestOrigins(t *testing.T) {
	const serve = `
goroutine 5 [sleep]:
app.serve()
	/src/app/app.go:3 +0x1d
created by app.TestMain in goroutine 1
	/src/app/main_test.go:7 +0x1d
`
	const worker = `
goroutine 30 [sleep]:
app.worker()
	/src/app/app.go:9 +0x1d
created by app.serve in goroutine 5
	/src/app/app.go:7 +0x1d
`
	parse := func(texts ...string) gostack.Snapshot {
		return gostack.Parse(strings.TrimSpace(strings.Join(texts, "")))
	}
	var r Record
	r.NoteEarly(parse(serve))
	r.NoteOrigins(parse(mainRunsA, serve, worker, orphan))
	s, _ := r.Suspicion(5)
	assert.True(t, s.Early)
	s, _ = r.Suspicion(30)
	assert.True(t, s.Early)
	assert.Equal(t, "started by goroutine 5 (app.serve), which ran before the first test: "+early, s.Why)
	_, known := r.Suspicion(24)
	assert.False(t, known)
	assert.Equal(t, "all tests; no test started it", When([]*gostack.Goroutine{parse(worker)[30]}, &r))
}
