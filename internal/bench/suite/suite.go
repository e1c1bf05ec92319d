// Package suite runs another library's own tests against a package of this repository, through a
// shim that has that library's API.
package suite

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Suite names the tests and what they run against.
type Suite struct {
	Module  string            // whose version is in go.mod
	Folder  string            // of the tests, in the module
	As      string            // the module path under which the tests are built
	Shim    string            // the file of the shim, relative to the test's folder
	Types   string            // a file of the tests' package that tells the shim their types, or ""; it ends in .txt, because it does not compile elsewhere
	Differs map[string]string // the tests that fail on purpose, and why
}

// Run builds the tests and runs each in a process of its own, since a panic ends the process. It
// fails t unless those that fail are the ones in Differs.
func (s Suite) Run(t *testing.T) {
	binary := s.build(t)
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
		if s.Differs[name] == "" {
			t.Logf("%s", out)
		}
	}
	t.Logf("%d tests of %s pass, %d differ on purpose", passed, s.Module, len(failed))
	require.ElementsMatch(t, slices.Collect(maps.Keys(s.Differs)), failed)
}

func (s Suite) build(t *testing.T) (binary string) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", s.Module).Output()
	require.NoError(t, err)
	tests, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), s.Folder, "*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, tests)
	dir := t.TempDir()
	files := append(tests, s.Shim)
	if s.Types != "" {
		files = append(files, s.Types)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	mod := "module " + s.As + "\n\ngo 1.26.0\n\nrequire github.com/leaksafe/leaksafe v0.0.0\n\nreplace github.com/leaksafe/leaksafe => " + root + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600))
	binary = filepath.Join(dir, "suite.test")
	built, err := exec.Command("go", "test", "-C", dir, "-vet=off", "-c", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", built)
	return binary
}
