package zoo_test

import (
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
	"github.com/leaksafe/leaksafe/leakcheck/internal/zoo"
)

func TestMain(m *testing.M) {
	if os.Getenv(envCase) != "" {
		os.Exit(m.Run()) // a child: what it leaks is its business
	}
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // a second for each child under -race
	leakcheck.Main(m)
}

// TestTable judges every case. Run it with -v to see goleak and the
// goroutineleak profile beside leakcheck.
func TestTable(t *testing.T) {
	testgate.Seconds(t)
	leakRuns, silentRuns := 1, 1
	if testgate.Long() {
		leakRuns, silentRuns = 20, 20
	}
	peers := []zoo.Detector{}
	if testing.Verbose() {
		peers = append(peers, judgeGoleak)
		if pprof.Lookup("goroutineleak") != nil {
			peers = append(peers, judgeProfile)
		}
	}
	table := table{peers: peers}
	t.Run("cases", func(t *testing.T) {
		w := world{symbols: withSymbols(t), url: upstream(t)}
		for _, c := range zoo.Cases() {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				if c.Leak != nil {
					table.add(judgeLeak(t, w, c, peers, leakRuns))
				}
				table.add(judgeSilent(t, w, c, peers, silentRuns))
			})
		}
	})
	if testing.Verbose() {
		fmt.Print(table.String())
	}
	all, anonymous := table.hops()
	t.Logf("paths: %d hops, without a type and a name: %d", all, len(anonymous))
	assert.LessOrEqual(t, 20*len(anonymous), all, "one hop in 20 may have no name: %s", strings.Join(anonymous, "; "))
	runs, alarms := table.silence()
	t.Logf("fixed versions and controls: %d alarms in %d runs", alarms, runs)
	if everyCase := len(table.rows) >= len(zoo.Cases()); testgate.Long() && everyCase {
		assert.GreaterOrEqual(t, runs, 1000)
	}
}

// judgeLeak asks every detector the row names: each must find the leak and
// name its cause, every time, in a process of its own.
func judgeLeak(t *testing.T, w world, c zoo.Case, peers []zoo.Detector, runs int) row {
	r := row{name: c.Name, issue: c.Issue, leak: true}
	for _, f := range c.Finds {
		var v verdict
		for range runs {
			v.add(judge(t, w, c, false, f, 1))
		}
		if assert.Equal(t, runs, v.found, "%s must find it", f.By) {
			assert.Equal(t, runs, v.named, "%s must name %q, and %q as what retains it:\n%s", f.By, f.Names, c.RetainedBy, v.text)
		}
		r.verdicts = append(r.verdicts, cell{f.By, v})
	}
	r.peers = askPeers(t, w, c, false, peers)
	return r
}

// judgeSilent asks the same detectors, and Check, about the fixed version or the
// control: none may say a word.
func judgeSilent(t *testing.T, w world, c zoo.Case, peers []zoo.Detector, runs int) row {
	r := row{name: c.Name, issue: c.Issue, fixed: c.Leak != nil, cure: c.Cure}
	for _, by := range silentDetectors(c) {
		var v verdict
		for left := runs; left > 0; left -= 5 { // some in a fresh process, some in a used one
			v.add(judge(t, w, c, true, zoo.Find{By: by}, min(left, 5)))
		}
		assert.Zero(t, v.found, "%s must be silent about %s:\n%s", by, c.Cure, v.text)
		r.verdicts = append(r.verdicts, cell{by, v})
	}
	r.peers = askPeers(t, w, c, true, peers)
	return r
}

// silentDetectors are those of the row: NoGrowth once, and for a fixed version Check too.
func silentDetectors(c zoo.Case) (by []zoo.Detector) {
	growth := false
	for _, f := range c.Finds {
		if f.By.NoGrowth() && growth {
			continue
		}
		growth = growth || f.By.NoGrowth()
		by = append(by, f.By)
	}
	if c.Leak != nil && len(by) == 1 && by[0].NoGrowth() {
		by = append(by, zoo.Check)
	}
	return by
}

