package scope

import (
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leaksafe/leaksafe/leakcheck/internal/advice"
	"github.com/leaksafe/leaksafe/leakcheck/internal/baseline"
	"github.com/leaksafe/leaksafe/leakcheck/internal/blame"
	"github.com/leaksafe/leaksafe/leakcheck/internal/gostack"
	"github.com/leaksafe/leaksafe/leakcheck/internal/option"
	"github.com/leaksafe/leaksafe/leakcheck/internal/ownheap"
	"github.com/leaksafe/leaksafe/leakcheck/internal/testhook"
)

// RunMain runs the tests of m, and gives the verdict on the process. It returns the exit code, and
// what exits.
func RunMain(m *testing.M, cfg option.Config) (code int, exit func(code int)) {
	testhook.LabelTests(m,
		func(test string) { gostack.SetLabel(tests.starts(test), test) },
		// The baseline is read in any case: else the go command would take a run that passed with a
		// baseline for one without.
		func() { baseline.Open() })
	find, exit := splitGoleak(cfg.Goleak)
	if l, ok := gostack.Take(); ok {
		record.NoteEarly(l)
	}
	code = m.Run()
	gostack.SetLabel(0, "") // the last test has left its label
	failed := code
	if leaked := awaitProcess(cfg, find); len(leaked) > 0 {
		reportProcess(leaked, failed)
		code = max(code, 1)
	}
	if left := doubtfulFiles(cfg); len(left) > 0 {
		reportProcessFiles(left)
		code = max(code, 1)
	}
	return code, exit
}

// splitGoleak tells the options that find from goleak.Cleanup, which goleak
// accepts only where it also exits. An option does not say what it is; but Find
// refuses a Cleanup before it looks, and without one finds nothing new here.
func splitGoleak(opts []goleak.Option) (find []goleak.Option, exit func(int)) {
	exit = os.Exit
	for _, o := range opts {
		if err := goleak.Find(o, goleak.IgnoreCurrent()); err == nil || !strings.HasPrefix(err.Error(), "Cleanup can only") {
			find = append(find, o)
			continue
		}
		exit = func(code int) {
			goleak.VerifyTestMain(exitCode(code), o, goleak.IgnoreCurrent())
		}
	}
	return find, exit
}

// An exitCode is a goleak.TestingM whose tests have run.
type exitCode int

func (c exitCode) Run() int { return int(c) }

// awaitProcess waits until goleak finds nothing that is not ignored, and
// returns what it still finds when the grace ends.
func awaitProcess(cfg option.Config, find []goleak.Option) []*gostack.Goroutine {
	closeIdle()
	end := time.Now().Add(cfg.Grace)
	for {
		err := goleak.Find(find...)
		if err == nil {
			return nil
		}
		l, ok := gostack.Take()
		if !ok {
			return []*gostack.Goroutine{{State: err.Error()}}
		}
		record.NoteOrigins(l)
		leaked := objected(l, err.Error(), cfg)
		if len(leaked) == 0 || !time.Now().Before(end) {
			return leaked
		}
	}
}

// objected are the goroutines that goleak's text names and nothing ignores, but
// for those that have failed a test already.
func objected(l gostack.Snapshot, text string, cfg option.Config) []*gostack.Goroutine {
	var leaked []*gostack.Goroutine
	for _, g := range l {
		named := strings.Contains(text, fmt.Sprintf("Goroutine %d in state ", g.ID))
		if named && !record.Reported(g) && !cfg.IgnoresGoroutine(g, l) && !knownGoroutine(g, g.Test) {
			leaked = append(leaked, g)
		}
	}
	return leaked
}

func reportProcess(leaked []*gostack.Goroutine, code int) {
	if code != 0 {
		fmt.Fprintln(os.Stderr, "leakcheck: tests failed; the leaks below may be a consequence")
	}
	proven := prove(leaked)
	var ignore []string
	for _, group := range advice.Group(leaked) {
		if line := "        " + advice.Silence(group[0]) + ","; !slices.Contains(ignore, line) {
			ignore = append(ignore, line)
		}
		f := advice.Describe(group, blame.When(group, &record))
		if s, noted := record.Suspicion(group[0].ID); noted && s.Why != "" {
			f.Add("note", s.Why)
		}
		if slices.Contains(proven, group[0].Name()) {
			f.Add("proven", "nothing can ever wake it: the goroutineleak profile finds no reference to what it waits for")
		}
		fmt.Fprintln(os.Stderr, f)
		f.Annotate(os.Stderr)
	}
	fmt.Fprintf(os.Stderr, "leakcheck: to accept these leaks for now, write them to a file of known leaks:\n    %s\nor ignore them in TestMain:\n    leakcheck.Main(m,\n%s\n    )\n", baseline.Command(), strings.Join(ignore, "\n"))
}

// prove runs the goroutineleak profile, where this Go has it, and names those
// of the leaked that it finds. It does not see what a package variable, a
// ticker or a sleep could still wake.
func prove(leaked []*gostack.Goroutine) (proven []string) {
	p := pprof.Lookup("goroutineleak")
	if p == nil {
		return nil
	}
	lift := ownheap.Forbid() // before it can find anything: a dump may be about to start
	if err := p.WriteTo(io.Discard, 0); err != nil {
		return nil
	}
	l, ok := gostack.Take()
	if ok && !l.HasProven() {
		lift()
	}
	for _, g := range leaked {
		if now := l[g.ID]; now != nil && now.Leaked {
			proven = append(proven, g.Name())
		}
	}
	return proven
}

// NoteReported notes that a test has failed for goroutines: nothing else fails for them.
func NoteReported(ids ...int) { record.NoteReported(ids...) }

// record is what the verdicts so far said about goroutines.
var record blame.Record
