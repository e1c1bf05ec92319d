package leakcheck_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
	"github.com/leaksafe/leaksafe/leakcheck"
)

type siteStore struct{ items map[int]*siteItem }

type siteItem struct {
	id   int
	data []byte
}

var sites siteStore

func newItem(i int) *siteItem { return &siteItem{id: i} } // is inlined

//go:noinline
func (s *siteStore) put(i int) {
	item := newItem(i)
	item.data = make([]byte, 1000)
	s.items[i] = item
}

// apart runs f on a stack of its own: no word that it leaves there retains an object later.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// siteStacks returns the stacks of the profile in which all the functions stand.
func siteStacks(t *testing.T, functions ...string) (stacks [][]uintptr) {
	n, _ := runtime.MemProfile(nil, true)
	records := make([]runtime.MemProfileRecord, n+100)
	n, ok := runtime.MemProfile(records, true)
	require.True(t, ok)
	for _, r := range records[:n] {
		if r.InUseObjects() < 100 {
			continue
		}
		var text strings.Builder
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			text.WriteString(f.Function + "\n")
		}
		all := true
		for _, f := range functions {
			all = all && strings.Contains(text.String(), f)
		}
		if all {
			stacks = append(stacks, r.Stack())
		}
	}
	return stacks
}

func TestExplainSitesGroupsInstancesOntoOnePath(t *testing.T) {
	testgate.Seconds(t)
	old := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	sites.items = map[int]*siteItem{}
	apart(func() {
		for i := range 1000 {
			sites.put(i)
		}
	})
	runtime.GC()
	runtime.GC()
	runtime.MemProfileRate = old
	t.Cleanup(func() { sites.items = nil })
	stacks := siteStacks(t, "(*siteStore).put")
	require.GreaterOrEqual(t, len(stacks), 2, "the items and their data")

	whole, err := leakcheck.ExplainSites(t, stacks)
	require.NoError(t, err)
	var cut [][]uintptr
	for _, s := range stacks {
		cut = append(cut, s[:len(s)-2])
	}
	short, err := leakcheck.ExplainSites(t, cut)
	require.NoError(t, err)
	require.Len(t, short, len(whole))
	for i := range whole { // a word that is left on a stack may retain one object too
		assert.InEpsilon(t, whole[i].RetainedBytes, short[i].RetainedBytes, 0.01)
		short[i].RetainedBytes = whole[i].RetainedBytes
	}
	for _, paths := range [][]leakcheck.Path{whole, short} {
		for i := range paths { // a collection that ran meanwhile may have left an object of the runtime's at the line
			paths[i].Answer, _, _ = strings.Cut(paths[i].Answer, " (this path retains")
		}
	}
	assert.Equal(t, whole, short, "a stack cut short at the harness means the same")

	text := ""
	for _, p := range whole {
		text += p.String() + "\n"
	}
	t.Log("\n" + text)
	assert.Contains(t, text, "(1,000 like it, 1 MiB retained)")
	assert.Regexp(t, `\(1,000 like it, (999|1000) KiB retained\)`, text)
	assert.Contains(t, text, "retained by package variable leakcheck_test.sites: leakcheck_test.sites.items[")
	assert.Contains(t, text, "return &siteItem{id: i}")
	assert.Contains(t, text, "item.data = make([]byte, 1000)")
}

var (
	mornings []*siteItem
	evenings []*siteItem
)

//go:noinline
func morning(i int) *siteItem { return today(i) }

//go:noinline
func evening(i int) *siteItem { return calendar.today(i) }

// Behind the interface stands a wrapper that the compiler makes.
var calendar interface{ today(int) *siteItem } = new(days)

type days struct{ _ int }

//go:noinline
func (days) today(i int) *siteItem { return today(i) }

//go:noinline
func today(i int) *siteItem { return newItem(i) }

// Two callers of one line that allocates are two stacks, and what one of them keeps is not counted
// with the other's.
func TestExplainSitesTellsCallersApart(t *testing.T) {
	testgate.Seconds(t)
	old := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	apart(func() {
		for i := range 300 {
			mornings = append(mornings, morning(i))
			if i%3 == 0 {
				evenings = append(evenings, evening(i))
			}
		}
	})
	runtime.GC()
	runtime.GC()
	runtime.MemProfileRate = old
	t.Cleanup(func() { mornings, evenings = nil, nil })
	for caller, want := range map[string]string{"leakcheck_test.morning": "mornings", "leakcheck_test.evening": "evenings"} {
		stacks := siteStacks(t, "leakcheck_test.today", caller)
		require.Len(t, stacks, 1)
		paths, err := leakcheck.ExplainSites(t, stacks)
		require.NoError(t, err)
		assert.Contains(t, paths[0].Answer, "leakcheck_test."+want+"[")
		assert.Equal(t, map[string]int{"mornings": 300, "evenings": 100}[want], paths[0].Count)
		assert.NotContains(t, paths[0].Answer, "other path")
	}
}
