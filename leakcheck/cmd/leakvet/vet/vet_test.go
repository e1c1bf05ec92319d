package vet_test

import (
	"path/filepath"
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/leaksafe/leaksafe/leakcheck/cmd/leakvet/vet"
)

func seeds(t *testing.T) string {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// The rows of testdata are right and wrong functions. Wrong ones have a comment with what is said.
func TestRows(t *testing.T) {
	analysistest.Run(t, seeds(t), vet.Analyzer, "seeds/after", "seeds/percall", "seeds/handler", "seeds/checks", "seeds/silence")
}

// What is lost has a fix where the fix is mechanical. lost.go.golden is what the fixes make of
// lost.go.
func TestFixes(t *testing.T) {
	analysistest.RunWithSuggestedFixes(t, seeds(t), vet.Analyzer, "seeds/lost")
}

func TestHints(t *testing.T) {
	if err := vet.Analyzer.Flags.Set("hints", "true"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vet.Analyzer.Flags.Set("hints", "false") })
	analysistest.Run(t, seeds(t), vet.Analyzer, "seeds/hints")
}
