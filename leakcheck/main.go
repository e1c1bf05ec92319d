package leakcheck

import (
	"fmt"
	"os"
	"testing"

	"github.com/leaksafe/leaksafe/leakcheck/internal/option"
	"github.com/leaksafe/leaksafe/leakcheck/internal/scope"
)

// Main runs the tests of m and exits: with 1 when they passed and goroutines
// are left, otherwise with the code of the tests. The verdict for the process
// is goleak's, its options apply (see [Goleak]); Main adds which test did it, or
// which may have. Main's options are the defaults of all checks of the suite.
//
//	func TestMain(m *testing.M) { leakcheck.Main(m) }
//
// It waits at least as long as goleak does, 0.4 s, and up to [Grace]. Unlike
// goleak it looks also when tests have failed.
func Main(m *testing.M, opts ...Option) {
	if m == nil {
		panic("leakcheck: Main: m is nil: pass the *testing.M of TestMain")
	}
	cfg := option.OfSuite(all(opts))
	if cfg.Misuse != nil {
		fmt.Fprintln(os.Stderr, cfg.Misuse)
		os.Exit(2)
	}
	code, exit := scope.RunMain(m, cfg)
	exit(code)
}
