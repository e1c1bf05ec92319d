package blame

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
)

// The goroutines of a test process as runtime.Stack prints them. Goroutine 1 runs the tests, 7 is TestA's
// own and 8 TestB's.
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
		before1 bool // one orphan was there before
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
			if row.before1 {
				a.Before = map[string]int{"app.wait": 1}
			}
			l := gostack.Parse(strings.TrimSpace(strings.Join(row.stacks, "")))
			assert.Len(t, l, len(row.stacks))
			suspects := map[string]bool{"app.wait": true, "app.TestA.func1": true, "app.TestC.func1": true}
			found := Find(l, a, suspects, open)
			var leaked []int
			for _, g := range found.Leaked {
				leaked = append(leaked, g.ID)
				assert.Equal(t, g.Scope == 0, found.Reasons[g.ID] != "", "a reason where the label does not say")
			}
			slices.Sort(leaked)
			assert.Equal(t, row.leaked, leaked)
			assert.Equal(t, row.unowned, found.Unowned)
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
	r.NoteUnowned(5, []string{"TestA"})
	r.NoteUnowned(5, []string{"TestB"})
	assert.Equal(t, []string{"TestA"}, r.Candidates(5), "those of the first look")
	r.Forget(gostack.Snapshot{}, before)
	assert.NotEmpty(t, r.Candidates(5), "the look was taken before it was noted")
	r.Forget(gostack.Snapshot{5: {}}, r.Mark())
	assert.NotEmpty(t, r.Candidates(5), "it still runs")
	r.Forget(gostack.Snapshot{}, r.Mark())
	assert.Empty(t, r.Candidates(5))

	g := &gostack.Goroutine{ID: 6}
	assert.False(t, r.Reported(g))
	r.NoteReported(g.ID)
	assert.True(t, r.Reported(g))
}

func TestWhen(t *testing.T) {
	when := func(candidates []string, texts ...string) string {
		var group []*gostack.Goroutine
		for _, text := range texts {
			group = append(group, gostack.ParseOne(strings.TrimSpace(text)))
		}
		return When(group, func(int) []string { return candidates })
	}
	assert.Equal(t, "TestA", when([]string{"TestB"}, labelled))
	assert.Equal(t, "TestC", when([]string{"TestB"}, closureOfC))
	assert.Equal(t, "TestA (2), TestB", when(nil, labelled, labelled, labelledB))
	assert.Equal(t, "all tests; started by one of TestA, TestB", when([]string{"TestA", "TestB"}, orphan))
	assert.Equal(t, "all tests; its test is unknown", when(nil, orphan))
	assert.Equal(t, "all tests; started by TestA, an unknown test", when(nil, labelled, orphan))
}
