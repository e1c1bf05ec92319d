package leaksafe

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAction runs what the GitHub Action runs: on a test that leaks, and on one that does not. Only
// .ci/run asks for it: it builds the command.
func TestAction(t *testing.T) {
	if os.Getenv("LEAKSAFE_COPY") == "" {
		t.Skip("runs leak tests and builds the command: set LEAKSAFE_COPY=1")
	}
	for _, row := range []struct {
		name, packages, flags string
		code                  int
		says                  []string
	}{
		{"leak", "./examples/sessions", "-leaky", 1, []string{"## Leaks\n", "leakcheck: memory leak: +1.00 object", "retained by", "store.open["}},
		{"no leak", "./examples/sessions", "", 0, []string{"## No leak\n", "passed"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			summary := filepath.Join(dir, "summary.md")
			cmd := exec.CommandContext(t.Context(), "bash", "examples/ci/leaks.sh")
			cmd.Env = append(os.Environ(), "LEAKSAFE_DIR="+dir, "GITHUB_STEP_SUMMARY="+summary, "GITHUB_ACTIONS=true", "PACKAGES="+row.packages+" "+row.flags, "FLAME="+flame(row.code))
			out, _ := cmd.CombinedOutput()
			assert.Equal(t, row.code, cmd.ProcessState.ExitCode(), "%s", out)
			text, err := os.ReadFile(summary)
			require.NoError(t, err)
			for _, want := range row.says {
				assert.Contains(t, string(text), want, "%s", out)
			}
			dumps, err := filepath.Glob(filepath.Join(dir, "*.dump"))
			require.NoError(t, err)
			assert.Empty(t, dumps, "a dump holds whatever was in memory")
			if row.code == 0 {
				return
			}
			assert.Contains(t, string(out), "::error file=examples/sessions/sessions")
			profiles, err := filepath.Glob(filepath.Join(dir, "*.pb.gz"))
			require.NoError(t, err)
			assert.NotEmpty(t, profiles)
			reports, err := filepath.Glob(filepath.Join(dir, "*", "growth.html"))
			require.NoError(t, err)
			assert.NotEmpty(t, reports)
		})
	}
}

// flame asks for a profile where the test fails.
func flame(code int) string {
	if code != 0 {
		return "true"
	}
	return "false"
}
