package gostack

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A test runs from its first line to the end of its last Cleanup, but not while it waits in
// t.Parallel or for its subtests.
func TestHeadcountOfTests(t *testing.T) {
	const (
		start   = "testing.tRunner"
		last    = "testing.tRunner.func1"
		undo    = "testing.tRunner.func2"
		clean   = "testing.(*common).runCleanup"
		cleanup = "testing.(*common).Cleanup.func1"
	)
	for _, row := range []struct {
		what   string
		label  string
		frames []string // the innermost first
		want   []RunningTest
	}{
		{"its function", "7 TestPut", []string{"app.TestPut", start}, []RunningTest{{7, "TestPut"}}},
		{"its function, without a label", "", []string{"app.TestPut", start}, []RunningTest{{0, "TestPut"}}},
		{"a subtest", "8 TestPut/a", []string{"app.TestPut.func1", start}, []RunningTest{{8, "TestPut/a"}}},
		{"waits in t.Parallel", "7 TestPut", []string{"testing.(*T).Parallel", "app.TestPut", start}, nil},
		{"the function has returned", "7 TestPut", []string{start}, []RunningTest{{7, "TestPut"}}},
		{"a Cleanup of its own", "7 TestPut", []string{"app.TestPut.func1", cleanup, clean, undo, start}, []RunningTest{{7, "TestPut"}}},
		{"before a Cleanup", "7 TestPut", []string{"testing.pcToName", "testing.callerName", cleanup, clean, undo, start}, []RunningTest{{7, "TestPut"}}},
		{"between two Cleanups", "7 TestPut", []string{clean, undo, start}, []RunningTest{{7, "TestPut"}}},
		{"waits for its subtests", "7 TestPut", []string{last, start}, nil},
		{"a Cleanup after the subtests", "7 TestPut", []string{clean, last, start}, []RunningTest{{7, "TestPut"}}},
		{"about to begin", "", []string{start}, nil},
	} {
		t.Run(row.what, func(t *testing.T) {
			record := "goroutine profile: total 1\n1 @ 0x1\n"
			if row.label != "" {
				record += `# labels: {"` + labelKey + `":"` + row.label + "\"}\n"
			}
			for _, f := range row.frames {
				record += "#\t0x1\t" + f + "+0x1\t/src/x.go:1\n"
			}
			assert.Equal(t, row.want, parseHeadcount(strings.TrimSuffix(record, "\n")+"\n\n").Tests)
		})
	}
}
