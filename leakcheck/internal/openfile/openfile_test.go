package openfile_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/fd"
	"github.com/leaksafe/leaksafe/leakcheck/internal/openfile"
)

func opened(number int, target string, tests ...string) blame.Opened {
	return blame.Opened{File: fd.File{Descriptor: fd.Descriptor{Number: number}, Target: target}, Tests: tests}
}

// One file that is open three times is one failure; two files are two, and so are two sets of
// tests.
func TestGroup(t *testing.T) {
	groups := openfile.Group([]blame.Opened{
		opened(3, "/tmp/a", "TestA"), opened(4, "/tmp/b", "TestA"), opened(5, "/tmp/a", "TestA"), opened(6, "/tmp/a", "TestA", "TestB"),
	})
	var numbers [][]int
	for _, group := range groups {
		var list []int
		for _, f := range group {
			list = append(list, f.Number)
		}
		numbers = append(numbers, list)
	}
	assert.ElementsMatch(t, [][]int{{3, 5}, {4}, {6}}, numbers)
}

func TestDescribe(t *testing.T) {
	one := openfile.Describe([]blame.Opened{opened(3, "/tmp/a")}, "TestA")
	assert.Equal(t, "file leak: descriptor 3 is still open after TestA", one.Title)
	var many []blame.Opened
	for n := range 10 {
		many = append(many, opened(n, "/tmp/a", "TestA", "TestB"))
	}
	assert.Equal(t, "file leak: 10 descriptors (0, 1, 2, 3, 4, 5, 6, 7 and 2 more) are still open after all tests; opened by one of TestA, TestB",
		openfile.DescribeDoubt(many).Title)
	assert.Equal(t, []string{"/tmp/a"}, openfile.Lines(many), "said once")
}

func TestKeyIsTheSameInTheNextRun(t *testing.T) {
	assert.Equal(t, "open#", openfile.Key(opened(3, "/tmp/x1/open123 (deleted)")))
	assert.Equal(t, openfile.Key(opened(3, "/tmp/1/open7")), openfile.Key(opened(9, "/tmp/2/open812")))
}

func TestFindOutRunsEachTestAlone(t *testing.T) {
	assert.Regexp(t, `^go test -run '\^TestA\$/\^a\\\.b\$' \S+ && go test -run '\^TestB\$' \S+$`, openfile.FindOut([]string{"TestA/a.b", "TestB"}))
}
