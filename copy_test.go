package leaksafe

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExamplesCanBeCopied does what a reader does: copies an example into a
// module of its own, and builds and tests it there. Whole programs are tested in their
// own place and only built here, unless LEAKSAFE_LONG is set.
func TestExamplesCanBeCopied(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every example: run without -short")
	}
	var programs []string
	for _, pattern := range []string{"examples/*/go.mod", "examples/*/*/go.mod"} {
		mods, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, mods)
		for _, mod := range mods {
			programs = append(programs, filepath.Dir(mod))
		}
	}
	for _, dir := range append(programs, "examples/ssr", "examples/watch") {
		copyOf(t, dir, os.Getenv("LEAKSAFE_LONG") != "")
	}
	for _, name := range []string{"pool", "mapper", "ctxreq", "batch", "leakcheck"} {
		copyOf(t, filepath.Join("examples", name), true)
	}
}

const module = "github.com/leaksafe/leaksafe"

var replaced = regexp.MustCompile(`(?m)^(// Delete this line.*\n)?replace .*$`)

// copyOf copies a folder, points its module to this checkout, and runs go vet
// or go test in it.
func copyOf(t *testing.T, dir string, test bool) {
	t.Run(filepath.Base(dir), func(t *testing.T) {
		to := t.TempDir()
		require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
		root, err := os.Getwd()
		require.NoError(t, err)
		point := "replace " + module + " => " + root
		modFile := filepath.Join(to, "go.mod")
		text, err := os.ReadFile(modFile)
		if os.IsNotExist(err) {
			text = []byte("module example.com/copy\n\ngo 1.26.0\n\nrequire " + module + " v0.0.0\n")
			sums, err := os.ReadFile("go.sum")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(to, "go.sum"), sums, 0o600))
			rename(t, to, module+"/"+filepath.ToSlash(dir), "example.com/copy")
		} else {
			require.NoError(t, err)
		}
		text = append(replaced.ReplaceAll(text, nil), "\n"+point+"\n"...)
		require.NoError(t, os.WriteFile(modFile, text, 0o600))
		run(t, to, "go", "mod", "tidy")
		if test {
			run(t, to, "go", "test", "./...")
		} else {
			run(t, to, "go", "vet", "./...")
		}
	})
}

// rename changes an import path in a folder's files.
func rename(t *testing.T, dir, from, to string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), from, to)), 0o600))
	}
}

func run(t *testing.T, dir string, command ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%v\n%s", command, out)
}
