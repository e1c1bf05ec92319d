package leakcheck_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/leakcheck"
)

func TestChildOld(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	leakPlain()
	held = append(held, open(t))
}

func TestChildOldUnchecked(t *testing.T) {
	childTest(t)
	leakPlain()
}

// It does not stand where it stood when the baseline was written.
func TestChildMoves(t *testing.T) {
	childTest(t)
	go moves()
}

func moves() {
	if os.Getenv("LEAKSAFE_BASELINE_UPDATE") != "" {
		wait(forever)
	}
	<-forever
}

func TestChildNew(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	go waitForever()
	<-started
}

// The leak of TestChildOld, in a test that was written after the baseline.
func TestChildSameLeak(t *testing.T) {
	childTest(t)
	leakcheck.Check(t, short)
	leakPlain()
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "leaks.txt")
	use := "LEAKSAFE_BASELINE=" + file
	missing := start(t, "main", "TestChildNew", "LEAKSAFE_BASELINE="+file+".missing")
	none := start(t, "main", "TestChildOld|TestChildOldUnchecked|TestChildMoves")
	update := start(t, "main", "TestChildOld|TestChildOldUnchecked|TestChildMoves", use, "LEAKSAFE_BASELINE_UPDATE=1")

	o := none()
	require.Equal(t, 1, o.code)
	require.Contains(t, o.text, "LEAKSAFE_BASELINE=leaks.txt LEAKSAFE_BASELINE_UPDATE=1 go test github.com/leaksafe/leaksafe/leakcheck")

	o = update()
	assert.Zero(t, o.code, "the update takes them in")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(text), "goroutine\tgithub.com/leaksafe/leaksafe/leakcheck\tTestChildOldUnchecked github.com/leaksafe/leaksafe/leakcheck_test.leakPlain.func1 created by github.com/leaksafe/leaksafe/leakcheck_test.leakPlain\n")

	fresh := start(t, "main", "TestChildOld|TestChildNew|TestChildSameLeak", use)
	o = child(t, "main", "TestChildOld|TestChildOldUnchecked|TestChildMoves", use)
	assert.Zero(t, o.code, "known leaks pass")
	assert.Equal(t, []string{"TestChildNew", "TestChildSameLeak"}, fresh().failed, "a new one does not, nor the same one in a new test")

	o = missing()
	assert.Contains(t, o.text, "leakcheck: baseline: open "+file+".missing")
	assert.Equal(t, []string{"TestChildNew"}, o.failed)
}

// The go command takes a pass from its cache unless the run is known to have read the
// variable: it is read where the go command listens, also when no leak asks for it.
func TestBaselineIsInTheTestLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "testlog")
	o := child(t, "main", "TestChildPasses", "LEAKCHECK_TESTLOG="+file)
	require.Zero(t, o.code)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Contains(t, string(text), "\ngetenv LEAKSAFE_BASELINE\n")
}