func askPeers(t *testing.T, w world, c zoo.Case, fixed bool, peers []zoo.Detector) (cells []cell) {
	for _, by := range peers {
		cells = append(cells, cell{by, judge(t, w, c, fixed, zoo.Find{By: by}, 1)})
	}
	return cells
}

// A table is all rows, as they are printed.
type table struct {
	mu    sync.Mutex
	peers []zoo.Detector
	rows  []row
}

type row struct {
	name, issue, cure string
	leak, fixed       bool
	verdicts, peers   []cell
}

type cell struct {
	by zoo.Detector
	verdict
}

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

// hops are those of all paths that were asked for with symbols.
func (t *table) hops() (all int, anonymous []string) {
	for _, r := range t.rows {
		for _, c := range r.verdicts {
			if r.leak && ofHeap(zoo.Find{By: c.by}) {
				n, without := hops(c.text)
				all += n
				for _, hop := range without {
					anonymous = append(anonymous, r.name+": "+hop)
				}
			}
		}
	}
	return all, anonymous
}

// silence counts the runs of fixed versions and controls, and the alarms in them.
func (t *table) silence() (runs, alarms int) {
	for _, r := range t.rows {
		for _, c := range r.verdicts {
			if !r.leak {
				runs, alarms = runs+c.runs, alarms+c.found
			}
		}
	}
	return runs, alarms
}

// String prints leaks, fixed versions and controls, in the order of the corpus.
func (t *table) String() string {
	var b strings.Builder
	parts := []struct {
		title string
		in    func(row) bool
	}{
		{"leaks: found and cause named, of runs", func(r row) bool { return r.leak }},
		{"fixed versions: alarms, of runs", func(r row) bool { return r.fixed }},
		{"controls: alarms, of runs", func(r row) bool { return !r.leak && !r.fixed }},
	}
	for _, p := range parts {
		fmt.Fprintf(&b, "\n%-30s%-34s", p.title, "")
		for _, peer := range t.peers {
			fmt.Fprintf(&b, "%-15s", peer)
		}
		b.WriteString("from\n")
		for _, c := range zoo.Cases() {
			for _, r := range t.rows {
				if r.name == c.Name && p.in(r) {
					r.print(&b)
				}
			}
		}
	}
	return b.String()
}

func (r row) print(b *strings.Builder) {
	var said []string
	for _, c := range r.verdicts {
		text := fmt.Sprintf("%s %d/%d", c.by, c.found, c.runs)
		if r.leak && c.named < c.found {
			text += fmt.Sprintf(" (named %d)", c.named)
		}
		said = append(said, text)
	}
	fmt.Fprintf(b, "  %-30s%-32s", r.name, strings.Join(said, ", "))
	for _, c := range r.peers {
		text := "-"
		if c.found > 0 {
			text = "found"
			if !r.leak {
				text = "FALSE ALARM"
			}
		}
		fmt.Fprintf(b, "%-15s", text)
	}
	fmt.Fprintln(b, strings.TrimPrefix(r.issue, "https://"))
}

// TestCorpus holds the corpus to its own form.
func TestCorpus(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range zoo.Cases() {
		assert.Regexp(t, `^https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+$`, c.Issue, c.Name)
		assert.NotEmpty(t, c.Finds, c.Name)
		assert.NotEmpty(t, c.Cure, c.Name)
		assert.NotNil(t, c.Fixed, c.Name)
		for _, f := range c.Finds {
			assert.Equal(t, c.Leak != nil, f.Names != "", "%s: a leak has a cause to name, a control has none", c.Name)
		}
		assert.Equal(t, c.Leak != nil && !slices.ContainsFunc(c.Finds, func(f zoo.Find) bool { return !ofHeap(f) }), c.RetainedBy != "", "%s: what leaks on the heap is kept by something", c.Name)
		assert.False(t, seen[c.Name], "%s twice", c.Name)
		seen[c.Name] = true
	}
}
