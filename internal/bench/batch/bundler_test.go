package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leaksafe/leaksafe/internal/testgate"
)

// TestBundlersOwnTests runs the tests of google.golang.org/api/support/bundler against package
// batch, through a shim. The tests that fail must be the listed ones, which differ on purpose. It
// runs with LEAKSAFE_LONG.
func TestBundlersOwnTests(t *testing.T) {
	testgate.Minutes(t) // bundler's tests compare times, and want a machine that is not busy
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "google.golang.org/api").Output()
	require.NoError(t, err)
	dir := t.TempDir()
	tests, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "support/bundler/*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, tests)
	for _, file := range append(tests, "bundlershim/shim.go") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600))
	}
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	mod := "module bundler\n\ngo 1.26.0\n\nrequire github.com/leaksafe/leaksafe v0.0.0\n\nreplace github.com/leaksafe/leaksafe => " + root + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600))
	binary := filepath.Join(dir, "bundler.test")
	built, err := exec.Command("go", "test", "-C", dir, "-vet=off", "-c", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", built)
	names, err := exec.Command(binary, "-test.list", "^Test").Output()
	require.NoError(t, err)
	var failed []string
	passed := 0
	for _, name := range strings.Fields(string(names)) {
		out, err := exec.Command(binary, "-test.timeout", "60s", "-test.run", "^"+name+"$").CombinedOutput()
		if err == nil {
			passed++
			continue
		}
		failed = append(failed, name)
		if differs[name] == "" {
			t.Logf("%s", out)
		}
	}
	t.Logf("%d of bundler's tests pass, %d differ on purpose", passed, len(failed))
	require.ElementsMatch(t, slices.Collect(maps.Keys(differs)), failed)
}

// The tests that fail, and why they should.
var differs = map[string]string{
	"TestBundlerByteThreshold": "MaxBytes is a bound, and no batch exceeds it; BundleByteThreshold is exceeded by up to one item",
	"TestAddWaitCancel":        "an item larger than the budget is refused at once, since it would wait until its context ends",
	"TestModeError":            "Add and TryAdd may be used on one Batcher",
}
